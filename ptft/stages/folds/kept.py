"""What a run keeps of each example of the fold that it was tested on, so that all folds can be measured together.

Axes: N examples, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ptft.builders import membership
from ptft.checkpoint import file as checkpoint_file
from ptft.core import Examples, Source
from ptft.errors import CheckpointError, StorageError
from ptft.loggers.console import Console
from ptft.stages.measure import intervals
from ptft.train.found import Found

FILE = "found_test.pt"


class Kept(NamedTuple):
    """found: of the examples that were measured. ratios: as `intervals.scored` gives them. owner: which unit each is
    in, long [N]; noun: what units are called. rows: which of the dataset's own examples each is, long [N], where they
    are not parts of these."""

    found: Found
    ratios: dict[str, Tensor]
    owner: Tensor
    noun: str
    rows: Tensor | None = None


def write(folder: Path, source: Source, examples: Examples, found: Found, out: Console) -> None:
    """`found_test.pt`; a full disk costs what it would have told, and not the run."""
    units = intervals.units(source, "test", examples)
    ratios = intervals.scored(examples, found) if found.each else {}
    rows = membership.rows(source, "test", examples)
    rows = rows[found.index] if rows is not None and len(rows) == len(examples) else None
    owner = units.owner[found.index]
    content = {"found": asdict(found), "ratios": ratios, "owner": owner, "noun": units.noun, "rows": rows}
    try:
        checkpoint_file.write(folder / FILE, content)
    except StorageError as error:
        out.say(f"{error}; the run goes on without it", "yellow")


def read(folder: Path) -> Kept | None:
    """None where there is none, or none that can be read."""
    try:
        content, _ = checkpoint_file.read(folder / FILE)
        found = Found(**content["found"])
        return Kept(found, content["ratios"], content["owner"], content["noun"], content["rows"])
    except (CheckpointError, OSError, KeyError, TypeError):
        return None


def joined(parts: Sequence[Kept]) -> Kept:
    """As if all had been measured at once; no unit is in two of them."""
    owners, total = [], 0
    for part in parts:
        _, owner = torch.unique(part.owner, return_inverse=True)
        owners.append(owner + total)
        total += int(owner.max()) + 1
    owner = torch.cat(owners)
    each, lists = (_joined([getattr(part.found, name) for part in parts]) for name in ("each", "lists"))
    found = Found(torch.arange(len(owner)), each, lists)
    return Kept(found, _joined([part.ratios for part in parts]), owner, parts[0].noun)


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """By name, of those that all have in one shape."""
    names = [name for name in parts[0] if len({part[name].shape[1:] for part in parts if name in part}) == 1]
    return {name: torch.cat([part[name] for part in parts]) for name in names if all(name in part for part in parts)}
