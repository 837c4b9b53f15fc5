"""What is measured: a checkpoint's objective, and the examples as it reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ptft.builders import components, membership
from ptft.builders.inputs import eval_loader, read_splits, same_channels
from ptft.builders.restore import check_spec, restored, trained_in, trained_with
from ptft.checkpoint.load import Checkpoint, open_checkpoint
from ptft.config.config import Config
from ptft.config.renamed import renamed
from ptft.config.resolve import Job
from ptft.config.settled import own_code
from ptft.config.settled.dataset import AS_IN_CHECKPOINT
from ptft.core import Batch, Examples, Objective, Source, Step, Table
from ptft.data.labels import by_classes
from ptft.errors import OWN_FILES, CheckpointError, ConfigError, DataError, shortened
from ptft.loggers.console import Console
from ptft.runtime.device import find_device, tf32
from ptft.runtime.precision import ComputeFormat, autocast, place
from ptft.runtime.together.alone import current
from ptft.train.found import Found
from ptft.train.loop import evaluate


@dataclass(frozen=True)
class Measured:
    """Metrics, tables, and what was found of each example."""

    metrics: dict[str, float]
    tables: dict[str, Table]
    found: Found


@dataclass(frozen=True)
class Subject:
    """whole: whether all that there is of other data is measured."""

    job: Job
    checkpoint: Checkpoint
    objective: Objective
    source: Source
    device: torch.device
    format: ComputeFormat
    whole: bool

    @property
    def cfg(self) -> Config:
        return self.job.config

    def read(self, split: str, out: Console) -> Examples:
        """The examples of a split, by the checkpoint's classes. Raises DataError where they were trained on,
        ConfigError where they don't give what the objective needs of them (labels, say)."""
        source, notes = self.source, list[str | None]()
        if split != "train":
            allowed = self.cfg.split_overlap == "allow"
            notes.append(membership.check(source, split, self.checkpoint, allowed=allowed))
        source.notes = (*source.notes, *filter(None, notes))
        read = read_splits(source, (split,), self.cfg, self.device, out)[split]
        _check_given(self.cfg, read, source.spec.modality)
        if _is_own_data(self.job) and not self.whole:
            difference = membership.changed(source, split, read, self.checkpoint.run)
            source.notes = (*source.notes, *([difference] if difference else []))
        return _by_checkpoint(self.checkpoint, source, read)

    def measure(
        self,
        examples: Examples,
        keep: Callable[[Batch, Step], None] | None = None,
        *,
        settle: bool = False,
    ) -> Measured:
        """keep, settle: as `evaluate` has them."""
        current().meet(self.objective)
        found = Found()
        batches = eval_loader(self.cfg, examples, self.device, trained_with(self.job), shared=True)
        compute = autocast(self.format.precision, self.device)
        metrics, tables = evaluate(self.objective, batches, compute, keep=keep, settle=settle, found=found)
        return Measured(metrics, tables, found)


def subject(job: Job) -> Subject:
    """Of the job's checkpoint, whose model and objective its configuration has. Raises what reading and building do."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    device = find_device(cfg.device)
    chosen = trained_in(cfg, checkpoint, device)
    tf32(cfg.train.tf32, device)
    check_spec(checkpoint)
    labelled = "label" in components.needs(cfg.objective, cfg.trusted)
    source, whole = components.source_to_measure(
        cfg.dataset, checkpoint.spec, cfg.trusted, split=cfg.split, whole=_whole(job, checkpoint), labelled=labelled
    )
    same_channels(checkpoint, source)
    reference = None if labelled else source.split("train")
    objective = place(restored(cfg, checkpoint, source.spec, reference).to(device), chosen)
    _check_classes(checkpoint, source)
    return Subject(job, checkpoint, objective, source, device, chosen, whole)


def _whole(job: Job, checkpoint: Checkpoint) -> bool | None:
    """Whether all that there is is measured; None: where it has no training split, which nobody asks for."""
    if components.compares(job.config.objective, job.config.trusted):
        return False
    return True if _is_other_data(job, checkpoint) else False if "dataset.train" in job.overrides.typed else None


def _is_other_data(job: Job, checkpoint: Checkpoint) -> bool:
    """Whether a root is named that is not the one of training, and no split of it: then all there is is measured."""
    root, typed = job.config.dataset.get("root"), job.overrides.typed
    if root is None or job.config.split or not (typed.get("dataset.root") or typed.get("dataset")):
        return False
    return membership.is_other_root(checkpoint, root)


def _is_own_data(job: Job) -> bool:
    """Whether it is measured on the checkpoint's dataset as that was, wherever it lies now."""
    return not any(key.startswith("dataset") and key != "dataset.root" for key in job.overrides.keys)


def _check_given(cfg: Config, examples: Examples, modality: str) -> None:
    """Raises ConfigError where they lack what the objective needs of them; it says which dataset to type."""
    if missing := components.lacking(cfg.objective, examples, cfg.trusted):
        what = f"objective={cfg.names.objective} needs the {' and '.join(missing)} of every example"
        own = OWN_FILES.get(modality) if missing[0] == "label" else None
        remedy = f"dataset={own} dataset.root=FILES" if own else "dataset= of some that do"
        raise ConfigError(f"{what}, and dataset={cfg.names.dataset} gives none; type {remedy}")


def _check_classes(checkpoint: Checkpoint, source: Source) -> None:
    """Raises DataError where the dataset asks for something else, or has a class that the checkpoint has not."""
    assert checkpoint.spec
    own, trained, target = source.spec.classes, checkpoint.spec.classes, checkpoint.spec.target
    if source.spec.target != target and "none" not in (source.spec.target, target):
        raise DataError(f"the target of the dataset is {source.spec.target}, that of the checkpoint is {target}")
    if strange := [name for name in own if name not in trained]:
        raise DataError(
            f"the dataset has classes that the checkpoint has not: {shortened(strange)}; it has {shortened(trained)}; "
            "choose dataset= or dataset.classes=, or finetune first"
        )


def _by_checkpoint(checkpoint: Checkpoint, source: Source, examples: Examples) -> Examples:
    """The examples with the checkpoint's numbers of their classes; of classes without an example a note is made."""
    assert checkpoint.spec
    own, trained = source.spec.classes, checkpoint.spec.classes
    if not own or own == trained:
        return examples
    if absent := [name for name in trained if name not in own]:
        source.notes = (
            *source.notes,
            f"{len(absent)} of the checkpoint's {len(trained)} classes have no example here: {shortened(absent)}",
        )
    return by_classes(examples, own, trained)


def other(job: Job, path: str) -> Subject:
    """That of the checkpoint that `against` names, on the same data, read as that one reads them. Raises as `subject`,
    and CheckpointError for weights without a task."""
    checkpoint = open_checkpoint(path, "against")
    if not checkpoint.has_task:
        raise CheckpointError(f"against={path}: {checkpoint.path} holds weights and no task of ptft")
    assert job.checkpoint
    assert job.checkpoint.spec
    assert checkpoint.spec
    if (kind := checkpoint.spec.modality) != job.checkpoint.spec.modality:
        what = f"it reads {kind}, ckpt reads {job.checkpoint.spec.modality}"
        raise DataError(f"against={path}: does not answer the same question: {what}")
    stored, typed = renamed(checkpoint.config), job.overrides.typed
    dataset = {
        key: None if key in AS_IN_CHECKPOINT and f"dataset.{key}" not in typed else value
        for key, value in job.config.dataset.plain().items()
    }
    names = {**job.config.names.plain(), **{group: stored["names"].get(group) for group in ("model", "objective")}}
    nodes = {"model": stored["model"], "objective": stored["objective"], "dataset": dataset, "names": names}
    theirs = subject(replace(job, config=Config({**job.config.plain(), **nodes}), checkpoint=checkpoint))
    said = own_code.changed(checkpoint.meta, job.config.trusted, checkpoint.path)
    theirs.source.notes = (*theirs.source.notes, *filter(None, [said]))
    return theirs
