"""How many images a second arrive: folders of small JPEGs, kept in memory, mapped, or decoded every epoch; and tables
of the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ptft.augment.image import Views
from ptft.data.cache import policy
from ptft.data.image.folder import ImageFolder
from ptft.data.image.listed.huggingface import HuggingFaceImages
from ptft.data.loader import Loader
from ptft.data.own.arrow import write_parquet
from tests.benchmarks.common import Options, in_turn, rates

CLASSES = 10


def jpegs(root: Path, count: int) -> Path:
    """`count` smooth random colour images of 32x32 in ten classes, as CIFAR-10 unpacked into folders looks."""
    if root.exists():
        return root
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / "train" / f"class{label}"
        folder.mkdir(parents=True)
        for i in range(count // CLASSES):
            small = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)
    return root


def table(file: Path, root: Path) -> Path:
    """The same images as the rows of a Parquet file."""
    if not file.exists():
        images = sorted(root.rglob("*.jpg"))
        write_parquet(file, "image", [image.read_bytes() for image in images], [image.parent.name for image in images])
    return file


def run(options: Options) -> str:
    """Images a second of a second epoch in batches of 512, with and without random views; beside a DataLoader."""
    os.environ["PTFT_CACHE"] = str(options.work / "cache")
    root = jpegs(options.work / "jpegs", options.images)
    source = ImageFolder(root=root, val=None, test=None)
    examples = source.split("train")
    assert examples is not None
    rows = HuggingFaceImages(root=table(options.work / "rows" / "train.parquet", root).parent, val=None, test=None)
    in_cells = rows.split("train")
    assert in_cells is not None
    workers = policy.cores()

    def ours(mode: str, views: Views | None = None) -> float:
        return rate(Loader(kept[mode], 512, workers=workers, shuffle=True), views)

    kept = {mode: policy.keep(examples, mode, lambda done, total: None) for mode in ("memory", "disk", "off")}
    kept["rows"] = in_cells
    views = Views(shift=4, flip=True, padding="reflection").train()
    sides = {
        "torchvision's ImageFolder in a DataLoader": lambda: plain(root, workers),
        "cache=off": lambda: ours("off"),
        "cache=off, rows of a table": lambda: ours("rows"),
        "cache=disk": lambda: ours("disk"),
        "cache=memory": lambda: ours("memory"),
        "cache=memory, prepared, flipped and shifted": lambda: ours("memory", views),
    }
    return rates(in_turn(options.rounds, **sides), next(iter(sides)), "images/s")


def rate(loader: Loader, views: Views | None) -> float:
    count, began = 0, time.perf_counter()
    for batch in loader.epoch(1):
        if views is not None:
            views(batch["input"].float())
        count += len(batch["input"])
    return count / (time.perf_counter() - began)


def plain(root: Path, workers: int) -> float:
    from torchvision import datasets, transforms

    transform = transforms.Compose(
        [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
        datasets.ImageFolder(root / "train", transform), 512, shuffle=True, num_workers=workers, persistent_workers=True
    )
    for _ in loader:
        pass
    began = time.perf_counter()
    count = sum(len(labels) for _, labels in loader)
    return count / (time.perf_counter() - began)
