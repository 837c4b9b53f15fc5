"""Data of earlier runs beside those of this one: as they were then, where inputs are alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptft.builders import components
from ptft.builders.restore import DESCRIBED
from ptft.checkpoint.load import Checkpoint
from ptft.config.config import Config
from ptft.config.renamed import renamed
from ptft.core import Source, Spec
from ptft.errors import ConfigError, shortened


def source_of(cfg: Config, checkpoint: Checkpoint, *, labelled: bool) -> Source:
    """The dataset that a checkpoint's run was trained on, as `dataset=from_ckpt` finds it."""
    stored: Mapping[str, Any] = renamed(checkpoint.config or {})["dataset"]
    assert checkpoint.spec
    known = {"tokenizer": None} if "tokenizer" in checkpoint.spec.shape and "tokenizer" in stored else {}
    return components.source({**stored, **known}, checkpoint.spec, cfg.trusted, labelled=labelled)


def check_alike(cfg: Config, said: str, old: Spec, new: Spec) -> None:
    """Raises ConfigError, which begins with what was `said`, where a model of `new` inputs does not read `old` ones."""
    name = cfg.names.dataset
    if old.modality != new.modality:
        raise ConfigError(f"{said}: its dataset yields {old.modality}, dataset={name} {new.modality}; name another run")
    keys = sorted((old.shape.keys() | new.shape.keys()) - DESCRIBED)
    differ = [key for key in keys if _plain(old.shape.get(key)) != _plain(new.shape.get(key))]
    if differ:
        which = shortened([_difference(key, old.shape.get(key), new.shape.get(key)) for key in differ], 4)
        raise ConfigError(
            f"{said}: its inputs are not prepared as those of dataset={name} are: {which}; start from its checkpoint "
            "(ckpt=), or type the keys of dataset that change it"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, Mapping) or isinstance(new, Mapping):  # a tokenizer, with all its pieces
        return f"another {key}" if old and new else f"{key} {'there' if old else 'here'} alone"
    return f"{key} {_plain(old)} there, {_plain(new)} here"
