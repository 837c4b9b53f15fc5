"""Completion in a shell, as far as Hydra does not do it: flags, words, and what stands behind a word."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping

from ptft.config import compose, documented
from ptft.config.overrides import FLAGS
from ptft.config.settled.searched import SPACE
from ptft.runs.registry import OUTPUTS, folders_below, short_name
from ptft.runtime import json_lines
from ptft.runtime.terminal import say


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


def _say(begun: str, offered: Iterable[str]) -> None:
    if found := sorted({name for name in offered if name.startswith(begun)}):
        say("\n".join(found))
