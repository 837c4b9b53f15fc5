"""What is known of one run or checkpoint, gathered without torch: from its folder, and from what the file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ptft.errors import CheckpointError
from ptft.runs.archive import Archive
from ptft.runs.folder import read_json
from ptft.runs.lineage import stored_digest
from ptft.runs.registry import SEARCH, state

NAMES = ("best.pt", "last.pt")
IN_PARTS = ".parts"
"""How folders beside them end, in which a state lies in parts (`train.save=parts`)."""


@dataclass(frozen=True)
class Known:
    """A run's folder, a checkpoint's file, or both.

    folder: None of a checkpoint that lies in no run's. file: a checkpoint, of a run its best, else its last; None of a
    run without. stored: the configuration that lies in the folder. named: whether it is the file that was asked for.
    """

    folder: Path | None
    file: Path | None
    stored: Mapping[str, Any]
    named: bool = False

    @property
    def archive(self) -> Archive | None:
        """The checkpoint; None where there is none, or that of a run is broken."""
        return self._opened[0]

    @property
    def broken(self) -> str:
        """What is wrong with a run's checkpoint."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[Archive | None, str]:
        """Raises CheckpointError for a checkpoint that was named itself."""
        try:
            return (Archive(self.file) if self.file else None), ""
        except CheckpointError as error:
            if self.named:
                raise
            return None, str(error)

    @cached_property
    def status(self) -> dict[str, Any]:
        return read_json(self.folder / "status.json") if self.folder else {}

    @cached_property
    def summary(self) -> dict[str, Any]:
        return read_json(self.folder / "summary.json") if self.folder else {}

    @cached_property
    def found(self) -> dict[str, Any]:
        """What a search came to: its `answer`, its `settings` beside those of the defaults, how many `trials` it took,
        their `cost`, and the `verdict` of what confirmed it. Empty of anything else, and of one that has not ended."""
        said = read_json(self.folder / SEARCH) if self.folder else {}
        if not (best := said.get("best")):
            return {}
        usual = said.get("defaults") or {}
        settings = {
            key: {"value": best["settings"].get(key, usual.get(key)), "default": usual.get(key)}
            for key in said.get("space") or {}
        }
        kept = {key: said.get(key) for key in ("answer", "cost", "verdict")}
        return {**kept, "trial": best.get("number"), "trials": len(said.get("trials") or []), "settings": settings}

    @cached_property
    def in_checkpoint(self) -> Mapping[str, Any]:
        """The configuration that the checkpoint, of a run its last, holds, with what was found for `auto`."""
        last = self.folder / "checkpoints" / "last.pt" if self.folder and not self.named else None
        try:
            content = Archive(last, whole=False).content if last and last.is_file() else {}
        except CheckpointError:
            content = {}
        config = content.get("config") or self._content("config")
        return config if isinstance(config, Mapping) else {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """What the examples look like; empty where nobody knows it without training."""
        return self._content("spec")

    @property
    def metrics(self) -> dict[str, float]:
        """`split/name`: of a finished run's best weights."""
        splits = self.summary.get("metrics") or {}
        return {f"{split}/{name}": value for split, values in splits.items() for name, value in values.items()}

    @property
    def progress(self) -> Mapping[str, Any]:
        """How far the run was when the checkpoint was written: `step`, and of how many weights its best is a mean."""
        return self._content("progress")

    @property
    def fingerprint(self) -> str | None:
        known = (self.summary.get("data") or {}).get("fingerprint") or (self._raw("fingerprint"))
        return known if isinstance(known, str) else None

    @property
    def examples(self) -> dict[str, int]:
        """Of each split, how many."""
        return dict((self.summary.get("data") or {}).get("examples") or {})

    @property
    def parent(self) -> Mapping[str, Any]:
        """What it started from: `path`, `sha256`, `run`."""
        return self.summary.get("parent") or self._content("parent")

    @property
    def state(self) -> str:
        return state(self.folder, self.status) if self.folder else ""

    def checkpoints(self) -> list[dict[str, Any]]:
        """Name, bytes, digest as it is stored, and of the one that is read its step and what of weights it holds.

        After them the folders of states in parts, with how many files they have; what belongs to one is in last.pt.
        """
        own = self.folder / "checkpoints" if self.folder else None
        files = [file for name in NAMES if (file := own / name).is_file()] if own else []
        if self.file and self.file not in files:
            files.append(self.file)
        return [*map(self._described, files), *map(_in_parts, sorted(own.glob(f"*{IN_PARTS}")) if own else ())]

    def _described(self, file: Path) -> dict[str, Any]:
        found = {"path": str(file), "bytes": file.stat().st_size, "sha256": stored_digest(file)}
        if file != self.file or not self.archive:
            return found
        weights = self.archive.weights
        values = sum(tensor.size for tensor in weights.values())
        step = self.progress.get("step")
        return {**found, "sha256": self.archive.sha256, "step": step, "tensors": len(weights), "values": values}

    def _content(self, key: str) -> Mapping[str, Any]:
        value = self._raw(key)
        return value if isinstance(value, Mapping) else {}

    def _raw(self, key: str) -> Any:
        return self.archive.content.get(key) if self.archive else None


def _in_parts(folder: Path) -> dict[str, Any]:
    sizes = [file.stat().st_size for file in folder.iterdir()]
    return {"path": str(folder), "bytes": sum(sizes), "files": len(sizes)}


def of_folder(folder: Path, stored: Mapping[str, Any]) -> Known:
    """A run's. Raises CheckpointError where the folder is none."""
    if not (folder / "status.json").is_file():
        raise CheckpointError(f"{folder}: is no run's folder")
    files = [folder / "checkpoints" / name for name in NAMES]
    return Known(folder, next((file for file in files if file.is_file()), None), stored)


def run_of(file: Path) -> Path | None:
    """The run's folder that a checkpoint lies in."""
    folder = file.absolute().parent.parent
    return folder if file.absolute().parent.name == "checkpoints" and (folder / "status.json").is_file() else None
