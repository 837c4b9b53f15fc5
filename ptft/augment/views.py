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


HOW = frozenset({"padding", "size", "time_width", "freq_width"})
"""Options that say how a view is made and switch none on."""


def changes(options: Mapping[str, Any] | None) -> bool:
    """Whether views of these options ever differ from what they are of."""
    return any(value for key, value in (options or {}).items() if key not in HOW)


def views(spec: Spec, options: Mapping[str, Any] | None) -> nn.Module:
    """What makes random views of prepared batches of the Spec's modality, in training mode only.

    Raises ConfigError for options where there are no views, or none of that name or range.
    """
    kind = KINDS.get(spec.modality)
    if kind is None and options:
        raise ConfigError(f"objective.views={dict(options)}: there are none of {spec.modality}; set it to null")
    return nn.Identity() if kind is None else kind(**(options or {}))
