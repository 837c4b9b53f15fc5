"""What a training does to earlier tasks: a linear probe of each before and after it, on the same examples.

Axes: N examples, D width, K classes, U units, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ptft.builders.inputs import eval_loader
from ptft.builders.parts.panel import TRAIN, PanelTask, opened
from ptft.builders.run import Run
from ptft.core import Examples
from ptft.data.examples import left_out
from ptft.errors import DataError
from ptft.finetune.head_init import fit
from ptft.loggers.console import Console
from ptft.metrics.uncertainty import bootstrap
from ptft.metrics.uncertainty.bootstrap import Resampling
from ptft.runs.folder import read_json, write_json
from ptft.runtime.paths import relative
from ptft.stages.measure import intervals, shown
from ptft.stages.measure.against import verdict

FILE = "panel.json"
"""In a run's folder, what the backbone's probes answered at the start: a run that goes on has other weights."""


class Panel:
    """The tasks of `train.panel`, for a run that is built and not yet trained.

    before: by the digest of the task's checkpoint which validation examples the start has right, bool [N].
    data: by that digest too, the fingerprint of the task's data then; of earlier versions it is not known.
    """

    def __init__(self, run: Run, out: Console) -> None:
        self.run, self.out = run, out
        self.tasks = opened(run.cfg, run.inputs, out)
        self.before: dict[str, Tensor] = {}
        self.data: dict[str, str] = {}

    def begin(self, folder: Path) -> None:
        """Measure the weights at the start, and write that down; of a run that goes on it stands there."""
        if not self.tasks:
            return
        if self.run.cfg.resume:
            stored = read_json(folder / FILE)
            answered, self.data = stored.get("right", {}), stored.get("data", {})
            self.before = {name: torch.tensor([sign == "1" for sign in signs]) for name, signs in answered.items()}
            return
        self.before = {str(task.checkpoint.sha256): self._right(task) for task in self.tasks}
        signs = {name: "".join("01"[right] for right in each.tolist()) for name, each in self.before.items()}
        self.data = {str(task.checkpoint.sha256): task.source.fingerprint() for task in self.tasks}
        write_json(folder / FILE, {"right": signs, "data": self.data})

    def end(self) -> dict[str, Any]:
        """What `summary.json` says of it, of the weights as they are now: `panel`, a row for each task."""
        rows = [row for task in self.tasks if (row := self._row(task)) is not None]
        for task in self.tasks:
            for split, examples in (("train", task.train), ("val", task.val)):
                for note in left_out(examples):
                    self.out.say(f"train.panel: {task.name}: {split}: {note}", "yellow")
        return {"panel": rows} if rows else {}

    def _row(self, task: PanelTask) -> dict[str, Any] | None:
        before, after = self.before.get(name := str(task.checkpoint.sha256)), self._right(task)
        same = self.data.get(name) in (None, task.source.fingerprint())
        if before is None or len(before) != len(after) or not same:
            self.out.say(f"train.panel: {task.path} was not measured at the start, or on other examples", "yellow")
            return None
        plan = Resampling(seed=self.run.cfg.seed)
        change = after.double() - before.double()
        units = intervals.units(task.source, "val", _whole(task))
        there, owner = torch.unique(units.owner[task.rows], return_inverse=True)

        def difference(counts: Tensor) -> Mapping[str, Tensor]:
            weight = counts[:, owner]
            return {"accuracy": (weight @ change) / weight.sum(1)}

        apart, pair = float(change.mean()), None
        if len(change) == len(owner):
            values = bootstrap.resampled(difference, len(there), plan)["accuracy"]
            pair = intervals.of_difference("accuracy", apart, values, len(there), plan.level)
        return {
            "task": task.name,
            "path": task.path,
            "metric": "accuracy",
            "before": float(before.double().mean()),
            "after": float(after.double().mean()),
            "difference": apart,
            "interval": pair and [*pair],
            "level": plan.level,
            "verdict": verdict("accuracy", apart, pair),
            "fitted_to": len(task.train),
            "measured_on": len(after),
        }

    def _right(self, task: PanelTask) -> Tensor:
        """Which validation examples a probe has right that is fitted to training examples, bool [N] in their order."""
        features, labels, _ = self._features(task, task.train)
        weight, bias, _ = fit(features, labels, len(task.source.spec.classes))
        measured, wanted, index = self._features(task, task.val)
        answers = F.linear(measured.to(weight.device), weight, bias).argmax(1)
        return (answers == wanted.to(weight.device)).cpu()[index.argsort()]

    @torch.no_grad()
    def _features(self, task: PanelTask, examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        """float32 [N, D] of the backbone as it is, labels and index long [N]; the index is on the CPU."""
        objective, device = self.run.objective, self.run.device
        backbone, training, found = objective.backbone, objective.training, list[tuple[Tensor, Tensor, Tensor]]()
        objective.eval()
        try:
            for batch in eval_loader(self.run.cfg, examples, device).epoch():
                with self.run.training.autocast():
                    pooled = backbone.pool(backbone(backbone.inputs(batch), batch.get("mask")))
                found.append((pooled.float(), batch["label"], batch["index"].cpu()))
        finally:
            objective.train(training)
        features, labels, index = (torch.cat(parts) for parts in zip(*found, strict=True))
        if labels.ndim != 1 or labels.is_floating_point():
            raise DataError(f"train.panel={task.path}: its examples have other than one class each; leave it out")
        return features, labels, index


def _whole(task: PanelTask) -> Examples:
    examples = task.source.split("val")
    assert examples is not None
    return examples


def say(out: Console, found: Mapping[str, Any]) -> None:
    """A row for each task, and a warning for each that is served worse."""
    rows = []
    for row in found.get("panel", ()):
        pair, name = row["interval"], row["metric"]
        ends = shown.apart(name, *pair) if pair else "—"
        cells = [shown.value(name, row[when]) for when in ("before", "after")]
        change = shown.apart(name, row["difference"])
        rows.append([row["task"], relative(row["path"]), *cells, change, ends, row["verdict"]])
        if row["verdict"] == "worse":
            out.say(
                f"{row['task']}: a linear probe falls from {cells[0]} to {cells[1]} ({ends}); some of what served "
                f"{relative(row['path'])} is forgotten, which train.replay and finetune.l2sp are against",
                "yellow",
            )
    if rows:
        header = ["task", "of", "before", "after", "difference", "95 %", "now"]
        out.table(f"panel: probes fitted to at most {TRAIN:,} examples, measured on val", header, rows, result=True)
