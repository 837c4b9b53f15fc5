"""ResNet-18 on folders of 32x32 JPEGs beside a loop in timm's style with the same augmentation."""

from __future__ import annotations

from tests.benchmarks.common import Options, in_turn, ptft, rates, script
from tests.benchmarks.inputs import jpegs

IMAGES, EPOCHS = 6_000, 2


def run(options: Options) -> str:
    """Images a second of training over two epochs, with the published stem."""
    root = jpegs(options.work / "resnet", IMAGES)
    task = ("stage=pretrain", "model=resnet18", "model.stem=original", "dataset=image_folder", f"dataset.root={root}")
    given = ("dataset.val=null", "dataset.test=null", f"train.epochs={EPOCHS}")
    sides = {
        "timm-style loop": lambda: float(script(options, "timm_loop.py", root, "--epochs", EPOCHS)["rate"]),
        "ptft": lambda: float(ptft(options, *task, *given)["samples_per_second"]),
    }
    return rates(in_turn(options.rounds, **sides), "timm-style loop", "images/s")
