"""What a value of the configuration must be, in words and as a test."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

PARTS = r"all|head|norm|bias|last:\d+"
MINUTES = r"((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?) ?min"


def is_share(value: Any) -> bool:
    """Whether it is a number above 0 and up to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def is_part(value: Any) -> bool:
    """Whether it names what of a backbone learns."""
    return isinstance(value, str) and bool(re.fullmatch(PARTS, value))


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
    match = re.fullmatch(MINUTES, value) if isinstance(value, str) else None
    return float(match[1]) or None if match else None


class Rule(NamedTuple):
    """What a value must be: in words, as a test, and as data for programs.

    data: `type` (number, integer, boolean, string, list, mapping), `choices`, `min` and `max`, which are allowed unless
    `min_exclusive` or `max_exclusive` is true, a `pattern` that all of a text must match, of a list `items` (as
    data; there is one), `lengths` and `unique`, `nullable`, `also` (values beside them all); or `any_of` several such.
    """

    words: str
    fits: Callable[[Any], bool]
    data: Mapping[str, Any]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TYPES: dict[str, Callable[[Any], bool]] = {
    "number": is_number,
    "integer": is_whole,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str) and value != "",
    "list": lambda value: isinstance(value, list),
    "mapping": lambda value: isinstance(value, Mapping),
}


def is_like(data: Mapping[str, Any], value: Any) -> bool:
    """Whether a value is what the data of a rule say."""
    if "any_of" in data:
        return any(is_like(each, value) for each in data["any_of"])
    if (value is None and data.get("nullable")) or (isinstance(value, str) and value in data.get("also", ())):
        return True
    if "choices" in data and value not in data["choices"]:
        return False
    if "type" in data and not TYPES[data["type"]](value):
        return False
    if "pattern" in data and not re.fullmatch(data["pattern"], value):
        return False
    return _in_range(data, value) and _is_list_like(data, value)


def _in_range(data: Mapping[str, Any], value: Any) -> bool:
    low, high = data.get("min"), data.get("max")
    above = low is None or (value > low if data.get("min_exclusive") else value >= low)
    return above and (high is None or (value < high if data.get("max_exclusive") else value <= high))


def _is_list_like(data: Mapping[str, Any], value: Any) -> bool:
    if data.get("type") != "list":
        return True
    if "lengths" in data and len(value) not in data["lengths"]:
        return False
    if "items" in data and not (value and all(is_like(data["items"], each) for each in value)):
        return False
    return not data.get("unique") or len(set(value)) == len(value)


def rule(words: str, also: Callable[[Any], bool] | None = None, /, **data: Any) -> Rule:
    """A rule that its data say; also: what they can't say, asked of a value that is like them."""
    return Rule(words, lambda value: is_like(data, value) and (also is None or also(value)), data)


def either(words: str, *rules: Rule) -> Rule:
    """What keeps one of these rules."""
    return Rule(words, lambda value: any(each.fits(value) for each in rules), {"any_of": [r.data for r in rules]})


def optional(rule: Rule) -> Rule:
    return _wider(rule, "null", None, {"nullable": True})


def auto(rule: Rule) -> Rule:
    return _wider(rule, "auto", "auto", {"also": ["auto"]})


def _wider(rule: Rule, word: str, value: Any, said: Mapping[str, Any]) -> Rule:
    choice = {"choices": [value]}
    data = {"any_of": [*rule.data["any_of"], choice]} if "any_of" in rule.data else {**rule.data, **said}
    return Rule(f"{rule.words}, or {word}", lambda given: given == value or rule.fits(given), data)


def one_of(*choices: Any) -> Rule:
    return rule(f"one of {', '.join(map(str, choices))}", choices=list(choices))


POSITIVE = rule("a number greater than 0", type="number", min=0, min_exclusive=True)
AT_LEAST_0 = rule("a number of at least 0", type="number", min=0)
WHOLE = rule("a whole number of at least 0", type="integer", min=0)
COUNT = rule("a whole number of at least 1", type="integer", min=1)
TWO_OR_MORE = rule("a whole number of at least 2", type="integer", min=2)
SHARE = rule("a number from 0 to 1", type="number", min=0, max=1)
BELOW_1 = rule("a number from 0 up to, not including, 1", type="number", min=0, max=1, max_exclusive=True)
INTERVAL = either(
    "a number of steps, epoch, minutes of training like 5min, or auto",
    one_of("auto", "epoch"),
    COUNT,
    rule("minutes", lambda value: minutes_of(value) is not None, type="string", pattern=MINUTES),
)
INSIDE = rule("a number between 0 and 1", type="number", min=0, min_exclusive=True, max=1, max_exclusive=True)
ABOVE_0 = rule("a number above 0 and up to 1", type="number", min=0, min_exclusive=True, max=1)
FLAG = rule("true or false", type="boolean")
NUMBER = rule("a number", type="number")
TEXT = rule("text", type="string")
COLUMN = either("the name of a column, or its number from 0", TEXT, WHOLE)
NAMES = rule("a list of names", type="list")
SIZE = either(
    "a whole number of pixels of at least 1, or [height, width]",
    COUNT,
    rule("[height, width]", type="list", items=COUNT.data, lengths=[2]),
)
BETAS = rule("two numbers from 0 up to 1", type="list", items=BELOW_1.data, lengths=[2])
AREAS = rule(
    "two numbers from 0.01 to 1, the smaller one first",
    lambda value: value[0] <= value[1],
    type="list",
    items={"type": "number", "min": 0.01, "max": 1},
    lengths=[2],
)
ZOOM = rule(
    "two numbers from 0.1 to 10, the smaller one first",
    lambda value: value[0] <= value[1],
    type="list",
    items={"type": "number", "min": 0.1, "max": 10},
    lengths=[2],
)
TEMPERATURES = rule("two numbers greater than 0", type="list", items=POSITIVE.data, lengths=[2])
DEVICE = rule("auto, cpu, cuda, cuda:N or mps", type="string", pattern=r"auto|cpu|mps|cuda(:\d+)?")
PLAN = Rule("phases", is_plan, {"type": "list", "items": {"type": "mapping"}})
TRAIN = either(
    "all, head, norm, bias, last:N, or phases that end one after another, the last at 1, each with until, train and "
    "perhaps layer_decay: [{until: 0.2, train: head}, {until: 1.0, train: all}]",
    rule("a part", type="string", pattern=PARTS),
    PLAN,
)
PATTERN = rule("a regular expression", is_pattern, type="string")
TARGETS = either(
    "attention, linear, all, a regular expression or a list of module names",
    PATTERN,
    rule("names", lambda value: all(map(is_pattern, value)), type="list", items=TEXT.data),
)


def per_channel(one: Rule, what: str) -> Rule:
    """One value, or a list of one for each channel."""
    return either(what, one, rule(what, type="list", items=one.data, lengths=[1, 3]))


SPLIT = either("the name of a split, a fraction between 0 and 1", TEXT, INSIDE)
CACHE = Rule(
    "one of auto, memory, disk, off",
    lambda value: value is False or value in ("auto", "memory", "disk", "off"),  # YAML takes a plain `off` for false
    {"choices": ["auto", "memory", "disk", "off"]},
)
ARMS = rule(
    "names, each with one override or a list of them",
    lambda value: all(v is None or TEXT.fits(v) or _texts(v) for v in value.values()),
    type="mapping",
)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(TEXT.fits, value))


def several(one: Rule, what: str) -> Rule:
    """A list of different values, each of which keeps the rule."""
    return rule(what, type="list", items=one.data, unique=True)


ONE_OR_MORE_NAMES = either("a name or a list of names", TEXT, rule("names", type="list", items=TEXT.data))
FILES = either(
    "a path, or {SPLIT: PATH}",
    TEXT,
    rule("paths", lambda value: bool(value) and all(map(TEXT.fits, value.values())), type="mapping"),
)
SEEDS = either(
    "a whole number of at least 1, or a list of different seeds", COUNT, several(WHOLE, "a list of different seeds")
)
CLASS_NAMES = either(
    "a list of names, or {CLASS: NAME}",
    rule("names", lambda value: _are_names(value), type="list"),
    rule("names", lambda value: _are_names(list(value.values())), type="mapping"),
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
    "count below 100": rule("a whole number from 1 to 99", type="integer", min=1, max=99),
    "whole": WHOLE,
    "flag": FLAG,
    "text": TEXT,
    "column": COLUMN,
    "mapping": rule("a mapping", type="mapping"),
    "names": NAMES,
    "class names": CLASS_NAMES,
    "size": SIZE,
    "channels": rule("1 or 3", type="integer", choices=[1, 3]),
    "per channel": per_channel(NUMBER, "a number, or a list of one for each channel"),
    "above 0 per channel": per_channel(POSITIVE, "a number above 0, or a list of one for each channel"),
    "split": SPLIT,
    "fold": rule("which of how many folds, from 1/2 on, e.g. 2/5", type="string", pattern=r"[1-9]\d*/[1-9]\d*"),
    "cache": CACHE,
    "own": rule("null, or a class of yours (KEY._target_=my_data.Mine)", choices=[], nullable=True),
    "betas": BETAS,
    "areas": AREAS,
    "temperatures": TEMPERATURES,
    "zoom": ZOOM,
    "arms": ARMS,
    "name or names": ONE_OR_MORE_NAMES,
    "file or files": FILES,
    "seeds": SEEDS,
    "counts": several(COUNT, "a list of different whole numbers of at least 1"),
    "whole numbers": several(WHOLE, "a list of different whole numbers"),
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
