"""Commands of ptft that texts show, as lists of words: in code blocks, in backticks and in the heads of YAML files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

PATHS = {"ckpt", "resume", "input", "output", "dataset.root", "hydra.run.dir", "zero_shot.template"}
"""Keys whose values are examples of paths, or of texts; here any word does."""


def in_markdown(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r" *\\\n *", " ", block).splitlines()]
    return [text for text in [*lines, *re.findall(r"`([^`\n]+)`", prose)] if text.startswith("ptft ")]


def in_yaml(path: Path) -> list[str]:
    lines = (re.sub(r"^# *", "", line) for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#")
    return [line for line in lines if line.startswith("ptft ")]


def overrides(command: str) -> list[str]:
    """What of a command is composed: paths replaced by a word, the first of a sweep's values; no flags, no words."""
    typed, words = [], iter(shlex.split(command, comments=True)[1:])
    sweep = " -m " in f"{command} "
    for word in words:
        if word in ("--cfg", "-sc"):
            next(words)
        key, equals, value = word.partition("=")
        if word.startswith("-") or not equals:
            continue
        if key in PATHS and value != "null":
            value = "somewhere"
        if key.startswith("compare.arms."):
            key, value = f"+{key}", "[]"
        typed.append(f"{key}={value.split(',')[0] if sweep and value[0] != '[' else value}")
    return typed
