"""Random views of a batch, by the modality of its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ptft.augment.image import Views
from ptft.augment.own import OwnViews
from ptft.augment.spectrogram import SpectrogramViews
from ptft.core import Spec
from ptft.errors import ConfigError

KINDS: dict[str, type[nn.Module]] = {"image": Views, "audio": SpectrogramViews}
Options = Mapping[str, Any] | OwnViews | None
"""Those of ptft's views of a modality, or what makes views of the user's own."""

HOW = frozenset({"padding", "size", "time_width", "freq_width"})
"""Options that say how a view is made and switch none on."""


def changes(options: Options) -> bool:
    """Whether views of these options ever differ from what they are of."""
    if isinstance(options, OwnViews):
        return True
    return any(value for key, value in (options or {}).items() if key not in HOW)


def views(spec: Spec, options: Options, **more: Any) -> nn.Module:
    """What makes random views of prepared batches of the Spec's modality, in training mode only.

    more: options that win over these; of views of the user's own, those of ptft's that come before.
    Raises ConfigError for options where there are no views, or none of that name or range.
    """
    kind = KINDS.get(spec.modality)
    if isinstance(options, OwnViews):
        if kind is None:
            raise ConfigError(f"{options.name}: there are no views of {spec.modality}; leave it out")
        return nn.Sequential(kind(**more), options) if more else options
    if kind is None and options:
        raise ConfigError(f"objective.views={dict(options)}: there are none of {spec.modality}; set it to null")
    return nn.Identity() if kind is None else kind(**{**(options or {}), **more})
