"""The state of a training in parts: each process writes what it has of it, in a folder beside last.pt.

last.pt stays one file: it holds the result's weights, all that is small, and where the parts are, so it is what makes
them count. It is written once they are whole, and those of the one before are removed after it. The weights come
together one tensor at a time; nobody holds what is larger, the optimizer's state and averages.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.checkpoint.file import file_digest
from ptft.errors import CheckpointError, StorageError, first_line
from ptft.runs.facts import IN_PARTS
from ptft.runtime.system import FULL
from ptft.runtime.together.alone import current

FOLDER, FILES, PART = "folder", "files", "part"
PARTS = "parts"
"""Of a state, where its parts are: the FOLDER's name, and the digest of each of its FILES."""


def free(checkpoints: Path, step: int) -> Path:
    """A folder for the parts of a step that is not there yet."""
    names = chain([f"last-{step}"], (f"last-{step}-{number}" for number in count(2)))
    return next(place for name in names if not (place := checkpoints / (name + IN_PARTS)).exists())


def folder_of(state: Mapping[str, Any]) -> str | None:
    """The name of the folder that has parts of a state; None where it is whole."""
    return str(state[PARTS][FOLDER]) if PARTS in state else None


def save(state: dict[str, Any], place: Path) -> dict[str, Any]:
    """Write what each process has of the state's tensors into a folder; the state with their names in their places.

    All processes come by here. Raises StorageError.
    """
    from ptft.distributed import files

    tensors: dict[str, Tensor] = {}
    rest, group = _taken_out(state, "", tensors), current()
    try:
        files.write(place, tensors)
        digests = {file.name: file_digest(file) for file in files.files_of(place, group.rank)}
    except OSError as error:
        remedy = "; free some space" if error.errno in FULL else ""
        raise StorageError(
            f"{place}: can't be written ({error.strerror}); the checkpoint before it is whole{remedy}"
        ) from error
    parts = {
        FOLDER: place.name,
        FILES: {name: digest for each in group.gathered(digests) for name, digest in each.items()},
    }
    return {**rest, PARTS: parts}


def restored(state: dict[str, Any], checkpoint: str, like: Tensor) -> dict[str, Any]:
    """A state that may be in parts, with its tensors; what each process needs of them where `like` is cut.

    All processes come by here. Raises CheckpointError: missing, or changed.
    """
    if PARTS not in state:
        return state
    from ptft.distributed import files

    parts, shapes = state[PARTS], dict[str, tuple[torch.Size, torch.dtype]]()
    folder = Path(checkpoint).parent / str(parts[FOLDER])
    _verify(folder, parts[FILES], checkpoint)
    _listed(state, shapes)
    try:
        tensors = files.read(folder, shapes, like)
    except (OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{folder}: can't be read ({first_line(error)})") from error
    filled: dict[str, Any] = _filled({key: value for key, value in state.items() if key != PARTS}, tensors)
    return filled


def clear(checkpoints: Path, keep: str | None) -> None:
    """Remove all parts but those that count; what can't be removed now is at the next time."""
    for folder in checkpoints.glob(f"last-*{IN_PARTS}"):
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)


def _verify(folder: Path, digests: Mapping[str, str], checkpoint: str) -> None:
    """Each process looks at some of the files, all of them hear of it."""
    group, names = current(), sorted(digests)
    lost = [name for name in names if not (folder / name).is_file()]
    if lost:
        raise CheckpointError(
            f"{checkpoint}: its state of training is in {folder}, where {lost[0]} is missing; put it "
            "beside the file, or start a new run from its weights with ckpt="
        )
    own = names[group.rank :: group.count]
    changed = [name for name in own if file_digest(folder / name) != digests[name]]
    if broken := [name for each in group.gathered(changed) for name in each]:
        raise CheckpointError(f"{folder / broken[0]}: was changed or damaged since {checkpoint} was written")


def _taken_out(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value without the tensors of which each process has a part, which are in `tensors` by their place in it."""
    if isinstance(value, Tensor) and hasattr(value, "to_local"):
        tensors[name] = value
        return {PART: name, "shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, dict):
        return {key: _taken_out(inner, f"{name}/{key}", tensors) for key, inner in value.items()}
    if isinstance(value, list):
        return [_taken_out(inner, f"{name}/{number}", tensors) for number, inner in enumerate(value)]
    return value


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {PART, "shape", "dtype"}


def _listed(value: Any, shapes: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
    if _is_part(value):
        shapes[value[PART]] = torch.Size(value["shape"]), getattr(torch, value["dtype"])
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _listed(inner, shapes)


def _filled(value: Any, tensors: dict[str, Tensor]) -> Any:
    if _is_part(value):
        return tensors[value[PART]]
    if isinstance(value, dict):
        return {key: _filled(inner, tensors) for key, inner in value.items()}
    return [_filled(inner, tensors) for inner in value] if isinstance(value, list) else value
