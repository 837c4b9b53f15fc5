"""`ptft schema`: every key that can be typed, as JSON for editors and other programs."""

from __future__ import annotations

import json
from typing import Any

from omegaconf import OmegaConf

from ptft.cli.help import rule_for
from ptft.config import compose, documented, reads, yaml_files
from ptft.config.documented import Meaning
from ptft.config.resume import FREE_ON_RESUME
from ptft.errors import ConfigError, suggest
from ptft.runtime.terminal import say

USAGE = "ptft schema [GROUP/NAME]"


@yaml_files.unchanging()
def schema(words: list[str]) -> int:
    """`ptft schema [GROUP/NAME]`: every key, or those of an option, with its rule, default and meaning, as JSON.

    A list of objects: `key`, `value` (what it must be, in words), the same as data: `type` (null where it may be any)
    and where they say something `choices`, `min`, `max` and the others of `ptft.validators.Rule`; `default`,
    `required`, `doc`, `options` that have it so (none: all), `stages` in which it may be typed, and `resume`, whether
    it may be typed on a resume.
    """
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise ConfigError(USAGE)
    group, _, name = words[0].replace("=", "/").partition("/") if words else ("", "", "")
    if words and name not in compose.options(group):
        raise ConfigError(f"{words[0]}: there is no such option{suggest(name, compose.options(group))}; {USAGE}")
    rows = [
        _row(key, meaning)
        for key, meanings in documented.keys().items()
        for meaning in meanings
        if not words or (name in meaning.options and documented.owner(key, name) == group)
    ]
    say(json.dumps(rows, indent=2, ensure_ascii=False))
    return 0


def _row(key: str, meaning: Meaning) -> dict[str, Any]:
    rule = rule_for(key, meaning)
    return {
        "key": key,
        "value": rule.words if rule else "",
        "type": None,
        **(rule.data if rule else {}),
        "default": None if meaning.default == "???" else _plain(meaning.default),
        "required": meaning.default == "???",
        "doc": meaning.comment,
        "options": meaning.options,
        "stages": reads.stages_of(key),
        "resume": any(key == free or key.startswith(f"{free}.") for free in FREE_ON_RESUME),
    }


def _plain(text: str) -> Any:
    """The value that stands behind a key in YAML, not resolved; of a node of keys null."""
    node: Any = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
    return node["value"]
