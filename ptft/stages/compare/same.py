"""What all runs of a comparison share: what they start from, learn from and are measured on, while it runs as well."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ptft.core import Source
from ptft.data.examples import OnDemandExamples
from ptft.data.source import DividedSource
from ptft.data.splits import SPLITS
from ptft.errors import ConfigError, counted
from ptft.runs.folder import read_json

Held = dict[str, tuple[str, list[int]] | int]
"""Split -> which rows of which of the dataset's own splits it is, or how many examples where nobody says that."""


def content(source: Source) -> str | None:
    """A digest of what the files of examples hold, where that is known (`data.files.identities`).

    A fingerprint stands for their names and sizes alone, so that a copy of a large set is known without being read.
    """
    if not isinstance(source, DividedSource):
        return None
    digest, known = hashlib.sha256(), False
    for name in SPLITS:
        part = source.part(name)
        if part is None or not isinstance(source.loaded(part.split), OnDemandExamples):
            continue
        if (identities := source.identities(part.split)) is not None:
            digest.update(name.encode() + identities[part.rows].numpy().tobytes())
            known = True
    return digest.hexdigest() if known else None


def held_out(source: Source) -> Held:
    """What runs are measured on."""
    held: Held = {}
    for name in ("val", "test"):
        if isinstance(source, DividedSource):
            if (part := source.part(name)) is not None:
                held[name] = part.split, part.rows.tolist()
        elif (examples := source.split(name)) is not None:
            held[name] = len(examples)
    return held


def check_measured(name: str, source: Source, baseline: str, classes: tuple[str, ...], held: Held) -> None:
    """Raises ConfigError where an arm answers another question than the baseline, or is measured on other examples."""
    if {*source.spec.classes} != {*classes}:
        raise ConfigError(
            f"compare.arms.{name}: has {counted(len(source.spec.classes), 'classes')}, {baseline} {len(classes)}: they "
            "are not the same task; type what chooses them for the whole comparison"
        )
    own = held_out(source)
    for split in ("val", "test"):
        if own.get(split) != held.get(split):
            sizes = (_size(each, split) for each in (own, held))
            raise ConfigError(
                f"compare.arms.{name}: its {split} split is another one than that of {baseline} "
                f"({' and '.join(sizes)} examples), so they can't be compared; type what divides the data, or leaves "
                "examples out, for the whole comparison"
            )


def _size(held: Held, split: str) -> str:
    found = held.get(split)
    return f"{found if isinstance(found, int) else len(found[1]):,}" if found is not None else "no"


def has_other_start(sha256: str | None, folder: Path) -> bool:
    """Whether a finished run started from a checkpoint of another digest."""
    parent: Any = read_json(folder / "summary.json").get("parent")
    began = parent.get("sha256") if isinstance(parent, dict) else None
    return sha256 is not None and began not in (None, sha256)


def other_start(name: str, ckpt: str | None, sha256: str | None, folder: Path) -> str:
    """What to say of a finished run that started from another checkpoint than its arm did when it was looked at."""
    if not has_other_start(sha256, folder):
        return ""
    return (
        f"compare.arms.{name}: {ckpt} changed while the comparison ran; name one that stays as it is (a finished run, "
        "or a copy), and start it again"
    )
