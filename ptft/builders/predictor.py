"""Predictor: a checkpoint's objective, and how it is asked: files or values in, answers or features out.

Axes: N inputs, B batch, D width of the backbone.
"""

from __future__ import annotations

import inspect
import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ptft.builders import reading
from ptft.builders.inputs import step_examples
from ptft.builders.reading import ReadBatch, Remarks, Result
from ptft.builders.restore import backbone_alone, check_spec, restored, trained_in, trained_with
from ptft.config import instantiate
from ptft.config.config import model_name
from ptft.config.overrides import quote
from ptft.config.resolve import LIBRARIES, Job, resolve
from ptft.config.settled import stored
from ptft.core import Batch, Objective, Spec
from ptft.data import readers
from ptft.data.answers.rows import firsts, joined
from ptft.data.ragged import ends_within
from ptft.data.readers import Row
from ptft.data.user_dataset import values
from ptft.errors import ConfigError, DataError, suggest
from ptft.runs.folder import read_json
from ptft.runtime.device import find_device, tf32
from ptft.runtime.precision import autocast, place
from ptft.runtime.prefetch import on_device

BATCH = 64
CELL = 400  # characters of a value of its card that a notebook shows
EVEN = 3
"""Axes of what is read with one size; BATCH of that take less memory than evaluation does."""


class Answer(NamedTuple):
    """What was asked, and the columns of the answer; None where it can't be read, for the reason in `error`.

    remark: what is to be said of an item that was read.
    """

    item: Any
    row: Row | None
    error: DataError | None
    remark: str | None


class RawModule(nn.Module):
    """A raw batch in: uint8 images [B, C, H, W], ids [B, T] with their mask, or samples [B, n] with their lengths.

    Out: the probabilities of a classifier, float32 [B, K] (of one whose answer is any number of labels, of each by
    itself), else the features of the backbone, float32 [B, D]. With `objective.tta` it looks at an image twice.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, input: Tensor, mask: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        more = {"mask": mask, "length": length}
        batch = {"input": input, **{name: value for name, value in more.items() if value is not None}}
        backbone = self.objective.backbone
        x = backbone.inputs(batch)
        pooled = backbone.pool(backbone(x, mask))
        answer: Callable[[Tensor], Tensor] | None = getattr(self.objective, "answer", None)
        if answer is None:
            return pooled.float()
        if getattr(self.objective, "tta", None):  # the mean of logits is that of what a linear head makes them of
            pooled = (pooled + backbone.pool(backbone(x.flip(-1), mask))) / 2
        return answer(pooled)


class Predictor:
    """A trained model: `model(x)` answers, `model.features(x)` says what its backbone makes of the same.

    `x` is a path (a file, a folder, a glob), a text, an image (Pillow's, NumPy's, torch's), a waveform, or a list of
    them; for a model of texts a string is a text, and a `pathlib.Path` a file.

    spec: what it reads and answers (`ptft.core.Spec`); classes: their names. backbone: what makes features; objective:
    the whole module as it was trained, in evaluation, which public weights have not; module: the same as a plain one
    for raw batches. card: what it is, as plain values.
    """

    def __init__(self, job: Job) -> None:
        """Raises ConfigError and CheckpointError for what does not fit together, or holds no task where one is due."""
        cfg, checkpoint = job.config, job.checkpoint
        assert checkpoint
        check_spec(checkpoint)
        self.job, self.checkpoint, self.device = job, checkpoint, find_device(cfg.device)
        self.compute_format = trained_in(cfg, checkpoint, self.device)
        tf32(cfg.train.tf32, self.device)
        self._objective = restored(cfg, checkpoint) if cfg.objective else None
        if self._objective and checkpoint.spec:
            self.backbone, self.spec = self._objective.backbone, checkpoint.spec
        else:
            self.backbone, self.spec = backbone_alone(cfg, checkpoint)
        place((self._objective or self.backbone).to(self.device).eval(), self.compute_format)
        whole = getattr(self._objective, "answers_whole", False)  # for more of an input than an example holds
        self.asked: Spec = cast(Any, readers.of(self.spec)).whole(self.spec) if whole else self.spec
        self.classes = self.spec.classes
        self.options: dict[str, Any] = {**cfg.get("generate", {}), "seed": cfg.seed}

    @property
    def objective(self) -> Objective:
        """Raises ConfigError where there is none."""
        if self._objective is None:
            raise ConfigError(f"ckpt={self.checkpoint.path}: holds a backbone and no task: features alone; finetune it")
        return self._objective

    @objective.setter
    def objective(self, objective: Objective) -> None:
        self._objective, self.backbone = objective, objective.backbone

    @property
    def module(self) -> RawModule:
        return RawModule(self.objective)

    @property
    def card(self) -> dict[str, Any]:
        cfg, checkpoint = self.job.config, self.checkpoint
        stored = checkpoint.config or {}
        folder = Path(checkpoint.run or "")
        is_best = checkpoint.run is not None and Path(checkpoint.path) == folder / "checkpoints" / "best.pt"
        summary = read_json(folder / "summary.json") if is_best else {}  # of the best weights; an export has its own
        return {
            "model": model_name(cfg),
            "objective": cfg.names.objective,
            "dataset": stored.get("names", {}).get("dataset"),
            "fingerprint": checkpoint.meta.get("fingerprint"),
            "classes": list(self.classes),
            "parameters": sum(parameter.numel() for parameter in (self._objective or self.backbone).parameters()),
            "step": checkpoint.progress.get("step"),
            "metrics": summary.get("metrics") or checkpoint.meta.get("metrics") or {},
            "measured_on": _measured_on(summary, folder) or checkpoint.meta.get("measured_on"),
            "parent": checkpoint.meta.get("parent"),
            "path": checkpoint.path,
            "sha256": checkpoint.sha256,
            "versions": checkpoint.meta.get("versions"),
        }

    def __repr__(self) -> str:
        asked = self.job.config.names.objective or "features"
        return f"<ptft {model_name(self.job.config)}, {asked}: {self.checkpoint.path}>"

    def _repr_html_(self) -> str:
        """Its card, as notebooks show it."""
        shown = {name: value for name, value in self.card.items() if value not in (None, [], {})}
        cells = [(name, json.dumps(value, ensure_ascii=False, default=str)) for name, value in shown.items()]
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value[:CELL])}</td></tr>" for name, value in cells)
        return f"<table><caption>{escape(repr(self))}</caption>{rows}</table>"

    def __call__(self, x: Any, **options: Any) -> Any:
        """The answer to one input, a dict of the columns that `stage=predict` writes; of several a list, in order.
        Where an input has several rows (boxes), its answer is a list of them.

        options: keys of `generate`, `top`, `score` and `times`, where the objective answers with them. Raises DataError
        for an input that can't be read, ConfigError for an objective that answers nothing.
        """
        self.require_answers()
        for name in options:
            if name not in self.choices:
                known = ", ".join(self.choices) or "none"
                raise ConfigError(f"{name}: the options of its answers are {known}{suggest(name, self.choices)}")
        inputs, remarks = values.items(self.asked, x), Remarks()
        answered = []
        for item, row, error, remark in self.answers(inputs.items, **options):
            if row is None:
                assert error
                raise error
            remarks.add(remark, item)
            answered.append((item, row))
        _warn(inputs.items, remarks)
        if readers.several(self.spec):
            each = [self._shown(readers.finish(self.spec, [one]), inputs.files) for one in answered]
            return each[0] if inputs.single else each
        finished = (readers.finish(self.spec, part) for part in _parts(answered, inputs.counts))
        rows = self._shown([row for part in finished for row in part], inputs.files)
        return rows[0] if inputs.single else rows

    @staticmethod
    def _shown(rows: list[Row], files: bool) -> list[Row]:
        """Rows of what stands in no file name none."""
        return rows if files else [{name: value for name, value in row.items() if name != "path"} for row in rows]

    def features(self, x: Any) -> Tensor:
        """What the backbone makes of each input: float32 [N, D] on the CPU; of one input [D]. Of one that is read in
        parts (a long text that is tagged or searched) the mean of theirs.

        Raises DataError for an input that can't be read.
        """
        inputs, remarks = values.items(self.spec, x), Remarks()
        parts = [torch.empty(0, self.backbone.width)]
        for read in self.batches(inputs.items):
            if read.errors:
                raise next(iter(read.errors.values()))
            for i, remark in read.remarks.items():
                remarks.add(remark, read.items[i])
            parts.append(self.embed(read.batch))
        _warn(inputs.items, remarks)
        first, begin = list[int](), 0
        for count in inputs.counts:
            first += [begin + i for i in firsts(self.spec, inputs.items[begin : begin + count])]
            begin += count
        whole = joined(torch.cat(parts), first)
        return whole[0] if inputs.single else whole

    def embed(self, batch: Batch) -> Tensor:
        """A raw batch -> float32 [B, D] on the CPU."""
        backbone = self.backbone
        with torch.inference_mode(), autocast(self.compute_format.precision, self.device)():
            batch = next(on_device(iter([batch]), self.device))
            return backbone.pool(backbone(backbone.inputs(batch), batch.get("mask"))).float().cpu()

    @property
    def choices(self) -> tuple[str, ...]:
        """Options that its answers heed."""
        named = inspect.signature(type(self.objective).predict).parameters
        top = [name for name in ("top", "score", "times") if name in named]
        return (*top, *(self.options if self.options.keys() & named.keys() else ()))

    def require_answers(self) -> None:
        """Raises ConfigError for an objective that has none."""
        if type(self.objective).predict is Objective.predict:
            ckpt, objective = self.job.config.ckpt, self.job.config.names.objective
            remedy = "stage=zero_shot names classes" if hasattr(self.objective, "named") else "finetune it first"
            raise ConfigError(f"ckpt={ckpt}: objective={objective} has no answer for new files; {remedy}")

    def answers(self, items: Sequence[Any], begin: int = 0, apart: int = BATCH, **options: Any) -> Iterator[Answer]:
        """An Answer to each item, in order, from the item `begin` on; or to blocks of BATCH whose first are `apart`.

        Both are multiples of BATCH: they are then what they are where the items between are answered as well.
        """
        options = {**self.options, **options}
        for read in self.batches(items, begin, apart, self.asked):
            rows: Iterator[Row] = iter(())
            if read.batch:
                with torch.inference_mode(), autocast(self.compute_format.precision, self.device)():
                    rows = iter(self.objective.predict(next(on_device(iter([read.batch]), self.device)), **options))
            for i, item in enumerate(read.items):
                error = read.errors.get(i)
                yield Answer(item, None if error else next(rows), error, read.remarks.get(i))

    def batches(
        self, items: Sequence[Any], begin: int = 0, apart: int = BATCH, spec: Spec | None = None
    ) -> Iterator[ReadBatch]:
        """The items from `begin` on, or of blocks as `answers` has them, read in threads: BATCH of them at the most,
        and of uneven ones (long [T], say) no more than a training step had of the longest. spec: as what they are read.
        """
        rows = step_examples(trained_with(self.job))
        for start, part, results in reading.ahead(spec or self.spec, items, begin, BATCH, apart):
            values = [result for result, _ in results]
            lengths = [len(value) if isinstance(value, Tensor) and value.ndim < EVEN else 0 for value in values]
            for first, end in itertools.pairwise([0, *ends_within(lengths, rows), len(part)]):
                yield self._batch(part[first:end], results[first:end], start + first)

    def _batch(self, items: Sequence[Any], results: Sequence[Result], first: int) -> ReadBatch:
        readable = [value for value, _ in results if isinstance(value, Tensor)]
        batch = readers.of(self.spec).collate(readable, self.spec) if readable else {}
        if readable:
            batch["index"] = torch.arange(first, first + len(readable))
        errors = {i: value for i, (value, _) in enumerate(results) if isinstance(value, DataError)}
        return ReadBatch(items, batch, errors, {i: remark for i, (_, remark) in enumerate(results) if remark})


def _measured_on(summary: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The dataset of an evaluation, whose metrics a checkpoint has that it calibrated; of a training it is its own."""
    if summary.get("stage") != "evaluate":
        return None
    return {"dataset": summary.get("dataset"), "root": (stored.read(folder).get("dataset") or {}).get("root")}


def _parts(answered: list[tuple[Any, Row]], counts: Sequence[int]) -> Iterator[list[tuple[Any, Row]]]:
    """So many of them at a time."""
    rest = iter(answered)
    return (list(itertools.islice(rest, count)) for count in counts)


def _warn(items: Sequence[Any], remarks: Remarks) -> None:
    """What a stage says of its input, as warnings."""
    for sentence in (*getattr(items, "notes", ()), *remarks.lines(len(items))):
        warnings.warn(sentence, stacklevel=3)


def load(ckpt: str | Path, device: str = "auto", trusted: Sequence[str] = ()) -> Predictor:
    """As `ptft.load`."""
    instantiate.look_here(tuple(trusted))
    packages = [f"trusted=[{','.join(trusted)}]"] if trusted else []
    stage = "embed" if str(ckpt).startswith(LIBRARIES) else "predict"  # public weights have no answers
    return Predictor(resolve([f"stage={stage}", quote(f"ckpt={ckpt}"), f"device={device}", *packages]))
