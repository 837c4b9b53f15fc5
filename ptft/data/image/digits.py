"""scikit-learn's 1,797 real handwritten digits of 43 writers (UCI "Optical Recognition of Handwritten Digits")."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from ptft.data.examples import MemoryExamples
from ptft.data.image.source import ImageSource, Keys
from ptft.data.splits import SPLITS
from ptft.data.stratify import stratified_order

if TYPE_CHECKING:
    from typing_extensions import Unpack

DIGITS = Path("datasets", "data", "digits.csv.gz")
_ENDS = (1079, 1438)
"""Where val and test begin: 60, 20 and 20 percent."""
_DIVISION = 1797
"""Seed of the division: a constant, so that no seed of a run moves an image from test to train."""


class Digits(ImageSource):
    """8 x 8 pixels, white on black, made 28 x 28 unless asked otherwise. Embedded: needs no files."""

    skips: ClassVar[bool] = False
    embedded: ClassVar[bool] = True

    def __init__(self, **keys: Unpack[Keys]) -> None:
        super().__init__(**keys)
        self.describe(tuple("0123456789"), SPLITS, (28, 28), 1, (0.305,), (0.325,))

    def load(self, split: str) -> MemoryExamples:
        images, labels = _read()
        rows = stratified_order(labels, _DIVISION).tensor_split(_ENDS)[SPLITS.index(split)].sort().values
        return MemoryExamples(images[rows], labels[rows])


@cache
def _read() -> tuple[Tensor, Tensor]:
    """(uint8 [1797, 1, 8, 8], long [1797]); the file holds grey values 0..16, and the label at the end of a line."""
    values = torch.from_numpy(_values())
    images = (values[:, :-1] * (255 / 16)).round().to(torch.uint8)
    return images.view(-1, 1, 8, 8), values[:, -1].long()


def _values() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """[1797, 65] from the file that scikit-learn brings; to import scikit-learn for it would take seconds."""
    package = find_spec("sklearn")
    path = Path(next(iter(package.submodule_search_locations or []), "") if package else "", DIGITS)
    if path.is_file():
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    return np.column_stack([values, labels]).astype(np.float64)


def sample(root: Path) -> None:
    """Nothing to write: the images come with scikit-learn."""
