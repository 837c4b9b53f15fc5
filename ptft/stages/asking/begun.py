"""Answers for new files that are cut go on: of what they are, whether a folder holds all of them, and those so far.

Of predictions and of features alike.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptft import __version__
from ptft.builders.predictor import Predictor
from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.config.resume import FREE_ON_REPEAT
from ptft.errors import ConfigError, Interrupted
from ptft.launch.pool import STOPPED
from ptft.runs.folder import RunFolder, read_json, write_json
from ptft.runs.part_file import PartFile
from ptft.stages import messages
from ptft.stages.asking import new_files

NO_OTHER_ANSWER = (*FREE_ON_REPEAT, "resume", "input", "output")
"""Keys that may be typed otherwise where it goes on; of checkpoint, input and output it is known what they name."""


def _description(cfg: Config, folder: RunFolder) -> Path:
    return folder.path / f"{cfg.names.stage}.json"


def about(
    job: Job, target: Path, items: Sequence[Any], predictor: Predictor, options: Mapping[str, Any]
) -> dict[str, Any]:
    """What is answered, by which weights, how and where to: with equal ones it goes on."""
    cfg = job.config
    typed = job.overrides.where(lambda key: key not in NO_OTHER_ANSWER and not key.startswith("hydra."))
    return {
        "ptft": __version__,
        "weights": predictor.checkpoint.sha256 or _of_public(predictor.checkpoint),
        "items": len(items),
        "input": _digest(cfg, items),
        "options": {**predictor.options, **options, "precision": cfg.precision},
        "typed": sorted(typed.texts),
        "output": str(target),
    }


def _of_public(checkpoint: Checkpoint) -> str:
    """What tells public weights, which have no digest, from others: their name, and the beginning of each tensor."""
    digest = hashlib.sha256(checkpoint.path.encode())
    for name, value in checkpoint.weights.items():
        digest.update(f"\0{name} {[*value.shape]} {value.flatten()[:64].tolist()}".encode())
    return digest.hexdigest()


def complete(cfg: Config, folder: RunFolder, about: dict[str, Any]) -> bool:
    """Whether all of it is answered in this folder. Raises ConfigError where that holds other answers."""
    before = read_json(_description(cfg, folder)) if folder.goes_on and not cfg.overwrite else {}
    if before and before != about:
        differ = [name for name in about if before.get(name) != about[name]]
        raise ConfigError(f"{folder.path}: {_changed(cfg, before, differ)}; overwrite=true begins again")
    finished = read_json(folder.path / "summary.json").get("status") == "finished"
    return bool(before) and finished and Path(about["output"]).exists()


def _changed(cfg: Config, before: Mapping[str, Any], differ: Sequence[str]) -> str:
    """What is other than when these answers were begun, `differ` of what they are `about`."""
    if "input" in differ or "items" in differ:
        given = "the text" if cfg.text is not None else f"input={cfg.input}"
        return f"{given} has changed since its first answers were made"
    if "weights" in differ:
        return f"its first answers were made by other weights than ckpt={cfg.ckpt} has now"
    if differ == ["ptft"]:
        return f"its first answers were made by ptft {before.get('ptft')}"
    return "its first answers were made with other keys"


def opened(cfg: Config, target: Path, folder: RunFolder, about: dict[str, Any]) -> PartFile:
    """What was answered of it before. Raises ConfigError for an output that exists, or of which that is other."""
    new_files.refuse_existing(cfg, target)
    beside = target.parent if target.is_file() or not target.exists() else folder.path  # or no file at all
    part = PartFile(beside / f"{target.name}.part", about, "choose another output", anew=bool(cfg.overwrite))
    if not part.matches:
        part.close()
        other = f"{part.path} is what was answered of other files, or by other weights or keys"
        raise ConfigError(f"{other}; overwrite=true begins again")
    write_json(_description(cfg, folder), about)
    return part


def _digest(cfg: Config, items: Sequence[Any]) -> str:
    """Of the names of all items and of the sizes and times of their files; of what stands in no file of the texts."""
    digest, known = hashlib.sha256(), dict[str, str]()
    typed = cfg.text is not None or cfg.input == new_files.STDIN
    for item in items:
        name = repr(item) if typed else str(item)
        digest.update(f"{name}\0{'' if typed else _state(name, known)}\0".encode("utf-8", "surrogateescape"))
    if not typed and os.path.isfile(os.path.expanduser(str(cfg.input))):  # a folder changes with what is written there
        digest.update(_state(str(cfg.input), {}).encode())
    return digest.hexdigest()


def _state(name: str, known: dict[str, str]) -> str:
    """Size and time of the file called so, or of the one that it is a line of; known: of the last one of these."""
    with suppress(OSError, ValueError):
        found = os.stat(os.path.expanduser(name))
        return f"{found.st_size} {found.st_mtime_ns}"
    file = name.rpartition(":")[0]
    if file not in known:
        known.clear()
        known[file] = _state(file, {}) if file else ""
    return known[file]


def cut(job: Job, folder: RunFolder, left: int, count: int, error: KeyboardInterrupt) -> Interrupted:
    """What to raise where so many are left, and how they go on."""
    folder.began = True
    again = messages.to_resume(job, folder.path)
    said = f"{left:,} of {count:,} items are left; what was answered is kept, continue with: {again}"
    return Interrupted(said, getattr(error, "exit_code", STOPPED[0]))
