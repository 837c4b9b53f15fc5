"""The stage: read all of a dataset, find what is wrong with it, say it, and write what others go on with."""

from __future__ import annotations

import shlex
from typing import Any

import torch

from ptft.builders import components
from ptft.builders.inputs import expected
from ptft.builders.parts import own_views, recipe
from ptft.builders.parts.own_transform import transformed
from ptft.builders.restore import encoder
from ptft.config.config import model_name
from ptft.config.resolve import Job
from ptft.core import Source
from ptft.data.cleaning import ignore
from ptft.data.inspected import kinds
from ptft.data.inspected.kinds import Kind
from ptft.data.inspected.reading import Encode, on_error
from ptft.data.inspected.subject import Subject, subject_of
from ptft.errors import ConfigError, DataError, unknown
from ptft.loggers import pictures
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import find_device, versions
from ptft.runtime.paths import relative
from ptft.runtime.rng import seed_everything
from ptft.runtime.system import write_text, writing
from ptft.stages import messages as shared
from ptft.stages.inspect import findings, messages, previewed, written
from ptft.stages.inspect.findings import Findings
from ptft.stages.inspect.ignored import ignored, ignored_before, unread
from ptft.stages.provenance import typed_words


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Inspect the dataset. Raises DataError at the end where `inspect.strict` is on and splits leak or files can't be
    read."""
    cfg = job.config
    if wrong := [kind for kind in cfg.inspect.ignore if kind not in findings.KINDS]:
        raise ConfigError(unknown("inspect.ignore", wrong[0], findings.KINDS))
    device = find_device(cfg.device)
    seed_everything(cfg.seed)
    source = components.source(cfg.dataset, expected(job), cfg.trusted, labelled=False, model=cfg.model, every=True)
    subject = subject_of(source)
    encode: Encode | None = encoder(job, source.spec, device) if job.checkpoint else None
    _plan(job, subject, out, folder, str(device) if encode else "cpu")
    if folder is None:
        return {}
    kind = kinds.of(source.spec)
    seen = kind.read(subject, encode, out)
    name = model_name(cfg) if job.checkpoint else None
    found = findings.find(subject, seen, kind, cfg.seed, name)
    sheet = _sheet(job, subject, kind, folder)
    rows = ignored(subject, found, cfg.inspect.ignore)
    before, listed = ignored_before(source), [*unread(source, cfg.inspect.ignore), *_ignore_rows(subject, rows)]
    write_text(folder.path / "ignore.csv", ignore.write([*before, *listed]))
    content = {"dataset": cfg.names.dataset, "root": _root(source), **written.as_json(subject, seen, found)}
    write_json(folder.path / "inspect.json", {**content, "sheet": "sheet.png" if sheet else None})
    if cfg.report:
        previewed.write(folder.path, subject, content, out)
    messages.tell(subject, seen, found, out)
    summary = _summary(job, content)
    write_json(folder.path / "summary.json", summary)
    shared.report(cfg, out, folder.path)
    _ending(job, subject, found, out, folder, messages.written(folder.path, len(listed), len(before), sheet))
    if listed:
        _next(job, out, f"dataset.ignore={relative(folder.path)}/ignore.csv")
    if cfg.inspect.strict:
        _strict(subject, found)
    return {"counts": summary["counts"], "leakage": summary["leakage"]}


def _plan(job: Job, subject: Subject, out: Console, folder: RunFolder | None, device: str) -> None:
    cfg, source = job.config, subject.source
    sizes = ", ".join(f"{count:,} {split}" for split, count in subject.sizes.items())
    rows = {
        "data": f"{cfg.names.dataset}: {sizes}; {shared.examples_of(source.spec)}",
        "features": f"{model_name(cfg)} of {job.checkpoint.path}"
        if job.checkpoint
        else "simple ones; ckpt=… takes a model's",
        "device": device,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    ignored = source.ignore_notes() if hasattr(source, "ignore_notes") else []
    out.plan(
        "ptft inspect", rows, [*source.notes, *ignored], **shared.plan_details(cfg, folder.path if folder else None)
    )


def _sheet(job: Job, subject: Subject, kind: Kind, folder: RunFolder) -> bool:
    """sheet.png: training examples as a model is shown them, evenly spread over the split; whether there is one."""
    split = next(iter(subject.parts))
    examples, wanted = subject.parts[split], job.config.inspect.sheet
    if not wanted or examples is None:
        return False
    chosen = torch.linspace(0, len(examples) - 1, min(wanted, len(examples)), dtype=torch.float64).round().long()
    on_error(examples, "skip")
    cfg, spec = job.config, subject.source.spec
    if split == "train":
        examples = transformed(examples, cfg.dataset.get("transform"), spec, cfg.trusted)
    batch = examples.take(chosen)
    options = recipe.views(cfg.dataset.get("views"), batch["input"])
    shown = kind.sheet(spec, batch, own_views.built(options, spec, cfg.trusted, "dataset.views"))
    if not shown:
        return False
    numbers = (batch["index"] + subject.starts[split]).tolist()
    captions = [f"{subject.label(row) or ''}\n{subject.names[row]}".strip() for row in numbers]
    path = folder.path / "sheet.png"
    with writing(path):
        path.write_bytes(pictures.grid(shown, captions))
    return True


def _ignore_rows(subject: Subject, rows: dict[int, str]) -> list[tuple[str, ...]]:
    contents = subject.contents(list(rows))
    return [
        (subject.names[row], content, why, subject.split_of(row), subject.label(row) or "")
        for (row, why), content in zip(rows.items(), contents, strict=True)
    ]


def _root(source: Source) -> str | None:
    root = getattr(source, "root", None)
    return None if root is None else str(root)


def _summary(job: Job, content: dict[str, Any]) -> dict[str, Any]:
    cfg = job.config
    kept = ("splits", "leakage", "counts", "features", "probe_accuracy")
    names = {"stage": cfg.names.stage, "dataset": cfg.names.dataset, "status": "finished"}
    parent = job.checkpoint.parent if job.checkpoint else None
    return {**names, **{key: content[key] for key in kept}, "parent": parent, "versions": versions()}


def _ending(job: Job, subject: Subject, found: Findings, out: Console, folder: RunFolder, written: str) -> None:
    counts = {
        "leakage": sum(findings.leakage(subject, found).values()),
        "unreadable": len(found.unreadable) + len(messages.unread(subject)),
        "copies": sum(len(group) - 1 for group in found.copies),
        "near duplicates": len(found.near),
        "likely wrong labels": len(found.errors),
        "outliers": len(found.outliers),
        "odd": len(found.odd),
    }
    out.block(
        "inspect done",
        {name: f"{count:,}" for name, count in counts.items()} | {"written": written},
        "green",
    )
    out.say(f"folder  {folder.path}", result=True)


def _next(job: Job, out: Console, ignore_key: str) -> None:
    """What to type to see what is left: what was typed, with the new list in the place of the one that it holds."""
    out.note(f"{ignore_key} leaves out what it names, in every stage; look into it first")
    again = typed_words(job, job.overrides.where(lambda key: key != ignore.KEY and not key.startswith("hydra.")))
    out.say(f"next    {shlex.join(['ptft', *again, ignore_key])}")


def _strict(subject: Subject, found: Findings) -> None:
    """Raises DataError for what no training should begin with."""
    held = findings.leakage(subject, found)
    said = [
        f"{count:,} of {subject.sizes[split]:,} {split} examples are in another split too"
        for split, count in held.items()
    ]
    if found.unreadable or messages.unread(subject):
        said.append(messages.unreadable_files(subject, found))
    if said:
        raise DataError(f"inspect.strict=true: {'; '.join(said)}; dataset.ignore=… leaves out what ignore.csv names")
