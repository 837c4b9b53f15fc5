"""Where weights start: a checkpoint, a run folder, `latest`, public weights by name, or a file from elsewhere."""

from __future__ import annotations

import difflib
import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint import state_dict
from ptft.core import Spec
from ptft.errors import CheckpointError
from ptft.runs.registry import TRAINING, latest

WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")
"""Suffixes that files of weights have, for near names only; any file is read."""

PUBLIC = ("torchvision", "timm", "huggingface")
"""Prefixes of public weights; `ptft.models.hub.PREFIX` has `public_weights(name)` and `public_options(name)`."""


@dataclass
class Origin:
    """A set of weights and what is known about them.

    config, spec: what they were trained with; None where the file does not say.
    weights: names as in an Objective (`backbone.…`); `training` is the state for an exact continuation, if stored.
    """

    path: str
    sha256: str | None
    weights: dict[str, Tensor]
    config: dict[str, Any] | None = None
    spec: Spec | None = None
    training: dict[str, Any] | None = None
    run: str | None = None
    said: str = ""
    """A choice that was made in reading it, where there was one."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Everything else that a checkpoint of ptft holds: progress, parent, fingerprint, versions."""

    @property
    def parent(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256, "run": self.run}


def locate(ckpt: str, key: str = "ckpt") -> Path:
    """The checkpoint file that a path means: itself, or a run folder's best (for `resume`, its last).

    Raises CheckpointError with the absolute path that was tried and near names.
    """
    path = Path(os.path.expanduser(ckpt)).absolute()
    order = ("last.pt",) if key == "resume" else ("best.pt", "last.pt")
    for folder in (path / "checkpoints", path):
        for name in order:
            if (folder / name).is_file():
                return folder / name
    if path.is_dir():
        raise CheckpointError(
            f"{key}={ckpt}: no checkpoint in {path}, nor in its checkpoints/; name a run folder or a file"
        )
    if not path.is_file():
        raise CheckpointError(f"{key}={ckpt}: there is no file {path}{_near(path)}")
    return path


def _near(path: Path) -> str:
    """What of the path exists, and the names there that are like the first that does not."""
    parent, missing = path.parent, path.name
    while not parent.is_dir() and parent != parent.parent:
        parent, missing = parent.parent, parent.name
    entries = [entry for entry in parent.iterdir() if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in entries if entry.is_dir() or entry.suffix in WEIGHTS)
    near = difflib.get_close_matches(missing, names, n=2, cutoff=0.5) or [name for name in names if "." in name][:2]
    return f"; near it: {', '.join(str(parent / name) for name in near)}" if near else ""


def resolve(ckpt: str, stage: str) -> tuple[str, str | None]:
    """`latest` -> the folder it means, and a sentence about it; anything else unchanged."""
    if ckpt != "latest":
        return ckpt, None
    folder, newer = latest(("pretrain",) if stage in ("finetune", "compare") else TRAINING)
    said = f"ckpt=latest is {folder}"
    return str(folder), f"{said}; a newer run did not finish: {newer}" if newer else said


def load(ckpt: str, key: str = "ckpt") -> Origin:
    """Read what `ckpt` names. Raises CheckpointError."""
    kind, _, name = ckpt.partition(":")
    if name and kind in PUBLIC:
        return _public(kind, name, ckpt)
    path = locate(ckpt, key)
    if checkpoint_file.verify(path) is None:
        weights, said = state_dict.read(path)
        return Origin(str(path), checkpoint_file.file_digest(path), weights, said=said)
    content, digest = checkpoint_file.read(path)
    folder = path.parent.parent
    return Origin(
        str(path),
        digest,
        content["weights"],
        config=content["config"],
        spec=Spec.from_dict(content["spec"]),
        training=content.get("training"),
        run=str(folder) if (folder / "status.json").exists() else None,
        meta={key: value for key, value in content.items() if key not in ("weights", "training", "config", "spec")},
    )


def _public(kind: str, name: str, ckpt: str) -> Origin:
    module = importlib.import_module(f"ptft.models.hub.{kind}")
    weights, spec = module.public_weights(name)
    model = {"_target_": f"{module.__name__}.{module.BACKBONE}", **module.public_options(name)}
    config = {"model": model, "names": {"model": Path(name).name}}
    return Origin(ckpt, None, {f"backbone.{key}": value for key, value in weights.items()}, config=config, spec=spec)
