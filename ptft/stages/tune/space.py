"""The search space: which keys are searched, within which bounds or among which choices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptft.config import compose, reads
from ptft.config.config import Config
from ptft.config.overrides import PATH_KEYS, quote, quoted
from ptft.config.settled.searched import PARTS, SPACE
from ptft.errors import ConfigError
from ptft.validators import is_number, is_whole

FIXED = {
    "seed": "the sampler and every trial follow from it",
    "stage": "tune.stage says what is tuned",
    "dry_run": "it is one of the whole search",
    "resume": "it is one of the whole search",
    "experiment": "type it for the whole search",
    "dataset": "all trials are measured on the same examples",
    "objective": "what objectives are measured by can't be compared",
    "train.epochs": "all trials have the same budget",
    "train.steps": "all trials have the same budget",
    "train.minutes": "all trials have the same budget",
    "train.budget": "all trials have the same budget",
    "train.pause": "the search pauses trials itself",
    "train.folds": "all trials are measured on the same examples",
    "train.monitor": "all trials are judged alike",
    "train.processes": "it changes no result",
    "train.workers": "it changes no result",
    "trusted": "type it for the whole search",
    "quiet": "it changes no result",
    "tune": "it is one of the whole search",
    "hydra": "it is one of the whole search",
}
"""Keys, and all below those that are nodes, that can't be searched, and why."""
MEASURED = (
    "root",
    "val",
    "test",
    "train",
    "classes",
    "limit",
    "fraction",
    "per_class",
    "group",
    "group_as",
    "ignore",
    "fold",
)
"""Keys of a dataset that say which examples are learned from and measured on."""
DIGITS = 4
"""Of a number that was drawn: fewer are easier to type, and no training tells more of them apart."""
EXACT = 12
"""Of one in steps, where fewer could make two of them one."""


@dataclass(frozen=True)
class Dimension:
    """A key that is searched: numbers from `low` to `high`, both included, or `choices`."""

    key: str
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole ones: both bounds and the step are written so."""
        return all(is_whole(each) for each in (self.low, self.high, self.step or 1))

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that show whether all of them can be typed."""
        return self.choices or (self.low, self.high)

    @property
    def count(self) -> float:
        """How many values it has; of numbers that are not in steps endlessly many."""
        if self.choices:
            return len(self.choices)
        step = self.step or (1 if self.whole else 0)
        return round((self.high - self.low) / step) + 1 if step else math.inf

    def rounded(self, value: float) -> float:
        """As it is typed, within the bounds."""
        digits = EXACT if self.step else DIGITS
        return value if self.whole else min(max(float(f"{value:.{digits}g}"), self.low), self.high)

    def holds(self, value: Any) -> bool:
        if self.choices:
            return any(is_same(value, each) for each in self.choices)
        inside = is_number(value) and self.low <= value <= self.high and (is_whole(value) or not self.whole)
        return inside and (self.step is None or _is_multiple(value - self.low, self.step))

    def described(self) -> str:
        """optimizer.lr 0.0001 to 0.01 (log); finetune.layer_decay null, 0.65 or 0.9."""
        if self.choices:
            shown = [shown_as(each) for each in self.choices]
            return f"{self.key} {' or '.join(filter(None, [', '.join(shown[:-1]), shown[-1]]))}"
        how = " (log)" if self.log else f" in steps of {self.step:g}" if self.step else ""
        return f"{self.key} {self.low:g} to {self.high:g}{how}"

    def plain(self) -> dict[str, Any]:
        """As a file says it."""
        if self.choices:
            return {"choices": list(self.choices)}
        said = {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {key: value for key, value in said.items() if value is not None and value is not False}


def read(cfg: Config) -> list[Dimension]:
    """What `tune.space` asks for. Raises one ConfigError for all that can't be searched, a line each."""
    found, problems = [], list[str]()
    known = {key.partition(".")[2] for key in reads.own_keys("tune")}
    for key in sorted(map(str, cfg.tune.plain().keys() - known)):  # of a file of the user's, which is no place for it
        problems.append(f"tune.{key}: there is no such key; a search space begins with # @package {SPACE.rstrip('.')}")
    for key, node in cfg.tune.space.plain().items():
        if node is None or (isinstance(node, Mapping) and all(part is None for part in node.values())):
            continue  # taken away
        try:
            found.append(_dimension(str(key), node))
        except ConfigError as error:
            problems.append(str(error))
    if not (found or problems):
        problems.append(f"tune.space: holds no key to search; type {SPACE}optimizer.lr=[1e-4,1e-3], or tune=default")
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def _dimension(key: str, node: Any) -> Dimension:
    if why := _fixed(key):
        raise ConfigError(f"{SPACE}{key}: can't be searched, as {why}")
    said = {part: value for part, value in node.items() if value is not None} if isinstance(node, Mapping) else {}
    if unknown := said.keys() - PARTS:
        raise ConfigError(f"{SPACE}{key}.{min(unknown)}: there is no such part of a range ({', '.join(PARTS)})")
    if "choices" in said:
        return Dimension(key, choices=_choices(key, said))
    if not {"low", "high"} <= said.keys():
        example = "{low: 1e-4, high: 1e-2, log: true}"
        raise ConfigError(f"{SPACE}{key}={shown_as(node)}: must be a list of choices, or a range like {example}")
    return _range(key, said)


def _fixed(key: str) -> str:
    for fixed, why in FIXED.items():
        if key == fixed or (key.startswith(f"{fixed}.") and fixed not in ("dataset", "objective")):
            return why
    group, _, name = key.partition(".")
    return FIXED["dataset"] if group == "dataset" and name.partition(".")[0] in MEASURED else ""


def _choices(key: str, said: Mapping[str, Any]) -> tuple[Any, ...]:
    choices = said["choices"]
    if not isinstance(choices, list) or len(choices) < 2 or len(said) > 1:
        raise ConfigError(f"{SPACE}{key}={shown_as(choices)}: must be a list of at least two choices, or a range")
    if any(is_same(a, b) for i, a in enumerate(choices) for b in choices[:i]):
        raise ConfigError(f"{SPACE}{key}={shown_as(choices)}: a choice stands there twice")
    return tuple(choices)


def _range(key: str, said: Mapping[str, Any]) -> Dimension:
    low, high, log, step = said["low"], said["high"], said.get("log", False), said.get("step")
    wrong = ""
    if not (is_number(low) and is_number(high) and low < high):
        wrong = "low and high must be numbers, low the smaller one"
    elif not isinstance(log, bool):
        wrong = "log must be true or false"
    elif step is not None and not (is_number(step) and 0 < step <= high - low):
        wrong = "step must be a number above 0 and at most high - low"
    elif step is not None and not _is_multiple(high - low, step):
        wrong = "high must be low and a whole number of steps"
    elif log and (low <= 0 or step is not None):
        wrong = "a log range has a low above 0 and no step"
    if wrong:
        raise ConfigError(f"{SPACE}{key}={shown_as(dict(said))}: {wrong}")
    return Dimension(key, low, high, log, step)


def _is_multiple(value: float, step: float) -> bool:
    return math.isclose(value / step, round(value / step), abs_tol=1e-9)


def is_same(a: Any, b: Any) -> bool:
    """Whether both are one value; True is no 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def shown_as(value: Any) -> str:
    """A value as Hydra reads it: null, true, 0.002, [1,2], {a: 1}, 'a text'."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {shown_as(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown_as, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}" if value % 1 else repr(value)
    return str(value) if isinstance(value, int) or str(value).replace("_", "a").isalnum() else quoted(str(value))


def typed(settings: Mapping[str, Any]) -> list[str]:
    """Settings as overrides, options before the keys that belong to them."""
    ordered = sorted(settings.items(), key=lambda each: each[0] not in compose.GROUPS)
    return [quote(f"{key}={value}") if key in PATH_KEYS else f"{key}={shown_as(value)}" for key, value in ordered]


def defaults(dimensions: Iterable[Dimension], cfg: Config) -> dict[str, Any]:
    """The values that a run has by itself, in the space or not."""
    return {
        each.key: cfg.names.get(each.key) if each.key in compose.GROUPS else _value(cfg.plain(), each.key)
        for each in dimensions
    }


def _value(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree
