"""What a checkpoint's backbone makes of new files: their features. Needs nothing but the checkpoint.

Axes: N items, D width of the backbone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptft.config.resolve import Job
from ptft.data import readers
from ptft.loggers.console import Console
from ptft.runs import feature_file
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import versions
from ptft.stages import new_files


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, embed, write. What can't be read is said, and its row is NaN; if nothing can be read, DataError."""
    cfg = job.config
    target, items, predictor = new_files.opened(job, folder, "features.npz", feature_file.check_ending)
    width = predictor.objective.backbone.width
    new_files.plan(job, out, folder, items, predictor, f"{width:,} features")
    if folder is None:
        return {}
    features, unreadable, done = np.full((len(items), width), np.nan, dtype=np.float32), list[str](), 0
    remarks = dict[str, list[str]]()
    with out.reading("embedding") as progress:
        for read in predictor.batches(items, remarks):
            readable = [done + i for i in range(len(read.items)) if i not in read.errors]
            if readable:
                features[readable] = predictor.embed(read.batch).numpy()
            unreadable += map(str, read.errors.values())
            done += len(read.items)
            progress(done, len(items))
    new_files.say_what_was_read(cfg, out, unreadable, remarks, len(items))
    assert target
    passed = [readers.passed(predictor.spec, item) for item in items]
    table = new_files.joined(out, {"path": list(map(str, items)), "features": []}, passed)
    if left := feature_file.write(target, features, table, "choose another output"):
        out.say(f"{', '.join(left)} of the input: only output=NAME.parquet has a place for them", "yellow")
    count = len(items) - len(unreadable)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": count,
        "unreadable": len(unreadable),
        "width": width,
        "output": str(target),
        "parent": predictor.checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    shown = {"items": f"{count:,} embedded, {len(unreadable):,} unreadable", "written": str(target)}
    out.block("embed done", {**shown, "features": f"float32 [{len(items):,}, {width:,}]"}, "green")
    out.say(f"folder  {folder.path}", result=True)
    return {}
