"""What a run proposes to type next: a command that works as it is printed, but for the FILES in it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ptft.config.config import Config
from ptft.config.instantiate import target_of
from ptft.config.settled.dataset import labelled
from ptft.runtime.paths import relative, short

if TYPE_CHECKING:
    from pathlib import Path

    from ptft.checkpoint.load import Checkpoint
    from ptft.core import Spec

UNMEASURED = "unmeasured"
"""In a checkpoint: that the dataset which it names can't measure it, as its examples have no such answers."""


def command(cfg: Config, ckpt: str | Path, spec: Spec | None = None) -> str:
    """What the stage's YAML says, with that checkpoint; where it says nothing what there is to do with a trained model.

    spec: what it was trained on; None: not known.
    """
    if written := cfg.stage.get("next"):
        return " ".join(["ptft", written.replace("CKPT", short(ckpt)), *map(shlex.quote, _trusted(cfg.trusted))])
    return _finetune(cfg, ckpt, spec) if _wants_labels(cfg, spec) else predict(ckpt, cfg.trusted)


def measure(cfg: Config, checkpoint: Checkpoint) -> str:
    """What follows on asking a checkpoint: measuring it, where its own dataset can't on files that can."""
    if checkpoint.spec is not None and checkpoint.meta.get(UNMEASURED):
        known = labelled({}, checkpoint.spec.modality, "none")
        return _line("stage=evaluate", checkpoint.path, known, cfg.trusted)
    return command(cfg, checkpoint.path, checkpoint.spec)


def predict(ckpt: str | Path, trusted: Iterable[str] = ()) -> str:
    """The command that answers for new files."""
    return _line("stage=predict", ckpt, ["input=FILES"], trusted)


def evaluate(ckpt: str | Path, trusted: Iterable[str] = ()) -> str:
    """The command that measures a checkpoint on its own dataset."""
    return _line("stage=evaluate", ckpt, [], trusted)


def without_folds(command: str) -> str:
    """The command of a cross-validation, once it has said how good such a training is: the training alone."""
    words = [word for word in shlex.split(command) if not word.startswith("train.folds=")]
    return shlex.join(words if len(words) < len(shlex.split(command)) else [*words, "train.folds=null"])


def _wants_labels(cfg: Config, spec: Spec | None) -> bool:
    """Whether it is to be finetuned: its objective answers nothing, or it was pretrained on ptft's own images."""
    from ptft.core import Objective

    objective = target_of("objective", cfg.objective, cfg.trusted)
    if getattr(objective, "predict", Objective.predict) is Objective.predict:
        return True
    return cfg.get("ckpt") is None and not cfg.stage.get("finetunes") and _are_own_images(cfg, spec)


def _finetune(cfg: Config, ckpt: str | Path, spec: Spec | None) -> str:
    known = [] if spec is None or _are_own_images(cfg, spec) else labelled(cfg, spec.modality, spec.target)
    return _line("stage=finetune", ckpt, known, cfg.trusted)


def _are_own_images(cfg: Config, spec: Spec | None) -> bool:
    """Whether they are some that come with ptft, as those do that a finetune learns where nothing is typed."""
    dataset = target_of("dataset", cfg.dataset, cfg.trusted)
    images = spec is None or (spec.modality == "image" and spec.target not in ("boxes", "masks"))
    return bool(getattr(dataset, "embedded", False) and images)


def _line(stage: str, ckpt: str | Path, words: Iterable[str], trusted: Iterable[str]) -> str:
    return shlex.join(["ptft", stage, f"ckpt={relative(ckpt)}", *words, *_trusted(trusted)])


def _trusted(packages: Iterable[str]) -> list[str]:
    names = ",".join(packages)
    return [f"trusted=[{names}]"] if names else []
