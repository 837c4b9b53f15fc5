"""Batches that are computed in parts (`train.accumulate`): what that changes of a step, and where it can't be."""

from __future__ import annotations

from ptft.builders.parts.spread import NORMS
from ptft.config.config import Config
from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.train.gradient_cache import InHalves


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
    size = -(-cfg.train.batch_size // cfg.train.accumulate)
    return [f"its {norms} batch norms normalise each part of {size} by itself, as a smaller batch does; {free}"]
