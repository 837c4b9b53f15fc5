"""`experiment=cifar10_fast`: how long its eight epochs take; how good they are where CIFAR-10 itself is there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

from ptft.data.image import cifar
from tests.gpu.setting import Setting, Skipped, ptft


def cifar10_fast(setting: Setting, name: str) -> str:
    """With `train.cuda_graph` as named."""
    if name == "true" and not setting.gpu:
        raise Skipped("needs a GPU")
    root = setting.root or setting.work / "cifar"
    if not root.exists():
        random_bytes(root, 1 if setting.gpu else 200)
    typed = ["stage=pretrain", "experiment=cifar10_fast", f"dataset.root={root}", f"train.cuda_graph={name}"]
    if not setting.gpu:
        typed += ["model.widths=[8,8,8]", "train.epochs=1", "train.batch_size=100"]
    folder, began = setting.work / f"cifar10-{name}", time.perf_counter()
    ptft(setting, *typed, f"device={setting.device}", f"hydra.run.dir={folder}")
    wall, summary = time.perf_counter() - began, json.loads((folder / "summary.json").read_text())
    rate, accuracy = summary["samples_per_second"], summary["metrics"]["test"]["accuracy"]
    said = f"{summary['seconds']:.1f} s of training, {rate:,.0f} images/s, {wall:.1f} s with start and test"
    return f"{said}, accuracy {accuracy:.2%}" if setting.root else said


def random_bytes(root: Path, less: int) -> None:
    """Files as CIFAR-10's, of random bytes; so many times fewer images."""
    draw = torch.Generator().manual_seed(0)
    for split, count in {"train": 50_000 // less, "test": 10_000 // less}.items():
        images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=draw)
        cifar.write("cifar10", root / "cifar-10-batches-py", split, images, torch.arange(count) % 10)
