"""What the benchmarks share: running both sides in turn, and a table of medians."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ptft.core import Examples, Objective
from ptft.data.loader import Loader
from ptft.finetune.phases import Phases
from ptft.loggers.console import Console, ConsoleLogger
from ptft.loggers.jsonl import JsonlLogger
from ptft.loggers.logger import Loggers
from ptft.optim.eager import without_dynamo
from ptft.optim.param_groups import parameter_groups
from ptft.optim.schedules import Cosine
from ptft.train.loop import fit
from ptft.train.state import Budget, Every, Training

ROOT = Path(__file__).resolve().parents[2]


class Options(NamedTuple):
    root: Path
    work: Path
    rounds: int
    images: int
    seeds: int


def training(task: Objective, examples: Examples, batch: int) -> Training:
    """With AdamW and a cosine, without an end, an evaluation or a file of its own."""
    return Training(
        objective=task,
        optimizer=without_dynamo(torch.optim.AdamW)(
            parameter_groups(task, Phases(task).scales, lr=1e-3, weight_decay=0.05), fused=True
        ),
        schedule=Cosine(),
        loader=Loader(examples, batch, shuffle=True),
        val=None,
        budget=Budget(steps=10**9),
        every=Every(log=None, evaluate=10**9, save=10**9),
        monitor=task.monitor,
        clip=1.0,
    )


def fitted(t: Training, folder: Path, steps: int) -> float:
    """Seconds of so many more steps of `fit`, with everything that it counts, logs and watches."""
    folder.mkdir(exist_ok=True)
    t.budget, t.total = Budget(steps=t.progress.step + steps), t.progress.step + steps
    t.progress.evaluated = t.total
    with contextlib.redirect_stdout(io.StringIO()):
        console = Console(folder)
        loggers = Loggers(JsonlLogger(folder, console), ConsoleLogger(console, t.total, asdict(t.progress), "loss"))
        began = time.perf_counter()
        fit(t, loggers, lambda better: None)
        seconds = time.perf_counter() - began
        loggers.close()
        console.close()
    return seconds


def machine() -> str:
    cpu = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name", platform.machine())
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{os.cpu_count()} cores of {cpu}{gpu}; torch {torch.__version__}, Python {platform.python_version()}"


def in_turn(rounds: int, **sides: Callable[[], float]) -> dict[str, list[float]]:
    """Each side's figures, A B A B: what drifts on the machine drifts for both."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            figures[name].append(measure())
    return figures


def process(arguments: Sequence[str], cwd: Path) -> tuple[str, float]:
    """What it printed and the seconds from start to end. Its failure is ours."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=cwd, env=environment)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout, seconds


def script(options: Options, name: str, *arguments: object) -> dict[str, Any]:
    """A script of this folder, which prints its figures as JSON on its last line; `wall` is added."""
    said, seconds = process([sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)], options.work)
    return {**json.loads(said.splitlines()[-1]), "wall": seconds}


def ptft(options: Options, *overrides: str) -> dict[str, Any]:
    """A run's summary; `wall` is added."""
    folder = options.work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    _, seconds = process([sys.executable, "-m", "ptft", *overrides, f"hydra.run.dir={folder}"], options.work)
    return {**json.loads((folder / "summary.json").read_text()), "wall": seconds}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def rates(figures: dict[str, list[float]], first: str, unit: str) -> str:
    """Medians, the spread, and each round's ratio to `first` as a median."""
    rows = []
    for name, found in figures.items():
        ratio = statistics.median(a / b for a, b in zip(found, figures[first], strict=True))
        rows.append(
            [name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f} to {max(found):,.0f}", f"{ratio:.2f}"]
        )
    return table(["", unit, "of rounds", f"ratio to {first}"], rows)
