"""Handing over: the checkpoint's backbone in a new objective, and whether what stands around it comes along."""

from __future__ import annotations

from ptft.checkpoint.load import Checkpoint
from ptft.checkpoint.transfer import Transfer, load_pretrained, unfit_head
from ptft.config.config import Config
from ptft.config.renamed import renamed
from ptft.core import Objective, Source
from ptft.errors import DataError, shortened

ANSWERS = frozenset({"label", "target", "box", "segments", "words"})
"""What of a batch an objective asks for that learns answers, which mean what the names of classes say."""


def answers(built: Objective) -> bool:
    """Whether it learns answers, so that what stands around its backbone depends on the dataset's classes."""
    return bool(built.needs & ANSWERS) or built.linear_head() is not None


def hand_over(cfg: Config, built: Objective, checkpoint: Checkpoint, source: Source) -> Transfer:
    """In place, the backbone and, as `finetune.head` says, what stands around it; the report.

    `auto` keeps what an objective without labels had around the backbone (projector, decoder, prototypes), where the
    checkpoint learned by the same one. Raises DataError for a head of other classes that is to be kept, CheckpointError
    for weights that don't fit.
    """
    old, new = list(checkpoint.spec.classes) if checkpoint.spec else [], list(source.spec.classes)
    asked, learns = cfg.finetune.head, answers(built)
    if asked == "keep" and learns and old != new:
        raise DataError(
            f"finetune.head=keep: the checkpoint's classes are {_classes(old)}, the dataset's {_classes(new)}; "
            "use finetune.head=new"
        )
    if learns or cfg.finetune.head_init != "random":
        keep, why = asked == "keep", _of_answers(old, new)
    else:
        why = _not_kept(cfg, built, checkpoint)
        keep = asked == "keep" or (asked == "auto" and not why)
        why = why or "finetune.head=new; finetune.head=keep takes the checkpoint's, which learned by the same objective"
    return load_pretrained(
        built,
        checkpoint.weights,
        head=keep,
        why="training finds what they are" if keep else why,
        source=checkpoint.path,
        spec=checkpoint.spec,
        settled=built.fitted if keep else (),
    )


def _of_answers(old: list[str], new: list[str]) -> str:
    """Why a head of answers is new."""
    if old == new:
        return "finetune.head=keep takes the checkpoint's, as the class names are equal"
    here = f"{len(new)} here ({_classes(new)})"
    return f"{len(old)} classes there ({_classes(old)}), {here}" if old else "the checkpoint names no classes"


def _not_kept(cfg: Config, built: Objective, checkpoint: Checkpoint) -> str:
    """Why what stands around a backbone that learns without labels can't be the checkpoint's; "" where it can."""
    stored = renamed(checkpoint.config) if checkpoint.config and "objective" in checkpoint.config else {}
    if not stored:
        return "the checkpoint holds a backbone alone"
    if stored["objective"].get("_target_") != cfg.objective["_target_"]:
        return f"the checkpoint learned by objective={stored['names'].get('objective')}"
    if unfit := unfit_head(built, checkpoint.weights):
        return f"those of the checkpoint are of other sizes ({shortened(unfit)})"
    return ""


def _classes(names: list[str]) -> str:
    return shortened(names, 5, last=True)
