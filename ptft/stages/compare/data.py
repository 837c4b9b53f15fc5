"""What the runs of a comparison learn from, whatever part of it one of them trains on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ptft.builders import components
from ptft.builders.inputs import expected
from ptft.config.config import Config
from ptft.config.resolve import Job, Opened, resolve
from ptft.config.rules import NOT_HANDED
from ptft.core import Source
from ptft.data.source import DividedSource
from ptft.errors import DataError, counted
from ptft.stages.compare import same
from ptft.stages.compare.design import AMOUNTS, Design, digest, named


@dataclass(frozen=True)
class Data:
    """What the runs of a comparison learn from."""

    fingerprint: str
    read: str
    """A digest of what says how they are read, which an arm may change for itself."""
    val: bool
    """Whether there is a validation split."""
    smallest: tuple[str, int] | None
    """The class with the fewest examples to train on, and how many; None where there are no classes."""
    noun: str
    """What they are called."""
    content: str | None
    """A digest of what their files hold, where they are files."""
    classes: tuple[str, ...]
    held: same.Held
    """What runs are measured on."""


def read_data(design: Design, opened: Opened) -> Data:
    """What the runs learn from, with all that there is to train on. Raises its errors with the baseline's name."""
    with named(design.baseline):
        job = resolve(design.overrides(design.baseline, 1, 0), opened)
        source = source_of(job, design)
        if isinstance(source, DividedSource):
            source.check_held_out()
        train, names = source.split("train"), source.spec.classes
        smallest = None
        if train is not None and train.labels is not None and source.spec.target == "class" and names:
            counts = train.labels.bincount(minlength=len(names))
            smallest = names[int(counts.argmin())], int(counts.min())
        noun = source.noun if isinstance(source, DividedSource) else "examples"
        read, val = how_read(job.config, design), source.split("val") is not None
        held = same.held_out(source)
        return Data(source.fingerprint(), read, val, smallest, noun, same.content(source), names, held)


def source_of(job: Job, design: Design) -> Source:
    """The data of a run, whatever part of them it would train on."""
    cfg = job.config
    labelled = "label" in components.needs(cfg.objective, cfg.trusted)
    return components.source(_whole(cfg, design), expected(job), cfg.trusted, labelled=labelled)


def _whole(cfg: Config, design: Design) -> dict[str, Any]:
    return {**cfg.dataset.plain(), AMOUNTS[design.key].removeprefix("dataset."): None}


def how_read(cfg: Config, design: Design) -> str:
    return digest({key: value for key, value in _whole(cfg, design).items() if key not in (*NOT_HANDED, "transform")})


def possible(design: Design, data: Data, typed: bool) -> tuple[Design, list[str]]:
    """The design without the amounts that a class can't give, and what is said of them. typed: whether somebody did.

    Raises DataError where somebody typed them, or nothing is left.
    """
    if design.key != "per_class" or data.smallest is None:
        return design, []
    name, count = data.smallest
    kept = [amount for amount in design.amounts if amount <= count]
    lost = [f"{amount:g}" for amount in design.amounts if amount > count]
    has = f"class {name} has {counted(count, data.noun)} to train on"
    if not lost:
        return design, []
    if typed or not kept:
        amounts = ",".join(f"{amount:g}" for amount in kept or sorted({1, count}) if amount)
        remedy = f"compare.per_class=[{amounts}]" if amounts and count else "compare.fractions=[0.1,1]"
        raise DataError(f"compare.per_class={','.join(lost)}: {has}; type '{remedy}'")
    return replace(design, amounts=kept), [f"compare.per_class without {' and '.join(lost)}, as {has}"]
