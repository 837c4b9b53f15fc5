"""What a checkpoint's backbone makes of new files: their features. Needs nothing but the checkpoint.

Axes: N items, D width of the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptft.builders.reading import Remarks
from ptft.config.resolve import Job
from ptft.core import Columns, Spec
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
    if target:
        new_files.refuse_existing(cfg, target)
    width = predictor.objective.backbone.width
    new_files.plan(job, out, folder, items, predictor, f"{width:,} features")
    if folder is None:
        return {}
    features, done = np.full((len(items), width), np.nan, dtype=np.float32), 0
    unread, remarks = new_files.Unread(), Remarks()
    with out.reading("embedding") as progress:
        for read in predictor.batches(items):
            readable = [done + i for i in range(len(read.items)) if i not in read.errors]
            if readable:
                features[readable] = predictor.embed(read.batch).numpy()
            unread.add([str(error) for error in read.errors.values()])
            for i, remark in read.remarks.items():
                remarks.add(remark, read.items[i])
            done += len(read.items)
            progress(done, len(items))
    new_files.say_what_was_read(cfg, out, unread, remarks, len(items))
    assert target
    table = _columns(out, predictor.spec, items)
    if left := feature_file.write(target, features, table, "choose another output"):
        out.say(f"{', '.join(left)} of the input: only output=NAME.parquet has a place for them", "yellow")
    count = len(items) - unread.count
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": count,
        "unreadable": unread.count,
        "width": width,
        "output": str(target),
        "parent": predictor.checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    shown = {"items": f"{count:,} embedded, {unread.count:,} unreadable", "written": str(target)}
    out.block("embed done", {**shown, "features": f"float32 [{len(items):,}, {width:,}]"}, "green")
    out.say(f"folder  {folder.path}", result=True)
    return {}


def _columns(out: Console, spec: Spec, items: Sequence[Any]) -> Columns:
    """The path, what is handed on, and the place of the features."""
    passed = [readers.passed(spec, item) for item in items]
    called = new_files.called(out, dict.fromkeys(name for fields in passed for name in fields), ("path", "features"))
    handed_on = {new: [fields.get(name) for fields in passed] for name, new in called.items()}
    return {"path": list(map(str, items)), **handed_on, "features": []}
