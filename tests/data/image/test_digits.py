"""The embedded digits: scikit-learn's own, read from its file."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits

from ptft.data.image import digits
from tests.helpers.processes import python


def test_they_are_scikit_learns(monkeypatch):
    images, labels = digits._read.__wrapped__()
    values, classes = load_digits(return_X_y=True)
    assert images.shape == (1797, 1, 8, 8)
    assert torch.equal(images.view(1797, 64), (torch.from_numpy(values) * (255 / 16)).round().to(torch.uint8))
    assert torch.equal(labels, torch.from_numpy(classes).long())
    monkeypatch.setattr(digits, "DIGITS", Path("elsewhere"))
    again = digits._read.__wrapped__()
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])


def test_to_read_them_imports_no_scikit_learn():
    code = (
        "import sys\nfrom ptft.data.image.digits import Digits\nDigits().split('val')\nprint('sklearn' in sys.modules)"
    )
    assert python(code).stdout == "False\n"
