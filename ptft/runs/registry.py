"""Finding runs again below `outputs/`: the newest finished one, the newest that was cut, one by a part of its name."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError, shortened
from ptft.runs.folder import is_held, read_json
from ptft.runs.leftover import BEGUN
from ptft.runs.status_file import STAMP

OUTPUTS = Path("outputs")

FOLDS = "folds.json"
"""The file in a cross-validation's folder that says what its runs are."""
SEARCH = "tune.json"
"""The file in a search's folder that says what it knows."""
MANY = ("compare.json", SEARCH, FOLDS)
"""What says of a folder that the runs below it are those of one command."""
NEEDED = {
    "ckpt": ("checkpoints/best.pt", "checkpoints/last.pt"),
    "resume": ("checkpoints/last.pt", *MANY, *BEGUN),
}
"""Of what a run must have one file so that it can be meant."""
SHORTEST = 4
"""Characters that a part of a run's name has at least, so that a mistyped path is none by chance."""
SWEEP = ".sweep"
"""The folder in a sweep's own that holds its command and, a file each, where its jobs are."""


def sweep_command(folder: Path) -> dict[str, Any]:
    """What a sweep's folder says of its command: `overrides`, `latest`, `cwd`; empty where it is none of a sweep."""
    return read_json(folder / SWEEP / "command.json")


def runs_below(base: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run folder below `base` with its status, newest first; sweeps included."""
    patterns = ("*/status.json", "*/*/status.json", "sweeps/*/*/*/status.json")
    files = [path for pattern in patterns for path in base.glob(pattern)]
    found = [(path, path.stat().st_mtime, read_json(path)) for path in files]
    found.sort(key=lambda one: (_when(one[2], one[1]), one[1], one[0]), reverse=True)
    yield from ((path.parent, status) for path, _, status in found)


def _when(status: Mapping[str, Any], changed: float) -> float:
    """The second that a status was written in, as it says itself: a copy of the file is younger. changed: of others."""
    try:
        return datetime.strptime(status["time"], STAMP).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return math.floor(changed)


def folders_below(base: Path) -> list[Path]:
    """Every run folder below `base`, newest first."""
    return [folder for folder, _ in runs_below(base)]


def state(folder: Path, status: Mapping[str, Any]) -> str:
    """What its status says; "killed" where that is that it runs, and no process holds the folder."""
    stated = str(status.get("status", ""))
    return "killed" if stated == "running" and not is_held(folder) else stated


def sweeps_below(base: Path) -> list[Path]:
    """The folders of sweeps."""
    patterns = (f"{above}{SWEEP}/command.json" for above in ("*/", "*/*/", "sweeps/*/*/"))
    return [path.parent.parent for pattern in patterns for path in base.glob(pattern)]


def short_name(folder: Path) -> str:
    """How a run is called on the command line: the last part of its name, with its sweep's where it is a job."""
    own = folder.name.rsplit("-", 1)[-1] if len(folder.name.split("-")) > 3 else folder.name
    return f"{short_name(folder.parent)}/{folder.name}" if sweep_command(folder.parent) else own


def part_of(folder: Path) -> Path | None:
    """The folder of the sweep, comparison, search or cross-validation that a run lies in; None where it is alone."""
    for above in list(folder.absolute().parents)[:4]:
        if sweep_command(above) or any((above / name).is_file() for name in MANY):
            return above
    return None


def is_arm(folder: Path) -> bool:
    """Whether a run in that folder is one of a comparison or search, whose keys are typed for all of its runs."""
    return (whole := part_of(folder)) is not None and any((whole / name).is_file() for name in MANY)


def is_name(text: str) -> bool:
    """Whether it may be a name to look for, and is no path of a file that is there and no public weights."""
    return text == "latest" or (":" not in text and not os.path.lexists(os.path.expanduser(text)))


def candidates(key: str, base: Path = OUTPUTS) -> list[Path]:
    """The runs, newest first, that `key=NAME` may mean; then, but for `ckpt`, the folders of sweeps."""
    needed = NEEDED.get(key, ("status.json",))
    runs = [folder for folder in folders_below(base) if any((folder / name).exists() for name in needed)]
    return [*runs, *(sweeps_below(base) if key != "ckpt" else [])]


def named(text: str, key: str, base: Path = OUTPUTS) -> Path | None:
    """The run that `key=text` means by its short name or a part of its name; for `resume` sweeps and comparisons too.

    Of other keys any run. None where none is called so, or `text` is shorter than `SHORTEST`. Raises CheckpointError
    where several are.
    """
    if len(text) < SHORTEST:
        return None
    known = candidates(key, base)
    exact = [folder for folder in known if short_name(folder) == text]
    within = [folder for folder in known if text in _called(folder)]
    folders = list(dict.fromkeys(exact or within))
    if len(folders) > 1:
        raise CheckpointError(f"{key}={text}: may be {shortened(map(str, folders), 6)}; type more of its name")
    return folders[0] if folders else None


def _called(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}" if sweep_command(folder.parent) else folder.name


def cut(base: Path = OUTPUTS) -> Path:
    """The newest run that was interrupted or killed and can go on; its sweep where it is a job of one.

    Raises CheckpointError when there is none.
    """
    for folder, status in runs_below(base):
        if state(folder, status) in ("interrupted", "killed"):
            if sweep_command(folder.parent):
                return folder.parent
            if any((folder / name).exists() for name in NEEDED["resume"]):
                return folder
    raise CheckpointError(
        f"resume=latest: no interrupted run below {base.absolute()} that could go on; resume=RUN names one"
    )


def latest(stages: tuple[str, ...], base: Path = OUTPUTS) -> tuple[Path, Path | None]:
    """The newest finished run of one of `stages`, and a newer unfinished one where there is one; a search is one of
    the stage that it trains.

    Raises CheckpointError when there is none.
    """
    newer: Path | None = None
    for folder, status in runs_below(base):
        stage = status.get("trains", status.get("stage"))
        if stage not in stages or (folder / FOLDS).is_file():  # that has no weights of its own
            continue
        if status.get("status") == "finished":
            return folder, newer
        newer = newer or folder
    kinds = " or ".join(stages)
    raise CheckpointError(
        f"ckpt=latest: no finished {kinds} run below {base.absolute()}; run ptft stage={stages[0]} first"
    )
