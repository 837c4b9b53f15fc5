"""What `ptft new` writes: the Python file, the YAML and the test of each kind, with $name and $cls in their places."""

from __future__ import annotations

from typing import NamedTuple


class Template(NamedTuple):
    """python: NAME.py; yaml: conf/KIND/NAME.yaml; test: test_NAME.py; try_with: what a run types beside KIND=NAME."""

    python: str
    yaml: str
    test: str
    try_with: str


_RUNS = """

def test_a_run_takes_a_step_with_it(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    assert run(["stage=pretrain", "$kind=$name", "trusted=[$name]", "dry_run=true"$typed]) == 0
"""

_MODEL = Template(
    python='''"""A model of images: any PyTorch module that makes features of them. ptft puts the head on it."""

from torch import Tensor, nn


class $cls(nn.Module):
    """Images [B, C, H, W], normalised, to features [B, D]; tokens [B, T, D] or maps [B, D, H, W] will do as well."""

    def __init__(self, channels: int, width: int = 32) -> None:
        # channels (C) and size (of the images) are passed to a module that asks for them; the rest stands in the YAML
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).mean((2, 3))  # the mean over all places; how large D is ptft sees by itself
''',
    yaml="""# My own model: $cls of $name.py.
_target_: $name.$cls
width: 32   # channels of the first layer; any argument of the constructor can be a key here

_rules_: {width: count}
""",
    test='''"""pytest test_$name.py"""

from pathlib import Path

import torch

from ptft.cli.main import run
from $name import $cls


def test_it_makes_features_and_all_of_it_learns():
    model = $cls(channels=3, width=8)
    features = model(torch.randn(4, 3, 28, 28))
    assert features.shape == (4, 16)
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
'''
    + _RUNS.replace("$typed", ', "dataset=digits"'),
    try_with="dataset=digits train.steps=60",
)

_DATASET = Template(
    python='''"""A dataset of images: any torch Dataset of (input, label)."""

import torch
from torch import Tensor
from torch.utils.data import Dataset


class $cls(Dataset[tuple[Tensor, int]]):
    """Squares that are dark or bright, until you read your own: an image each (Tensor, array or PIL) and its label."""

    classes = ("dark", "bright")  # the names of the labels 0, 1 …

    def __init__(self, split: str, count: int = 400) -> None:
        # split is train, val or test; a class that does not ask for it is divided 80/10/10. The rest stands in the YAML
        generator = torch.Generator().manual_seed({"train": 0, "val": 1, "test": 2}[split])  # the same in every run
        self.labels = torch.arange(count if split == "train" else count // 4) % 2
        noise = torch.rand(len(self.labels), 1, 16, 16, generator=generator)
        self.images = ((noise + self.labels.view(-1, 1, 1, 1)) * 127).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])
''',
    yaml="""# My own images: $cls of $name.py.
defaults: [torch_dataset, _self_]   # the keys that ptft adds: ptft help dataset/torch_dataset

_target_: $name.$cls
count: 400                          # images to train on; any argument of the constructor can be a key here

_rules_: {count: count}
""",
    test='''"""pytest test_$name.py"""

from pathlib import Path

from ptft.cli.main import run
from $name import $cls


def test_every_split_holds_images_with_labels():
    for split in ("train", "val", "test"):
        data = $cls(split, count=40)
        images, labels = zip(*(data[i] for i in range(len(data))))
        assert {image.shape for image in images} == {(1, 16, 16)}
        assert set(labels) == {0, 1}
'''
    + _RUNS.replace("$typed", ""),
    try_with="train.steps=50",
)

_OBJECTIVE = Template(
    python='''"""An objective: the loss to learn around a backbone, and what is measured. Here: classes, by margins."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptft.core import Backbone, Batch, Objective, Spec, Step


class $cls(Objective):
    """Each score of the right class must exceed the others by `margin` (Crammer & Singer 2001)."""

    needs = frozenset({"input", "label"})  # the keys that a batch must have

    def __init__(self, backbone: Backbone, spec: Spec, *, margin: float = 1.0) -> None:
        # what follows the star are keys of the YAML; spec says what the examples are: spec.classes, spec.shape …
        super().__init__()
        self.monitor = {"metric": "val/accuracy", "mode": "max"}  # what decides best.pt
        self.backbone = backbone
        self.classes, self.margin = list(spec.classes), margin
        self.head = nn.Linear(backbone.width, len(self.classes))

    def scores(self, batch: Batch) -> Tensor:
        """A raw batch on the device to [B, classes]: read and normalised, through the backbone, one vector each."""
        features = self.backbone(self.backbone.inputs(batch), batch.get("mask"))
        return self.head(self.backbone.pool(features)).float()

    def forward(self, batch: Batch) -> Step:
        """The loss, summed over the batch, over how many examples that is, and sums of what is measured besides."""
        scores, labels = self.scores(batch), batch["label"]
        loss = F.multi_margin_loss(scores, labels, margin=self.margin, reduction="sum")
        count = torch.full((), len(labels), device=scores.device)
        return Step(loss, count, {"correct": (scores.argmax(1) == labels).sum()})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Named numbers from those sums, added up over an epoch or a split; `count` is among them."""
        return {"accuracy": float(sums["correct"] / sums["count"])}

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, str | float]]:
        """The columns that stage=predict writes of each example."""
        best = self.scores(batch).max(1)
        return [{"class": self.classes[i], "score": s} for i, s in zip(best.indices.tolist(), best.values.tolist())]
''',
    yaml="""# My own objective: $cls of $name.py.
_target_: $name.$cls
margin: 1.0   # by which the right class must be ahead

_rules_: {margin: above 0}
""",
    test='''"""pytest test_$name.py"""

from pathlib import Path

import torch
from torch import Tensor

from ptft.cli.main import run
from ptft.core import Backbone, Features, Spec
from $name import $cls


class Flat(Backbone):
    """The smallest backbone: its input, float [B, 2], is the features."""

    width = 2

    def prepare(self, raw: Tensor) -> Tensor:
        return raw

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        return Features(x.unsqueeze(1))

    def layers(self):
        return []


def test_the_loss_falls_and_what_is_measured_is_right():
    objective = $cls(Flat(), Spec("image", {}, "class", ("a", "b"), (), ()))
    batch = {"input": torch.eye(2).repeat(4, 1), "label": torch.arange(2).repeat(4)}
    losses = []
    for _ in range(100):
        step = objective(batch)
        objective.zero_grad()
        step.total.backward()
        losses.append(step.total.item())
        for parameter in objective.parameters():
            parameter.data -= 0.1 * parameter.grad
    assert losses[-1] < losses[0]
    assert objective.metrics({"count": step.count, **step.sums}) == {"accuracy": 1.0}
    assert [row["class"] for row in objective.predict(batch)[:2]] == ["a", "b"]
'''
    + _RUNS.replace("$typed", ', "dataset=digits"'),
    try_with="dataset=digits train.steps=60",
)

TEMPLATES = {"model": _MODEL, "dataset": _DATASET, "objective": _OBJECTIVE}
