"""format=safetensors: the weights by their names in ptft, and config.json, which says all else of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ptft.checkpoint import exported
from ptft.checkpoint.load import open_checkpoint
from ptft.export.subject import Subject
from ptft.runs.lineage import DESCRIPTIONS

NEEDS: Mapping[str, str] = {}
WEIGHTS, CONFIG = "model.safetensors", DESCRIPTIONS[0]


def write(folder: Path, subject: Subject) -> dict[str, Any]:
    """model.safetensors and config.json, read again and compared. Raises StorageError."""
    content = {**subject.checkpoint.meta, "weights": subject.checkpoint.weights}
    exported.write(folder / WEIGHTS, folder / CONFIG, content, subject.description(), "choose another output")
    again = open_checkpoint(str(folder))
    for name, value in subject.checkpoint.weights.items():
        assert torch.equal(again.weights[name], value.cpu()), name
    return {"tensors": len(again.weights)}


def usage(subject: Subject) -> str:
    return f"""\
from safetensors.torch import load_file

weights = load_file("{WEIGHTS}")  # by name; backbone.… is what further training starts from
sum(tensor.numel() for tensor in weights.values())

# with ptft, from the folder above this one: ptft.load(FOLDER) answers, ptft stage=finetune ckpt=FOLDER trains on"""
