"""What a stage starts from: which checkpoints, of which model, and whether they must hold a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose
from ptft.config.overrides import Overrides
from ptft.errors import CheckpointError
from ptft.runs import registry


def starts_from(cfg: DictConfig) -> tuple[str, ...]:
    """The stages whose finished runs `ckpt=latest` may mean."""
    return tuple(cfg.stage.get("starts_from") or ())


def taskless(cfg: DictConfig) -> bool:
    """Whether weights that hold no dataset and no objective will do, as public ones."""
    return bool(cfg.stage.get("taskless"))


def leave_empty(cfg: DictConfig, groups: Sequence[str], typed: Overrides) -> list[str]:
    """With nothing in these groups, in place: what weights without a task don't say. A line for each key that was
    typed for one of them, which nobody would read."""
    for group in groups:
        cfg[group], cfg.names[group] = {}, None
    keys = [key for key in typed.keys if key.partition(".")[0] in groups]
    return [f"{key}: ckpt={cfg.ckpt} holds no {key.partition('.')[0]}, so nothing reads it; drop it" for key in keys]


def named_by(cfg: DictConfig, stored: Mapping[str, Any]) -> None:
    """With the checkpoint's network where the library that it is of was typed and no name, in place."""
    model = stored["model"]
    if OmegaConf.is_missing(cfg.model, "name") and cfg.model.get("_target_") == model.get("_target_"):
        cfg.model.name = compose.literal(model["name"])


def same_model(stored: Mapping[str, Any], model: Mapping[str, Any], name: str, path: str) -> None:
    """Raises CheckpointError where a model was typed that is not the checkpoint's."""
    stored_name, typed_name = stored["model"].get("name", stored["names"]["model"]), model.get("name", name)
    if stored_name != typed_name and stored["model"] != model:
        raise CheckpointError(
            f"{path}: the checkpoint holds {stored_name}, model= asks for {typed_name}; drop model={name} or choose "
            "another ckpt"
        )


def example(base: DictConfig) -> str:
    """That a checkpoint is needed, and what to type."""
    stage = base.names.stage
    try:
        newest = registry.latest(starts_from(base))[0]
        path = str(newest.relative_to(Path.cwd()) / "checkpoints" / "best.pt")
    except (CheckpointError, ValueError):
        path = "outputs/…/checkpoints/best.pt"
    reuses = OmegaConf.select(base, "stage.reuses", default=None) is not None
    needed = reuses or "from_ckpt" in (base.names.dataset, base.names.objective)
    scratch = "" if needed else ", or ckpt=null to train from scratch"
    return f"stage={stage} starts from a checkpoint: type ckpt={path}, or ckpt=latest for the newest one{scratch}"
