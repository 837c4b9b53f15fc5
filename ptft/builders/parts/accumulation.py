"""Batches that are computed in parts (`train.accumulate`): how many fit, what they change of a step, and where they
can't be."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ptft.builders import acceleration, probe
from ptft.builders.inputs import Inputs, train_loader
from ptft.builders.parts.spread import NORMS
from ptft.config.config import Config
from ptft.core import Objective
from ptft.data.loader import Loader
from ptft.errors import ConfigError, ResourceError
from ptft.runtime.precision import ComputeFormat, choices
from ptft.runtime.together.alone import current
from ptft.train.gradient_cache import InHalves
from ptft.train.parts import Fit, largest, size
from ptft.train.state import Training

OnTrial = Callable[[Config, Loader, ComputeFormat], Training]


def settled(cfg: Config, inputs: Inputs, built: Objective, on_trial: OnTrial) -> tuple[Config, list[str]]:
    """The configuration with a number in the place of `train.accumulate=auto`, and what to say of parts.

    Raises ConfigError where parts are another task, ResourceError where none fit.
    """
    if cfg.train.accumulate != "auto":
        return cfg, check(cfg, built)
    one = cfg.merged({"train": {"accumulate": 1}})
    if probe.exact(one, built, inputs)[0]:
        return one, []
    loader = train_loader(one, inputs)
    formats = choices(one.precision, one.train.layout, inputs.device, built)
    fp32 = next((each for each in formats if each.precision == "fp32"), formats[0])  # which takes the most
    fit = _fit(one, built, loader, on_trial, fp32)
    cfg = one.merged({"train": {"accumulate": fit.parts}})
    if fit.parts > 1 and len(formats) > 1:
        chosen, _ = current().same(acceleration.compute_format(cfg, built, loader))
        if chosen.precision != fp32.precision:
            fit = _fit(one, built, loader, on_trial, chosen)
            found = {"layout": chosen.layout, "accumulate": fit.parts}
            cfg = one.merged({"precision": chosen.precision, "train": found})
    return cfg, [_said(cfg, loader, fit), *check(cfg, built)]


def _fit(cfg: Config, built: Objective, loader: Loader, on_trial: OnTrial, compute_format: ComputeFormat) -> Fit:
    """The most parts that any of several processes needs, and the least memory. Raises ResourceError where none fit."""
    trial, why_not = on_trial(cfg, loader, compute_format), _uncut(cfg, built)
    if trial.scaler:
        trial.scaler = torch.amp.GradScaler(loader.device.type, init_scale=1.0)  # a larger one may skip the step
    most, fewest = loader.rows()
    count = _processes(cfg)
    of_one = size(most, count), fewest // count
    all_of_them = current().gathered(largest(trial, loader.heaviest(), of_one, cut=not why_not))
    fit = Fit(max(each.parts for each in all_of_them), min(each.memory for each in all_of_them))
    if all(each.parts for each in all_of_them):
        return fit
    memory, key = _shown(fit.memory), f"train.batch_size={cfg.train.batch_size}"
    if why_not:
        raise ResourceError(f"{key}: does not fit in {memory} as a whole, and {why_not}")
    raise ResourceError(
        f"{key}: does not fit in {memory}, however small its parts; choose a smaller model or smaller inputs, or type "
        "train.checkpoint_activations=true"
    )


def _uncut(cfg: Config, built: Objective) -> str:
    """Why a batch can't be computed in parts; nothing where it can."""
    try:
        check(cfg.merged({"train": {"accumulate": 2}}), built)
    except ConfigError as error:
        return str(error)
    return ""


def _said(cfg: Config, loader: Loader, fit: Fit) -> str:
    tokens, several = cfg.train.get("tokens"), _processes(cfg)
    batch = f"batches of at most {tokens:,} tokens" if tokens else f"batch {cfg.train.batch_size}"
    each = f" on each of {several} processes" if several > 1 else ""
    if fit.parts == 1:
        return f"{batch} as a whole{each}, which fits in {_shown(fit.memory)}"
    of = "" if tokens else f" of {size(size(int(cfg.train.batch_size), several), fit.parts)}"
    return f"{batch} as {fit.parts} parts{of}{each}, what fits in {_shown(fit.memory)}; train.accumulate changes it"


def _processes(cfg: Config) -> int:
    """How many share a batch; a dry run does what the first of them would."""
    return int(cfg.train.processes) if cfg.dry_run else current().count


def _shown(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def pinned(asked: Config, found: Config) -> list[str]:
    """For runs that are to be alike: the parts that one of them was found to need, where they were left open."""
    return [f"train.accumulate={found.train.accumulate}"] if asked.train.accumulate == "auto" else []


def check(cfg: Config, built: Objective) -> list[str]:
    """What to say of a batch in parts whose examples are compared. Raises ConfigError where parts are another task."""
    parts, name = cfg.train.accumulate, cfg.names.objective
    if parts == 1 or not built.whole_batch:
        return []
    if not isinstance(built, InHalves):
        raise ConfigError(
            f"train.accumulate={parts}: objective={name} compares the examples of a batch with each other, so parts of "
            "it are another task; leave it at 1 and lower train.batch_size"
        )
    if cfg.train.parallel == "fsdp":
        raise ConfigError(
            f"train.parallel=fsdp, train.accumulate={parts}: objective={name} embeds each part of a batch by itself, "
            "outside of the forward pass that gathers weights; type train.parallel=ddp, or train.accumulate=1"
        )
    for key in ("compile", "sync_batchnorm"):
        if cfg.train[key]:
            raise ConfigError(
                f"train.{key}=true, train.accumulate={parts}: objective={name} computes each part twice to compare "
                "whole batches, which does not go together; leave one of them"
            )
    if cfg.train.cuda_graph is True:
        raise ConfigError(
            f"train.cuda_graph=true, train.accumulate={parts}: a step of objective={name} in parts can't be recorded; "
            "leave one of them"
        )
    said = f"whole batches of {cfg.train.batch_size} are compared, in {parts} parts that are each computed twice"
    return [said, *_of_norms(built, cfg)]


def _of_norms(built: Objective, cfg: Config) -> list[str]:
    norms = sum(isinstance(module, NORMS) for module in built.modules())
    if not norms:
        return []
    free = "objective.norm=false and a model without (vit_tiny) have none"
    part = size(int(cfg.train.batch_size), int(cfg.train.accumulate))
    return [f"its {norms} batch norms normalise each part of {part} by itself, as a smaller batch does; {free}"]
