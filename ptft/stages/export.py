"""A checkpoint as a folder that other programs read: written aside, tried, and then put in its place."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptft.builders.predictor import Predictor
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.core import Spec
from ptft.errors import ConfigError, counted
from ptft.export import card, validation
from ptft.export import subject as formats
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runs.lineage import DESCRIPTIONS, described
from ptft.runtime.device import versions
from ptft.runtime.system import writing
from ptft.stages import messages

DESCRIPTION = DESCRIPTIONS[1]
REMEDY = "choose another output"


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Write, try, describe. Raises ConfigError for what the format has no place for; nothing is left behind then."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    if cfg.quantize and cfg.format != "onnx":
        raise ConfigError(f"quantize={cfg.quantize}: is for format=onnx, not for format={cfg.format}")
    if cfg.dataset.get("root") is not None and "dataset.root" in job.overrides.typed and not cfg.quantize:
        raise ConfigError("dataset.root: is read for quantize=dynamic alone; drop it")
    target = _target(cfg, folder)
    writer = formats.of(cfg.format)
    predictor = Predictor(job)
    measure = validation.measure(job, predictor, out) if cfg.quantize else None
    subject = formats.Subject(predictor, cfg.format, bool(cfg.quantize), measure)
    _plan(job, out, folder, subject, target)
    if folder is None:
        return {}
    assert target
    with _aside(target, bool(cfg.overwrite)) as aside:
        facts = writer.write(aside, subject)
        card.write(aside, subject, writer.usage(subject), facts)
        _describe(aside, subject)
        files = _sizes(aside)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "objective")},
        "model": model_name(cfg),
        "status": "finished",
        "format": cfg.format,
        "answers": subject.answers,
        "output": str(target),
        "files": files,
        "bytes": sum(files.values()),
        **facts,
        "parent": checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    _close(cfg, out, folder, target, files, facts, subject.spec)
    return {}


def _target(cfg: Config, folder: RunFolder | None) -> Path | None:
    """The folder to write; None in a dry run that names none. Raises ConfigError for one that is not free."""
    if not cfg.output:
        return folder.path / f"export-{cfg.format}" if folder else None
    target = Path(os.path.expanduser(str(cfg.output))).absolute()
    if not target.exists() and not target.is_symlink():
        return target
    if not target.is_dir() or target.is_symlink():
        raise ConfigError(f"output={cfg.output}: is no folder; name another")
    names = {entry.name for entry in target.iterdir()}
    if not names:
        return target
    says = described(target)
    if says is None:
        raise ConfigError(f"output={cfg.output}: holds {sorted(names)[0]}, which no export wrote; name another folder")
    if not cfg.overwrite:
        raise ConfigError(f"output={cfg.output}: is an export already; overwrite=true replaces it, or name another")
    written = {Path(str(name)).parts[0] for name in says.get("files", ())}
    if foreign := sorted(names - written):
        raise ConfigError(f"output={cfg.output}: holds {foreign[0]}, which no export wrote; move it, or name another")
    return target


@contextlib.contextmanager
def _aside(target: Path, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside the target, which takes its place at the end. Raises StorageError."""
    aside, old = (target.with_name(f".{target.name[:50]}.{os.getpid()}{end}") for end in ("", ".old"))
    try:
        with writing(target, REMEDY):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            yield aside
            if target.exists() and overwrite:
                os.replace(target, old)
            os.replace(aside, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        raise
    finally:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


def _sizes(folder: Path) -> dict[str, int]:
    """The files below a folder, and the bytes of each."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def _describe(aside: Path, subject: formats.Subject) -> None:
    """What every export says of itself, in a file of its own where its format has none; with the names of all files."""
    says = described(aside) or subject.brief()
    own = next((name for name in DESCRIPTIONS if (aside / name).exists() and "weights" in says), DESCRIPTION)
    write_json(aside / own, {**says, "files": sorted({*_sizes(aside), own})})


def _plan(job: Job, out: Console, folder: RunFolder | None, subject: formats.Subject, target: Path | None) -> None:
    cfg = job.config
    parameters = sum(parameter.numel() for parameter in subject.predictor.objective.parameters())
    rows = {
        "model": f"{model_name(cfg)}, {cfg.names.objective}, {parameters:,} parameters",
        "format": cfg.format + (f", quantize={cfg.quantize}" if cfg.quantize else ""),
        "input": messages.input_of(subject.spec) or messages.shape_of(subject.spec),
        "start": subject.checkpoint.path,
        "output": str(target) if target else "",
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    notes = list(filter(None, [subject.checkpoint.latest, *job.notes]))
    out.plan("ptft export", rows, notes, **messages.plan_details(cfg, folder.path if folder else None))


def _shown(name: str, value: Any) -> str:
    if name.endswith("accuracy"):
        return f"{100 * value:.2f} % (val)"
    if isinstance(value, float):
        return f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _close(
    cfg: Config,
    out: Console,
    folder: RunFolder,
    target: Path,
    files: Mapping[str, int],
    facts: Mapping[str, Any],
    spec: Spec,
) -> None:
    size = sum(files.values())
    shown = {"written": f"{target}: {counted(len(files), 'files')}, {size / 2**20:,.1f} MiB"}
    for name, value in facts.items():
        if name == "remarks":
            continue
        shown[name.replace("_", " ")] = _shown(name, value)
    out.block("export done", shown, "green")
    for remark in facts.get("remarks", ()):
        out.say(remark, "yellow")
    if cfg.format == "safetensors":
        messages.ending(out, folder.path, following.command(cfg, target, spec))
    else:
        out.say(f"folder  {folder.path}", result=True)
        out.say(f"next    {target / 'README.md'} says how it is loaded")
