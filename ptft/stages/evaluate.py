"""Measure a checkpoint on a split of its own dataset, or on all of another one that has no more classes."""

from __future__ import annotations

from typing import Any

from ptft.builders import components, membership
from ptft.builders.inputs import eval_loader, read_splits, same_channels
from ptft.builders.restore import check_spec, restored, trained_in, trained_with
from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import Examples, Source, Table
from ptft.data.labels import by_classes
from ptft.errors import DataError, shortened
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import device_name, find_device, peak_memory, tf32
from ptft.runtime.precision import autocast, place
from ptft.runtime.together.alone import current
from ptft.stages import messages, predictions
from ptft.stages.provenance import provenance
from ptft.stages.summary import write_tables
from ptft.train.loop import evaluate

MOST_CLASSES = 20
"""Above so many classes the confusion matrix is shown as its largest confusions."""


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Metrics of the checkpoint on one split, and the tables of its objective."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    predictions.check(cfg)
    device = find_device(cfg.device)
    chosen = trained_in(cfg, checkpoint, device)
    tf32(cfg.train.tf32, device)
    check_spec(checkpoint)
    labelled = "label" in components.needs(cfg.objective, cfg.trusted)
    whole = _is_other_data(job) and not components.compares(cfg.objective, cfg.trusted)
    source = components.source(cfg.dataset, checkpoint.spec, cfg.trusted, labelled=labelled, whole=whole)
    same_channels(checkpoint, source)
    reference = None if labelled else source.split("train")
    objective = place(restored(cfg, checkpoint, source.spec, reference).to(device), chosen)
    _check_classes(checkpoint, source)
    split = _split(cfg, source)
    if split != "train":
        allowed = cfg.split_overlap == "allow"
        overlap = membership.check(source, split, checkpoint, allowed=allowed)
        source.notes = (*source.notes, *([overlap] if overlap else []))
    read = read_splits(source, (split,), cfg, device, out)[split]
    if _is_own_data(job) and not whole and (difference := membership.changed(source, split, read, checkpoint.run)):
        source.notes = (*source.notes, difference)
    examples = _by_checkpoint(checkpoint, source, read)
    _header(cfg, out, folder, checkpoint, source, f"{len(examples):,} {split}", device_name(device, chosen))
    if cfg.dry_run:
        return {}
    current().meet(objective)
    batches = eval_loader(cfg, examples, device, trained_with(job), shared=True)
    gathered = predictions.gather(cfg, objective, source, split, examples)
    metrics, tables = evaluate(objective, batches, autocast(chosen.precision, device), keep=gathered)
    predictions.join(gathered)
    current().end()
    if folder is None:
        return {}
    write_tables(folder.path, split, tables)
    for name, table in tables.items():
        _show(out, f"{name}, {split}", table)
    predictions.write(cfg, gathered, folder.path, split, out, shown=True)
    predictions.remember(cfg, gathered, folder.path, split, source.spec, out)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "dataset", "objective")},
        "model": model_name(cfg),
        "status": "finished",
        "split": split,
        "device": str(device),
        "precision": chosen.precision,
        "samples": len(examples),
        "metrics": {split: metrics},
        "peak_memory_bytes": peak_memory(device),
        "parent": checkpoint.parent,
        **provenance(job, folder.path),
    }
    write_json(folder.path / "summary.json", summary)
    messages.report(cfg, out, folder.path)
    out.block("evaluate done", messages.results({split: metrics}), "green")
    messages.ending(out, folder.path, following.command(cfg, checkpoint.path, checkpoint.spec))
    return {"metrics": {split: metrics}}


def _is_other_data(job: Job) -> bool:
    """Whether a root is named that is not the one of training, and no split of it: then all there is is measured."""
    root, typed, checkpoint = job.config.dataset.get("root"), job.overrides.typed, job.checkpoint
    if root is None or job.config.split or not (typed.get("dataset.root") or typed.get("dataset")):
        return False
    return checkpoint is not None and membership.is_other_root(checkpoint, root)


def _is_own_data(job: Job) -> bool:
    """Whether it is measured on the checkpoint's dataset as that was, wherever it lies now."""
    return not any(key.startswith("dataset") and key != "dataset.root" for key in job.overrides.keys)


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


def _split(cfg: Config, source: Source) -> str:
    names = [cfg.split] if cfg.split else ["test", "val"]
    for split in names:
        if source.split(split) is not None:
            return str(split)
    raise DataError(
        f"the dataset {cfg.names.dataset} has no {' and no '.join(names)} split; type split=train, val or test"
    )


def _header(
    cfg: Config, out: Console, folder: RunFolder | None, checkpoint: Checkpoint, source: Source, sizes: str, device: str
) -> None:
    rows = {
        "model": f"{model_name(cfg)}, {cfg.names.objective}",
        "data": f"{cfg.names.dataset}: {sizes}; {messages.examples_of(source.spec)}",
        "input": messages.input_of(source.spec),
        "device": device,
        "start": checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    notes = list(filter(None, [checkpoint.latest, *source.notes]))
    out.plan("ptft evaluate", rows, notes, **messages.plan_details(cfg, folder.path if folder else None))


def _show(out: Console, title: str, table: Table) -> None:
    if table.rows != table.columns:
        _show_measures(out, title, table)
        return
    title = f"{title} (rows: true, columns: predicted)"
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


def _show_measures(out: Console, title: str, table: Table) -> None:
    """What was measured of each class; of many those with the least of the second measure, the first being a number."""
    rows = list(zip(table.rows, table.values, strict=True))
    if len(rows) > MOST_CLASSES:
        rows = sorted(rows, key=lambda row: row[1][1] if row[1][1] == row[1][1] else 2.0)[:MOST_CLASSES]
        title = f"{title}, the {MOST_CLASSES} of {len(table.rows):,} with the least {table.columns[1]}"
    shown = [[name, f"{values[0]:,.0f}", *("—" if v != v else f"{v:.4f}" for v in values[1:])] for name, values in rows]
    out.table(title, ["", *table.columns], shown)
