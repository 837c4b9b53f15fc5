"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 in torchvision's files and layout.

The files are read here, without torchvision's checks at every start; torchvision downloads and verifies them.
"""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from ptft.data.examples import MemoryExamples
from ptft.data.image import cifar, idx
from ptft.data.image.source import ImageSource, Keys
from ptft.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from typing_extensions import Unpack

TIMEOUT = 10.0
"""Seconds without an answer after which a download has failed."""


class DatasetInfo(NamedTuple):
    """What is known of a dataset: torchvision's class, the folder below root, pixels, channels, statistics, names."""

    torchvision: str
    folder: str
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]


_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_MNIST = DatasetInfo("MNIST", "MNIST/raw", 28, 1, (0.1307,), (0.3081,), tuple("0123456789"))
DATASETS = {
    "mnist": _MNIST,
    "fashion_mnist": DatasetInfo("FashionMNIST", "FashionMNIST/raw", 28, 1, (0.2860,), (0.3530,), _CLOTHES),
    "cifar10": DatasetInfo(
        "CIFAR10", cifar.TEN.folder, 32, 3, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), _THINGS
    ),
    "cifar100": DatasetInfo(
        "CIFAR100", cifar.HUNDRED.folder, 32, 3, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), cifar.FINE
    ),
}


class Torchvision(ImageSource):
    """One of DATASETS, by `name`. Its own splits are train and test; val is a stratified tenth of train by default.

    root: the folder that torchvision calls root too; `download` fetches what is missing there, one process at a time.
    Raises ConfigError for another name, DataError where files are missing and can't be fetched, or are broken.
    """

    skips: ClassVar[bool] = False

    def __init__(self, *, name: str, **keys: Unpack[Keys]) -> None:
        if name not in DATASETS:
            raise ConfigError(unknown("dataset.name", name, DATASETS))
        keys.setdefault("val", 0.1)
        super().__init__(**keys)
        self.root = self.root or Path("data")
        self.name, self.info = name, DATASETS[name]
        info = self.info
        self.describe(info.classes, ("train", "test"), (info.size, info.size), info.channels, info.mean, info.std)

    def load(self, split: str) -> MemoryExamples:
        assert self.root is not None
        folder = self.root / self.info.folder
        if _missing(self.name, folder, split):
            self._fetch(folder, split)
        images, labels = _read(self.name, folder, split)
        if len(images) != len(labels):
            raise DataError(f"{folder}: {len(images)} images and {len(labels)} labels in {split}; see dataset.root")
        return MemoryExamples(images, labels)

    def _fetch(self, folder: Path, split: str) -> None:
        """Download what is missing, unless another process did while this one waited."""
        if not self.download:
            raise self._absent(folder, split, "dataset.download=true fetches it")
        from filelock import FileLock

        root = self.root
        assert root is not None
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".ptft-download.lock"):
                if _missing(self.name, folder, split):
                    _download(self.info.torchvision, root)
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise self._absent(folder, split, f"and the download (dataset.download=true) failed: {reason}") from error
        if _missing(self.name, folder, split):
            raise self._absent(folder, split, "and the download did not bring it")

    def _absent(self, folder: Path, split: str, then: str) -> DataError:
        files = ", ".join(_missing(self.name, folder, split)) or "a file"
        return DataError(f"{self.name}: {files} missing, expected in {folder.absolute()} (dataset.root), {then}")


def _missing(name: str, folder: Path, split: str) -> list[str]:
    return cifar.missing(name, folder, split) if name in cifar.LAYOUTS else idx.missing(folder, split)


def _read(name: str, folder: Path, split: str) -> tuple[Tensor, Tensor]:
    if name in cifar.LAYOUTS:
        return cifar.read(name, folder, split)
    images, labels = (idx.read(folder / file) for file in idx.FILES[split])
    if images.ndim != 3 or labels.ndim != 1:
        raise DataError(f"{folder}: {' and '.join(idx.FILES[split])} hold no images and labels; see dataset.root")
    return images.unsqueeze(1), labels.long()


def _download(dataset: str, root: Path) -> None:
    """By torchvision, which verifies what it gets."""
    from torchvision import datasets

    with _impatient(), contextlib.redirect_stdout(io.StringIO()):
        getattr(datasets, dataset)(root, download=True)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Connections that hang fail after TIMEOUT seconds; urllib itself waits forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def sample(root: Path, count: int = 40) -> None:
    """Write tiny sets of all four below `root`: `count` random images in each split, every class of ten among them."""
    generator = torch.Generator().manual_seed(0)
    for name, info in DATASETS.items():
        shape = (count, info.channels, info.size, info.size)
        for split in ("train", "test"):
            images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
            labels = torch.arange(count) % len(info.classes)
            write = cifar.write if name in cifar.LAYOUTS else idx.write
            write(name, root / info.folder, split, images, labels)
