"""The command line: flags, words, and overrides, which are quoted for Hydra where they are paths and parsed once."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException

from ptft.config.settled import own_views, searched
from ptft.errors import ConfigError, first_line, suggest

PATH_KEYS = frozenset(
    {"ckpt", "against", "resume", "input", "text", "output", "dataset.root", "dataset.ignore", "objective.teacher"}
    | {"objective.units", "objective.text_ckpt", "objective.lm", "train.replay", "hydra.run.dir", "hydra.sweep.dir"}
)
"""Keys whose values are paths or people's texts: typed as they are, without Hydra's quoting."""
MARKS = frozenset({"dataset.label_separator"})
"""Those whose value may be a comma itself, and of which no sweep has several."""
AS_TYPED = PATH_KEYS | MARKS | {"dataset.pattern", "zero_shot.template"}
"""Those whose values need no quotes for Hydra, patterns of names among them."""

NAMED = {f"dataset.{key}" for key in ("text", "label", "group", "classes", "names")}
NAMED |= {"evaluate.by", "train.panel", "model.embeddings", "zero_shot.names"}
"""Those whose values are names in people's own data, or lists of such: of columns, of classes, of runs, of models."""
PLAIN = re.compile(
    r"[\w./@+-]*|.*[\[\]{}].*|(choice|range|interval|glob|sort|shuffle|tag|int|float|str|bool)\(.*\)", re.ASCII
)
"""What Hydra reads itself among them: words, numbers, lists of lists, sweeps."""

ARMS = "compare.arms."
"""What keys of lists of overrides begin with; the overrides in them are typed as they are, too."""

SHOW = frozenset(
    {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
)
"""Hydra's own flags that print something and run nothing."""

QUOTES = "'\""
QUOTED = {"[": '["…","…"]', "{": '{…: "…"}', "$": '"…"'}
"""How a value that begins so is typed when a part of it needs quotes."""
LARGEST = 10_000
"""Jobs of a sweep at the most; each is composed and checked before the first of them starts."""
OTHER_FLAGS = {"-V": "--version", "-v": "--version"}
"""What other programs take, and what is typed here."""
TAKES_VALUE = frozenset({"--cfg", "-c", "--package", "-p"})
PASSED_ON = SHOW | TAKES_VALUE | {"--resolve"}
OWN_FLAGS = frozenset({"-m", "--multirun", "--json"})
FLAGS = PASSED_ON | OWN_FLAGS


@dataclass
class Arguments:
    """The command line, sorted."""

    overrides: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    multirun: bool = False
    json: bool = False
    """Whether objects are asked for; `ptft.runtime.json_lines` is what becomes of it."""

    @property
    def shows(self) -> bool:
        return any(flag.split("=")[0] in SHOW for flag in self.flags)

    @property
    def completes(self) -> bool:
        """Whether a shell asks for completion; its overrides are Hydra's to read."""
        return any(flag.split("=")[0] in ("--shell-completion", "-sc") for flag in self.flags)


def parse(argv: list[str]) -> Arguments:
    """Sort `argv` into overrides (quoted for Hydra), plain words and Hydra's flags.

    Raises ConfigError for a flag that ptft does not know.
    """
    arguments = Arguments(multirun=any(word in ("-m", "--multirun") for word in argv))
    words = iter(argv)
    for word in words:
        if word in OWN_FLAGS:
            arguments.json |= word == "--json"
            continue
        if word.startswith("-"):
            if word.split("=")[0] not in PASSED_ON:
                near = suggest(word, FLAGS)
                remedy = f"; type {OTHER_FLAGS[word]}" if word in OTHER_FLAGS else near
                raise ConfigError(f"{word}: there is no such flag{remedy}")
            arguments.flags.append(word)
            if word in TAKES_VALUE:
                arguments.flags.extend([next(words, "")])
        elif "=" in word or word.startswith("~"):
            arguments.overrides.append(quote(word, multirun=arguments.multirun))
        else:
            arguments.words.append(word)
    return arguments


def quote(override: str, *, multirun: bool = False) -> str:
    """`ckpt=runs/a b,(1)=2.pt` -> the same with the path quoted for Hydra's grammar; other overrides unchanged.

    `null`, `???`, `${…}` and values that are quoted already keep Hydra's meaning. Under `multirun` commas separate, but
    not in Hydra's own folders, of which there is one, and in MARKS.
    """
    key, value = override.split("=", 1) if "=" in override else (override, "")
    if key.lstrip("+").startswith(ARMS):
        return f"++{key.lstrip('+')}={_arm(value)}"
    if key.lstrip("+").startswith(searched.SPACE):
        return searched.quoted(key.lstrip("+"), value)
    if key.lstrip("+") in NAMED:
        return f"{key}={_names(value, multirun)}"
    if key.lstrip("+") not in AS_TYPED or _is_hydra(value) or (key == "zero_shot.template" and value[0] == "["):
        return override
    parts = value.split(",") if multirun and not key.startswith("hydra.") and key not in MARKS else [value]
    return f"{key}={','.join(part if _is_hydra(part) else quoted(part) for part in parts)}"


def _names(value: str, multirun: bool) -> str:
    """`Text (EN)` or `[Text (EN),b]` -> with quotes around what Hydra can't read. Under `multirun` commas separate."""
    if _is_hydra(value) or any(quote in value for quote in QUOTES[1:]):
        return value
    if (inner := value[1:-1]) and value == f"[{inner}]":
        return f"[{','.join(map(_name, inner.split(',')))}]"
    parts = value.split(",")
    sweep = not PLAIN.fullmatch(value) and (multirun or all(map(PLAIN.fullmatch, parts)))
    return ",".join(map(_name, parts)) if sweep else _name(value)


def _name(value: str) -> str:
    return value if PLAIN.fullmatch(value) or _is_hydra(value) else quoted(value.strip())


def _arm(value: str) -> str:
    """`ckpt=a b` or `[ckpt=a b,finetune.train=head]` -> a list of strings for Hydra.

    Without brackets it is one override, whatever is in it; within, one ends where a comma and the next key follow.
    """
    if value in ("", "null", "[]"):
        return value
    inner = value[1:-1] if value[0] == "[" and value[-1] == "]" else None
    parts = [value] if inner is None else re.split(r",\s*(?=['\"]?[+~]{0,2}[\w./@-]+=|~)", inner)
    return f"[{','.join(part if part[0] in QUOTES and part[-1] == part[0] else quoted(part) for part in parts)}]"


def _is_hydra(value: str) -> bool:
    quoted = len(value) > 1 and value[0] in QUOTES and value[-1] == value[0]
    return value in ("", "null", "???") or "${" in value or quoted


def quoted(value: str) -> str:
    """Single quotes; a backslash counts for Hydra only before a quote, so only those are doubled."""
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    trailing = re.search(r"\\*$", escaped)
    return f"'{escaped}{trailing[0] if trailing else ''}'"


@dataclass(frozen=True)
class Overrides:
    """What was typed for one run or one sweep, parsed once.

    texts: `key=value`, quoted for Hydra; parsed: Hydra's reading of each, in the same order.
    """

    texts: tuple[str, ...] = ()
    parsed: tuple[Override, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Overrides:
        """Raises one ConfigError for all that is no override."""
        texts = tuple(texts)
        parsed, problems = [], []
        for text in texts:
            try:
                parsed.append(_parsed(text))
            except ConfigError as error:
                problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))
        return cls(texts, tuple(parsed))

    @classmethod
    def of(cls, texts: Overrides | Iterable[str]) -> Overrides:
        return texts if isinstance(texts, Overrides) else cls.parse(texts)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key or group of every override."""
        return tuple(str(override.key_or_group) for override in self.parsed)

    @cached_property
    def typed(self) -> dict[str, Any]:
        """Key -> value (the last of each), groups and `hydra.*` included, deletions not."""
        return {o.key_or_group: o.value() for o in self.parsed if not o.is_delete()}

    @property
    def swept(self) -> list[str]:
        """The keys that were given several values."""
        return [key for key, override in zip(self.keys, self.parsed, strict=True) if override.is_sweep_override()]

    def where(self, keep: Callable[[str], bool]) -> Overrides:
        """Those of the keys that `keep` wants."""
        return self._chosen([keep(key) for key in self.keys])

    def of_these(self, parsed: Collection[Override]) -> Overrides:
        """Those of them that are among `parsed`."""
        kept = {id(override) for override in parsed}
        return self._chosen([id(override) in kept for override in self.parsed])

    def _chosen(self, kept: Sequence[bool]) -> Overrides:
        return Overrides(tuple(itertools.compress(self.texts, kept)), tuple(itertools.compress(self.parsed, kept)))

    def with_(self, *texts: str) -> Overrides:
        """These, and then others."""
        more = Overrides.parse(texts)
        return Overrides((*self.texts, *more.texts), (*self.parsed, *more.parsed))

    def with_own(self) -> Overrides:
        """With `dataset=torch_dataset` where a dataset's class is typed and no dataset."""
        own = TARGETS["dataset"] in self.keys and "dataset" not in self.keys
        return Overrides.parse([f"dataset={OWN}"]).with_(*self.texts) if own else self

    def for_hydra(self) -> list[str]:
        """The texts as Hydra reads them by itself, to which the keys of a typed class are new."""
        new, pairs = unlisted(self.parsed)[1:], zip(self.texts, self.keys, strict=True)
        return [f"++{text}" if new and key.startswith(new) and text[0] not in "+~" else text for text, key in pairs]

    def jobs(self) -> list[Overrides]:
        """Every combination of a sweep's values, the last key fastest, as Hydra's sweeper orders them.

        Raises ConfigError for more than `LARGEST`.
        """
        count = math.prod(map(_count, self.parsed))
        if count > LARGEST:
            most = max(zip(self.texts, self.parsed, strict=True), key=lambda pair: _count(pair[1]))[0]
            raise ConfigError(
                f"{most}: makes a sweep of {count:,} jobs; at most {LARGEST:,} can be run: sweep fewer values"
            )
        choices = [_values(text, override) for text, override in zip(self.texts, self.parsed, strict=True)]
        return [Overrides(*zip(*job, strict=True)) for job in itertools.product(*choices)]


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> Override:
    """Hydra's reading, which nobody changes: a run asks for it several times, a sweep for each job."""
    try:
        override: Override = OverridesParser.create().parse_override(text)
    except (HydraException, OverrideParseException) as error:
        key, _, value = text.partition("=")
        shape = next((shape for first, shape in QUOTED.items() if value.startswith(first)), '"…"')
        raise ConfigError(
            f"{text}: can't be read as key=value; put values with special characters in quotes, e.g. '{key}={shape}'"
        ) from error
    return override


def _count(override: Override) -> int:
    """How many values an override has, without making them; a sweep without end has more than any number."""
    value = override.value()
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None and value.step:
        steps = (value.stop - value.start) / value.step
        return max(0, math.ceil(steps)) if math.isfinite(steps) else sys.maxsize
    return len(value.list) if isinstance(value, ChoiceSweep) else 1


def _values(text: str, override: Override) -> list[tuple[str, Override]]:
    """The override itself, or one for each of its values."""
    if not override.is_sweep_override():
        return [(text, override)]
    key = override.get_key_element()
    try:
        values = list(override.sweep_string_iterator())
    except (HydraException, ValueError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"{text}: can't be swept ({first_line(error)}); type the values, with commas") from error
    single = Overrides.parse(f"{key}={value}" for value in values)
    return list(zip(single.texts, single.parsed, strict=True))


TARGETS = {"model": "model._target_", "dataset": "dataset._target_"}
"""Where one is typed the keys of the chosen option are not the class's own: any key of the group may be typed then."""
OWN = "torch_dataset"
"""The dataset whose keys those of a typed class are."""


def typed_class(values: Iterable[Override], group: str) -> str | None:
    """What a model or dataset is called whose class is typed: that class; None where none is."""
    typed = [str(override.value()) for override in values if override.key_or_group == TARGETS[group]]
    return typed[-1].rpartition(".")[2] if typed else None


def unlisted(values: Sequence[Override]) -> tuple[str, ...]:
    """What keys begin with that only Hydra or such a class knows."""
    return ("hydra", *(f"{group}." for group in TARGETS if typed_class(values, group)), *own_views.keys(values))
