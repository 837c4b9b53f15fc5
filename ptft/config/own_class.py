"""Classes that are typed: `model._target_=my_net.Net` in the place of what the chosen option names."""

from __future__ import annotations

from collections.abc import Iterable

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

TARGET = "model._target_"


def make_room(cfg: DictConfig, values: Iterable[Override]) -> None:
    """Where a model's class is typed the keys of the chosen model are not its own: any may be typed then, in place."""
    if any(override.key_or_group == TARGET for override in values):
        cfg.model = {}
        OmegaConf.set_struct(cfg.model, False)


def free(values: Iterable[Override]) -> tuple[str, ...]:
    """What keys begin with that only Hydra or such a class knows."""
    return ("hydra", "model.") if name_of(values) else ("hydra",)


def name_of(values: Iterable[Override]) -> str | None:
    """What such a model is called: its class; None where none is typed."""
    typed = [str(override.value()) for override in values if override.key_or_group == TARGET]
    return typed[-1].rpartition(".")[2] if typed else None
