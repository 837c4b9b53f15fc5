"""`ptft show` and `ptft diff`: all that is known of a run or a checkpoint, and how two of them differ. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.cli import stored
from ptft.cli.help import columns
from ptft.cli.words import flags_of, folder_of, table
from ptft.config import yaml_files
from ptft.config.resume import FREE_ON_RESUME
from ptft.errors import ConfigError, shortened
from ptft.metrics.properties import is_share
from ptft.runs import remove
from ptft.runs.lineage import Relative, family
from ptft.runs.registry import OUTPUTS, folders_below
from ptft.runtime.paths import relative, short
from ptft.runtime.system import finite
from ptft.runtime.terminal import decimal, say

if TYPE_CHECKING:
    from ptft.runs.facts import Known

USAGE_SHOW = "ptft show RUN|CKPT [--json]"
USAGE_DIFF = "ptft diff A B [--json], each a RUN or CKPT"
DIGITS = 12
"""Of a digest, where it is only to be recognised."""


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
    folder = folder_of(name).absolute()
    return facts.of_folder(folder, stored.read(folder))


def _config(known: Known) -> dict[str, Any]:
    """As it was composed, with what was typed anew on a resume, which the checkpoint alone has."""
    config = dict(known.stored) or dict(known.in_checkpoint)
    for key in FREE_ON_RESUME:
        first, _, rest = key.partition(".")
        node, newer = config.get(first), known.in_checkpoint.get(first)
        if not rest and first in known.in_checkpoint:
            config[first] = newer
        elif isinstance(node, Mapping) and isinstance(newer, Mapping) and rest in newer:
            config[first] = {**node, rest: newer[rest]}
    return config


def _facts(known: Known) -> dict[str, Any]:
    """`ptft show --json`."""
    ancestors, descendants = _relatives(known)
    config = _config(known)
    settings = stored.against_defaults(config)
    return {
        "folder": str(known.folder) if known.folder else None,
        "status": known.state or None,
        "when": known.status.get("time"),
        "overrides": known.status.get("overrides"),
        "chosen": stored.chosen(config),
        "configuration": {key: {"value": ours, "default": usual} for key, (ours, usual) in settings.items()},
        "spec": dict(known.spec) or None,
        "data": {"fingerprint": known.fingerprint, "examples": known.examples},
        "metrics": known.metrics,
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


def _print(known: Known, name: str) -> None:
    facts = _facts(known)
    chosen, metrics = facts["chosen"], _by_split(known.metrics)
    when = str(facts["when"] or "")[:16].replace("T", " ")
    best, seconds = facts["best"] or {}, facts["seconds"]
    spent = f"in {seconds:,.1f} s" if isinstance(seconds, int | float) else ""
    judged = best.get("value") is not None
    blocks = {
        "run": relative(known.folder) if known.folder else f"none; {name} lies in no run's folder",
        "status": " ".join(filter(None, [facts["status"], when, spent])),
        "why": str(facts["message"] or ""),
        "broken": known.broken,
        **{group: ", ".join(value) if isinstance(value, list) else str(value) for group, value in chosen.items()},
        "input": _described(known.spec),
        "classes": _classes(known.spec),
        "examples": ", ".join(f"{count:,} {split}" for split, count in known.examples.items()),
        "data": str(known.fingerprint or "")[:DIGITS],
        **metrics,
        "best": f"{best.get('metric')} {decimal(best['value'])} at step {best.get('step')}" if judged else "",
        "from": " ← ".join(map(relative_name, facts["ancestors"])) or _origin(known.parent),
        "led to": shortened(map(relative_name, facts["descendants"])) if facts["descendants"] else "",
        **{Path(each["path"]).name: _file(each) for each in facts["checkpoints"]},
        "size": f"{facts['bytes'] / 2**20:,.1f} MiB" if facts["bytes"] is not None else "",
    }
    say(columns({f"{title:<8}": text for title, text in blocks.items() if text}))
    settings = facts["configuration"]
    if settings:
        say("")
        table(
            [["key", "value", "default"], *([k, _text(v["value"]), _text(v["default"])] for k, v in settings.items())]
        )


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
        f"{key} {_text(value)}" for key, value in (spec.get("shape") or {}).items() if not isinstance(value, Mapping)
    ]
    means = [f"{key} {_text([round(each, 3) for each in spec[key]])}" for key in ("mean", "std") if spec.get(key)]
    return ", ".join([str(spec.get("modality") or ""), *parts, *means]).strip(", ")


def _classes(spec: Mapping[str, Any]) -> str:
    names = list(spec.get("classes") or ())
    return f"{len(names)}: {shortened(map(str, names), 12)}" if names else ""


def _file(each: Mapping[str, Any]) -> str:
    inside = (
        f", step {each['step']}, {each['values']:,} values in {each['tensors']} tensors" if "values" in each else ""
    )
    return f"{each['bytes'] / 2**20:,.1f} MiB, sha256 {str(each['sha256'])[:DIGITS]}…{inside}"


def _text(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


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


@yaml_files.unchanging()
def diff(words: list[str]) -> int:
    """`ptft diff A B [--json]`: how two runs or checkpoints differ in configuration, data, metrics and weights."""
    flags, rest = flags_of(words, {"--json": False}, USAGE_DIFF)
    if len(rest) != 2:
        raise ConfigError(USAGE_DIFF)
    ours, theirs = map(known_as, rest)
    found = _differences(ours, theirs)
    if "--json" in flags:
        say(json.dumps(finite(found), indent=2, ensure_ascii=False))
    else:
        _print_differences(found)
    return 0


def _differences(ours: Known, theirs: Known) -> dict[str, Any]:
    from ptft.runs.archive import distances

    weights = list(distances(ours.archive, theirs.archive)) if ours.archive and theirs.archive else None
    return {
        "configuration": _unequal(_settings(ours), _settings(theirs)),
        "data": _unequal(_data(ours), _data(theirs)),
        "metrics": {
            name: {"a": ours.metrics.get(name), "b": theirs.metrics.get(name)}
            for name in {**ours.metrics, **theirs.metrics}
        },
        "weights": None if weights is None else [dict(vars(each)) for each in weights],
    }


def _settings(known: Known) -> dict[str, Any]:
    config = _config(known)
    kept = {key: value for key, value in config.items() if key not in stored.APART}
    return {**stored.chosen(config), **stored.leaves(kept)}


def _data(known: Known) -> dict[str, Any]:
    spec = {key: value for key, value in known.spec.items() if key != "shape"}
    counts = {f"examples.{split}": count for split, count in known.examples.items()}
    return {"fingerprint": known.fingerprint, **counts, **stored.leaves(known.spec.get("shape") or {}), **spec}


def _unequal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    pairs = {key: {"a": ours.get(key), "b": theirs.get(key)} for key in {**ours, **theirs}}
    return {key: pair for key, pair in pairs.items() if pair["a"] != pair["b"]}


def _print_differences(found: Mapping[str, Any]) -> None:
    for title in ("configuration", "data"):
        pairs = found[title]
        say(title if pairs else f"{title}: the same")
        if pairs:
            table([["key", "A", "B"], *([k, _brief(p["a"]), _brief(p["b"])] for k, p in pairs.items())])
        say("")
    rows = [[name, _metric(p["a"]), _metric(p["b"]), _change(p["a"], p["b"])] for name, p in found["metrics"].items()]
    say("metrics" if rows else "metrics: neither has any")
    if rows:
        table([["metric", "A", "B", "B - A"], *rows])
    say("")
    weights = found["weights"]
    if weights is None:
        say("weights: not both have a whole checkpoint")
    elif all(each["relative"] == 0 for each in weights):
        say("weights: the same")
    else:
        say("weights: |A - B| / |A| of each layer")
        table([["layer", "values", "distance"], *([w["layer"], f"{w['values']:,}", _distance(w)] for w in weights)])


def _brief(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _metric(value: Any) -> str:
    return decimal(value) if isinstance(value, int | float) else ""


def _change(a: Any, b: Any) -> str:
    both = isinstance(a, int | float) and isinstance(b, int | float)
    return decimal(b - a, signed=True) if both else ""


def _distance(layer: Mapping[str, Any]) -> str:
    return layer["why"] or ("A is all 0" if layer["relative"] == float("inf") else decimal(layer["relative"]))
