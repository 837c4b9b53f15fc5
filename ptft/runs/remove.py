"""Removing runs: only what a run writes, only where no process is at work, and nothing behind a link."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from ptft.errors import StorageError
from ptft.runs.folder import RunFolder, is_held, read_json, writes
from ptft.runs.registry import SWEEP, sweep_command


def jobs(sweep: Path) -> list[Path]:
    """The folders of a sweep's jobs that have begun, where they are below it."""
    names = [read_json(file).get("folder") for file in sorted((sweep / SWEEP).glob("*.json"))]
    places = [sweep / place for place in names if isinstance(place, str)]
    return [place for place in places if place.is_dir() and place.resolve().is_relative_to(sweep.resolve())]


def check(folders: list[Path]) -> None:
    """Raises StorageError for one that is no run's or sweep's, a link, or at work."""
    for folder in folders:
        if folder.is_symlink():
            raise StorageError(f"{folder}: is a link; name the folder itself")
        if not _is_run(folder) and not sweep_command(folder):
            raise StorageError(f"{folder}: is no folder of a run; nothing was removed")
        for place in (folder, *jobs(folder), *folder.glob("cells/*")):
            if is_held(place):
                owner = read_json(place / "status.json")
                raise StorageError(
                    f"{place}: in use by process {owner.get('pid', '?')} on {owner.get('host', '?')}; end it first"
                )


def _is_run(folder: Path) -> bool:
    return {"status", "pid", "host"} <= read_json(folder / "status.json").keys()


def size(folder: Path) -> int:
    """Bytes of what lies there; a file that has several names counts once."""
    sizes = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                stat = os.lstat(os.path.join(place, name))
                sizes[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(sizes.values())


def remove(folder: Path) -> list[str]:
    """Remove what runs (and Hydra, for a sweep) wrote there, and the folder where nothing else is left.

    The names of what is. Raises StorageError.
    """
    parent = folder.absolute().parent
    swept = (SWEEP, "multirun.yaml") if sweep_command(folder) else ()
    claim = RunFolder.reopen(folder)
    try:
        for job in jobs(folder):
            remove(job)
        for entry in folder.iterdir():
            if entry.name in swept or (writes(entry.name) and entry.name != ".lock"):
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if os.path.getsize(folder / ".lock") == 0:
            (folder / ".lock").unlink()
    except OSError as error:
        raise StorageError(f"{error.filename}: can't be removed ({error.strerror})") from error
    finally:
        claim.release()
    leftover = sorted(entry.name for entry in folder.iterdir())
    if not leftover and folder.resolve() != Path.cwd():
        folder.rmdir()
        with contextlib.suppress(OSError):  # the day's folder, where this was the last of it
            parent.rmdir()
    return leftover
