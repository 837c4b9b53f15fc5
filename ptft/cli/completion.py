"""Completion in a shell, as far as Hydra does not do it: flags, words, what stands behind a word, values of keys."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ptft.cli.help import rule_for
from ptft.config import compose, documented
from ptft.config.overrides import FLAGS
from ptft.config.settled.searched import SPACE
from ptft.runs import references
from ptft.runs.registry import NEEDED, OUTPUTS, candidates, folders_below, short_name
from ptft.runtime import json_lines
from ptft.runtime.terminal import say

PLAIN = re.compile(r"[\w.+-]+")
"""Defaults that are one value, and no list, reference or gap."""


def answer(words: Mapping[str, Callable[[list[str]], int]]) -> bool:
    """Answer a shell, which asks with the line in COMP_LINE; whether nothing is left to be asked of Hydra.

    words: those that the line may begin with. Flags of ptft's own are taken out of what Hydra reads.
    """
    line = os.environ.get("COMP_LINE", "")
    *before, last = line.split(" ") if line else [""]
    if len(before) > 1 and before[1] in words:
        flags = re.findall(r"--[a-z]+", str(words[before[1]].__doc__))
        _say(last, flags if last.startswith("-") else _behind(before[1]))
        return True
    if last.startswith("-") and before:
        _say(last, FLAGS)
        return True
    if last.startswith(SPACE):
        keys = [key for key in [*documented.keys()] if "." in key and not key.startswith("tune.")]
        _say(last, [f"{SPACE}{key}=" for key in keys])
        return True
    key, typed, _ = last.partition("=")
    if typed and key not in compose.GROUPS and _say(last, _values(key)):
        return True
    if len(before) == 1 and last:
        _say(last, words)
    if line:
        os.environ["COMP_LINE"] = " ".join([*(word for word in before if word != json_lines.FLAG), last])
    return False


def _behind(word: str) -> list[str]:
    """What is meant by a word: runs, groups, options of these."""
    if word in ("show", "diff", "lineage", "rm", "report"):
        newest = [] if word == "rm" else ["latest"]
        return [*newest, *(short_name(folder) for folder in folders_below(OUTPUTS))]
    groups = list(compose.listing()) if word in ("ls", "help") else []
    options = [f"{group}/{name}" for group, names in compose.listing().items() for name in names]
    return [*groups, *(options if word in ("cp", "schema", "help") else [])]


def _values(key: str) -> Iterator[str]:
    """The key, which is no group, with each of the runs, or of the few values, that it may be."""
    if key in (*NEEDED, *references.KEYS, "against"):
        newest = ["latest"] if key in NEEDED else []
        yield from (f"{key}={name}" for name in (*newest, *map(short_name, candidates(key))))
    for meaning in documented.keys().get(key, []):
        if rule := rule_for(key, meaning):
            named = [each if isinstance(each, str) else json.dumps(each) for each in _choices(rule.data)]
            usual = [meaning.default] if named and PLAIN.fullmatch(meaning.default) else []
            nothing = ["null"] if named and rule.data.get("nullable") else []
            yield from (f"{key}={each}" for each in (*named, *usual, *nothing))


def _choices(data: Mapping[str, Any]) -> Iterator[Any]:
    """The values that a rule (its `data`) names, of those that a pattern stands for the whole words."""
    yield from (*data.get("choices", []), *data.get("also", []))
    if data.get("type") == "boolean":
        yield from (True, False)
    pattern = data.get("pattern", "")
    yield from (word for word in re.findall(r"(?:^|\|)(\w+)", pattern) if re.fullmatch(pattern, word))
    for one in data.get("any_of", []):
        yield from _choices(one)


def _say(begun: str, offered: Iterable[str]) -> bool:
    """Say those that begin so; whether there are any."""
    if found := sorted({name for name in offered if name.startswith(begun)}):
        say("\n".join(found))
    return bool(found)
