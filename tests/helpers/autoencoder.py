"""A small training of real parts that knows no classes: vectors without labels, and an autoencoder of them."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Examples, Features, Objective, Step
from ptft.data.loader import Loader
from ptft.finetune.phases import Phases
from ptft.loggers.console import Console, ConsoleLogger
from ptft.loggers.jsonl import JsonlLogger
from ptft.loggers.logger import Logger, Loggers
from ptft.objectives.supervised.classify import Classify
from ptft.optim.eager import without_dynamo
from ptft.optim.param_groups import parameter_groups
from ptft.optim.schedules import Constant
from ptft.train.loop import fit
from ptft.train.state import Budget, Every, Training

LR, MOMENTUM = 0.1, 0.9


class Vectors(Examples):
    """Float64 [N, 6], and nothing else."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Tensor) -> Batch:
        return {"input": self.values[indices], "index": indices}

    @property
    def in_memory(self) -> bool:
        return True


def vectors(count: int, seed: int) -> Tensor:
    """Random vectors in a plane; about every sixth value is missing (NaN), so batches differ in their counts."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = torch.randn(count, 2, generator=generator, dtype=torch.float64) @ plane
    return values.masked_fill(torch.rand(count, 6, generator=generator) < 1 / 6, torch.nan)


class Encoder(Backbone):
    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, self.width)

    def prepare(self, raw: Tensor) -> Tensor:
        return raw

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        return Features(self.linear(x).tanh().unsqueeze(1))

    def layers(self) -> list[list[nn.Module]]:
        return [[self.linear]]


class Denoise(Objective):
    """Squared error of the values that are there, reconstructed from noisy ones (Vincent et al. 2008)."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.backbone = Encoder()
        self.decoder = nn.Linear(self.backbone.width, 6)
        self.noise = noise
        self.advanced: list[tuple[int, int]] = []

    def forward(self, batch: Batch) -> Step:
        x = self.backbone.prepare(batch["input"])
        there = ~x.isnan()
        x = x.masked_fill(~there, 0)
        seen = x + self.noise * torch.randn_like(x) if self.training and self.noise else x
        error = (self.decoder(self.backbone.pool(self.backbone(seen))) - x)[there]
        return Step(error.square().sum(), there.sum(), {"absolute": error.detach().abs().sum()})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {"mae": float(sums["absolute"] / sums["count"])}

    def advance(self, step: int, steps: int) -> None:
        self.advanced.append((step, steps))


def training(make: Callable[[], Objective] = Denoise, **options) -> Training:
    """Ten steps of stochastic gradient descent; four batches (16, 16, 16 and 2) are an epoch."""
    torch.manual_seed(0)
    objective = make().double()
    groups = parameter_groups(objective, Phases(objective).scales, lr=LR, weight_decay=0.0)
    return Training(
        **{
            "objective": objective,
            "optimizer": without_dynamo(torch.optim.SGD)(groups, LR, MOMENTUM, maximize=options.pop("maximize", False)),
            "schedule": Constant(),
            "loader": Loader(Vectors(vectors(50, seed=2)), 16, shuffle=True),
            "val": Loader(Vectors(vectors(30, seed=3)), 16),
            "budget": Budget(steps=10),
            "every": Every(log=3, evaluate=4, save=5),
            "monitor": objective.monitor,
            **options,
        }
    )


def train(t: Training, folder: Path | None = None, *others: Logger) -> list[tuple[int, bool]]:
    """Fit; the steps at which it saved, and whether that was the best so far. Rows go to `folder`."""
    saved: list[tuple[int, bool]] = []
    console = Console(folder)
    files = [JsonlLogger(folder, console)] if folder else []
    monitor = t.monitor["metric"].split("/")[-1]
    loggers = Loggers(*files, ConsoleLogger(console, t.total, asdict(t.progress), monitor), *others)
    try:
        fit(t, loggers, lambda better: saved.append((t.progress.step, better)))
    finally:
        loggers.close()
        console.close()
    return saved


def weights(t: Training) -> dict[str, Tensor]:
    """A copy of the weights as they are now, which are not the averaged ones."""
    return {name: value.clone() for name, value in t.objective.state_dict().items()}


class NoAccuracy(Classify):
    """Classification whose accuracy is not a number."""

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {**super().metrics(sums), "accuracy": float("nan")}


class Overflow(Classify):
    """Classification whose gradient, not its loss, becomes infinite in step 8."""

    def __init__(self, *given, **options) -> None:
        super().__init__(*given, **options)
        self.steps = 0
        self.head.weight.register_hook(lambda gradient: gradient.fill_(torch.inf) if self.steps == 7 else gradient)

    def advance(self, step: int, steps: int) -> None:
        self.steps = step
