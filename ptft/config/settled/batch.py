"""`train.batch_size: auto` becomes the stage's own, and how many parts it is cut into is left to be found."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose, reads
from ptft.validators import COUNT

AUTO = "auto"


def settle(cfg: DictConfig, base: DictConfig, typed: dict[str, Any]) -> tuple[str, ...]:
    """Set both in place; what to say of parts that were typed, which win. base: the composition of the options alone.

    A stage that trains nothing has no parts to find.
    """
    train, named = (_raw(each, "train") for each in (cfg, base))
    if AUTO not in (train.get("batch_size"), train.get("accumulate")):
        return ()
    trains, parts = reads.counts("train.steps", str(cfg.names.stage)), typed.get("train.accumulate")
    notes: tuple[str, ...] = ()
    if train.get("batch_size") == AUTO:
        own = named.get("batch_size")
        cfg.train.batch_size = own if COUNT.fits(own) else compose.own()["train"]["batch_size"]
        if parts is None:
            cfg.train.accumulate = AUTO
        elif parts != AUTO:
            notes = (f"train.batch_size=auto: {cfg.train.batch_size}, the stage's own; train.accumulate is as typed",)
    if not trains and _raw(cfg, "train").get("accumulate") == AUTO:
        cfg.train.accumulate = 1
    return notes if trains else ()


def _raw(cfg: DictConfig, key: str) -> dict[str, Any]:
    node = cfg._get_node(key)
    plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else None
    return {str(name): value for name, value in plain.items()} if isinstance(plain, dict) else {}
