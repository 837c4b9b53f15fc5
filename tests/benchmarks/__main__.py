"""`make bench`: how fast ptft is beside what people would write instead, measured in turn, as medians.

    python -m tests.benchmarks [NAME ...] [--root DIR] [--rounds N] [--images N] [--seeds N]

NAME is one of BENCHES, all by default. `--root` holds MNIST in torchvision's layout; without it characters are
rendered into that layout, and accuracies are of those. Every figure comes with what it was compared to in this run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from tests.benchmarks import (
    accuracy,
    detection,
    explanation,
    inputs,
    inspection,
    language,
    loop,
    resnet,
    start,
    survey,
    unlabelled,
)
from tests.benchmarks.common import Options, machine

READS_MNIST = {"survey", "accuracy", "recipe", "start", "lightly"}
BENCHES = {
    "survey": survey.run,
    "accuracy": accuracy.gap,
    "recipe": accuracy.recipe,
    "loop": loop.overhead,
    "profile": loop.top_ten,
    "inputs": inputs.run,
    "language": language.run,
    "resnet": resnet.run,
    "boxes": detection.run,
    "lightly": unlabelled.run,
    "start": start.run,
    "inspect": inspection.run,
    "explain": explanation.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--root", type=Path, help="MNIST in torchvision's layout; rendered characters without it")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side runs (default 5)")
    parser.add_argument("--images", type=int, default=15_000, help="images of an epoch, for rates (default 15,000)")
    parser.add_argument("--seeds", type=int, default=5, help="seeds, for accuracies (default 5)")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHES]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(BENCHES)}")
    with tempfile.TemporaryDirectory(prefix="ptft-bench-") as folder:
        work, names = Path(folder), given.names or list(BENCHES)
        root = given.root.expanduser().absolute() if given.root else work / "data"
        print(f"{machine()}\n{'MNIST in ' + str(root) if given.root else 'rendered characters, 60,000 + 10,000'}\n")
        if not given.root and READS_MNIST & set(names):
            render(root)
        options = Options(root, work, given.rounds, given.images, given.seeds)
        for name in names:
            print(f"## {name}\n")
            print(BENCHES[name](options), flush=True)


def render(root: Path) -> None:
    """As many rendered digits as MNIST has, in its files."""
    from ptft.data.image import idx
    from ptft.data.image.glyphs import Glyphs

    source = Glyphs(images=60_000, held_out=10_000)
    for split in ("train", "test"):
        examples = source.split(split)
        assert examples is not None
        assert examples.labels is not None
        images = torch.cat([examples.take(part)["input"] for part in torch.arange(len(examples)).split(2_000)])
        idx.write("mnist", root / "MNIST" / "raw", split, images, examples.labels)


if __name__ == "__main__":
    main()
