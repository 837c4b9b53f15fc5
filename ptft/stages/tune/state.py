"""What is known of a search, in `tune.json`: written after each step of it, so that one that was cut goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ptft.errors import ConfigError
from ptft.runs.folder import read_json, write_json
from ptft.runs.registry import SEARCH
from ptft.runtime.device import versions
from ptft.stages.tune.confirm import Again
from ptft.stages.tune.preflight import Tried
from ptft.stages.tune.search import Plan, Trial
from ptft.stages.tune.space import Dimension
from ptft.stages.tune.trials import digest


@dataclass
class State:
    """place: the search's folder; None in a dry run. before: what an earlier start left there."""

    place: Path | None
    before: dict[str, Any]
    trials: list[Trial] = field(default_factory=list)
    confirmation: list[Again] = field(default_factory=list)
    described: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    """Of the search, all starts together, without what confirms it."""

    @classmethod
    def of(cls, place: Path | None) -> State:
        return cls(place, read_json(place / SEARCH) if place else {})

    @property
    def pins(self) -> list[str]:
        return list(self.before.get("pins") or [])

    @property
    def identity(self) -> str:
        return digest(self.described["parts"])

    def begin(self, tried: Tried, dimensions: Sequence[Dimension], plan: Plan) -> list[str]:
        """Take up what is there; what to say of it. Raises ConfigError where that is another search, with what of it is
        another."""
        names = {key: tried.config.names[key] for key in ("model", "dataset", "objective")}
        space = {each.key: each.plain() for each in dimensions}
        asked = {"the space": space, "the rungs": plan.rungs, "tune.factor": plan.factor}
        parts = {**tried.parts, **{what: digest(content) for what, content in asked.items()}}
        halving = {"rungs": list(plan.rungs), "factor": plan.factor}
        said = {
            "pins": tried.pins,
            "monitor": tried.monitor,
            "space": space,
            "defaults": tried.usual,
            **halving,
            "parts": parts,
        }
        self.described = {"stage": "tune", **names, **said, "versions": versions()}
        if not self.before:
            return []
        before = self.before.get("parts") or {}
        if other := [what for what in {**before, **parts} if before.get(what) != parts.get(what)]:
            raise ConfigError(
                f"{self.place}: holds a search that differs in {' and '.join(other)}; choose another hydra.run.dir"
            )
        self.trials = [Trial.of_dict(each) for each in self.before.get("trials") or []]
        self.seconds = float(self.before.get("seconds") or 0)
        then, now = self.before.get("versions") or {}, self.described["versions"]
        moved = [f"{name} {then.get(name)}, now {now.get(name)}" for name in now if then.get(name) != now.get(name)]
        return (
            [f"began with {', '.join(moved)}; its trials stay, though they may come out otherwise now"] if moved else []
        )

    def save(self, **result: Any) -> None:
        """Raises StorageError."""
        assert self.place
        found = {"trials": [trial.to_dict() for trial in self.trials], "seconds": round(self.seconds, 3)}
        confirmed = {"confirmation": [asdict(each) for each in self.confirmation]}
        write_json(self.place / SEARCH, {"status": "running", **self.described, **found, **confirmed, **result})
