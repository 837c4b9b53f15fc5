"""Preflight: before anything trains, every arm is built, takes a step, and gets a digest of all it consists of."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ptft.builders import components, intervals, probe
from ptft.builders.inputs import expected
from ptft.builders.run import build
from ptft.config.config import Config
from ptft.config.resolve import Job, Opened, resolve
from ptft.core import Spec
from ptft.errors import ConfigError, NotFiniteError
from ptft.loggers.console import Console
from ptft.runtime.device import versions
from ptft.stages.compare import contents, same
from ptft.stages.compare.data import Data, how_read, read_data, source_of
from ptft.stages.compare.design import Design, digest, named
from ptft.stages.compare.forecast import pretraining
from ptft.stages.compare.table import amount_text, unit_of
from ptft.train.loop import evaluate, train_step
from ptft.train.watch import FiniteCheck

SAME = ("ckpt", "names", "stage", "trusted", "quiet")
"""Keys of a configuration that change no result: what they name counts by itself."""


@dataclass(frozen=True)
class Trial:
    """What an arm's step showed. seconds: of one step; steps: of one run; pins: what it chose to compute in."""

    monitor: dict[str, str]
    steps: int | None
    seconds: float
    size: int
    """Bytes of the checkpoints that a run of it leaves."""
    pins: list[str]
    parts: int
    """Of a batch."""


@dataclass(frozen=True)
class Arm:
    """What an arm starts from, and a digest of all that its runs share."""

    identity: str
    ckpt: str | None
    sha256: str | None
    pretrained: bool
    lr: float | None
    """Its learning rate, where that is its own to choose."""
    val: bool
    """Whether there is a validation split."""
    pretraining: dict[str, Any] | None
    """What its checkpoint was trained on, and for how long (`forecast.pretraining`)."""
    parts: dict[str, str]
    """What the identity was made of: in words, and a digest of each."""
    unused: list[str]
    """What to say of keys that were typed and do not count for it, where its head is fitted."""


def attempt(design: Design, arm: str) -> Trial:
    """Build a run of the arm with the most labels and take a step; nothing is written. A rate may still prove too high.

    Raises the run's error with the name of the arm, and ConfigError where nothing is held out to measure on.
    """
    with named(arm):
        typed = design.overrides(arm, design.amounts[-1], design.seeds[0], design.rates_of(arm)[0])
        run = build(resolve([*typed, "dry_run=true"]), Console(quiet=True))
        if not run.inputs.splits.keys() & {"val", "test"}:
            raise ConfigError("dataset.test and dataset.val: at least one is needed to measure on")
        if design.rates != [None] and "val" not in run.inputs.splits:
            raise ConfigError("compare.tune: chooses rates on the validation split; type dataset.val=0.1, say")
        batch, finite = next(run.training.loader.epoch()), FiniteCheck(run.training)
        if run.execution.probe:
            began = time.perf_counter()
            evaluate(run.objective, run.training.loader, run.training.autocast, stopped=lambda: True)
            seconds = time.perf_counter() - began
        for _ in range(0 if run.execution.probe else 2):  # the first one also warms up
            began = time.perf_counter()
            with contextlib.suppress(NotFiniteError):  # its runs will say so, and the others go on
                train_step(run.training, batch, finite)
            seconds = time.perf_counter() - began
    t = run.training
    weights, moments = _bytes(t.objective.state_dict()), sum(map(_bytes, t.optimizer.state.values()))
    size = weights + (weights + moments if design.keep == "all" else 0)
    pins = [f"precision={run.cfg.precision}", f"train.layout={run.cfg.train.layout}"]
    return Trial(dict(t.monitor), t.total, seconds, size, pins, t.accumulate)


def impatient(design: Design, arms: Iterable[str]) -> list[str]:
    """What to say of `train.patience` where it can't end the runs with few labels; those of all amounts are built."""
    found: dict[tuple[float, ...], list[str]] = {}
    for arm in arms:
        with named(arm):
            if few := tuple(amount for amount in design.amounts[:-1] if _too_short(design, arm, amount)):
                found.setdefault(few, []).append(arm)
    return [
        f"{', '.join(names)}: train.patience can't end the runs with "
        f"{', '.join(amount_text(design.key, each) for each in few)} {unit_of(design.key, few)}, which are too short"
        for few, names in found.items()
    ]


def _too_short(design: Design, arm: str, amount: float) -> bool:
    """Whether a run has a patience that can't end it."""
    typed = design.overrides(arm, amount, design.seeds[0], design.rates_of(arm)[0])
    job = replace(resolve([*typed, "dry_run=true"]), of_many=True)
    if not job.config.train.patience:
        return False
    t = build(job, Console(quiet=True)).training
    return bool(intervals.impatient(t, job.config.train.every.evaluate, of_many=True))


def _bytes(values: dict[str, Any]) -> int:
    return sum(value.numel() * value.element_size() for value in values.values() if isinstance(value, Tensor))


def same_measure(trials: dict[str, Trial]) -> None:
    """Raises ConfigError where two arms are measured differently."""
    (first, one), *others = trials.items()
    for name, other in others:
        if other.monitor != one.monitor:
            raise ConfigError(
                f"compare.arms.{name}: is measured by {other.monitor}, {first} by {one.monitor}; "
                "set train.monitor for all of them"
            )


def arms(design: Design, data: Data, opened: Opened) -> dict[str, Arm]:
    """Name -> what its runs share: configuration, weights, data, versions, files and code that the configuration names.

    Raises their errors with the arm's name.
    """
    described: dict[str, Arm] = {}
    known = {data.read: (data.fingerprint, data.content)}
    for name in design.arms:
        with named(name):
            job = resolve(design.overrides(name, 1, 0), opened)
            cfg, start = job.config, job.checkpoint
            if (read := how_read(cfg, design)) not in known:
                source = source_of(job, design)
                same.check_measured(name, source, design.baseline, data.classes, data.held)
                known[read] = source.fingerprint(), same.content(source)
            fresh = start is None or cfg.finetune.weights == "fresh"
            parts = parts_of(job, *known[read], fresh)
            typed, fitted = job.overrides.typed, _fitted(cfg)
            rate = None if fitted or "optimizer.lr" in typed else float(cfg.optimizer.lr)
            trained = pretraining(start) if start else None
            sha256 = start.sha256 if start else None
            shown = {part: digest(content) for part, content in parts.items()}
            identity = digest(as_a_whole(parts))
            unused = probe.unused(typed) if fitted else []
            described[name] = Arm(identity, cfg.ckpt, sha256, not fresh, rate, data.val, trained, shown, unused)
    return described


CONTENT = "what the files of the data hold"
DATA = ("data", CONTENT)
SHARED = ("configuration", "checkpoint", DATA[0], "versions")
"""Parts that every run has; the others are files and code that the configuration names."""


def moved(design: Design, before: dict[str, Arm]) -> list[str]:
    """The arms whose data are others now than before. design: as it was asked for."""
    now = arms(design, read_data(design, {}), {})
    return [
        name for name, arm in before.items() if any(arm.parts.get(part) != now[name].parts.get(part) for part in DATA)
    ]


def parts_of(job: Job, fingerprint: str, content: str | None, fresh: bool) -> dict[str, Any]:
    """What runs of a job consist of, in words."""
    cfg, start = job.config, job.checkpoint
    weights: Any = start and (_shape(expected(job)) if fresh else start.sha256 or start.path)
    kept = {**{key: value for key, value in cfg.plain().items() if key not in SAME}, "logger": {}}
    later = {"group_as": cfg.dataset.get("group"), "fold": cfg.dataset.get("fold")}
    new = {key for key, asked in later.items() if asked is None}  # comparisons of before, without these keys, go on
    kept["dataset"] = {key: value for key, value in kept["dataset"].items() if key not in new}
    kept["train"] = {key: value for key, value in kept["train"].items() if key not in ("folds", "pause")}
    shared = dict(zip(SHARED, (kept, weights, fingerprint, versions()), strict=True))
    public = {"ckpt": start.path} if start and start.sha256 is None and not fresh else {}
    held = {} if content is None else {CONTENT: content}
    files = contents.files({**kept, **public})
    return {**shared, **held, **files, **contents.libraries(kept), **contents.code(cfg.trusted)}


def as_a_whole(parts: dict[str, Any]) -> list[Any]:
    """Those that every run has, as earlier versions put them together, and the others where there are any."""
    others = {part: content for part, content in parts.items() if part not in SHARED}
    return [*(parts[part] for part in SHARED), *([others] if others else [])]


def changed(before: Any, arms: dict[str, Arm]) -> list[str]:
    """What is to be said of a comparison that goes on with arms of which a part is another one now.

    before: `arms` of its `compare.json`, where there is one; of an earlier version without their parts.
    """
    found: dict[str, list[str]] = {}
    for name, arm in arms.items():
        old = before.get(name) if isinstance(before, dict) else None
        if isinstance(old, dict) and old.get("identity") != arm.identity:
            found.setdefault(what_changed(old.get("parts"), arm.parts), []).append(name)
    return [f"{', '.join(names)}: {what}; runs of before do not count" for what, names in found.items()]


def what_changed(before: Any, now: dict[str, str], what: str = "comparison") -> str:
    """In words; before, now: digests of parts by what they are."""
    if not isinstance(before, dict):
        others = [part for part in now if part not in SHARED]
        return f"an earlier version began this {what} and did not look at {' and '.join(others) or 'all of it'}"
    other = [part for part in {**before, **now} if before.get(part) != now.get(part)]
    return f"{' and '.join(other)} changed since this {what} began"


def _fitted(cfg: Config) -> bool:
    """Whether the head is fitted to convergence, at no rate."""
    typed = cfg.finetune.train == "head" and cfg.finetune.probe == "exact"
    return typed and components.has_linear_head(cfg.objective, cfg.trusted)


def _shape(spec: Spec | None) -> Any:
    """What of a checkpoint counts for a run that takes no weights from it, beside the model in its configuration."""
    return spec and [spec.modality, spec.shape, spec.mean, spec.std]
