"""Replay: a share of every batch comes from the dataset of an earlier run, as `train.replay` names it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ptft.builders import components
from ptft.builders.inputs import Inputs, read_splits
from ptft.builders.parts.alike import check_alike, source_of
from ptft.builders.parts.handover import ANSWERS
from ptft.builders.parts.own_classes import names_class
from ptft.builders.restore import check_spec
from ptft.checkpoint.load import Checkpoint, open_checkpoint
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.core import Examples, Source, Spec
from ptft.data.replay.examples import Replayed
from ptft.errors import CheckpointError, ConfigError, DataError, counted, shortened
from ptft.loggers.console import Console
from ptft.runtime.paths import relative

KEY = "train.replay"
PARENT = "ckpt"
"""What it may be instead of a path: the run that the checkpoint is of."""
UNSHARED = ANSWERS | {"box_label", "target_length"}
"""What of a batch only an objective reads that learns answers."""


@dataclass(frozen=True)
class Replay:
    """What is replayed: the training examples of the dataset that the checkpoint at `path` was trained on.

    each: how many there are in every batch. padding: of `input`. name: of the dataset. learns: whether the objective
        learns answers, which are then handed on.
    """

    checkpoint: Checkpoint
    source: Source
    examples: Examples
    name: str
    each: int
    padding: int
    learns: bool

    @property
    def path(self) -> str:
        return self.checkpoint.path

    @property
    def fingerprint(self) -> str:
        """Of the examples, and how many could be read beforehand."""
        return f"{self.source.fingerprint()}-{len(self.examples)}"

    def among(self, new: Examples, batch_size: int) -> Replayed:
        """The new examples with these among them."""
        without = () if self.learns else UNSHARED
        return Replayed(new, self.examples, batch_size, self.each, padding=self.padding, without=without)

    def note(self, batch_size: int) -> str:
        """What to say of it."""
        return (
            f"replayed: {self.each} of the {batch_size} examples of every batch are of {self.name} "
            f"({counted(len(self.examples), 'examples')}), as {relative(self.path)} learned from them; "
            "train.replay_share changes how many"
        )


def read(job: Job, inputs: Inputs, out: Console) -> Replay | None:
    """What `train.replay` asks for; None where nothing is replayed.

    Raises ConfigError, DataError and CheckpointError, all of which name the key.
    """
    cfg, typed = job.config, job.config.train.get("replay")
    if typed is None:
        return None
    each = _count(cfg)
    checkpoint = _opened(job, str(typed))
    said = f"{KEY}={typed}"
    try:
        check_spec(checkpoint)
        labelled = _needs_answers(cfg) or (_learns(cfg) and inputs.splits["train"].labels is not None)
        source = source_of(cfg, checkpoint, labelled=labelled)
        learns = _same_kind(cfg, said, source.spec, inputs.source.spec)
        splits = read_splits(source, ("train",), cfg, inputs.device, out)
    except (ConfigError, DataError) as error:
        raise error if said in str(error) else type(error)(f"{said}: its dataset can't be had: {error}") from error
    if not splits.get("train"):
        raise DataError(f"{said}: its dataset has no training examples")
    name = str((checkpoint.config or {})["names"].get("dataset"))
    padding = int(source.spec.shape.get("tokenizer", {}).get("pad", 0))
    return Replay(checkpoint, source, splits["train"], name, each, padding, learns)


def added(job: Job, inputs: Inputs, out: Console) -> Inputs:
    """The inputs with what is replayed."""
    replay, cfg = read(job, inputs, out), job.config
    if replay is None:
        return inputs
    changed = names_class(cfg.dataset.get("transform"))
    anew = changed and replay.among(inputs.splits["train"], cfg.train.batch_size).repeats
    return replace(inputs, replay=replay, drawn_anew=inputs.drawn_anew or anew)


def _count(cfg: Config) -> int:
    """How many examples of a batch are replayed. Raises ConfigError where that is none of them, or all."""
    share, size = float(cfg.train.replay_share), int(cfg.train.batch_size)
    each = round(share * size)
    if not 0 < each < size:
        what = "all" if each else "none"
        raise ConfigError(f"train.replay_share={share}: of train.batch_size={size} that is {what}; change one of them")
    return each


def _opened(job: Job, typed: str) -> Checkpoint:
    if typed == PARENT and not os.path.lexists(typed):
        if job.checkpoint is None:
            raise ConfigError(f"{KEY}={typed}: the run starts from no checkpoint; type ckpt=…, or the run to replay")
        checkpoint = job.checkpoint
    else:
        checkpoint = open_checkpoint(typed, KEY)
    if checkpoint.config is None or "dataset" not in checkpoint.config or checkpoint.spec is None:
        raise CheckpointError(f"{KEY}={typed}: {checkpoint.path} does not say which data it was trained on; name a run")
    return checkpoint


def _same_kind(cfg: Config, said: str, old: Spec, new: Spec) -> bool:
    """Whether the objective learns answers. Raises ConfigError where batches can't hold examples of both."""
    check_alike(cfg, said, old, new)
    learns = _learns(cfg)
    if learns and (old.target, old.classes) != (new.target, new.classes):
        raise ConfigError(
            f"{said}: objective={cfg.names.objective} learns answers, and its dataset's are others "
            f"({_answers(old)} there, {_answers(new)} here); replay is for equal classes, or objectives without labels"
        )
    return learns


def _learns(cfg: Config) -> bool:
    """Whether the objective learns answers."""
    return _needs_answers(cfg) or components.has_linear_head(cfg.objective, cfg.trusted)


def _needs_answers(cfg: Config) -> bool:
    """Whether it can't do without them."""
    return bool(components.needs(cfg.objective, cfg.trusted) & ANSWERS)


def _answers(spec: Spec) -> str:
    return shortened(list(spec.classes), 3, last=True) if spec.classes else spec.target
