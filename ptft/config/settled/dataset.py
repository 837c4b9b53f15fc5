"""The dataset of a run that starts from a checkpoint: of which kind it must be, and what chooses the checkpoint's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose, documented, yaml_files
from ptft.config.config import plain
from ptft.config.overrides import AS_TYPED, NAMED, OWN, PLAIN, quoted
from ptft.config.renamed import current
from ptft.errors import OWN_FILES, ConfigError, shortened
from ptft.runtime.paths import relative

if TYPE_CHECKING:
    from ptft.checkpoint.load import Checkpoint

OBJECTIVES = {"number": "regress", "labels": "multilabel", "boxes": "detect", "masks": "segment"} | {
    "span": "span",
    "tags": "tag",
    "transcript": "ctc",
}
"""`Spec.target` -> the objective that learns it, where that is not the usual one."""
NOUNS = {"image": "images", "audio": "recordings", "text": "texts"}
UNSAID = frozenset(
    {"_target_", "seed", "views", "transform", "cache", "sampler", "limit", "fraction", "per_class", "download"}
)
"""Keys that say nothing of which data they are, and …"""
INPUTS = frozenset(
    {"size", "channels", "fit", "crop_pct", "interpolation", "mean", "std", "rate", "seconds"}
    | {"tokenizer", "vocabulary", "length"}
)
"""… of how they are read, which the checkpoint says."""
AS_IN_CHECKPOINT = INPUTS - {"vocabulary"} | {"stride"}
"""Of these null leaves to the checkpoint how its inputs are prepared."""


def misfit(base: DictConfig, typed: Mapping[str, Any], checkpoint: Checkpoint) -> list[str]:
    """A line where the chosen dataset is of another modality than the checkpoint: what to type instead."""
    spec, modality = checkpoint.spec, _modality(str(base.dataset.get("_target_")))
    if spec is None or spec.modality not in NOUNS or modality in ("", spec.modality):
        return []
    chosen = f"dataset={base.names.dataset}{'' if _is_chosen(typed) else ', as none was typed,'} is one of"
    others = [name for name in documented.options("dataset") if _modality(_target(name)) == spec.modality]
    remedy = shlex.join(labelled(checkpoint.config or {}, spec.modality, spec.target))
    return [
        f"the checkpoint was trained on {spec.modality}, {chosen} {NOUNS[modality]}; type {remedy}, or another "
        f"of {spec.modality} ({shortened(others, 10)})"
    ]


def noted(config: Mapping[str, Any], typed: Mapping[str, Any], checkpoint: Checkpoint | None) -> tuple[str, ...]:
    """A sentence where nobody chose a dataset and the checkpoint was trained on files, which are not what is used."""
    if checkpoint is None or not checkpoint.config or config.get("resume") or _is_chosen(typed):
        return ()
    stored, name = checkpoint.config, config["names"]["dataset"]
    node = stored.get("dataset")
    root = node.get("root") if isinstance(node, dict) else None
    if root is None or stored["names"].get("dataset") == name:
        return ()
    theirs = f"{stored['names'].get('dataset')} ({relative(str(root))})"
    return (
        f"dataset={name}, as none was typed; the checkpoint was trained on {theirs}; "
        f"{shlex.join(words(stored))} chooses it",
    )


def labelled(stored: Mapping[str, Any], modality: str, target: str) -> list[str]:
    """What to type to learn with labels what a run of that configuration learned from; FILES where it had none."""
    if target == "none" or not isinstance(stored.get("dataset"), Mapping):
        return [f"dataset={OWN_FILES[modality]}", "dataset.root=FILES"]
    objective = OBJECTIVES.get(target)
    return [*words(stored), *([f"objective={objective}"] if objective else [])]


def words(stored: Mapping[str, Any]) -> list[str]:
    """What to type to choose the dataset of that configuration: its name, its root, and what is not usual of it."""
    name, node = str(stored["names"].get("dataset")), {**plain(stored["dataset"])}
    usual = _usual(name)
    chosen = f"dataset={name}"
    if usual is None:
        usual, chosen = _usual(OWN) or {}, f"dataset._target_={current(str(node['_target_']))}"
    different = {
        key: value
        for key, value in sorted(node.items(), key=lambda item: item[0] != "root")
        if key not in UNSAID | INPUTS and value != usual.get(key, usual) and (key in usual or "_target_" in chosen)
    }
    return [chosen, *(f"dataset.{key}={_text(key, value)}" for key, value in different.items())]


def _usual(name: str) -> dict[str, Any] | None:
    """What an option says of its keys; None where there is none of that name."""
    if name not in compose.options("dataset"):
        return None
    try:
        node = OmegaConf.to_container(compose.compose([f"dataset={name}"]).dataset, resolve=False)
    except ConfigError:
        return None
    return {str(key): value for key, value in node.items()} if isinstance(node, dict) else None


def _text(key: str, value: Any) -> str:
    """The value as it is typed."""
    if key in ("root", "ignore") and value is not None:
        return relative(str(value))
    if isinstance(value, str):
        raw = f"dataset.{key}" in AS_TYPED | NAMED or PLAIN.fullmatch(value)
        return value if raw else quoted(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{inner}: {_text(key, each)}' for inner, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(key, each) for each in value)}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _is_chosen(typed: Mapping[str, Any]) -> bool:
    return typed.get("dataset") is not None or typed.get("experiment") is not None


def _target(name: str) -> str:
    """The class of one of ptft's own options."""
    node: Any = OmegaConf.to_container(yaml_files.load(documented.file_of("dataset", name))[1], resolve=False)
    return str(node.get("_target_"))


def _modality(target: str) -> str:
    """Of which kind the examples of a class of ptft's are; "" of others."""
    parts = current(target).split(".")
    return parts[2] if parts[:2] == ["ptft", "data"] and parts[2] in NOUNS else ""
