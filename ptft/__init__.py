"""ptft: pretrain a model on one dataset, finetune it on another, from the command line and from Python.

`load` and `run` are what Python code may rely on; nothing else is public. Neither they nor torch are imported before
they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ptft.builders.predictor import Predictor

__version__ = "0.2.0"


def load(ckpt: str | Path, device: str = "auto", trusted: Sequence[str] = ()) -> Predictor:
    """A trained model that answers: `model("photo.jpg")`, `model(["a text", "another"])`, `model.features(x)`.

    ckpt: a checkpoint, the folder of a run, or "latest"; or public weights ("huggingface:NAME", "timm:NAME",
    "torchvision:NAME"), which have features alone. device: auto, cpu, cuda or mps. trusted: packages of your own whose
    classes it is made of. Raises CheckpointError and ConfigError (`ptft.errors`).
    """
    from ptft.builders import predictor

    return predictor.load(ckpt, device, trusted)


def run(*overrides: str) -> dict[str, Any]:
    """Run a stage as the command does: `ptft.run("stage=finetune", "ckpt=latest", "dataset=digits")`.

    Returns its summary, with `folder`, where it lies. Raises the errors of `ptft.errors` where the command ends with
    another exit code than 0.
    """
    from ptft.cli import python

    return python.run(*overrides)
