"""Hydra's part in a sweep, without what ptft has done before it: the jobs are composed and checked already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from ptft.config import compose
from ptft.config.overrides import Overrides


@contextmanager
def composed_before() -> Iterator[None]:
    """Inside, Hydra does not find out anew what a sweep's command means and whether its jobs can be composed.

    Its launcher in this process gets each job from files that were merged before.
    """
    places = ((Hydra, "get_mode"), (Sweeper, "validate_batch_is_legal"), (ConfigLoaderImpl, "load_sweep_config"))
    before = [getattr(owner, name) for owner, name in places]
    for (owner, name), instead in zip(places, (lambda *_, **__: None, lambda *_: None, job_config), strict=True):
        setattr(owner, name, instead)
    try:
        yield
    finally:
        for (owner, name), usual in zip(places, before, strict=True):
            setattr(owner, name, usual)


def job_config(loader: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
    """What Hydra's `load_sweep_config` gives for a job of a sweep."""
    own: Any = OmegaConf.to_container(master_config.hydra.overrides.hydra)
    cfg = compose.by_hydra(Overrides.parse([*own, *sweep_overrides]))
    OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
    return cfg
