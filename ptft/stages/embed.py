"""What a checkpoint's backbone makes of new files: their features. Needs nothing but the checkpoint.

Axes: N items, b of a block, D width of the backbone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ptft.builders.predictor import BATCH, Predictor
from ptft.builders.reading import Remarks
from ptft.config.resolve import Job
from ptft.core import Columns, Spec
from ptft.data import readers
from ptft.data.answers.rows import firsts, joined
from ptft.loggers.console import Console
from ptft.runs import feature_file
from ptft.runs.folder import RunFolder, write_json
from ptft.runs.part_file import PartFile
from ptft.runtime.device import versions
from ptft.runtime.together.alone import current
from ptft.stages.asking import begun, compared, in_turn, new_files


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, embed, write. What can't be read is said, and its row is NaN; if nothing can be read, DataError.

    What was made before it is cut is kept beside the output, and goes on from there. Raises Interrupted.
    """
    cfg = job.config
    target, items, predictor = new_files.opened(job, folder, "features.npz", feature_file.check_ending)
    pooling = None if compared.wanted(cfg) else getattr(predictor.backbone, "pooling", None)
    made = f"{compared.width(predictor):,} features{f', pooling {pooling}' if isinstance(pooling, str) else ''}"
    if folder is None and not cfg.dry_run:
        for _ in in_turn.blocks(None, len(items), Embedding(predictor, items)):
            pass  # the first process keeps them
        return {}
    if folder is None or target is None:
        if target:
            new_files.refuse_existing(cfg, target)
        new_files.plan(job, out, folder, items, predictor, made, _left_out(predictor.spec))
        return {}
    about = begun.about(job, target, items, predictor, {"compared": of} if (of := compared.wanted(cfg)) else {})
    if begun.complete(cfg, folder, about):
        current().same(None)
        out.say(f"{target}: complete; overwrite=true begins again", result=True)
        return {}
    with Features(begun.opened(cfg, target, folder, about), items) as kept:
        said = _left_out(predictor.spec)
        said += [f"continued after {kept.done:,} of them, which are embedded"] if kept.done else []
        new_files.plan(job, out, folder, items, predictor, made, said)
        try:
            with out.reading("embedding") as progress:
                for block in in_turn.blocks(kept.done, len(items), Embedding(predictor, items)):
                    kept.add(block[0])
                    progress(kept.done, len(items))
        except KeyboardInterrupt as error:
            raise begun.cut(job, folder, len(items) - kept.done, len(items), error) from error
        if kept.unread.count == len(items):
            kept.part.remove()
        new_files.say_what_was_read(cfg, out, kept.unread, kept.remarks, len(items))
        first = firsts(predictor.spec, items)
        features = joined(torch.from_numpy(kept.rows()), first).numpy()
        table = _columns(out, predictor.spec, [items[place] for place in first])
        left = feature_file.write(target, features, table, "choose another output")
        if left and cfg.input not in (None, new_files.STDIN):
            out.say(f"{', '.join(left)} of the input: only output=NAME.parquet has a place for them", "yellow")
        _close(job, out, folder, predictor, len(first), kept.unread.count, target)
        kept.part.remove()
    return {}


def _left_out(spec: Spec) -> list[str]:
    """What public weights do with features after these, in words."""
    beyond = spec.shape.get("beyond")
    return [f"without what the model was published with behind its pooling: {', '.join(beyond)}"] if beyond else []


class Block(NamedTuple):
    """features: float32 [b, D], a row of NaN for what could not be read. errors, remarks: by the place of their item in
    it."""

    features: np.ndarray
    errors: dict[int, str]
    remarks: dict[int, str]


class Embedding:
    """What `in_turn.blocks` asks for: the features of this process's blocks, a Block each."""

    def __init__(self, predictor: Predictor, items: Sequence[Any]) -> None:
        self.predictor, self.items = predictor, items

    def __call__(self, begin: int, apart: int) -> Iterator[list[Block]]:
        each = self._each(begin, apart)
        while some := list(islice(each, BATCH)):
            vectors, errors, remarks = zip(*some, strict=True)
            said = ({i: text for i, text in enumerate(texts) if text} for texts in (errors, remarks))
            yield [Block(np.stack(vectors), *said)]

    def _each(self, begin: int, apart: int) -> Iterator[tuple[np.ndarray, str | None, str | None]]:
        """Of each item its features, float32 [D], why it could not be read, and what is to be said of it."""
        none = np.full(compared.width(self.predictor), np.nan, dtype=np.float32)
        for read in self.predictor.batches(self.items, begin, apart):
            rows = iter(self.predictor.embed(read.batch).numpy() if read.batch else none[:0])
            for i in range(len(read.items)):
                error = read.errors.get(i)
                yield none if error else next(rows), str(error) if error else None, read.remarks.get(i)


class Features:
    """The features that there are, in a file of blocks, and what is to be said of the items. done: of how many."""

    def __init__(self, part: PartFile, items: Sequence[Any]) -> None:
        self.part, self.items, self.done = part, items, 0
        self.unread, self.remarks = new_files.Unread(), Remarks()
        for line in part.parts():
            self._count(line)

    def __enter__(self) -> Features:
        return self

    def __exit__(self, *raised: object) -> None:
        self.part.close()

    def add(self, block: Block) -> None:
        line = {
            "done": self.done + len(block.features),
            "unread": list(block.errors.values()),
            "remarks": {str(self.done + i): remark for i, remark in block.remarks.items()},
            "features": base64.b64encode(block.features.astype("<f4").tobytes()).decode("ascii"),
        }
        self.part.add(line)
        self._count(line)

    def _count(self, line: dict[str, Any]) -> None:
        self.done = line["done"]
        self.unread.add(line["unread"])
        for number, remark in line["remarks"].items():
            self.remarks.add(remark, self.items[int(number)])

    def rows(self) -> np.ndarray:
        """Float32 [N, D]."""
        parts = (base64.b64decode(line["features"]) for line in self.part.parts())
        return np.frombuffer(bytearray().join(parts), dtype="<f4").reshape(len(self.items), -1)


def _close(
    job: Job, out: Console, folder: RunFolder, predictor: Predictor, rows: int, unreadable: int, target: Path
) -> None:
    """The summary, and the last lines."""
    names, width = job.config.names, compared.width(predictor)
    summary = {
        **{key: names[key] for key in ("stage", "model", "objective")},
        "status": "finished",
        "files": rows - unreadable,
        "unreadable": unreadable,
        "width": width,
        **({"compared": of} if (of := compared.wanted(job.config)) else {}),
        "output": str(target),
        "parent": predictor.checkpoint.parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    embedded = f"{rows - unreadable:,} embedded, {unreadable:,} unreadable"
    shown = {"items": embedded, "written": str(target), "features": f"float32 [{rows:,}, {width:,}]"}
    out.block("embed done", shown, "green")
    out.say(f"folder  {folder.path}", result=True)


def _columns(out: Console, spec: Spec, items: Sequence[Any]) -> Columns:
    """The path, what is handed on, and the place of the features."""
    passed = [readers.passed(spec, item) for item in items]
    called = new_files.called(out, dict.fromkeys(name for fields in passed for name in fields), ("path", "features"))
    handed_on = {new: [fields.get(name) for fields in passed] for name, new in called.items()}
    return {"path": list(map(str, items)), **handed_on, "features": []}
