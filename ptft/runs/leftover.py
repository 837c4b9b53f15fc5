"""What a run leaves in its folder that ended before its first checkpoint: nothing to go on from, so it begins anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.runtime.paths import short
from ptft.runtime.system import writing

BEGUN = ("predict.json", "embed.json")
"""What says, in the folder of answers for new files, which those are."""
EARLY = (".lock", ".hydra", "run.log", "status.json", *BEGUN)
"""What is there before a stage begins."""
BARE = (*EARLY, "split.csv", "checkpoints")
"""What there may be before the first step of a training."""
ASIDE = ".part"
"""How a checkpoint is called that was not whole yet."""


def is_bare(folder: Path, before: Mapping[str, Any], taken: Iterable[str]) -> bool:
    """Whether a run ended there, whatever ended it, before it saved anything or had a result.

    before: its status. taken: what is there of a run's.
    """
    saved = folder.joinpath("checkpoints").glob("*")
    ended = before.get("status") in ("running", "failed", "interrupted")
    goes_on = folder.joinpath(f"{before.get('stage')}.json").exists()  # answers for new files that were begun
    return (
        ended
        and not goes_on
        and set(taken) <= set(BARE)
        and all(file.suffix == ASIDE and file.is_file() for file in saved)
    )


def is_of(before: Mapping[str, Any], command: Sequence[str] | None) -> bool:
    """Whether that run is the one of this command. before: its status."""
    return command is not None and before.get("overrides") == [*command]


def clear(folder: Path) -> None:
    """Take away what `is_bare` found. Raises StorageError."""
    with writing(folder):
        for name in BARE[1:]:
            place = folder / name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)


def refusal(folder: Path, before: Mapping[str, Any], taken: Sequence[str]) -> str:
    """What is there already, and what can be done but to choose another folder, which is to follow."""
    if "status.json" not in taken:
        return f"{taken[0]} already, which a run writes;"
    if is_bare(folder, before, taken):
        remedy = f"type its command to begin it again, ptft rm {short(folder)} to remove it, or"
        return f"a run already, which ended before its first checkpoint; {remedy}"
    return "a run already; continue it with resume=… or"
