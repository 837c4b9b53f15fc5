"""What the page of a search shows: its answer and picture, its trials with their settings, the curves of the best."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError, counted
from ptft.export.report import several
from ptft.runs.folder import read_json
from ptft.runtime.paths import relative


def of_search(folder: Path) -> dict[str, Any]:
    """By its tune.json. Raises CheckpointError where it has not ended."""
    found = read_json(folder / "tune.json")
    if not found.get("answer"):
        raise CheckpointError(f"{folder}: holds a search that has not ended")
    trials = [each for each in found.get("trials") or [] if isinstance(each, Mapping)]
    runs = [_trial(each, found) for each in sorted(trials, key=_farthest)]
    what = f"{found.get('model')} on {found.get('dataset')}, {counted(len(runs), 'trials')}."
    again = shlex.join(["ptft", f"resume={relative(folder)}"])
    commands = [("go on with it", again), ("try more", f"{again} tune.trials={2 * len(runs)}")]
    picture = folder / "tune.svg"
    image = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else ""
    return several.page_of("search", what, runs, commands) | {
        "answer": str(found["answer"]),
        "notes": [str(note) for note in found.get("notes") or []],
        "picture": f"data:image/svg+xml;base64,{image}" if image else "",
        "effects": [],  # which the picture shows of all trials, not only of those that came to their end
        "parallel": {},
    }


def _farthest(trial: Mapping[str, Any]) -> tuple[int, int]:
    return -len(trial.get("rungs") or []), int(trial.get("number") or 0)


def _trial(trial: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """One that stopped early is not ranked: what it had there can't be compared with what others have at their end."""
    whole, came, rungs = trial.get("status") == "finished", len(trial.get("rungs") or []), found.get("rungs") or []
    at = f" at {100 * rungs[came - 1]:g} %" if not whole and 0 < came <= len(rungs) else ""
    settings = dict(trial.get("settings") or found.get("defaults") or {})
    name = f"trial {trial['number']}" if trial["number"] else "the defaults"
    shown = several.run_of(Path(str(trial.get("folder"))), name, settings, f"{trial.get('status')}{at}")
    monitor, value = found.get("monitor") or {}, trial.get("value")
    metric = str(monitor.get("metric"))
    reached = {} if value is None else {"val": {metric.split("/")[-1]: value}}
    own = {"metric": metric, "mode": str(monitor.get("mode")), "value": value if whole else None}
    return shown | own | {"metrics": shown["metrics"] if whole else reached}
