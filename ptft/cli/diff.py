"""`ptft diff`: how two runs or checkpoints differ, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ptft.cli.show import brief, known_as, measured
from ptft.cli.words import flags_of, table
from ptft.config import yaml_files
from ptft.config.settled import stored
from ptft.errors import ConfigError
from ptft.runtime.system import finite
from ptft.runtime.terminal import decimal, say

if TYPE_CHECKING:
    from ptft.runs.facts import Known

USAGE = "ptft diff A B [--json], each a RUN or CKPT"


@yaml_files.unchanging()
def diff(words: list[str]) -> int:
    """`ptft diff A B [--json]`: how two runs or checkpoints differ in configuration, data, metrics and weights."""
    flags, rest = flags_of(words, {"--json": False}, USAGE)
    if len(rest) != 2:
        raise ConfigError(USAGE)
    ours, theirs = map(known_as, rest)
    found = _differences(ours, theirs)
    if "--json" in flags:
        say(json.dumps(finite(found), indent=2, ensure_ascii=False))
    else:
        _print_differences(found)
    return 0


def _differences(ours: Known, theirs: Known) -> dict[str, Any]:
    from ptft.runs.archive import distances

    metrics, others = measured(ours), measured(theirs)
    weights = list(distances(ours.archive, theirs.archive)) if ours.archive and theirs.archive else None
    return {
        "configuration": _unequal(_settings(ours), _settings(theirs)),
        "data": _unequal(_data(ours), _data(theirs)),
        "metrics": {name: {"a": metrics.get(name), "b": others.get(name)} for name in {**metrics, **others}},
        "weights": None if weights is None else [dict(vars(each)) for each in weights],
    }


def _settings(known: Known) -> dict[str, Any]:
    config = stored.config_of(known)
    kept = {key: value for key, value in config.items() if key not in stored.APART}
    return {**{key: value for key, value in stored.leaves(kept).items() if value != {}}, **stored.chosen(config)}


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
            table([["key", "A", "B"], *([k, brief(p["a"]), brief(p["b"])] for k, p in pairs.items())])
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


def _metric(value: Any) -> str:
    return decimal(value) if isinstance(value, int | float) else ""


def _change(a: Any, b: Any) -> str:
    both = isinstance(a, int | float) and isinstance(b, int | float)
    return decimal(b - a, signed=True) if both else ""


def _distance(layer: Mapping[str, Any]) -> str:
    return layer["why"] or ("A is all 0" if layer["relative"] == float("inf") else decimal(layer["relative"]))
