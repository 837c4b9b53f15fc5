"""Keys that a stage reads, and that are without effect in one run of it because another key is what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptft.config.overrides import Overrides

SUBSETS = ("dataset.limit", "dataset.fraction", "dataset.per_class")
"""Which choose a part of the training split."""
DEFAULTS = {"finetune.head": ("auto", "new"), "finetune.weights": ("ckpt",), "finetune.probe": ("auto",)}
"""Values that ask for nothing."""
FACTORS = ("finetune.lora.alpha", "finetune.lora.targets", "finetune.lora.dropout")


def refused(config: Mapping[str, Any], typed: Mapping[str, Any]) -> list[str]:
    """A line for each that can't have been meant so: in a run that measures, or one that finetunes nothing."""
    problems = []
    if "split" in config and config["split"] != "train":
        problems += [
            f"{key}: chooses a part of the training split, and another split is measured; drop it, or type split=train"
            for key in SUBSETS
            if typed.get(key) is not None
        ]
    if "finetune" in config and not config.get("stage", {}).get("finetunes"):
        problems += [f"{key}={typed[key]}: without effect, as {why}; drop it" for key, why in _idle(config, typed)]
    if config.get("explain", {}).get("neighbours") == 0:
        unread = [key for key in typed if key.split(".")[0] == "dataset"]
        why = "explain.neighbours=0: new files are read as the checkpoint says, and no dataset is"
        problems += [f"{key}={typed[key]}: without effect, as {why}; drop it" for key in unread]
    return problems + list(_counted_twice(config, typed))


def _counted_twice(config: Mapping[str, Any], typed: Mapping[str, Any]) -> Iterator[str]:
    """Weights that follow from how many examples of each class there are, where those that are trained on come from
    elsewhere or in other shares."""
    others = {"dataset.sampler": "both make up for what is rare, which would count twice; type one of them"}
    others["train.replay"] = "the examples that are replayed are not counted for it; type a number for each class"
    for key in ("class_weights", "positive_weights"):
        if config.get("objective", {}).get(key) != "balanced":
            continue
        for other, why in others.items():
            node, _, name = other.partition(".")
            value = config.get(node, {}).get(name)
            if value is not None and (f"objective.{key}" in typed or other in typed):
                yield f"objective.{key}=balanced and {other}={value}: {why}"


def noted(config: Mapping[str, Any], typed: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each of a finetune, which may be one of several that were typed the same."""
    if not config.get("stage", {}).get("finetunes"):
        return ()
    return tuple(f"{key}={typed[key]} is without effect, as {why}" for key, why in _idle(config, typed))


def overridden(typed: Overrides) -> Iterator[str]:
    """A sentence for each key that was typed several times and not alike: the last counts, as for Hydra."""
    texts: dict[str, list[str]] = {}
    for key, text, override in zip(typed.keys, typed.texts, typed.parsed, strict=True):
        if not override.is_delete():
            texts.setdefault(key, []).append(text)
    for key, several in texts.items():
        if len(set(several)) > 1:
            yield f"{key}: typed {len(several)} times, of which the last counts: {several[-1]}"


def _idle(config: Mapping[str, Any], typed: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of `finetune` and `train` that were typed, and why nothing comes of them."""
    settings = {
        key: value
        for key, value in typed.items()
        if key in (*FACTORS, "train.replay_share") or value not in DEFAULTS.get(key, (value,))
    }
    finetune = config["finetune"]
    for key in settings:
        if key == "train.replay_share":
            if config["train"]["replay"] is None:
                yield key, "train.replay=null: nothing is replayed"
        elif key in FACTORS and finetune["lora"]["rank"] is None:
            yield key, "finetune.lora.rank=null: no factors learn"
        elif key in ("finetune.head", "finetune.weights") and config.get("ckpt") is None:
            yield key, "ckpt=null: there is no checkpoint to take it from"
        elif key == "finetune.probe" and finetune["train"] != "head":
            yield key, "it says how a head is trained that learns alone (finetune.train=head)"
