"""What a checkpoint's backbone makes of new files: their features. Needs nothing but the checkpoint.

Axes: N items, D width of the backbone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptft.builders.predictor import Predictor
from ptft.builders.restore import check_spec
from ptft.config.config import model_name
from ptft.config.resolve import Job
from ptft.data import readers
from ptft.errors import counted
from ptft.loggers.console import Console
from ptft.runs import feature_file
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import device_name, versions
from ptft.stages import asked, messages


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, embed, write. What can't be read is said, and its row is NaN; if nothing can be read, DataError."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    target = asked.output(cfg, folder, "features.npz", feature_file.check_ending)
    check_spec(checkpoint)
    items = asked.items(cfg, checkpoint.spec) if checkpoint.spec and checkpoint.has_task else []
    asked.refuse_overwriting(cfg, checkpoint, items)
    predictor = Predictor(job)
    spec, width = predictor.spec, predictor.objective.backbone.width
    rows = {
        "model": f"{model_name(cfg)}, {width:,} features",
        "input": f"{counted(len(items), 'items')}, read as {messages.input_of(spec) or messages.shape_of(spec)}",
        "device": device_name(predictor.device, predictor.compute_format),
        "start": checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    details = messages.plan_details(cfg, folder.path if folder else None)
    out.plan("ptft embed", rows, getattr(items, "notes", ()), **details)
    if folder is None:
        return {}
    features, unreadable, done = np.full((len(items), width), np.nan, dtype=np.float32), list[str](), 0
    with out.reading("embedding") as progress:
        for read in predictor.batches(items):
            readable = [done + i for i in range(len(read.items)) if i not in read.errors]
            if readable:
                features[readable] = predictor.embed(read.batch).numpy()
            unreadable += map(str, read.errors.values())
            done += len(read.items)
            progress(done, len(items))
    asked.say_unreadable(cfg, out, unreadable, len(items))
    assert target
    passed = [readers.passed(spec, item) for item in items]
    names = dict.fromkeys(name for fields in passed for name in fields if name not in ("path", "features"))
    columns = {name: [fields.get(name) for fields in passed] for name in names}
    feature_file.write(target, list(map(str, items)), features, columns, "choose another output")
    count = len(items) - len(unreadable)
    summary = {
        **{key: cfg.names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": count,
        "unreadable": len(unreadable),
        "width": width,
        "output": str(target),
        "parent": checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    shown = {"items": f"{count:,} embedded, {len(unreadable):,} unreadable", "written": str(target)}
    out.block("embed done", {**shown, "features": f"float32 [{len(items):,}, {width:,}]"}, "green")
    out.say(f"folder  {folder.path}", result=True)
    return {}
