"""Exported weights: a safetensors file, and beside it in JSON all else that a checkpoint of ptft says.

The two are one: the description holds the digest of the weights, so both can be moved and a changed one is noticed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.checkpoint import file as checkpoint_file
from ptft.errors import CheckpointError
from ptft.runs.folder import write_json
from ptft.runs.lineage import EXPORT
from ptft.runtime.system import written_whole

VERSION = 1
SUFFIX = ".safetensors"


def described(content: Mapping[str, Any], digest: str | None, path: str, run: str | None) -> dict[str, Any]:
    """What a description says of a checkpoint: its content without tensors, and which it was.

    content: `config`, `spec` and what else it holds, as `ptft.checkpoint.file.read` returns it.
    """
    kept = ("config", "spec", "progress", "fingerprint", "parent", "transfer", "code", "versions", "unmeasured")
    plain = {key: content[key] for key in kept if key in content}
    return {"format": EXPORT, "version": VERSION, "checkpoint": {"path": path, "sha256": digest, "run": run}, **plain}


def write(weights: Path, description: Path, content: Mapping[str, Any], says: Mapping[str, Any], remedy: str) -> int:
    """Write `content["weights"]` and `says` of them; the bytes of both. What it was trained on is in the header.

    Raises StorageError, which ends with the remedy.
    """
    from safetensors.torch import save

    header = {"format": "pt", **_identities(content.get("trained_on"))}
    data = save(_apart(content["weights"]), header)
    with written_whole(weights, remedy) as aside:
        aside.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    write_json(description, {**says, "weights": weights.name, "weights_sha256": digest})
    return len(data) + description.stat().st_size


def _apart(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, none of which shares its memory with another: the format has no place for that."""
    seen, apart = set[int](), dict[str, Tensor]()
    for name, value in weights.items():
        storage = value.untyped_storage().data_ptr()
        whole = value.is_contiguous() and storage not in seen and value.device.type == "cpu"
        apart[name] = value.detach() if whole else value.detach().cpu().clone(memory_format=torch.contiguous_format)
        seen.add(storage)
    return apart


def _identities(trained_on: Any) -> dict[str, str]:
    """Long [n] -> what the header says of it."""
    if not isinstance(trained_on, Tensor):
        return {}
    return {"trained_on": base64.b64encode(trained_on.cpu().numpy().astype("<i8").tobytes()).decode()}


def read(path: Path, says: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint, as `ptft.checkpoint.file.read` returns it, from exported weights and what is said.

    Raises CheckpointError where they were changed, are not whole, or of another version.
    """
    from safetensors import SafetensorError, safe_open

    if not isinstance(says.get("checkpoint"), dict):
        raise CheckpointError(f"{path}: the JSON beside it does not say which checkpoint it was made of")
    if says.get("version") != VERSION:
        raise CheckpointError(f"{path}: exported in format {says.get('version')}; this ptft reads format {VERSION}")
    if checkpoint_file.file_digest(path) != says.get("weights_sha256"):
        raise CheckpointError(f"{path}: the digest differs from the one beside it, so one of the two was changed")
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    content = {key: value for key, value in says.items() if key not in ("format", "version")}
    content["weights"] = weights
    if "trained_on" in header:
        content["trained_on"] = _from_header(header["trained_on"], path)
    return content


def _from_header(text: str, path: Path) -> Tensor:
    """The identities, long [n]. Raises CheckpointError for what `_identities` never wrote."""
    try:
        raw = bytearray(base64.b64decode(text, validate=True))
        return torch.frombuffer(raw, dtype=torch.int64) if raw else torch.empty(0, dtype=torch.int64)
    except ValueError as error:
        raise CheckpointError(f"{path}: what it was trained on can't be read ({error})") from error
