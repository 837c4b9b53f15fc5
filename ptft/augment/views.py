"""Random views of a batch, by the modality of its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ptft.augment.image import Views
from ptft.augment.spectrogram import SpectrogramViews
from ptft.core import Spec
from ptft.errors import ConfigError

KINDS: dict[str, type[nn.Module]] = {"image": Views, "audio": SpectrogramViews}


def views(spec: Spec, options: Mapping[str, Any] | None) -> nn.Module:
    """What makes random views of prepared batches of the Spec's modality, in training mode only.

    Raises ConfigError for options where there are no views, or none of that name or range.
    """
    kind = KINDS.get(spec.modality)
    if kind is None and options:
        raise ConfigError(f"objective.views={dict(options)}: there are none of {spec.modality}; set it to null")
    return nn.Identity() if kind is None else kind(**(options or {}))
