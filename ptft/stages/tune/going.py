"""A search as it goes: one trial after the other to its next rung, then the best and the defaults with other seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptft.config.config import Config
from ptft.errors import CheckpointError
from ptft.launch.cells import disown
from ptft.loggers.console import Console
from ptft.runs.folder import read_json
from ptft.stages.compare import same
from ptft.stages.compare.results import Measure
from ptft.stages.tune import confirm, messages, sampler, trials
from ptft.stages.tune.preflight import Tried
from ptft.stages.tune.search import FAILED, WHOLE, Plan, Trial
from ptft.stages.tune.space import Dimension
from ptft.stages.tune.state import State

DATA = ("dataset", "train.replay")
"""Keys, or nodes, that say what a run learns from."""


@dataclass
class Going:
    """All that a search needs while it runs; what changes is in `state`."""

    out: Console
    cfg: Config
    place: Path
    base: trials.Base
    plan: Plan
    dimensions: Sequence[Dimension]
    tried: Tried
    state: State
    data: dict[int, str | None] = field(default_factory=dict)
    """Seed -> the fingerprint of what its first run learned from."""
    other_data: list[str] = field(default_factory=list)
    """Runs that learned from other data than the first of their seed: these changed meanwhile."""

    @property
    def by(self) -> Measure:
        return Measure(self.tried.monitor["metric"].removeprefix("val/"), self.tried.monitor["mode"], "val")

    def search(self) -> None:
        """Until no trial is worth more steps. Raises Interrupted, StorageError."""
        self.state.save()
        began, before, steps = time.perf_counter(), self.state.seconds, 0
        while (trial := self.plan.following(self.state.trials, self._more())) is not None:
            if trial.number == len(self.state.trials):
                trial.settings = self._proposed() if trial.number else {}
                self.state.trials.append(trial)
            done, started = trial.steps, time.perf_counter()
            self._train(trial)
            self.state.seconds = before + time.perf_counter() - began
            self.state.save()
            self._tidy()
            steps += trial.steps - done
            pace = (time.perf_counter() - began) / max(1, steps)
            seconds = time.perf_counter() - started
            begun = len(self.state.trials)
            messages.progress(self.out, trial, self.plan, self.by, seconds, begun, pace * self._left())

    def _more(self) -> bool:
        limit: float | None = self.cfg.tune.minutes
        return limit is None or self.state.seconds < 60 * limit

    def _proposed(self) -> dict[str, Any]:
        known = [sampler.Known(*each) for each in self.known()]
        return sampler.proposed(
            self.dimensions, known, self.tried.monitor["mode"], self.cfg.seed, len(self.state.trials)
        )

    def known(self) -> list[tuple[dict[str, Any], int, float | None, bool]]:
        """What the trials came to, by settings that are in the space."""
        return [
            (settings, len(trial.rungs), trial.value, trial.status == WHOLE)
            for trial in self.state.trials
            if (settings := self.settings_of(trial)) is not None
        ]

    def settings_of(self, trial: Trial) -> dict[str, Any] | None:
        """A value for every key; of the defaults None where one of theirs is not in the space."""
        return trial.settings if trial.number else self.tried.own

    def _train(self, trial: Trial) -> None:
        """To the next rung, or from the last one to the end."""
        level, cell = len(trial.rungs), self.base.trial(trial)
        share = self.plan.rungs[level] if level < len(self.plan.rungs) else None
        status = self._ran(cell, self.base.seed, share)
        trials.note(trial, status, cell.folder(self.place), self.tried.monitor, len(self.plan.rungs) + 1)

    def _ran(self, cell: trials.Cell, seed: int, share: float | None = None) -> dict[str, Any]:
        """As `trials.ran`. Raises CheckpointError where it started from another checkpoint than the defaults did."""
        status = trials.ran(cell, self.place, share)
        folder, keys = cell.folder(self.place), [each.key for each in self.dimensions]
        if "ckpt" not in keys and same.has_other_start(self.tried.start, folder):
            disown(cell, self.place)
            raise CheckpointError(
                f"ckpt={self.cfg.ckpt}: changed while the search ran; name one that stays as it is (a finished run, or "
                "a copy), and search again in another folder"
            )
        data = (read_json(folder / "summary.json").get("data") or {}).get("fingerprint")
        as_usual = self.data.setdefault(seed, data)  # another seed may draw other examples
        if data not in (None, as_usual) and not any(key.startswith(DATA) for key in keys):
            self.other_data.append(cell.name)
        return status

    def _tidy(self) -> None:
        """Without the checkpoints of trials that never go on, and of those that ended and are not the best."""
        if self.cfg.tune.keep == "all":
            return
        best, all_of_them = self.plan.best(self.state.trials), self.state.trials
        ended = [trial for trial in all_of_them[1:] if trial.status in (FAILED, WHOLE)]
        beaten = [trial for trial in ended if trial is not best]
        for trial in [*self.plan.hopeless(all_of_them), *beaten]:
            trials.drop_checkpoints(trial.folder)

    def _left(self) -> float:
        """About how many steps are left to train."""
        whole = self.tried.steps or 0
        done = sum(trial.steps for trial in self.state.trials)
        left: float = (self.plan.cost() + 2 * self.cfg.tune.confirm) * whole - done
        return max(0.0, left)

    def confirm(self) -> None:
        """Train both with other seeds, the same for both; nothing where the best are the defaults, or either failed."""
        best = self.plan.best(self.state.trials)
        if best is None or best.number == 0 or self.state.trials[0].status == FAILED:
            return
        count = self.cfg.tune.confirm
        seeds = [self.base.seed + each for each in range(1, count + 1)]
        pairs = [(seed, who) for seed in seeds for who in (confirm.DEFAULTS, confirm.FOUND)]
        self.state.confirmation = []
        for number, (seed, who) in enumerate(pairs, 1):
            cell = self.base.again(who, best.settings if who == confirm.FOUND else {}, seed)
            folder = cell.folder(self.place)
            run = confirm.record(who, seed, folder, self._ran(cell, seed), self.tried.monitor)
            self.state.confirmation.append(run)
            self.state.save()
            if self.cfg.tune.keep != "all":
                trials.drop_checkpoints(folder)
            messages.confirmed(self.out, run, f"confirm {number} of {len(pairs)}", self.by)
