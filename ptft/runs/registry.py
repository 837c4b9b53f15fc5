"""Finding runs again: the newest finished one below `outputs/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError
from ptft.runs.folder import read_json

SWEEP = ".sweep"
"""The folder in a sweep's own that holds its command and, a file each, where its jobs are."""


def sweep_command(folder: Path) -> dict[str, Any]:
    """What a sweep's folder says of its command: `overrides`, `latest`, `cwd`; empty where it is none of a sweep."""
    return read_json(folder / SWEEP / "command.json")


def found_below(base: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run folder below `base` with its status, newest first; sweeps included."""
    statuses = [*base.glob("*/*/status.json"), *base.glob("sweeps/*/*/*/status.json")]
    dated = sorted(((path.stat().st_mtime, path) for path in statuses), reverse=True)
    for _, path in dated:
        yield path.parent, read_json(path)


def latest(stages: tuple[str, ...], base: Path = Path("outputs")) -> tuple[Path, Path | None]:
    """The newest finished run of one of `stages`, and a newer unfinished one where there is one.

    Raises CheckpointError when there is none.
    """
    newer: Path | None = None
    for folder, status in found_below(base):
        if status.get("stage") not in stages:
            continue
        if status.get("status") == "finished":
            return folder, newer
        newer = newer or folder
    kinds = " or ".join(stages)
    raise CheckpointError(
        f"ckpt=latest: no finished {kinds} run below {base.absolute()}; run ptft stage={stages[0]} first"
    )
