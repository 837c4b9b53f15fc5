"""Plain weights from elsewhere: a state dict, wherever in the file it lies, or safetensors. Reading runs no code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ptft.checkpoint import file as checkpoint_file
from ptft.errors import CheckpointError

AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|teacher)([._]|$)", re.IGNORECASE)
"""Names under which files keep an average of the weights, or the teacher of self-distillation, which is one."""

DEEPEST = 3
"""How far into a file's dicts weights are looked for."""


RECORDS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"builtins.{name}" for name in ("list", "dict", "set", "frozenset", "tuple", "int", "float", "str", "bool")),
    *(f"builtins.{name}" for name in ("complex", "bytes", "bytearray", "slice", "range", "object")),
    *(f"__builtin__.{name}" for name in ("list", "dict", "set", "frozenset", "int", "long", "float", "str", "unicode")),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"{module}.{kind}Path" for module in ("pathlib", "pathlib._local") for kind in ("", "Posix", "Windows")),
    *(f"pathlib.Pure{kind}Path" for kind in ("", "Posix", "Windows")),
    *(f"pathlib._local.Pure{kind}Path" for kind in ("", "Posix", "Windows")),
    *(f"{core}.multiarray.{name}" for core in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
    *(f"{core}.numeric._frombuffer" for core in ("numpy.core", "numpy._core")),
    *(
        "numpy.dtype",
        "numpy.ndarray",
        "_codecs.encode",
        "typing.Any",
        "decimal.Decimal",
        "fractions.Fraction",
        "uuid.UUID",
    ),
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata"),
    *("omegaconf.base.Metadata", "omegaconf.base.Node", "omegaconf.nodes.ValueNode"),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Integer", "Float", "String", "Boolean", "Bytes", "Path")),
)
"""Classes of plain records that scripts store beside weights: settings, times, scalars, paths. None of them is used;
a `Record` takes the place of each, so nothing of theirs runs."""


class Record(dict[Any, Any]):
    """What stands for a record in a file: it takes whatever it is made from, and knows nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None: ...

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def _dict(*args: Any) -> dict[Any, Any]:
    """What stands for a `defaultdict`, which is filled afterwards."""
    return {}


def _list(*args: Any) -> list[Any]:
    """What stands for a `deque`."""
    return []


PLAIN = [(_dict, "collections.defaultdict"), (_list, "collections.deque"), *((Record, name) for name in RECORDS)]


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights in a file by name, and a sentence where there was a choice, else "".

    A file may hold several sets (`state_dict` and `state_dict_ema`, `student` and `teacher`). An averaged one is taken
    where there is one, as it is what such models are measured and published with; else the largest, else the first.
    The prefixes of wrappers (`module.`, `_orig_mod.`) are taken off. Raises CheckpointError.
    """
    content = _content(path)
    if isinstance(content, dict) and content.get("format") == checkpoint_file.FORMAT:
        raise CheckpointError(f"{path}: a ptft checkpoint that was changed or damaged, as its digest is not in it")
    sets = {name: tensors for name, tensors in _sets(content) if tensors}
    if not sets:
        raise CheckpointError(f"{path}: not a ptft checkpoint, and no tensors by name in it")
    most = max(map(_size, sets.values()))
    large = [name for name, tensors in sets.items() if 2 * _size(tensors) > most]
    best = max(large, key=lambda name: (bool(AVERAGED.search(name)), _size(sets[name])))
    others = ", ".join(name or "the top" for name in large if name != best)
    sentence = f"the weights are those under {best or 'the top'} of {path.name}; it also has {others}" if others else ""
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in sets[best].items()}, sentence


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
        return checkpoint_file.load(path, PLAIN)
    raise CheckpointError(f"{path}: not a ptft checkpoint, nor a file of weights")


def _safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
