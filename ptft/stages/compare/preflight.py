"""Before anything trains: every arm is composed, built and takes a step, and what it consists of gets a digest."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from ptft.builders import components
from ptft.builders.run import assemble
from ptft.checkpoint.load import load
from ptft.config import resolve
from ptft.core import Spec
from ptft.errors import ConfigError, NotFiniteError, PtftError
from ptft.loggers.console import Console
from ptft.runtime.device import versions
from ptft.stages.compare.design import AMOUNTS, Design, digest
from ptft.train.loop import train_step
from ptft.train.watch import FiniteCheck


@dataclass(frozen=True)
class Tried:
    """What an arm's step showed. seconds: of one step; steps: of one run; pins: what it chose to compute in."""

    monitor: dict[str, str]
    steps: int | None
    seconds: float
    size: int
    """Bytes of the checkpoints that a run of it leaves."""
    pins: list[str]


@dataclass(frozen=True)
class Arm:
    """What an arm starts from, and a digest of all that its runs share."""

    identity: str
    ckpt: str | None
    sha256: str | None
    pretrained: bool


def attempt(asked: Design, arm: str) -> Tried:
    """Build a run of the arm with the most labels and take a step; nothing is written. A rate may still prove too high.

    Raises the run's error with the name of the arm, and ConfigError where nothing is held out to measure on.
    """
    with _named(arm):
        config = resolve.prepare(asked.overrides(arm, asked.amounts[-1], asked.seeds[0], asked.rates[0]))
        cfg = OmegaConf.create({**config, "dry_run": True})
        run = assemble(cfg, Console(quiet=True))
        if not run.splits.keys() & {"val", "test"}:
            raise ConfigError("dataset.test and dataset.val: at least one is needed to measure on")
        if asked.rates != [None] and "val" not in run.splits:
            raise ConfigError("compare.tune: chooses rates on the validation split; type dataset.val=0.1, say")
        batch, finite = next(run.training.loader.epoch()), FiniteCheck(run.training)
        for _ in range(2):  # the first one also warms up
            began = time.perf_counter()
            with contextlib.suppress(NotFiniteError):  # its runs will say so, and the others go on
                train_step(run.training, batch, finite)
            seconds = time.perf_counter() - began
    t = run.training
    weights, moments = _bytes(t.objective.state_dict()), sum(map(_bytes, t.optimizer.state.values()))
    size = weights + (weights + moments if asked.keep == "all" else 0)
    pins = [f"precision={cfg.precision}", f"train.layout={cfg.train.layout}"]
    return Tried(dict(t.monitor), t.total, seconds, size, pins)


def _bytes(values: dict[str, Any]) -> int:
    return sum(value.numel() * value.element_size() for value in values.values() if isinstance(value, Tensor))


def same_measure(tried: dict[str, Tried]) -> None:
    """Raises ConfigError where two arms are measured differently."""
    (first, one), *others = tried.items()
    for name, other in others:
        if other.monitor != one.monitor:
            raise ConfigError(
                f"compare.arms.{name}: is measured by {other.monitor}, {first} by {one.monitor}; "
                "set train.monitor for all of them"
            )


def arms(asked: Design) -> dict[str, Arm]:
    """Name -> what its runs share: configuration, weights, data, versions. Raises their errors with the arm's name."""
    found: dict[str, Arm] = {}
    data: str | None = None
    for name in asked.arms:
        with _named(name):
            config = resolve.prepare(asked.overrides(name, 1, 0))
            origin = load(config["ckpt"]) if config["ckpt"] else None
            data = data or _data(config, asked.key, origin.spec if origin else None)
            fresh = origin is None or config["finetune"]["weights"] == "fresh"
            start: Any = origin and (_shape(origin.spec) if fresh else origin.sha256 or origin.path)
            kept = {key: value for key, value in config.items() if key not in ("ckpt", "names", "trusted")}
            identity = digest([kept, start, data, versions()])
            found[name] = Arm(identity, config["ckpt"], origin.sha256 if origin else None, not fresh)
    return found


def _shape(spec: Spec | None) -> Any:
    """What of a checkpoint counts for a run that takes no weights from it, beside the model in its configuration."""
    return spec and [spec.modality, spec.shape, spec.mean, spec.std]


def _data(config: dict[str, Any], key: str, like: Spec | None) -> str:
    """The dataset's fingerprint, of all that there is to train on."""
    whole = {**config["dataset"], AMOUNTS[key].removeprefix("dataset."): None}
    return components.source(whole, like, tuple(config["trusted"])).fingerprint()


class _named:
    """Inside, an error of ptft gets the name of the arm in front."""

    def __init__(self, arm: str) -> None:
        self.arm = arm

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PtftError) and error.exit_code < 100:
            raise type(error)(f"compare.arms.{self.arm}: {error}") from error
