"""What a training leaves beside its numbers, none of which is worth a run: weights for others, and a picture."""

from __future__ import annotations

from typing import Any

from ptft.builders.run import Run
from ptft.checkpoint import exported
from ptft.errors import StorageError, first_line
from ptft.loggers import curves
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder
from ptft.stages.summary import Metrics


def write_safetensors(out: Console, folder: RunFolder, content: dict[str, Any], digest: str, metrics: Metrics) -> None:
    """best.safetensors and best.json: the content of best.pt as others read it; no room for them ends no run."""
    best = folder.checkpoints / "best.pt"
    says = {**exported.described(content, digest, str(best), str(folder.path)), "metrics": metrics}
    try:
        exported.write(best.with_suffix(exported.SUFFIX), best.with_suffix(".json"), content, says, "free some space")
    except StorageError as error:
        for half in (best.with_suffix(exported.SUFFIX), best.with_suffix(".json")):
            half.unlink(missing_ok=True)
        out.say(f"{error}; the run goes on without it, and best.pt holds the same", "yellow")


def draw_curves(r: Run, out: Console, folder: RunFolder) -> None:
    """curves.png; a picture is not worth a run, whatever its drawing meets."""
    try:
        curves.write(folder.path, r.training.monitor["metric"])
    except Exception as error:
        out.say(f"curves.png: can't be drawn ({first_line(error)}); the run goes on without it", "yellow")
