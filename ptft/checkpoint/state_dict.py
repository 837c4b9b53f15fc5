"""Plain weights from elsewhere: a state dict, wherever in the file it lies, or safetensors. Reading runs no code."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.checkpoint import file as checkpoint_file
from ptft.errors import CheckpointError

AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|teacher)([._]|$)", re.IGNORECASE)
"""Names under which files keep an average of the weights, or the teacher of self-distillation, which is one."""

DEEPEST = 3
"""How far into a file's dicts weights are looked for."""


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights in a file by name, and a sentence where there was a choice, else "".

    A file may hold several sets (`state_dict` and `state_dict_ema`, `student` and `teacher`). An averaged one is taken
    where there is one, as it is what such models are measured and published with; else the largest, else the first.
    The prefixes of wrappers (`module.`, `_orig_mod.`) are taken off. Raises CheckpointError.
    """
    content = _content(path)
    if isinstance(content, dict) and content.get("format") == checkpoint_file.FORMAT:
        raise CheckpointError(f"{path}: a ptft checkpoint that was changed or damaged, as its digest is not in it")
    sets = {name: found for name, found in _sets(content) if found}
    if not sets:
        raise CheckpointError(f"{path}: not a ptft checkpoint, and no tensors by name in it")
    most = max(map(_size, sets.values()))
    large = [name for name, found in sets.items() if 2 * _size(found) > most]
    best = max(large, key=lambda name: (bool(AVERAGED.search(name)), _size(sets[name])))
    others = ", ".join(name or "the top" for name in large if name != best)
    said = f"the weights are those under {best or 'the top'} of {path.name}; it also has {others}" if others else ""
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in sets[best].items()}, said


def _sets(content: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dict in `content` by the path to it, and the tensors that it holds by name."""
    if not isinstance(content, dict) or depth > DEEPEST:
        return
    yield name, {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    for key, inner in content.items():
        if isinstance(key, str) and not re.search("optim|sched|scaler", key):
            yield from _sets(inner, f"{name}.{key}".lstrip("."), depth + 1)


def _size(weights: dict[str, Tensor]) -> int:
    return sum(value.numel() for value in weights.values())


def _content(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _safetensors(path)
    if head.startswith((b"PK", b"\x80")):
        # Many scripts store their parsed arguments beside the weights: a plain record, in which no code can hide.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return checkpoint_file.load(path)
    raise CheckpointError(f"{path}: not a ptft checkpoint, nor a file of weights")


def _safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
