"""The design of a comparison: arms, amounts of labels, seeds and rates, and the runs that follow from them."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptft.config.config import Config
from ptft.config.overrides import Overrides, quote
from ptft.errors import ConfigError, PtftError, suggest
from ptft.runs.folder import slug

OWN = {"seed": "compare.seeds"} | {
    f"dataset.{key}": "compare.per_class or compare.fractions" for key in ("per_class", "fraction", "limit")
}
"""Keys that a comparison chooses for its runs, and the key that says how."""

EVERY = ("stage=finetune", "predictions=none", "train.safetensors=false", "report=false")
"""What each run is told first; what is typed for the comparison or an arm wins."""

AROUND = (0.3, 1.0, 3.0)
"""What an arm's own learning rate is multiplied by where three of them are tried."""

AMOUNTS = {"per_class": "dataset.per_class", "fractions": "dataset.fraction"}


@dataclass(frozen=True)
class Design:
    """What was asked for, as plain data.

    arms: name -> the overrides of each of its runs, the baseline first.
    key: `per_class` or `fractions`, what `amounts` (rising) are.
    rates: learning rates to choose from; one None where none is chosen.
    tunes: whether each arm chooses among three rates around its own, with the first seed, and why it can't (`untuned`).
    choices: arm -> those three, once they are known; one None for an arm without a rate of its own.
    keep: which checkpoints of a finished run stay, all or best.
    """

    arms: dict[str, list[str]]
    baseline: str
    key: str
    amounts: list[float]
    seeds: list[int]
    rates: list[float | None]
    keep: str = "all"
    tunes: bool = False
    untuned: str = ""
    choices: Mapping[str, list[float | None]] = field(default_factory=dict)

    def rates_of(self, arm: str) -> list[float | None]:
        """What an arm chooses from."""
        return self.choices.get(arm, self.rates)

    @property
    def chooses(self) -> bool:
        return any(len(self.rates_of(arm)) > 1 for arm in self.arms) or self.rates != [None]

    def around(self, rates: Mapping[str, float | None], untuned: str) -> Design:
        """The same, where `tunes`, with the rates that each arm tries. rates: its own, None where it has none.

        untuned: why nothing can be tuned, or nothing.
        """
        if not self.tunes or untuned:
            return replace(self, tunes=False, untuned=untuned if self.tunes else "")
        tried: dict[str, list[float | None]] = {
            arm: [None] if rate is None else [*(float(f"{factor * rate:.3g}") for factor in AROUND)]
            for arm, rate in rates.items()
        }
        return replace(self, choices=tried)

    def overrides(self, arm: str, amount: float, seed: int, rate: float | None = None) -> list[str]:
        """What one run is composed from."""
        chosen = [f"{AMOUNTS[self.key]}={amount}", f"seed={seed}"]
        return merged(self.arms[arm], chosen, [] if rate is None else [f"optimizer.lr={rate}"])

    def starting(self, paths: Mapping[str, str | None]) -> Design:
        """The same where `ckpt=` of an arm is what it means now, whatever becomes the latest run later."""
        return replace(self, arms={name: _started(typed, paths.get(name)) for name, typed in self.arms.items()})

    def pinned(self, pins: Iterable[str]) -> Design:
        """The same with overrides that are known only later; what an arm says itself wins."""
        return replace(self, arms={name: merged(pins, typed) for name, typed in self.arms.items()})


@dataclass(frozen=True)
class Cell:
    """One run of the comparison."""

    arm: str
    amount: float
    seed: int
    rate: float | None
    overrides: list[str] = field(compare=False)
    identity: str
    """Equal for runs that would give the same result."""

    def folder(self, base: Path) -> Path:
        """Where it runs below a comparison's folder."""
        rate = "" if self.rate is None else f"-lr{self.rate:g}"
        return base / "cells" / f"{slug(self.arm)}-{self.amount:g}-seed{self.seed}{rate}-{self.identity[:8]}"

    def description(self) -> dict[str, Any]:
        return {"arm": self.arm, "amount": self.amount, "seed": self.seed, "lr": self.rate, "identity": self.identity}


def read_design(cfg: Config, overrides: Overrides) -> Design:
    """What the node `compare` of a checked configuration asks for, whose runs are composed from what was typed.

    Raises ConfigError for what contradicts itself.
    """
    design = cfg.compare.plain()
    arms = {name: _texts(typed) for name, typed in design["arms"].items() if typed is not None}
    baseline, common = design["baseline"], _common(overrides, cfg.ckpt)
    only = _texts(design["only"]) if design["only"] else list(arms)
    for key, name in [("baseline", baseline), *(("only", name) for name in only)]:
        if name not in arms:
            raise ConfigError(f"compare.{key}={name}: there is no such arm{suggest(name, arms)} ({', '.join(arms)})")
    chosen = [baseline, *(name for name in arms if name in only and name != baseline)]
    if len(chosen) < 2:
        raise ConfigError(f"compare.arms: nothing to compare {baseline} with; add compare.arms.NAME=ckpt=…")
    key = "fractions" if design["fractions"] else "per_class"
    if not design[key]:
        raise ConfigError("compare.per_class and compare.fractions: one of them must say how many labels to use")
    seeds = design["seeds"]
    return Design(
        arms={name: merged(EVERY, common, _arm(name, arms[name])) for name in chosen},
        baseline=baseline,
        key=key,
        amounts=sorted(design[key]),
        seeds=list(range(seeds)) if isinstance(seeds, int) else list(seeds),
        rates=design["tune"] if isinstance(design["tune"], list) else [None],
        keep=design["keep"],
        tunes=design["tune"] == "auto" and "optimizer.lr" not in overrides.typed,
    )


def _arm(name: str, typed: list[str]) -> list[str]:
    """An arm's own overrides, quoted; what is the same for all arms is refused."""
    own = Overrides.parse(quote(text) for text in typed)
    for text, key in zip(own.texts, own.keys, strict=True):
        if key in (*OWN, "stage", "dataset", "dry_run", "resume") or key.split(".")[0].split("/")[0] == "hydra":
            raise ConfigError(f"compare.arms.{name}: {text}: is the same for all arms of a comparison")
        if key.split(".")[0] == "trusted":
            raise ConfigError(f"compare.arms.{name}: {text}: type it for the whole comparison, not for an arm")
    return list(own.texts)


def _texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _common(typed: Overrides, ckpt: str | None) -> list[str]:
    """What was typed and counts for every run; a checkpoint as the file that it means now."""
    kept = []
    for text, key in zip(typed.texts, typed.keys, strict=True):
        if key in OWN:
            raise ConfigError(f"{text}: in a comparison {OWN[key]} says it")
        if key.split(".")[0] in ("stage", "compare", "hydra", "dry_run", "resume"):
            continue
        kept.append(quote(f"ckpt={ckpt}") if key == "ckpt" and ckpt is not None else text)
    return kept


def _started(typed: list[str], path: str | None) -> list[str]:
    keys = Overrides.parse(typed).keys
    return [quote(f"ckpt={path}") if key == "ckpt" and path else text for text, key in zip(typed, keys, strict=True)]


def merged(*parts: Iterable[str]) -> list[str]:
    """Overrides of which a later one takes the place of an earlier one of the same key."""
    all_of_them = Overrides.parse(text for part in parts for text in part)
    return list(dict(zip(all_of_them.keys, all_of_them.texts, strict=True)).values())


class named:
    """Inside, an error of ptft gets the name of the arm in front."""

    def __init__(self, arm: str) -> None:
        self.arm = arm

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PtftError) and error.exit_code < 100:
            raise type(error)(f"compare.arms.{self.arm}: {error}") from error


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


Rates = Mapping[tuple[str, float], float | None]
"""(arm, amount) -> its rate."""


def cells(design: Design, identities: Mapping[str, str], chosen: Rates | None = None) -> list[Cell]:
    """The runs, seed by seed, so that a part of them is a comparison too. identities: of the arms, from `trial`.

    Where arms tune their rates it is those with the first seed, which try each; with `chosen` the others as well.
    """
    runs = []
    for seed, amount, arm in itertools.product(design.seeds, design.amounts, design.arms):
        tries = not design.tunes or seed == design.seeds[0]
        for rate in design.rates_of(arm) if tries else [chosen[arm, amount]] if chosen is not None else []:
            identity = digest([identities[arm], design.key, amount, seed, rate])
            runs.append(Cell(arm, amount, seed, rate, design.overrides(arm, amount, seed, rate), identity))
    return runs


def planned(design: Design, identities: Mapping[str, str]) -> list[Cell]:
    """As many runs as there will be, of which those that follow from others have a rate that may not be theirs."""
    first = {(arm, amount): design.rates_of(arm)[0] for arm in design.arms for amount in design.amounts}
    return cells(design, identities, first)
