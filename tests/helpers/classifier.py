"""A small classifier with every kind of parameter: batch statistics, dropout, positions that are in no layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Features, Objective, Step
from ptft.optim.param_groups import clip_and_scale


class Net(Backbone):
    """Three layers (the second with batch statistics, all with dropout), and positions that are in none of them."""

    width = 6
    no_weight_decay: ClassVar[frozenset[str]] = frozenset({"positions"})

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 4))
        self.stem = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)), Block()])

    def prepare(self, raw: Tensor) -> Tensor:
        return raw

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        x = self.stem(x + self.positions)
        for block in self.blocks:
            x = block(x)
        return Features(x.unsqueeze(1))

    def layers(self) -> list[list[nn.Module]]:
        return [[self.stem], [self.blocks[0]], [self.blocks[1]]]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.norm(self.linear(x)))


class Classify(Objective):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Net()
        self.head = nn.Linear(6, 3)

    def forward(self, batch: Batch) -> Step:
        logits = self.head(self.backbone.pool(self.backbone(batch["input"])))
        total = nn.functional.cross_entropy(logits, batch["label"], reduction="sum")
        return Step(total, torch.tensor(len(logits)), {})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        return {}


def batch_of(size: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, 4, generator=generator)
    return {"input": x, "label": x[:, :3].argmax(1)}


def train(objective: Objective, optimizer: torch.optim.Optimizer, steps: int) -> None:
    objective.train()
    for _ in range(steps):
        step = objective(batch_of())
        step.total.backward()
        clip_and_scale(objective.parameters(), step.count, None)
        optimizer.step()
        optimizer.zero_grad()
