"""Plain weights from elsewhere: which set of a file is read, under which names, and what is refused."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from ptft.checkpoint.state_dict import read
from ptft.errors import CheckpointError


def weights(value, prefix=""):
    """A state dict of a few tensors that all hold `value`."""
    return {f"{prefix}conv.weight": torch.full((4, 3), value), f"{prefix}conv.bias": torch.full((4,), value)}


def stored(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "content",
    [
        weights(1.0),
        {"state_dict": weights(1.0, "module."), "optimizer": {"state": {"m": torch.zeros(99)}}},
        {"model": weights(1.0, "_orig_mod.module."), "epoch": torch.tensor(3)},
        {"checkpoint": {"net": weights(1.0)}, "args": argparse.Namespace(lr=0.1)},
    ],
)
def test_weights_are_found_wherever_they_lie(tmp_path, content):
    found, said = read(stored(tmp_path / "file.pth", content))
    assert found.keys() == weights(1.0).keys()
    assert all((tensor == 1).all() for tensor in found.values())
    assert said == ""


@pytest.mark.parametrize(
    ("raw", "averaged"),
    [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("student", "teacher"), ("model", "ema")],
)
@pytest.mark.parametrize("first", [True, False])
def test_averaged_weights_are_preferred_and_said(tmp_path, raw, averaged, first):
    content = {raw: weights(1.0), averaged: weights(2.0)}
    found, said = read(stored(tmp_path / "file.pth", content if first else dict(reversed(content.items()))))
    assert (found["conv.weight"] == 2).all()
    assert f"those under {averaged} of file.pth" in said
    assert said.endswith(f"has {raw}")


def test_what_is_small_beside_the_weights_is_no_choice(tmp_path):
    found, said = read(stored(tmp_path / "file.pth", {"ema_loss": {"value": torch.ones(1)}, "model": weights(1.0)}))
    assert found.keys() == weights(1.0).keys()
    assert said == ""


def test_safetensors_of_any_name(tmp_path):
    save_file(weights(1.0), tmp_path / "file.bin")
    assert read(tmp_path / "file.bin")[0].keys() == weights(1.0).keys()


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"a": {"b": {"c": {"d": {"e": torch.ones(3)}}}}}])
def test_a_file_without_weights_is_refused(tmp_path, content):
    with pytest.raises(CheckpointError, match=r"file\.pth: not a ptft checkpoint, and no tensors by name in it"):
        read(stored(tmp_path / "file.pth", content))
