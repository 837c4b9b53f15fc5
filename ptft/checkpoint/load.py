"""Loading: the checkpoint that `ckpt=` or `resume=` names, opened and verified once.

It may be a checkpoint, a run folder, `latest`, an export, public weights by name, or weights from elsewhere.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.checkpoint import exported, state_dict
from ptft.checkpoint import file as checkpoint_file
from ptft.core import Spec
from ptft.errors import CheckpointError, OptionError, PtftError, first_line
from ptft.runs.lineage import described
from ptft.runs.registry import FOLDS, MANY, SEARCH, is_name, latest, named, sweep_command

WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")
"""Suffixes that files of weights have, for near names only; any file is read."""

SIZES = ("size", "channels", "rate", "length", "stride")
"""Keys of `Spec.shape` whose values are numbers above 0."""

PUBLIC = ("torchvision", "timm", "huggingface")
"""Prefixes of public weights; `ptft.models.hub.PREFIX` has `public_weights(name)` and `public_options(name)`."""


@dataclass(frozen=True)
class Checkpoint:
    """A set of weights and what is known about them.

    path, sha256: the file and its digest, which was verified; public weights have their name and no digest, an export
        that of the checkpoint that it was made of.
    weights: names as in an Objective (`backbone.…`); tensors are on the CPU, mapped from the file until used.
    config, spec: what they were trained with; None where the file does not say.
    training: the state for an exact continuation, where it is stored; run: the folder of the run that wrote it.
    latest: what `latest` meant, a sentence; note: a choice that was made in reading the file.
    meta: everything else that a checkpoint of ptft holds: progress, parent, fingerprint, versions.
    """

    path: str
    sha256: str | None
    weights: dict[str, Tensor]
    config: dict[str, Any] | None = None
    spec: Spec | None = None
    training: dict[str, Any] | None = None
    run: str | None = None
    latest: str = ""
    note: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def parent(self) -> dict[str, Any]:
        """How a run that starts from it names it."""
        return {"path": self.path, "sha256": self.sha256, "run": self.run}

    @property
    def trained_on(self) -> Tensor | None:
        """Identities of what its run, and those that this started from, were trained on, long [n]; None: not known."""
        ids = self.meta.get("trained_on")
        return ids if isinstance(ids, Tensor) and ids.dtype == torch.int64 and ids.ndim == 1 else None

    @property
    def progress(self) -> dict[str, Any]:
        """Where the run that wrote it stood."""
        progress = self.meta.get("progress")
        return progress if isinstance(progress, dict) else {}

    @property
    def has_task(self) -> bool:
        """Whether it holds all that makes its objective again, and not a backbone alone."""
        return self.spec is not None and {"model", "objective"} <= (self.config or {}).keys()


def locate(ckpt: str, key: str = "ckpt") -> Path:
    """The checkpoint file that a path means: itself, or a run folder's best (for `resume`, its last).

    Raises CheckpointError with the absolute path that was tried and near names.
    """
    path = Path(os.path.expanduser(ckpt)).absolute()
    if key != "resume" and (says := described(path) if path.is_dir() else None) is not None:
        return _of_export(path, says, key, ckpt)
    order = ("last.pt",) if key == "resume" else ("best.pt", "last.pt")
    for file in _candidates(path, order):
        if file.is_file():
            return file
    if (link := next((link for link in _candidates(path, order) if _is_dead(link)), None)) is not None:
        raise CheckpointError(f"{key}={ckpt}: {link} is a link to {os.readlink(link)}, where there is no file")
    if path.is_dir():
        if remedy := _of_many(path):
            raise CheckpointError(f"{key}={ckpt}: {remedy}")
        ended = key == "resume" and (path / "status.json").is_file()
        remedy = "its run ended before it saved one; type its command again" if ended else "name a run folder or a file"
        raise CheckpointError(f"{key}={ckpt}: no checkpoint in {path}, nor in its checkpoints/; {remedy}")
    raise CheckpointError(f"{key}={ckpt}: there is no file {path}{_near(path)}")


def _of_many(path: Path) -> str:
    """What to name in the place of a folder of many runs, which has no weights itself; nothing where it is none."""
    if (path / FOLDS).is_file():
        whole = "its command without train.folds trains one on all of them"
        return f"is a cross-validation, whose runs are {path / 'cells' / 'fold1'} and so on; {whole}"
    if (path / SEARCH).is_file():
        return f"is a search without a result yet; ptft resume={path} goes on with it"
    if sweep_command(path):
        return f"is a sweep, whose runs are {path / '0'} and so on; results.csv there says what each came to"
    if any((path / name).is_file() for name in MANY):
        return f"is a comparison, whose runs are the folders in {path / 'cells'}; name one of them"
    return ""


def _of_export(path: Path, says: dict[str, Any], key: str, ckpt: str) -> Path:
    """The weights of an exported folder. Raises CheckpointError where other programs alone read what it holds."""
    file = path / Path(str(says.get("weights"))).name
    if file.is_file():
        return file
    source = says.get("checkpoint")
    made_of = source.get("path") if isinstance(source, dict) else None
    raise CheckpointError(
        f"{key}={ckpt}: is an export for other programs (README.md there says how they load it); ptft reads the "
        f"checkpoint that it was made of, {made_of}, or an export with format=safetensors"
    )


def _candidates(path: Path, order: Sequence[str]) -> list[Path]:
    """The files that a path may mean, the likeliest first."""
    return [*(folder / name for folder in (path / "checkpoints", path) for name in order), path]


def _is_dead(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _near(path: Path) -> str:
    """What of the path exists, and the names there that are like the first that does not."""
    parent, missing = path.parent, path.name
    while not parent.is_dir() and parent != parent.parent:
        parent, missing = parent.parent, parent.name
    entries = [entry for entry in parent.iterdir() if not entry.name.startswith(".") and not _is_dead(entry)]
    names = sorted(entry.name for entry in entries if entry.is_dir() or entry.suffix in WEIGHTS)
    near = difflib.get_close_matches(missing, names, n=2, cutoff=0.5) or [name for name in names if "." in name][:2]
    return f"; near it: {', '.join(str(parent / name) for name in near)}" if near else ""


def open_checkpoint(ckpt: str, key: str = "ckpt", stages: tuple[str, ...] = ()) -> Checkpoint:
    """Read and verify what `ckpt` names. stages: those whose newest finished run `latest` means.

    Raises CheckpointError.
    """
    kind, _, name = ckpt.partition(":")
    if name and kind in PUBLIC:
        return _public(kind, name, ckpt)
    folder, sentence = _latest(stages) if ckpt == "latest" and key == "ckpt" else _by_name(ckpt, key)
    path = locate(folder, key)
    if (says := described(path)) is not None:
        content = exported.read(path, says)
        source = content["checkpoint"]
        return _with_content(path, source.get("sha256"), content, _run_of(path) or source.get("run"), sentence)
    digest = checkpoint_file.verify(path)
    if digest is None:
        weights, note = state_dict.read(path)
        return Checkpoint(str(path), checkpoint_file.file_digest(path), weights, latest=sentence, note=note)
    return _with_content(path, digest, checkpoint_file.content(path), _run_of(path), sentence)


def _run_of(path: Path) -> str | None:
    """The folder of the run that wrote a checkpoint."""
    run = path.parent.parent
    return str(run) if path.parent.name == "checkpoints" and (run / "status.json").exists() else None


def _with_content(
    path: Path, digest: str | None, content: dict[str, Any], run: str | None, sentence: str
) -> Checkpoint:
    """Raises CheckpointError for content that a checkpoint can't have."""
    return Checkpoint(
        str(path),
        digest,
        _weights(content.pop("weights", None), path),
        config=_config(content.pop("config", None), path),
        spec=_spec(content.pop("spec", None), path),
        training=_state(content.pop("training", None), path),
        run=run,
        latest=sentence,
        meta=_meta(content, path),
    )


@contextmanager
def held_by(path: str) -> Iterator[None]:
    """Inside, objects are made from what the checkpoint at `path` holds; what that raises becomes a CheckpointError.

    Its digest is right, so it was written as it is: by another program, or by a ptft that knew other values.
    """
    try:
        yield
    except Exception as error:  # of plain data that can be anything, and what is built from them
        if isinstance(error, PtftError | OSError | MemoryError) and not isinstance(error, OptionError):
            raise
        raise CheckpointError(
            f"{path}: what it holds can't be used ({type(error).__name__}: {first_line(error)}); "
            "type other values for the keys that it gives, or choose another file"
        ) from error


def _weights(weights: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise CheckpointError(f"{path}: holds no weights by name")
    return weights


def _config(config: Any, path: Path) -> dict[str, Any]:
    names = config.get("names") if isinstance(config, dict) else None
    if not isinstance(names, dict) or not all(isinstance(key, str) for key in config):
        raise CheckpointError(f"{path}: holds no configuration with the names of its options")
    for group, name in names.items():
        listed = name if isinstance(name, list) else [name]
        if not all(each is None or (isinstance(each, str) and "/" not in each) for each in listed):
            raise CheckpointError(f"{path}: its configuration calls its {group} {name!r}, which is no name")
    for group in ("model", "objective", "dataset", "optimizer", "schedule", "stage"):
        if group in config and not isinstance(config[group], dict):
            raise CheckpointError(f"{path}: its configuration holds no {group}")
    return dict(config)


def _spec(stored: Any, path: Path) -> Spec:
    try:
        spec = Spec.from_dict(stored)
        numbers, texts = [*spec.mean, *spec.std], [spec.modality, spec.target, *spec.classes, *spec.shape]
        sizes = [size for key in SIZES if key in spec.shape for size in _listed(spec.shape[key])]
        valid = all(isinstance(text, str) for text in texts) and all(map(_is_number, numbers))
        valid = valid and all(_is_number(size) and size > 0 for size in sizes)
    except (TypeError, AttributeError):
        valid = False
    if not valid:
        raise CheckpointError(f"{path}: holds no spec of its inputs that can be read")
    return spec


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _meta(meta: dict[str, Any], path: Path) -> dict[str, Any]:
    progress = meta.get("progress", {})
    if not isinstance(progress, dict) or not all(value is None or _is_number(value) for value in progress.values()):
        raise CheckpointError(f"{path}: does not say where its run stood")
    return meta


def _state(state: Any, path: Path) -> dict[str, Any] | None:
    if state is not None and not isinstance(state, dict):
        raise CheckpointError(f"{path}: its state of training can't be read")
    return state


def _latest(stages: tuple[str, ...]) -> tuple[str, str]:
    """The folder that `latest` means, and a sentence about it."""
    folder, newer = latest(stages)
    return str(folder), f"ckpt=latest is {folder}" + (f"; a newer run did not finish: {newer}" if newer else "")


def _by_name(ckpt: str, key: str) -> tuple[str, str]:
    """The path that was typed, or the folder of the run that is called so and a sentence about it."""
    folder = named(ckpt, key) if is_name(ckpt) else None
    return (str(folder), f"{key}={ckpt} is {folder}") if folder else (ckpt, "")


def _public(kind: str, name: str, ckpt: str) -> Checkpoint:
    module = importlib.import_module(f"ptft.models.hub.{kind}")
    weights, spec = module.public_weights(name)
    model = {"_target_": f"{module.__name__}.{module.BACKBONE}", **module.public_options(name)}
    config = {"model": model, "names": {"model": Path(name).name}}
    weights = {f"backbone.{key}": value for key, value in weights.items()}
    return Checkpoint(ckpt, None, weights, config=config, spec=spec)
