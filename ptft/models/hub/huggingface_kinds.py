"""Kinds of model of transformers that ptft wraps, and whether one is what a dataset asks for."""

from __future__ import annotations

from typing import Any

from torch import nn

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.hub import huggingface_audio as sound
from ptft.models.hub import huggingface_image as sight


def modality_of(config: Any) -> str:
    """What a model of this configuration takes: "text", "audio" or "image"."""
    return "audio" if config.model_type in sound.KINDS else "image" if config.model_type in sight.KINDS else "text"


def check_kind(config: Any, name: str, spec: Spec, normalize: bool | None) -> None:
    """Raises ConfigError where the model is not one of the dataset's modality, or does not know an option."""
    if (takes := modality_of(config)) != spec.modality:
        does = {"audio": "hears audio", "image": "sees images", "text": "reads text"}[takes]
        kinds = f"what hears audio is one of {', '.join(sound.KINDS)}, what sees images of {', '.join(sight.KINDS)}"
        raise ConfigError(f"model.name={name}: {config.model_type} {does}, the dataset yields {spec.modality}; {kinds}")
    if normalize is not None and config.model_type not in sound.WAVES:
        raise ConfigError(f"model.normalize={normalize}: is for models that hear samples; null for {name}")


def stripped(net: Any) -> Any:
    """The encoder where there is a decoder too, in float32, without what is not used: a pooler, whose place a head
    takes, and what stands for hidden sound."""
    net = net.get_encoder() if getattr(net.config, "is_encoder_decoder", False) else net
    for name in ("pooler", "masked_spec_embed"):
        if getattr(net, name, None) is not None:
            setattr(net, name, None)
    return net.float()


def blocks(net: nn.Module) -> list[nn.Module]:
    """The repeated part: the list of modules that holds most values (a speech encoder lists its convolutions, too)."""
    lists = [module for module in net.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=lambda modules: sum(p.numel() for p in modules.parameters()), default=[]))
