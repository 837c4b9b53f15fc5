"""How fast: `fit` beside loops that people write by hand over the same network, in turn, as medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Objective, Spec
from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.data.text.grammar import Grammar
from ptft.finetune.phases import Phases
from ptft.models.hub.torchvision import TorchvisionBackbone
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.models.text.transformer import Transformer
from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.supervised.classify import Classify
from ptft.optim.eager import without_dynamo
from ptft.optim.param_groups import parameter_groups
from ptft.optim.schedules import Cosine
from ptft.runtime.precision import ComputeFormat, autocast, place
from ptft.train.cuda_graph import StepGraph
from ptft.train.loop import gradients
from ptft.train.state import Budget, Every, Training
from tests.benchmarks.common import fitted
from tests.gpu.setting import Setting

CLASSES = tuple("0123456789")
SECONDS = 1.2
"""That each side trains in each round, about."""


class Case(NamedTuple):
    """A network and its batches. unit: what is counted, so many (`each`) an example."""

    objective: Callable[[], Objective]
    examples: Any
    batch: int
    unit: str = "images"
    each: int = 1
    flops: Callable[[nn.Module], float] | None = None
    """Of training on one unit, from its parameters."""


def images(make: Callable[[Spec], Any], channels: int, size: int, batch: int, device: torch.device) -> Case:
    spec = Spec(
        "image",
        {"size": [size, size], "channels": channels, "fit": "none"},
        classes=CLASSES,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )
    count = max(2 * batch, min(8192, 2**28 // (channels * size * size)))
    raw = torch.randint(256, (count, channels, size, size), dtype=torch.uint8, device=device)
    examples = MemoryExamples(raw, torch.arange(count) % 10).to(device)
    return Case(lambda: Classify(make(spec), spec), examples, batch)


def text(device: torch.device, *, length: int, batch: int, sentences: int = 20_000, **shape: int) -> Case:
    source = Grammar(length=length, sentences=sentences, held_out=10)
    train = source.split("train")
    assert train is not None

    def flops(model: nn.Module) -> float:
        """6 a parameter and 12 a layer, width and token of context, half of it masked (Chowdhery et al. 2022, B)."""
        return 6 * sum(p.numel() for p in model.parameters()) + 6 * shape["depth"] * shape["width"] * length

    def make() -> Objective:
        return CausalLM(Transformer(source.spec, causal=True, dropout=0.0, **shape), source.spec)

    return Case(make, train.to(device), batch, "tokens", length, flops)


RESNET = partial(TorchvisionBackbone, name="resnet18")
VIT = partial(VisionTransformer, width=384, depth=12, heads=6)
GPT = {"width": 512, "depth": 8, "heads": 8}
CASES: dict[str, Callable[[torch.device], Case]] = {
    "cnn, 28 pixels, batch 64": partial(images, CNN, 1, 28, 64),
    "cnn, 28 pixels, batch 1,024": partial(images, CNN, 1, 28, 1024),
    "resnet18, 32 pixels, batch 512": partial(images, RESNET, 3, 32, 512),
    "resnet18, 224 pixels, batch 256": partial(images, RESNET, 3, 224, 256),
    "vit_small, 224 pixels, batch 256": partial(images, VIT, 3, 224, 256),
    "gpt_small, 32 x 1,024 tokens": partial(text, length=1024, batch=32, **GPT),
}
TINY = partial(CNN, width=8, channels=(2, 2))
TINY_VIT = partial(VisionTransformer, width=16, depth=1, heads=2)
SMALL: dict[str, Callable[[torch.device], Case]] = {
    "cnn, 28 pixels, batch 64": partial(images, TINY, 1, 28, 4),
    "cnn, 28 pixels, batch 1,024": partial(images, TINY, 1, 28, 8),
    "resnet18, 32 pixels, batch 512": partial(images, TINY, 3, 32, 2),
    "resnet18, 224 pixels, batch 256": partial(images, TINY, 3, 32, 2),
    "vit_small, 224 pixels, batch 256": partial(images, TINY_VIT, 3, 32, 2),
    "gpt_small, 32 x 1,024 tokens": partial(text, length=32, batch=2, sentences=200, width=16, depth=1, heads=2),
}
"""What stands in for them where there is no GPU."""


def prepared(case: Case, device: torch.device, precision: str, *, graph: bool) -> Training:
    task = place(case.objective().to(device), ComputeFormat(precision, "channels_last"))
    groups = parameter_groups(task, Phases(task).scales, lr=1e-3, weight_decay=0.05)
    t = Training(
        objective=task,
        optimizer=without_dynamo(torch.optim.AdamW)(groups, fused=True),
        schedule=Cosine(),
        loader=Loader(case.examples, case.batch, device=device, shuffle=True),
        val=None,
        budget=Budget(steps=10**9),
        every=Every(log=None, evaluate=10**9, save=10**9),
        monitor=task.monitor,
        autocast=autocast(precision, device),
        clip=1.0,
    )
    if graph:
        t.graph = StepGraph(partial(gradients, t), t.optimizer, t.parameters, case.batch, device)
    return t


class ByHand:
    """What people write: random batches of tensors on the device, autocast, mean loss, clip, AdamW, nothing watched."""

    def __init__(self, case: Case, device: torch.device, precision: str) -> None:
        self.case, self.device, self.precision = case, device, precision
        self.task = place(case.objective().to(device), ComputeFormat(precision, "channels_last"))
        self.optimizer = torch.optim.AdamW(self.task.parameters(), 1e-3, weight_decay=0.05, fused=True)

    def loss(self, chosen: Tensor) -> Tensor:
        model, batch = self.task.backbone, self.case.examples.take(chosen)
        if isinstance(self.task, CausalLM):
            ids = batch["input"].long()
            logits = model(ids[:, :-1]).tokens @ model.embedding.weight.T
            return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        x = batch["input"].float().div(255).sub(0.5).div(0.25).contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(self.task.head(model.pool(model(x))), batch["label"])

    def train(self, steps: int) -> float:
        """Seconds of so many steps."""
        began = time.perf_counter()
        for _ in range(steps):
            chosen = torch.randint(len(self.case.examples), (self.case.batch,), device=self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                loss = self.loss(chosen)
            loss.backward()
            nn.utils.clip_grad_norm_(self.task.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        _wait(self.device)
        return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ours(t: Training, folder: Path, steps: int) -> float:
    """Seconds of so many steps of `fit`, with everything that it counts, logs and watches."""
    seconds = fitted(t, folder, steps)
    _wait(t.device)
    return seconds


def measure(setting: Setting, name: str) -> dict[str, Any]:
    """The case's sides in turn, units a second as medians, and each one's ratio to the loop by hand."""
    device, precision = setting.device, "bf16" if setting.gpu else "fp32"
    case = CASES[name](device) if setting.gpu else SMALL[name](device)
    hand, folder = ByHand(case, device, precision), setting.work / "speed"
    trained = {"ptft": prepared(case, device, precision, graph=False)}
    if setting.gpu:
        trained["ptft, CUDA graph"] = prepared(case, device, precision, graph=True)
    sides = {"by hand": hand.train, **{side: partial(ours, t, folder) for side, t in trained.items()}}
    for side in sides.values():
        side(10 if setting.gpu else 1)
    steps = max(2, min(2000, round(SECONDS * 5 / hand.train(5)))) if setting.gpu else 1
    figures: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(3 if setting.gpu else 1):
        for side, train in sides.items():
            figures[side].append(steps * case.batch * case.each / train(steps))
    ratio = {s: statistics.median(map(truediv, found, figures["by hand"])) for s, found in figures.items()}
    median = {side: statistics.median(found) for side, found in figures.items()}
    seen: dict[str, Any] = {"unit": case.unit, "steps": steps, "rounds": figures, "median": median, "ratio": ratio}
    if case.flops and setting.gpu:
        seen["peak"] = matmul(device)
        seen["teraflops"] = max(median.values()) * case.flops(hand.task) / 1e12
        seen["share"] = seen["teraflops"] / seen["peak"]
    return seen


def matmul(device: torch.device, size: int = 8192) -> float:
    """Teraflops of a product of two random bf16 matrices: what the device reaches at its best."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(8):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(5):
            a @ b
        ended.record()
        torch.cuda.synchronize(device)
        times.append(began.elapsed_time(ended) / 5e3)
    return 2 * size**3 / statistics.median(times[2:]) / 1e12
