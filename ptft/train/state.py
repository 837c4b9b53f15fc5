"""State of a training run: position, budget, sums, and all that an exact continuation needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ptft.core import Batch, Objective, Step, Table
from ptft.finetune import lora
from ptft.finetune.l2sp import L2SP
from ptft.finetune.phases import Phases
from ptft.optim.averaging import Ema, EvaluationAverage
from ptft.optim.schedules import Schedule
from ptft.runtime.rng import own_state, rng_state, set_own_state, set_rng_state
from ptft.runtime.together.alone import Alone, Lists, current
from ptft.train.cuda_graph import StepGraph
from ptft.train.every import Every

SUPPOSED = 1000  # steps of a run that only minutes end, at its first one: so many that a warm-up has just begun
CLOCK = "evaluated_at"
"""Of a training's state, where a clock says when to evaluate."""


class Batches(Protocol):
    """What the loop asks of a loader."""

    device: torch.device

    def __len__(self) -> int: ...
    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]: ...
    def score(self, lists: dict[str, Tensor]) -> Mapping[str, float | Table]: ...
    def whole(self, sums: dict[str, Tensor], lists: Lists, places: list[int]) -> tuple[dict[str, Tensor], Lists]: ...


@dataclass
class Progress:
    """Where a run stands: position, best metric, time spent in training steps. Plain numbers."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    """Of these seconds, those in which the next batch was not there yet."""
    best: float | None = None
    best_step: int = 0
    best_loss: float | None = None
    """The validation loss there, which decides between equals."""
    worse: int = 0
    """Evaluations since the metric was better than ever before."""
    evaluated: int = 0
    """The step of the last evaluation that was finished."""
    averaged: int = 0
    """Where the run's end chose the mean of the last evaluations' weights as its result: of how many."""


@dataclass
class Budget:
    """The first one reached ends the run; at least one is set."""

    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None

    def total(self, per_epoch: int) -> int | None:
        """Optimizer steps, or None where only time counts."""
        limits = [self.steps, self.epochs * per_epoch if self.epochs else None]
        return min((limit for limit in limits if limit is not None), default=None)


class Meter:
    """Sums and lists of Steps, kept on the device; reading them is the only synchronisation."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.parts: dict[str, list[Tensor]] = {}
        """Of each list, one part a step."""

    def add(self, step: Step) -> None:
        self.merge({"total": step.total.detach(), "count": step.count, **step.sums})
        self.keep(step.lists)

    def keep(self, lists: dict[str, Tensor]) -> None:
        for name, values in lists.items():
            self.parts.setdefault(name, []).append(values)

    @property
    def lists(self) -> dict[str, Tensor]:
        """Each list joined over the steps, first axis all examples so far."""
        return {name: torch.cat(parts) for name, parts in self.parts.items()}

    def merge(self, sums: dict[str, Tensor]) -> None:
        for name, value in sums.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def metrics(self, objective: Objective) -> dict[str, float]:
        """`loss` and whatever the objective makes of its sums; empty before the first batch."""
        if not self.sums:
            return {}
        loss = float(self.sums["total"].double() / self.sums["count"].double())
        return {"loss": loss, **objective.metrics({**self.sums, **self.lists})}


@dataclass
class Training:
    """All that moves while a run trains, and its state for an exact continuation."""

    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    loader: Batches
    val: Batches | None
    budget: Budget
    every: Every
    monitor: dict[str, str]
    autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    scaler: torch.amp.GradScaler | None = None
    ema: Ema | None = None
    phases: Phases | None = None
    """What learns when; None: what may learn does, all the time."""
    l2sp: L2SP | None = None
    average: EvaluationAverage | None = None
    accumulate: int = 1
    clip: float | None = None
    patience: int | None = None
    group: Alone = field(default_factory=current)
    """The processes that train, of which this is one."""
    graph: StepGraph | None = None
    """Takes the place of a step's parts where it is recorded as a CUDA graph."""
    progress: Progress = field(default_factory=Progress)
    window: Meter = field(default_factory=Meter)
    """Sums since the last log."""
    running: Meter = field(default_factory=Meter)
    """Sums since the last evaluation."""
    trained: dict[str, float] = field(default_factory=dict)
    """Metrics of training between the last two evaluations."""
    evaluated_at: float = 0.0
    """Seconds of training at the last evaluation; a resume knows them where a clock says when the next one is due."""
    asked: str | None = None
    """Why this process was asked to end (a signal's name)."""
    stop: str | None = None
    """Why the loop ends after the current step: what was asked of one of the processes, known to all."""

    def __post_init__(self) -> None:
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.device = self.loader.device
        self.total = self.budget.total(len(self.loader))

    def horizon(self) -> int:
        """How many steps the run will have; estimated from the time spent where only minutes are given."""
        step, limit = self.progress.step, self.budget.minutes
        if limit is None:
            assert self.total is not None, "a budget has epochs, steps or minutes"
            return self.total
        share = max(self.progress.seconds / (60 * limit), 1e-9)
        estimate = max(step + 1, round(step / share)) if step else self.total or SUPPOSED
        return estimate if self.total is None else min(self.total, estimate)

    def ask(self, signal: str) -> None:
        """Have the run end after the current step; where there are others, once all have heard of it."""
        self.asked = signal
        if self.group.count == 1:
            self.stop = signal

    def stepped(self, examples: int) -> None:
        """Count a step of so many examples of this process, and agree with the others on a stop and on the time."""
        p, told = self.progress, self.group.stepped(self.asked, self.progress.seconds, examples)
        self.stop, p.seconds, p.samples = self.stop or told[0], told[1], p.samples + told[2]

    def stops(self) -> bool:
        """Whether the loop is to end; all processes ask it at the same places."""
        self.stop = self.stop or self.group.stop(self.asked)
        return self.stop is not None

    def finished(self) -> bool:
        p = self.progress
        spent = self.budget.minutes is not None and p.seconds >= 60 * self.budget.minutes
        impatient = self.patience is not None and p.worse >= self.patience
        return spent or impatient or (self.total is not None and p.step >= self.total)

    def evaluation_due(self) -> bool:
        """Whether this step is to be evaluated and was not: also of a run that a signal ended before it was."""
        p = self.progress
        if self.total == 0:  # nothing is trained in steps
            return p.best is None and self.val is not None
        since = p.step - p.evaluated, p.seconds - self.evaluated_at
        return p.evaluated < p.step and (self.finished() or self.every.evaluation_due(p.step, *since))

    def result(self) -> contextlib.AbstractContextManager[Any]:
        """Inside, the objective holds the weights that count as the result: the averaged ones where there are any."""
        if self.ema:
            return self.ema.swapped(self.objective)
        if self.average and self.ended_in_average():
            return self.average.swapped(self.objective)
        return contextlib.nullcontext()

    def ended_in_average(self) -> bool:
        """Whether the result is the mean of the last evaluations' weights: at the run's end alone, not continued."""
        return self.progress.averaged > 0 and self.progress.evaluated == self.progress.step

    def weights(self) -> dict[str, Tensor]:
        """A copy of the result's weights on the CPU, named as of an objective that nothing was attached to."""
        with self.result():
            weights: dict[str, Tensor] = _copied(lora.plain_weights(self.objective), self.group)
            return weights

    def load_weights(self, weights: dict[str, Tensor] | None) -> None:
        """Put such weights into the objective, to measure them; it can't be trained any more then.

        None: those that the first of several processes puts there.
        """
        lora.detach(self.objective)
        self.group.take_over(self.objective, weights)

    def generators(self) -> list[dict[str, Any]]:
        """Where the generators of each of several processes stand; all of them ask it at the same places."""
        return self.group.gathered(own_state(self.device)) if self.group.count > 1 else []

    def state_dict(
        self, generators: Sequence[dict[str, Any]] = (), without: Callable[[dict[str, Any]], dict[str, Any]] = dict
    ) -> dict[str, Any]:
        """A copy of everything an exact continuation needs beside the result's weights; plain data on the CPU.

        generators: what `generators` said. without: takes out what is kept elsewhere.
        """
        ranks = {"ranks": list(generators)} if generators else {}
        state: dict[str, Any] = _copied(without({**self._state(), **ranks}), self.group)
        return state

    def _apart(self) -> bool:
        """Whether the weights that train are other ones than the result's."""
        return bool(self.ema) or self.ended_in_average() or lora.attached(self.objective)

    def _state(self) -> dict[str, Any]:
        return {
            "progress": asdict(self.progress),
            "raw_weights": self.objective.state_dict() if self._apart() else None,
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "anchor": self.l2sp.state_dict() if self.l2sp else None,
            "average": self.average.state_dict() if self.average else None,
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "window": self.window.sums,
            "running": self.running.sums,
            "trained": self.trained,
            "rng": rng_state(self.device),
            **({CLOCK: self.evaluated_at} if self.every.minutes else {}),
        }

    def load_state_dict(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from `state`; the random generators come last, as everything before may draw from them."""
        own = self.objective.state_dict()
        loaded = (state["raw_weights"] or weights).items()
        self.objective.load_state_dict({name: self.group.part(value, own[name]) for name, value in loaded})
        self.optimizer.load_state_dict(self.group.optimizer_part(state["optimizer"], self.optimizer))
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        if self.l2sp:
            self.l2sp.load_state_dict(state["anchor"])
        if self.average:
            self.average.load_state_dict(state["average"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        for name in ("window", "running"):
            getattr(self, name).sums = {key: value.to(self.device) for key, value in state[name].items()}
        self.progress, self.trained = Progress(**state["progress"]), state.get("trained", {})
        if self.average and self.total is not None and self.every.evaluate:
            self.average.goes_on(self.objective, self.progress.step, self.total, self.every.evaluate)
        self.evaluated_at = float(state.get(CLOCK, self.progress.seconds))
        set_rng_state(state["rng"], self.device)
        if self.group.count > 1:
            self._load_own(state.get("ranks", ()))

    def _load_own(self, states: Sequence[dict[str, Any]]) -> None:
        """What this process alone draws from: as it was, where there were as many of them."""
        if len(states) == self.group.count:
            set_own_state(states[self.group.rank], self.device)
        else:
            torch.manual_seed(torch.initial_seed() + self.progress.step)


def _copied(value: Any, group: Alone) -> Any:
    """Dicts, lists and tuples with the tensors in them copied to the CPU, all else as it is.

    Where weights are cut all of several processes ask for it, and the first one gets them, one after the other.
    """
    if isinstance(value, tuple) and all(isinstance(inner, int) for inner in value):
        return value  # the 625 numbers of Python's generator
    if isinstance(value, Tensor):
        whole = group.whole(value.detach())
        return whole.to("cpu", copy=True) if group.main or not group.cut else None
    if isinstance(value, dict):
        return {key: _copied(inner, group) for key, inner in value.items()}
    return type(value)(_copied(inner, group) for inner in value) if isinstance(value, list | tuple) else value
