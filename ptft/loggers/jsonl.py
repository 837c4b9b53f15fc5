"""metrics.jsonl: one object a line."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path


def cut_metrics(path: Path, step: int) -> None:
    """Drop the rows of metrics.jsonl that are newer than `step`, the end's (test), and a last line that was cut."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if row.get("step", 0) <= step and row.get("split") != "test":
                kept.append(line + "\n")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text("".join(kept), encoding="utf-8")
    os.replace(aside, path)
