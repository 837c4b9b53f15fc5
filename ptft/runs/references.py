"""What a run refers to and needs again where it goes on: what it started from, replays, is measured by, learns from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError
from ptft.runs.listing import Listed
from ptft.runs.registry import is_name, named

KEYS = ("train.replay", "train.panel", "objective.teacher", "objective.text_ckpt")
"""Whose values are runs or checkpoints, or lists of such; `ckpt` says again what it started from."""
OPEN = ("running", "interrupted", "killed")
"""States of runs whose summary may not say yet what they started from."""


def of(run: Listed) -> Iterator[tuple[str, Path]]:
    """Key -> the folder or file that it means, `ckpt` for what the run started from; of what is there."""
    parent = (run.summary.get("parent") or {}).get("run")
    start = run.config.get("ckpt") if run.row["status"] in OPEN else None
    told = run.summary.get("refers") or {}
    for key, typed in (("ckpt", parent or start), *((key, told.get(key) or _typed(run.config, key)) for key in KEYS)):
        for name in typed if isinstance(typed, list) else [typed]:
            if isinstance(name, str) and name != "ckpt" and (place := _place(name, key)) is not None:
                yield key, place


def _typed(config: Mapping[str, Any], key: str) -> Any:
    group, _, name = key.partition(".")
    node = config.get(group)
    return node.get(name) if isinstance(node, Mapping) else None


def _place(name: str, key: str) -> Path | None:
    if os.path.lexists(path := os.path.expanduser(name)):
        return Path(path).resolve()
    if not is_name(name):
        return None
    try:
        return found.resolve() if (found := named(name, key)) else None
    except CheckpointError:  # it may be several by now
        return None
