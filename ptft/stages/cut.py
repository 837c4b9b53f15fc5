"""A training that ends before its budget does, saved and to be continued: by a signal, or by its own pause."""

from __future__ import annotations

from typing import Any

from ptft.builders.run import Run
from ptft.config.resolve import Job
from ptft.errors import Interrupted
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, read_json
from ptft.runtime.signals import CODES
from ptft.stages import left_out, messages
from ptft.stages.summary import flops, summarise, write
from ptft.train.pause import PAUSE


def ended(r: Run, job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Write the summary; what the status of a paused run says, which is the end that was asked for.

    Of several processes the first has the folder. Raises Interrupted where a signal ended it, with the command that
    goes on.
    """
    reason, p = r.training.stop, r.training.progress
    assert reason
    left_out.of_training(r, out, folder)
    count = flops(r, folder)
    command = ""
    if folder is not None:
        if reason != PAUSE and not folder.moved and read_json(folder.path / "summary.json").get("status") == "finished":
            raise Interrupted(f"{reason} at step {p.step}, before another one; the run stays finished", CODES[reason])
        train = r.training.running.metrics(r.objective) or r.training.trained
        write(folder.path, summarise(r, job, folder.path, "interrupted", {"train": train} if train else {}, count), r)
        command = messages.to_resume(job, folder.path)
    if reason != PAUSE:
        saved = f"{reason} at step {p.step}; the state is saved, continue with: {command}"
        raise Interrupted(saved if folder else reason, CODES[reason])
    message = f"paused at step {p.step:,} of {r.training.total or '?'} (train.pause={r.cfg.train.pause})"
    if folder is not None:
        out.say(f"{message}; the state is saved", result=True)
        out.say(f"folder  {folder.path}", result=True)
        out.say(f"next    {command}")
    paused = {"step": p.step, "of": r.training.total, "value": p.best, "loss": p.best_loss}
    return {"status": "interrupted", "message": message, "paused": paused}
