"""`ptft show`: all that is known of a run or a checkpoint, without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.cli.help import columns
from ptft.cli.words import flags_of, folder_of, table
from ptft.config import reads, yaml_files
from ptft.config.settled import stored
from ptft.errors import ConfigError, counted, shortened
from ptft.metrics.properties import is_share
from ptft.runs import remove
from ptft.runs.lineage import Relative, family
from ptft.runs.registry import OUTPUTS, folders_below
from ptft.runtime.paths import relative, short
from ptft.runtime.system import finite
from ptft.runtime.terminal import decimal, say

if TYPE_CHECKING:
    from ptft.runs.facts import Known

USAGE_SHOW = "ptft show RUN|CKPT|latest [--json]"
DIGITS = 12
"""Of a digest, where it is only to be recognised."""
OF_ROWS = frozenset({"step", "epoch", "lr", "seconds"})
"""What rows of metrics.jsonl have beside metrics."""
SUMMED = ("model", "dataset", "objective")
"""Groups whose option summary.json names where it played a part."""


@yaml_files.unchanging()
def show(words: list[str]) -> int:
    """`ptft show RUN|CKPT [--json]`: what it is, how it was set, what it measured and came from, size and digest."""
    flags, rest = flags_of(words, {"--json": False}, USAGE_SHOW)
    if len(rest) != 1:
        raise ConfigError(USAGE_SHOW)
    known = known_as(rest[0])
    if "--json" in flags:
        say(json.dumps(finite(_facts(known)), indent=2, ensure_ascii=False))
    else:
        _print(known, rest[0])
    return 0


def known_as(name: str) -> Known:
    """The run or checkpoint that a user calls so. Raises CheckpointError."""
    from ptft.runs import facts

    path = Path(os.path.expanduser(name))
    if path.is_file():
        folder = facts.run_of(path)
        return facts.Known(folder, path.absolute(), stored.read(folder) if folder else {}, named=True)
    folder = folder_of(name, latest=True).absolute()
    return facts.of_folder(folder, stored.read(folder))


def measured(known: Known) -> dict[str, float]:
    """`split/name` of the weights that were asked for: a run's metrics are its best's. Of a last checkpoint of another
    step, or beside a mean of weights, it is what was held out and measured there, perhaps nothing."""
    if not (known.named and known.folder and known.file and known.file.stem == "last"):
        return known.metrics
    from ptft.loggers.jsonl import stored_rows

    step, best = known.progress.get("step"), known.summary.get("best") or {}
    if best.get("step") == step and not known.progress.get("averaged"):
        return known.metrics
    rows = [row for row in stored_rows(known.folder / "metrics.jsonl") if row.get("step") == step]
    held = [row for row in rows if row.get("split") not in (None, "train") and "averaged" not in row]
    return {
        f"{row['split']}/{name}": value
        for row in held
        for name, value in row.items()
        if isinstance(value, int | float) and name not in OF_ROWS
    }


def _facts(known: Known) -> dict[str, Any]:
    """`ptft show --json`."""
    ancestors, descendants = _relatives(known)
    config = stored.config_of(known)
    settings = stored.against_defaults(config)
    return {
        "folder": str(known.folder) if known.folder else None,
        "status": known.state or None,
        "when": known.status.get("time"),
        "overrides": known.status.get("overrides"),
        "found": known.found or None,
        "chosen": _chosen(known, config),
        "configuration": {key: {"value": ours, "default": usual} for key, (ours, usual) in settings.items()},
        "spec": dict(known.spec) or None,
        "data": {"fingerprint": known.fingerprint, "examples": known.examples},
        "metrics": measured(known),
        "best": known.summary.get("best"),
        "seconds": known.summary.get("seconds", known.status.get("seconds")),
        "parent": dict(known.parent) or None,
        "ancestors": [each.name for each in ancestors],
        "descendants": [each.name for each in descendants],
        "checkpoints": known.checkpoints(),
        "bytes": remove.size(known.folder) if known.folder else None,
        "message": known.status.get("message"),
        "broken": known.broken or None,
    }


def _chosen(known: Known, config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that played a part: of groups that the stage reads and its summary is not silent on."""
    chosen, said = stored.chosen(config), known.summary
    return {
        group: name
        for group, name in chosen.items()
        if reads.counts(group, str(chosen.get("stage"))) and not (said and group in SUMMED and not said.get(group))
    }


def _measured(best: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """At which step the best was found, or over how many folds it is a mean."""
    count = (summary.get("folds") or {}).get("count")
    return f", mean of {count} folds" if count else f" at step {best.get('step')}"


def _print(known: Known, name: str) -> None:
    facts = _facts(known)
    chosen, metrics = facts["chosen"], _by_split(facts["metrics"])
    when = str(facts["when"] or "")[:16].replace("T", " ")
    best, seconds, found = facts["best"] or {}, facts["seconds"], facts["found"] or {}
    spent = f"in {seconds:,.1f} s" if isinstance(seconds, int | float) else ""
    judged = best.get("value") is not None
    blocks = {
        "run": relative(known.folder) if known.folder else f"none; {name} lies in no run's folder",
        "status": " ".join(filter(None, [facts["status"], when, spent])),
        "why": str(facts["message"] or ""),
        **_search(found),
        "broken": known.broken,
        **{group: ", ".join(value) if isinstance(value, list) else str(value) for group, value in chosen.items()},
        "input": _described(known.spec),
        "classes": _classes(known.spec),
        "examples": ", ".join(f"{count:,} {split}" for split, count in known.examples.items()),
        "data": str(known.fingerprint or "")[:DIGITS],
        **metrics,
        "best": f"{best.get('metric')} {decimal(best['value'])}{_measured(best, known.summary)}" if judged else "",
        "from": " ← ".join(map(relative_name, facts["ancestors"])) or _origin(known.parent),
        "led to": shortened(map(relative_name, facts["descendants"])) if facts["descendants"] else "",
        **{Path(each["path"]).name: _file(each) for each in facts["checkpoints"]},
        "size": f"{facts['bytes'] / 2**20:,.1f} MiB" if facts["bytes"] is not None else "",
    }
    say(columns({f"{title:<8}": text for title, text in blocks.items() if text}))
    searched = found.get("settings") or {}
    settings = {key: each for key, each in facts["configuration"].items() if key not in searched}
    for title, shown in (("found", searched), ("value", settings)):
        if shown:
            say("")
            rows = [[key, brief(each["value"]), brief(each["default"])] for key, each in shown.items()]
            table([["key", title, "default"], *rows])


def _search(found: Mapping[str, Any]) -> dict[str, str]:
    """The answer of a search, and what it took."""
    if not found:
        return {}
    cost = found.get("cost") or {}
    saved = f"{cost['steps']:,} of {cost['whole']:,} steps trained, {cost['saved']:.0%} saved" if cost else ""
    again = f"{cost['confirm_steps']:,} more to confirm" if cost.get("confirm_steps") else ""
    took = [f"{found['trials']}, the best is {found['trial']}", saved, again]
    return {"answer": str(found["answer"]), "trials": "; ".join(filter(None, took))}


def _origin(parent: Mapping[str, Any]) -> str:
    """What it started from, where that is not found any more."""
    return f"{parent.get('run') or parent.get('path')} (not found here)" if parent else ""


def relative_name(name: str) -> str:
    return short(name) if os.path.isabs(name) else name


def _by_split(metrics: Mapping[str, float]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for key, value in metrics.items():
        split, _, name = key.partition("/")
        if isinstance(value, int | float):
            said = f"{100 * value:.2f} %" if is_share(name) else decimal(value)
            found.setdefault(split, []).append(f"{name} {said}")
    return {split: ", ".join(said) for split, said in found.items()}


def _described(spec: Mapping[str, Any]) -> str:
    parts = [
        f"{key} {text_of(value)}" for key, value in (spec.get("shape") or {}).items() if not isinstance(value, Mapping)
    ]
    means = [f"{key} {text_of([round(each, 3) for each in spec[key]])}" for key in ("mean", "std") if spec.get(key)]
    return ", ".join([str(spec.get("modality") or ""), *parts, *means]).strip(", ")


def _classes(spec: Mapping[str, Any]) -> str:
    names = list(spec.get("classes") or ())
    return f"{len(names)}: {shortened(map(str, names), 12)}" if names else ""


def _file(each: Mapping[str, Any]) -> str:
    if "files" in each:
        return f"{each['bytes'] / 2**20:,.1f} MiB in {counted(each['files'], 'files')}"
    inside = (
        f", step {each['step']}, {each['values']:,} values in {each['tensors']} tensors" if "values" in each else ""
    )
    return f"{each['bytes'] / 2**20:,.1f} MiB, sha256 {str(each['sha256'])[:DIGITS]}…{inside}"


def text_of(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def brief(value: Any) -> str:
    text = text_of(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _relatives(known: Known) -> tuple[list[Relative], list[Relative]]:
    """What it started from, its parent first, and all that came of it."""
    folder = known.folder or Path(str(known.file)).parent
    digest = known.archive.sha256 if known.archive else None
    first, run = family(folder, digest, folders_below(OUTPUTS))
    above = _parents(first)
    ancestors, each = list[Relative](), above.get(id(run))
    while each:
        ancestors.append(each)
        each = above[id(each)]
    return ancestors, [each for each in _below(run) if each is not run]


def _parents(first: Relative) -> dict[int, Relative | None]:
    """Of each relative, by its id, what it started from; None of the first."""
    found: dict[int, Relative | None] = {id(first): None}
    for each in _below(first):
        for child in each.children:
            found.setdefault(id(child), each)
    return found


def _below(relative: Relative) -> list[Relative]:
    """It and all that came of it, each once."""
    found, waiting = {id(relative): relative}, [relative]
    while waiting:
        new = [child for child in waiting.pop().children if id(child) not in found]
        found |= {id(child): child for child in new}
        waiting += reversed(new)
    return list(found.values())
