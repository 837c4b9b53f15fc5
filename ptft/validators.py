"""What a value of the configuration must be, in words and as a test."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def is_share(value: Any) -> bool:
    """Whether it is a number above 0 and up to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def is_part(value: Any) -> bool:
    """Whether it names what of a backbone learns."""
    return isinstance(value, str) and bool(re.fullmatch(r"all|head|norm|bias|last:\d+", value))


def is_plan(value: Any) -> bool:
    """Whether it is a list of phases: each with its end and what learns in it, and perhaps its own layer_decay."""
    if not isinstance(value, list) or not value or not all(isinstance(phase, Mapping) for phase in value):
        return False
    keys = all({"until", "train"} <= phase.keys() <= {"until", "train", "layer_decay"} for phase in value)
    if not keys or not all(is_share(phase["until"]) and is_part(phase["train"]) for phase in value):
        return False
    ends = [phase["until"] for phase in value]
    decays = [phase["layer_decay"] for phase in value if phase.get("layer_decay") is not None]
    return ends[-1] == 1 and all(a < b for a, b in itertools.pairwise(ends)) and all(map(is_share, decays))


def is_pattern(value: Any) -> bool:
    """Whether it is a regular expression, as every name is."""
    if not isinstance(value, str) or not value:
        return False
    try:
        re.compile(value)
    except re.error:
        return False
    return True


def minutes_of(value: Any) -> float | None:
    """5min -> 5.0; None for what is no such time, and for none at all."""
    match = re.fullmatch(r"((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?) ?min", value) if isinstance(value, str) else None
    return float(match[1]) or None if match else None


Rule = tuple[str, Callable[[Any], bool]]
"""What a value must be, in words, and the test of it."""


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def optional(rule: Rule) -> Rule:
    return f"{rule[0]}, or null", lambda value: value is None or rule[1](value)


def auto(rule: Rule) -> Rule:
    return f"{rule[0]}, or auto", lambda value: value == "auto" or rule[1](value)


def one_of(*choices: Any) -> Rule:
    return f"one of {', '.join(map(str, choices))}", lambda value: value in choices


POSITIVE: Rule = ("a number greater than 0", lambda value: is_number(value) and value > 0)


AT_LEAST_0: Rule = ("a number of at least 0", lambda value: is_number(value) and value >= 0)


WHOLE: Rule = ("a whole number of at least 0", lambda value: is_whole(value) and value >= 0)


COUNT: Rule = ("a whole number of at least 1", lambda value: is_whole(value) and value >= 1)


SHARE: Rule = ("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)


BELOW_1: Rule = ("a number from 0 up to, not including, 1", lambda value: is_number(value) and 0 <= value < 1)


INTERVAL: Rule = (
    "a number of steps, epoch, minutes of training like 5min, or auto",
    lambda value: value in ("auto", "epoch") or COUNT[1](value) or minutes_of(value) is not None,
)


INSIDE: Rule = ("a number between 0 and 1", lambda value: is_number(value) and 0 < value < 1)


ABOVE_0: Rule = ("a number above 0 and up to 1", lambda value: is_number(value) and 0 < value <= 1)


FLAG: Rule = ("true or false", lambda value: isinstance(value, bool))


NUMBER: Rule = ("a number", is_number)


TEXT: Rule = ("text", lambda value: isinstance(value, str) and value != "")


COLUMN: Rule = ("the name of a column, or its number from 0", lambda value: TEXT[1](value) or WHOLE[1](value))


NAMES: Rule = ("a list of names", lambda value: isinstance(value, list))


SIZE: Rule = (
    "a whole number of pixels of at least 1, or [height, width]",
    lambda value: COUNT[1](value) or (isinstance(value, list) and len(value) == 2 and all(map(COUNT[1], value))),
)


BETAS: Rule = ("two numbers from 0 up to 1", lambda value: isinstance(value, list) and all(map(BELOW_1[1], value)))


AREAS: Rule = (
    "two numbers from 0.01 to 1, the smaller one first",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(is_number, v)) and 0.01 <= v[0] <= v[1] <= 1,
)


TEMPERATURES: Rule = (
    "two numbers greater than 0",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(POSITIVE[1], value)),
)


DEVICE: Rule = (
    "auto, cpu, cuda, cuda:N or mps",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value)),
)


DECAY: Rule = ("a number above 0 and up to 1", is_share)


TRAIN: Rule = (
    "all, head, norm, bias, last:N, or phases that end one after another, the last at 1, each with until, train and "
    "perhaps layer_decay: [{until: 0.2, train: head}, {until: 1.0, train: all}]",
    lambda value: is_part(value) or is_plan(value),
)


TARGETS: Rule = (
    "attention, linear, all, a regular expression or a list of module names",
    lambda value: is_pattern(value) or (NAMES[1](value) and bool(value) and all(map(is_pattern, value))),
)


def per_channel(rule: Rule, what: str) -> Rule:
    """One value, or a list of one for each channel."""
    return what, lambda v: rule[1](v) or (isinstance(v, list) and len(v) in (1, 3) and all(map(rule[1], v)))


SPLIT: Rule = ("the name of a split, a fraction between 0 and 1", lambda value: TEXT[1](value) or INSIDE[1](value))


CACHE: Rule = (
    "one of auto, memory, disk, off",
    lambda value: value is False or value in ("auto", "memory", "disk", "off"),  # YAML takes a plain `off` for false
)


ARMS: Rule = (
    "names, each with one override or a list of them",
    lambda value: isinstance(value, Mapping) and all(v is None or TEXT[1](v) or _texts(v) for v in value.values()),
)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(TEXT[1], value))


def several(rule: Rule, what: str) -> Rule:
    """A list of different values, each of which keeps the rule."""
    return what, lambda v: isinstance(v, list) and bool(v) and all(map(rule[1], v)) and len(set(v)) == len(v)


CHANNELS: Rule = ("1 or 3", lambda value: is_whole(value) and value in (1, 3))


ONE_OR_MORE_NAMES: Rule = ("a name or a list of names", lambda v: TEXT[1](v) or (_texts(v) and bool(v)))


SEEDS: Rule = (
    "a whole number of at least 1, or a list of different seeds",
    lambda value: COUNT[1](value) or several(WHOLE, "")[1](value),
)


CLASS_NAMES: Rule = (
    "a list of names, or {CLASS: NAME}",
    lambda value: _are_names(list(value.values()) if isinstance(value, Mapping) else value),
)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str | int | float) for name in value)


RULES: dict[str, Rule] = {
    "above 0": POSITIVE,
    "at least 0": AT_LEAST_0,
    "0 to 1": SHARE,
    "0 to below 1": BELOW_1,
    "above 0 to 1": ABOVE_0,
    "between 0 and 1": INSIDE,
    "number": NUMBER,
    "count": COUNT,
    "whole": WHOLE,
    "flag": FLAG,
    "text": TEXT,
    "column": COLUMN,
    "names": NAMES,
    "class names": CLASS_NAMES,
    "size": SIZE,
    "channels": CHANNELS,
    "per channel": per_channel(NUMBER, "a number, or a list of one for each channel"),
    "above 0 per channel": per_channel(POSITIVE, "a number above 0, or a list of one for each channel"),
    "split": SPLIT,
    "cache": CACHE,
    "betas": BETAS,
    "areas": AREAS,
    "temperatures": TEMPERATURES,
    "arms": ARMS,
    "name or names": ONE_OR_MORE_NAMES,
    "seeds": SEEDS,
    "counts": several(COUNT, "a list of different whole numbers of at least 1"),
    "fractions": several(ABOVE_0, "a list of different numbers above 0 and up to 1"),
    "rates": several(POSITIVE, "a list of different learning rates"),
}
"""The rules that `_rules_` of a YAML in conf/ may name. A whole number counts from 0, a count from 1."""


def rule_named(entry: str | Sequence[Any]) -> Rule:
    """What `_rules_` says of a key: a name in RULES, perhaps with `or null` or `or auto`, or a list of what it may be.

    Raises KeyError for a name that is not there.
    """
    if not isinstance(entry, str):
        choices = one_of(*(choice for choice in entry if choice is not None))
        return optional(choices) if None in entry else choices
    for ending, wider in ((" or null", optional), (" or auto", auto)):
        if entry.endswith(ending):
            return wider(rule_named(entry.removesuffix(ending)))
    return RULES[entry]
