"""Measure a checkpoint on a split of its own dataset, or of another one with the same classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omegaconf import DictConfig

from ptft.builders import components, restore
from ptft.builders.restore import trained_in
from ptft.builders.run import eval_loader, plain, read_splits, same_channels
from ptft.checkpoint.load import Origin, load
from ptft.core import Examples, Objective, Source, Table
from ptft.errors import ConfigError, DataError
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import device_name, find_device, peak_memory, tf32, versions
from ptft.runtime.paths import short
from ptft.runtime.precision import autocast, place
from ptft.stages import console
from ptft.stages.summary import write_tables
from ptft.train.loop import evaluate

MOST_CLASSES = 20
"""Above so many classes the confusion matrix is shown as its largest confusions."""


def run(cfg: DictConfig, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Metrics of the checkpoint on one split, and the tables of its objective."""
    origin = load(cfg.ckpt)
    device = find_device(cfg.device)
    chosen = trained_in(cfg, origin, device)
    tf32(cfg.train.tf32, device)
    labelled = "label" in components.needs(plain(cfg.objective), tuple(cfg.trusted))
    source = components.source(plain(cfg.dataset), origin.spec, tuple(cfg.trusted), labelled=labelled)
    same_channels(origin, source)
    reference = None if labelled else source.split("train")
    objective = place(restored(cfg, origin, source.spec.shape, reference).to(device), chosen)
    _same_classes(origin, source)
    split = _split(cfg, source)
    examples = read_splits(source, (split,), cfg, device, out)[split]
    _header(cfg, out, folder, origin, source, f"{len(examples):,} {split}", device_name(device, chosen))
    if folder is None:
        return {}
    metrics, tables = evaluate(objective, eval_loader(cfg, examples, device), autocast(chosen.precision, device))
    write_tables(folder.path, split, tables)
    for name, table in tables.items():
        _show(out, f"{name}, {split} (rows: true, columns: predicted)", table)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "dataset", "objective")},
        "status": "finished",
        "split": split,
        "device": str(device),
        "precision": chosen.precision,
        "samples": len(examples),
        "metrics": {split: metrics},
        "peak_memory_bytes": peak_memory(device),
        "parent": origin.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    following = f"ptft stage=predict ckpt={short(origin.path)} input=FILES"
    out.block("evaluate done", console.results({split: metrics}), "green")
    console.ending(out, folder.path, following)
    return {"metrics": {split: metrics}}


def restored(
    cfg: DictConfig, origin: Origin, shape: dict[str, Any] | None = None, reference: Examples | None = None
) -> Objective:
    """The checkpoint's objective with every tensor of it, for inputs of `shape` (None: those it was trained on).

    reference: training examples that only measure, where an objective uses no labels.

    Raises ConfigError for a file that holds no task, CheckpointError where its tensors don't fit.
    """
    if origin.spec is None or "objective" not in (origin.config or {}):
        raise ConfigError(f"ckpt={origin.path}: holds a backbone and no task; finetune it first")
    spec = replace(origin.spec, shape=shape or origin.spec.shape)
    return restore.restored(origin, plain(cfg.model), plain(cfg.objective), spec, tuple(cfg.trusted), reference)


def _same_classes(origin: Origin, source: Source) -> None:
    assert origin.spec
    here, there = list(source.spec.classes), list(origin.spec.classes)
    if here != there:
        only_here = [name for name in here if name not in there]
        only_there = [name for name in there if name not in here]
        raise DataError(
            f"the dataset's classes are not the checkpoint's: only in the dataset {only_here[:8]}, "
            f"only in the checkpoint {only_there[:8]}; "
            "choose dataset= or dataset.classes=, or finetune first"
        )


def _split(cfg: DictConfig, source: Source) -> str:
    wanted = [cfg.split] if cfg.split else ["test", "val"]
    for split in wanted:
        if source.split(split) is not None:
            return str(split)
    raise DataError(
        f"the dataset {cfg.names.dataset} has no {' and no '.join(wanted)} split; type split=train, val or test"
    )


def _header(
    cfg: DictConfig, out: Console, folder: RunFolder | None, origin: Origin, source: Source, sizes: str, device: str
) -> None:
    rows = {
        "model": f"{cfg.names.model}, {cfg.names.objective}",
        "data": f"{cfg.names.dataset}: {sizes}; {console.examples_of(source.spec)}",
        "device": device,
        "start": origin.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    out.block("ptft evaluate", rows)
    for note in [cfg.names.get("ckpt"), *source.notes]:
        if note:
            out.say(note)


def _show(out: Console, title: str, table: Table) -> None:
    if len(table.rows) <= MOST_CLASSES:
        rows = [
            [name, *(str(round(value)) for value in values)]
            for name, values in zip(table.rows, table.values, strict=True)
        ]
        out.table(title, ["", *table.columns], rows)
        return
    cells = [
        (value, true, predicted)
        for true, values in zip(table.rows, table.values, strict=True)
        for predicted, value in zip(table.columns, values, strict=True)
        if true != predicted and value
    ]
    worst = sorted(cells, reverse=True)[:10]
    out.table(
        "most frequent confusions",
        ["true", "predicted", "count"],
        [[true, predicted, str(round(value))] for value, true, predicted in worst],
    )
