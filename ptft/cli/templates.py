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

def test_a_run_takes_a_step_with_it():
    typed = ["stage=pretrain", "$kind=$name", "trusted=[$name]", "dry_run=true"$typed]
    subprocess.run([sys.executable, "-m", "ptft", *typed], cwd=Path(__file__).parent, check=True)
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

import subprocess
import sys
from pathlib import Path

import torch

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
    python='''"""A dataset of images: which classes and splits there are, and the images of each split."""

from typing import Any

import torch

from ptft.data.examples import MemoryExamples
from ptft.data.image.source import ImageSource


class $cls(ImageSource):
    """Squares that are dark or bright, until you read your own. self.root is dataset.root, a path or None."""

    embedded = True  # it reads no files; remove this line once it does, or dataset.root is refused

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)  # the keys of the YAML: root, size, classes, limit, val …
        # the names of the classes and splits; (H, W) and channels of the images; mean and std of their values, 0 to 1
        self.describe(("dark", "bright"), ("train", "test"), (16, 16), 1, (0.5,), (0.3,))

    def load(self, split: str) -> MemoryExamples:
        """The images of a split, uint8 [N, C, H, W], and their labels, long [N], as the classes are counted above."""
        count = {"train": 400, "test": 100}[split]
        generator = torch.Generator().manual_seed(count)  # the same images in every run
        labels = torch.arange(count) % 2
        noise = torch.rand(count, 1, 16, 16, generator=generator)
        images = ((noise + labels.view(-1, 1, 1, 1)) * 127).to(torch.uint8)
        return MemoryExamples(images, labels)
''',
    yaml="""# My own images: $cls of $name.py.
defaults: [_image, _self_]   # the keys that all datasets of images have: ptft help dataset/_image

_target_: $name.$cls
root: null                   # the folder or file that it reads, if any
""",
    test='''"""pytest test_$name.py"""

import subprocess
import sys
from pathlib import Path

import torch

from $name import $cls


def test_every_split_holds_images_and_labels():
    source = $cls()
    for name in ("train", "val", "test"):  # a tenth of train is val, where the dataset has none
        split = source.split(name)
        batch = split.take(torch.arange(len(split)))
        assert batch["input"].shape == (len(split), 1, 16, 16)
        assert set(batch["label"].tolist()) == {0, 1}
    assert source.fingerprint() == $cls().fingerprint()  # the same data each time
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

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

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
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
    losses = []
    for _ in range(100):
        step = objective(batch)
        optimizer.zero_grad()
        step.total.backward()
        optimizer.step()
        losses.append(float(step.total))
    assert losses[-1] < losses[0]
    assert objective.metrics({"count": step.count, **step.sums}) == {"accuracy": 1.0}
    assert [row["class"] for row in objective.predict(batch)[:2]] == ["a", "b"]
'''
    + _RUNS.replace("$typed", ', "dataset=digits"'),
    try_with="dataset=digits train.steps=60",
)

TEMPLATES = {"model": _MODEL, "dataset": _DATASET, "objective": _OBJECTIVE}
