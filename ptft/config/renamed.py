"""Renamed paths: what a `_target_` of an earlier version is called now.

Checkpoints and copies that `ptft cp` made hold the paths of the version that wrote them. A move adds a line here.
"""

from __future__ import annotations

from typing import Any

MODULES = {
    "ptft.data.audio_folder": "ptft.data.audio.folder",
    "ptft.data.audio_manifest": "ptft.data.audio.manifest",
    "ptft.data.audio_strings": "ptft.data.audio.strings",
    "ptft.data.conll": "ptft.data.text.conll",
    "ptft.data.corpus": "ptft.data.text.corpus",
    "ptft.data.digits": "ptft.data.image.digits",
    "ptft.data.glyphs": "ptft.data.image.glyphs",
    "ptft.data.grammar": "ptft.data.text.grammar",
    "ptft.data.huggingface": "ptft.data.text.huggingface",
    "ptft.data.image_folder": "ptft.data.image.folder",
    "ptft.data.speech_commands": "ptft.data.audio.speech_commands",
    "ptft.data.squad": "ptft.data.text.squad",
    "ptft.data.table": "ptft.data.text.table",
    "ptft.data.tones": "ptft.data.audio.tones",
    "ptft.data.torchvision": "ptft.data.image.torchvision",
    "ptft.models.airbench": "ptft.models.image.airbench",
    "ptft.models.audio_cnn": "ptft.models.audio.cnn",
    "ptft.models.cnn": "ptft.models.image.cnn",
    "ptft.models.conformer": "ptft.models.audio.conformer",
    "ptft.models.convnet": "ptft.models.image.convnet",
    "ptft.models.huggingface": "ptft.models.hub.huggingface",
    "ptft.models.timm": "ptft.models.hub.timm",
    "ptft.models.torchvision": "ptft.models.hub.torchvision",
    "ptft.models.transformer": "ptft.models.text.transformer",
    "ptft.models.vision_transformer": "ptft.models.image.vision_transformer",
    "ptft.muon": "ptft.optim.muon",
    "ptft.objectives.byol": "ptft.objectives.self_supervised.byol",
    "ptft.objectives.causal_lm": "ptft.objectives.language.causal_lm",
    "ptft.objectives.classify": "ptft.objectives.supervised.classify",
    "ptft.objectives.ctc": "ptft.objectives.supervised.ctc",
    "ptft.objectives.dino": "ptft.objectives.self_supervised.dino",
    "ptft.objectives.distill": "ptft.objectives.supervised.distill",
    "ptft.objectives.mae": "ptft.objectives.self_supervised.mae",
    "ptft.objectives.masked_audio": "ptft.objectives.self_supervised.masked_audio",
    "ptft.objectives.masked_lm": "ptft.objectives.language.masked_lm",
    "ptft.objectives.regress": "ptft.objectives.supervised.regress",
    "ptft.objectives.replaced_token": "ptft.objectives.language.replaced_token",
    "ptft.objectives.rotation": "ptft.objectives.self_supervised.rotation",
    "ptft.objectives.simclr": "ptft.objectives.self_supervised.simclr",
    "ptft.objectives.span": "ptft.objectives.supervised.span",
    "ptft.objectives.tag": "ptft.objectives.supervised.tag",
    "ptft.schedule": "ptft.optim.schedules",
    "ptft.stages.compare": "ptft.stages.compare.stage",
}
"""Module -> where it went."""


def current(path: str) -> str:
    """`ptft.models.cnn.CNN` -> `ptft.models.image.cnn.CNN`; any other path as it is."""
    module, _, name = path.rpartition(".")
    return f"{MODULES[module]}.{name}" if module in MODULES else path


def renamed(node: Any) -> Any:
    """The same dicts and lists with every `_target_` as it is called now."""
    if isinstance(node, dict):
        inner = {key: renamed(value) for key, value in node.items()}
        return {**inner, "_target_": current(inner["_target_"])} if isinstance(inner.get("_target_"), str) else inner
    return [renamed(value) for value in node] if isinstance(node, list) else node
