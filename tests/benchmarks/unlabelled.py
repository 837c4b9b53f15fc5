"""SimCLR and DINO beside the same method written with lightly: images a second, and what a linear probe makes of it."""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

import ptft as package
from ptft.core import Backbone, Batch
from ptft.data.image.torchvision import Torchvision
from ptft.finetune.head_init import fit
from ptft.models.image.convnet import Convnet
from tests.benchmarks.common import Options, in_turn, ptft, rates, script, table

BATCH, LR = 128, 2e-3
LABELS, DRAWS, PART = 20, 3, 1_000
VIEWS = ("shift=0", "flip=false", "rotate=15", "scale=0", "shear=10", "color=0", "grey=0", "blur=0", "solarize=0")
METHODS = {
    "simclr": ("objective.views.crop=0.5",),
    "dino": ("objective.global_crop=[0.4,1.0]", "objective.local_crop=[0.1,0.4]"),
}
"""What ptft would choose by what the images show is typed, so that both sides look at the same."""


class Probe:
    """Accuracies of linear classifiers on the features of a backbone, fitted to convergence on a few labels."""

    def __init__(self, source: Torchvision) -> None:
        self.train, self.test = source.split("train"), source.split("test")

    def __call__(self, backbone: Backbone, seed: int) -> float:
        """The mean over draws of labels, in %; the draws are those of the seed."""
        assert self.test is not None
        held_out = self.test.take(torch.arange(len(self.test)))
        features = features_of(backbone, held_out)
        found = []
        for draw in range(DRAWS):
            batch = self.drawn(DRAWS * seed + draw)
            weight, bias, _ = fit(features_of(backbone, batch), batch["label"], 10)
            found.append(float((F.linear(features, weight, bias).argmax(1) == held_out["label"]).float().mean()))
        return 100 * statistics.mean(found)

    def drawn(self, seed: int) -> Batch:
        """So many training examples of each class, in random order."""
        assert self.train is not None
        order = self.train.shuffled(seed)
        labels = self.train.take(order)["label"]
        of_each = torch.cat([(labels == kind).nonzero().flatten()[:LABELS] for kind in range(10)])
        return self.train.take(order[of_each.sort().values])


@torch.inference_mode()
def features_of(backbone: Backbone, batch: Batch) -> Tensor:
    """Pooled, float32 [N, D]."""
    backbone.eval()
    parts = (backbone.inputs({"input": part}) for part in batch["input"].split(PART))
    return torch.cat([backbone.pool(backbone(part)) for part in parts])


@dataclass
class Side:
    """One of those compared: each call trains once more, with the next seed, and probes what came of it."""

    train: Callable[[int], tuple[float, Backbone]]
    probe: Probe
    accuracies: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        seed = len(self.accuracies)
        rate, backbone = self.train(seed)
        self.accuracies.append(self.probe(backbone, seed))
        return rate


def sides(options: Options, method: str, probe: Probe, source: Torchvision) -> dict[str, Side]:
    steps = max(1, options.images // BATCH)
    typed = ["stage=pretrain", "model=convnet", "dataset=mnist", f"dataset.root={options.root}", "dataset.val=null"]
    typed += ["dataset.test=null", f"objective={method}", *METHODS[method], f"train.batch_size={BATCH}"]
    typed += ["optimizer=adamw", f"optimizer.lr={LR}", "schedule=cosine", f"train.steps={steps}"]
    typed += [f"objective.views.{view}" for view in VIEWS]

    def lightly(seed: int) -> tuple[float, Backbone]:
        weights, backbone = options.work / "lightly.pt", Convnet(source.spec)
        given = ("--method", method, "--steps", steps, "--batch", BATCH, "--lr", LR, "--seed", seed, "--save", weights)
        rate = script(options, "lightly_loop.py", options.root, *given)["rate"]
        backbone.load_state_dict(torch.load(weights))
        return rate, backbone

    def ours(precision: str) -> Callable[[int], tuple[float, Backbone]]:
        def trained(seed: int) -> tuple[float, Backbone]:
            rate = ptft(options, *typed, f"precision={precision}", f"seed={seed}")["samples_per_second"]
            return rate, package.load(options.work / "run", "cpu").objective.float().backbone

        return trained

    trained = {"lightly": lightly, "ptft precision=fp32": ours("fp32"), "ptft precision=auto": ours("auto")}
    return {name: Side(train, probe) for name, train in trained.items()}


def run(options: Options) -> str:
    """The same backbone, images, kinds of views, batch, steps, optimizer and schedule; one training a round."""
    if importlib.util.find_spec("lightly") is None:
        return "lightly is not installed; `pip install lightly` and this one compares with it\n"
    source = Torchvision(name="mnist", root=options.root, val=None)
    probe, said = Probe(source), []
    for method in METHODS:
        compared = sides(options, method, probe, source)
        figures = in_turn(options.rounds, **compared)
        fresh = [fresh_weights(source, probe, seed) for seed in range(options.rounds)]
        accuracies = {name: side.accuracies for name, side in compared.items()} | {"fresh weights": fresh}
        said += [f"{method}\n", rates(figures, "lightly", "images/s"), probes(accuracies, "lightly")]
    return "\n".join(said)


def fresh_weights(source: Torchvision, probe: Probe, seed: int) -> float:
    torch.manual_seed(seed)
    return probe(Convnet(source.spec), seed)


def probes(accuracies: dict[str, list[float]], first: str) -> str:
    """Means over trainings, and what each differs from `first` with the same labels."""
    rows = []
    for name, found in accuracies.items():
        apart = [a - b for a, b in zip(found, accuracies[first], strict=True)]
        error = statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else math.nan
        spread = f"{min(found):.2f} to {max(found):.2f}"
        rows.append([name, f"{statistics.mean(found):.2f}", spread, f"{statistics.mean(apart):+.2f} ± {error:.2f}"])
    return table(
        ["", f"probe, {LABELS} labels a class, %", "of trainings", f"points to {first} (standard error)"], rows
    )
