"""The python batches of CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), read without running what a pickle may hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptft.errors import DataError, first_line


class BatchFiles(NamedTuple):
    """The folder below root, the files of every split, and the key of the labels in them."""

    folder: str
    files: dict[str, tuple[str, ...]]
    labels: str


TEN = BatchFiles(
    "cifar-10-batches-py",
    {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    "labels",
)
HUNDRED = BatchFiles("cifar-100-python", {"train": ("train",), "test": ("test",)}, "fine_labels")
LAYOUTS = {"cifar10": TEN, "cifar100": HUNDRED}

_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
FINE = tuple(_NAMES.split())
"""The 100 classes of CIFAR-100 in the order of their labels."""

_SAFE = {
    ("multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


class _ArraysOnly(pickle.Unpickler):
    """Refuses all but the few names that an array is made of, so that a file from anywhere is safe to read."""

    def find_class(self, module: str, name: str) -> Any:
        key = (module.rpartition(".")[2], name)
        if key not in _SAFE or module.split(".")[0] not in ("numpy", "_codecs"):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _SAFE[key]


def missing(name: str, folder: Path, split: str) -> list[str]:
    """The files of the split that are not in `folder`."""
    return [file for file in LAYOUTS[name].files[split] if not (folder / file).is_file()]


def read(name: str, folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """(uint8 [N, 3, 32, 32], long [N]) of a split. Raises DataError naming a file that is broken or something else."""
    layout = LAYOUTS[name]
    images, labels = [], []
    for file in layout.files[split]:
        batch = _unpickle(folder / file)
        try:
            images.append(torch.from_numpy(np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)))
            labels.append(torch.tensor(batch[layout.labels], dtype=torch.long))
        except Exception as error:  # and holds anything at all
            raise DataError(f"{folder / file}: not a batch of {name} ({error}); see dataset.root") from error
    return torch.cat(images), torch.cat(labels)


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle calls any method of what it holds, with anything
        reason = first_line(error)
        raise DataError(f"{path}: no batch of images ({reason}); delete it to fetch it again (dataset.root)") from error


def write(name: str, folder: Path, split: str, images: Tensor, labels: Tensor) -> None:
    """Write uint8 [N, 3, 32, 32] and labels [N] as the files of a split."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = LAYOUTS[name]
    files = layout.files[split]
    for file, part, chosen in zip(files, images.chunk(len(files)), labels.chunk(len(files)), strict=True):
        batch = {"data": part.flatten(1).numpy(), layout.labels: chosen.tolist()}
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
