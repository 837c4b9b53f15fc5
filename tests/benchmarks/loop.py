"""What the loop itself costs, and where a step's time goes."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ptft.core import Spec
from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.finetune.phases import Phases
from ptft.models.image.cnn import CNN
from ptft.objectives.supervised.classify import Classify
from ptft.optim.eager import without_dynamo
from ptft.optim.param_groups import clip_and_scale, parameter_groups
from ptft.optim.schedules import Cosine
from ptft.runtime import process
from ptft.runtime.autotune import fastest
from ptft.runtime.precision import autocast, choices, place
from ptft.train.loop import train_step
from ptft.train.state import Budget, Every, Training
from ptft.train.watch import FiniteCheck
from tests.benchmarks.common import Options, fitted, in_turn, rates

CPU, BATCH = torch.device("cpu"), 64


def prepared(steps: int = 150) -> Training:
    """The cnn on random images, an epoch of so many steps, in the fastest way that this machine has."""
    process.keep_freed_memory()
    spec = Spec("image", {"size": [28, 28], "channels": 1, "fit": "none"}, classes=tuple("0123456789"), mean=(0.5,))
    images = torch.randint(256, (BATCH * steps, 1, 28, 28), dtype=torch.uint8)
    task = Classify(CNN(spec), spec)
    loader = Loader(MemoryExamples(images, torch.arange(len(images)) % 10), BATCH, shuffle=True)
    chosen = fastest(task, loader.first(), choices("auto", "auto", CPU, task), CPU, {"bench": 1})[0]
    place(task, chosen)
    return Training(
        objective=task,
        optimizer=without_dynamo(torch.optim.Adam)(
            parameter_groups(task, Phases(task).scales, lr=1e-3, weight_decay=0.0), fused=True
        ),
        schedule=Cosine(),
        loader=loader,
        val=None,
        budget=Budget(steps=10**9),
        every=Every(log=None, evaluate=10**9, save=10**9),
        monitor=task.monitor,
        autocast=autocast(chosen.precision, CPU),
        clip=1.0,
    )


def bare(t: Training) -> float:
    """Steps a second of the least that trains the same way: take, forward, backward, clip, step."""
    began = time.perf_counter()
    for batch in t.loader.epoch(0):
        with t.autocast():
            step = t.objective(batch)
        step.total.backward()  # type: ignore[no-untyped-call]
        clip_and_scale(t.parameters, step.count, t.clip)
        t.optimizer.step()
        t.optimizer.zero_grad()
    return len(t.loader) / (time.perf_counter() - began)


def ours(t: Training, folder: Path) -> float:
    """Steps a second of `fit`, with everything that it logs and watches."""
    return len(t.loader) / fitted(t, folder, len(t.loader))


def overhead(options: Options) -> str:
    """`fit` beside a bare loop over the same objects, in one process."""
    t = prepared(max(1, options.images // 100))
    bare(t)
    figures = in_turn(options.rounds, **{"bare loop": lambda: bare(t), "fit": lambda: ours(t, options.work / "loop")})
    return rates(figures, "bare loop", "steps/s")


def top_ten(options: Options) -> str:
    """Where the time of a step goes."""
    t = prepared()
    batches, finite = itertools.cycle(t.loader.epoch(0)), FiniteCheck(t)
    for _ in range(20):
        train_step(t, next(batches), finite)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(50):
            train_step(t, next(batches), finite)
    found = seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=44)
    return f"```\n{found}\n```\n"
