"""Messages of a run: the header, the plan of a dry run, the closing panel with the next command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch

from ptft.builders import networks
from ptft.builders.run import Run
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.config.yaml_files import user_conf
from ptft.core import Spec
from ptft.data import readers
from ptft.data.label_sets.vectors import counts as label_counts
from ptft.errors import counted, first_line, shortened
from ptft.export.report import page
from ptft.launch import following
from ptft.loggers.console import Console, duration, number
from ptft.runtime.device import device_name
from ptft.runtime.paths import relative
from ptft.stages.measure import shown
from ptft.train.every import TIMES

CLASSES = 8
"""So many are listed with their counts."""


def to_resume(job: Job, folder: Path) -> str:
    """The command that continues the run in the folder, with what only a command line may say."""
    again = list(job.overrides.where(lambda key: key.split(".")[0] == "trusted").texts)
    output = [f"output={job.overrides.typed['output']}"] if job.overrides.typed.get("output") else []
    return shlex.join(["ptft", f"resume={relative(folder)}", *again, *output])


def header(r: Run, out: Console, folder: Path | None) -> None:
    """What, on what, how big, where; and every decision that was made for the user."""
    cfg = r.cfg
    kind = "plan of " if cfg.dry_run else "resumed " if cfg.resume else ""
    out.plan(
        f"ptft {kind}{cfg.names.stage}",
        {
            "model": f"{model_name(cfg)}, {_parameters(r)}",
            "data": f"{cfg.names.dataset}: {_data(r)}",
            "classes": _classes(r),
            "input": input_of(r.inputs.source.spec, r.inputs.origin),
            "objective": f"{cfg.names.objective}; {_learning(r)}",
            "budget": _budget(r),
            "evaluate": _evaluations(r),
            "device": device_name(r.device, r.execution.compute_format, r.cfg.train.processes) + _measured(r),
            "start": r.inputs.start.path if r.inputs.start else "fresh weights",
            "folder": str(folder) if folder else "none, this is a dry run",
        },
        list(filter(None, [*r.notes, _flat(r), _joins(r), _own_conf()])),
        **plan_details(cfg, folder),
    )


def plan_details(cfg: Config, folder: Path | None) -> dict[str, Any]:
    """What a plan says with `--json` beside its lines."""
    return {"stage": cfg.names.stage, "folder": folder and str(folder), "config": cfg.plain()}


def _learning(r: Run) -> str:
    if r.execution.probe:
        return "its head is fitted to convergence"
    return f"{r.cfg.names.optimizer} at {r.cfg.optimizer.lr:g}, {r.cfg.names.schedule}"


def _parameters(r: Run) -> str:
    count, trained = (sum(p.numel() for p in some) for some in (r.objective.parameters(), r.training.parameters))
    return f"{count:,} parameters" + ("" if trained == count else f", {trained:,} of them trained")


def _data(r: Run) -> str:
    sizes = ", ".join(f"{len(examples):,} {name}" for name, examples in r.inputs.splits.items())
    return f"{sizes}; {examples_of(r.inputs.source.spec)}"


def _classes(r: Run) -> str:
    """How many training examples each class has: "cat 120, dog 80"; of many classes the first."""
    labels, names = r.inputs.splits["train"].labels, r.inputs.source.spec.classes
    if r.inputs.source.spec.target not in ("class", "labels") or labels is None or not names:
        return ""
    counts = label_counts(labels, len(names)).tolist()
    first = [f"{name} {count:,}" for name, count in zip(names[:CLASSES], counts[:CLASSES], strict=True)]
    rest = len(names) - CLASSES
    more = f" and {rest:,} more; {min(counts):,} to {max(counts):,} each" if rest > 0 else ""
    none = int((labels == 0).all(1).sum()) if labels.ndim == 2 else 0
    return f"{', '.join(first)}{more}{f'; none at all {none:,}' if none else ''} (train)"


def examples_of(spec: Spec) -> str:
    """ "10 classes, 28×28×1", or the like of another modality."""
    targets = {"number": "a number each", "span": "an answer each"}
    labels = counted(len(spec.classes), "classes") if spec.classes else targets.get(spec.target, "no labels")
    labels = f"{counted(len(spec.classes), 'labels')}, any number each" if spec.target == "labels" else labels
    return f"{labels}, {shape_of(spec)}"


def input_of(spec: Spec, origin: str = "") -> str:
    """ "28×28×1, mean 0.5, std 0.5 (timm)"; empty where the Spec says no more than the shape. origin: who says so."""
    how = readers.preparation(spec)
    return f"{shape_of(spec)}, {how}{f' ({origin})' if origin else ''}" if how else ""


def _budget(r: Run) -> str:
    t, minutes = r.training, r.training.budget.minutes
    if r.execution.probe:
        return "no steps: features are computed once"
    limits = [
        counted(t.total, "steps") if t.total else "",
        f"{minutes:g} minute{'s' * (minutes != 1)}" if minutes else "",
    ]
    limit = " or ".join(limit for limit in limits if limit)
    tokens = r.cfg.train.get("tokens")
    size = f"at most {tokens:,} tokens" if tokens else counted(r.cfg.train.batch_size, "examples")
    return f"{limit} of {size}; {counted(len(t.loader), 'steps')} an epoch"


def _evaluations(r: Run) -> str:
    """How often and how many times it evaluates, what that decides, and why it is seldom."""
    t, every, per_epoch = r.training, r.training.every, len(r.training.loader)
    if t.val is None:
        result = _mean(r, points) if (points := r.cfg.train.average_last) else "last.pt"
        return f"never, as there is no validation split; best.pt is {result}"
    if r.execution.probe:
        return "once, when the head is fitted"
    times, limit = every.times(t.total), t.budget.minutes
    epochs, rest = divmod(every.evaluate or 0, per_epoch)
    whole = f" ({counted(epochs, 'epochs')})" if epochs and not rest else ""
    steps = f"{counted(every.evaluate, 'steps')}{whole}" if every.evaluate else ""
    clock = f"{every.minutes:g} minute{'s' * (every.minutes != 1)} of training" if every.minutes else ""
    often = " or ".join(filter(None, [steps, clock]))
    once = times == 1 or bool(limit and every.minutes and not every.evaluate and every.minutes >= limit)
    frequency = "once, at the end" if once else f"every {often}" + (f", {times:,} times" if times else "")
    seldom = every.apart > 1 and times is not None and times < TIMES
    measured = t.objective.evaluation_size(len(r.inputs.splits["val"]))
    why = f"; more often, measuring {measured:,} examples would take over a tenth of the time" if seldom else ""
    return f"{frequency}; {t.monitor['metric']} decides best.pt{why}"


def _mean(r: Run, points: int) -> str:
    apart = counted(r.training.every.evaluate or 1, "steps")
    which = f"weights, {apart} apart" if r.training.val is None else "evaluations' weights"
    return f"the mean of the last {points} {which}"


def _joins(r: Run) -> str:
    joins = r.execution.loader.joins_last
    return (
        "the last example of an epoch joins the batch before it, since a batch of one has no statistics"
        if joins
        else ""
    )


def _flat(r: Run) -> str:
    return "" if r.inputs.start else networks.mostly_flat(r.objective.backbone, r.inputs.source.spec)


def _own_conf() -> str:
    folder = user_conf()
    return f"configs in {folder} win over ptft's own" if folder else ""


def closing(r: Run, out: Console, folder: Path, summary: dict[str, Any]) -> None:
    """The last lines: the result, the folder, the next command."""
    p, spec = r.training.progress, r.objective.describe(r.inputs.source.spec)
    next_command = following.command(r.cfg, folder / "checkpoints" / "best.pt", spec)
    rate, memory = summary["samples_per_second"] or 0, summary["peak_memory_bytes"] / 2**20
    waited = f"{p.waited / max(p.seconds, 1e-9):.0%} of it waiting for data"
    speed = f"{rate:,.0f} examples/s, {waited}, {memory:,.0f} MiB at most"
    done, best_at = counted(p.step, "steps"), f"; best at step {p.best_step:,}" if p.best is not None else ""
    if r.execution.probe:
        done, best_at = f"a head fitted to {counted(p.samples, 'examples')}", ""
    elif (patience := r.training.patience) and p.worse >= patience and p.step != r.training.total:
        best_at += f"; train.patience={patience} ended it"
    best_at += f", {_mean(r, p.averaged)}" if p.averaged else ""
    out.block(
        f"{r.cfg.names.stage} done",
        {
            **results(summary["metrics"]),
            **shown.surely(summary),
            "training": f"{done} in {duration(p.seconds)}, {speed}{best_at}",
        },
        "green",
    )
    ending(out, folder, next_command)


def ending(out: Console, folder: Path, next_command: str) -> None:
    """The folder and the next command, on lines of their own, so that they can be copied whole."""
    out.say(f"folder  {folder}", result=True)
    out.say(f"next    {next_command}")


def report(cfg: Config, out: Console, folder: Path) -> None:
    """report.html; a page is not worth a run, whatever making it meets."""
    if not cfg.report:
        return
    try:
        page.write(folder)
    except Exception as error:
        out.say(f"{page.NAME}: can't be made ({first_line(error)}); the run goes on without it", "yellow")


def results(metrics: dict[str, dict[str, float]]) -> dict[str, str]:
    """Split -> its metrics in a line, for the splits that were not trained on."""
    return {
        split: ", ".join(number(name, value) for name, value in values.items())
        for split, values in metrics.items()
        if split != "train"
    }


def plan(r: Run, out: Console, step_seconds: float) -> dict[str, Any]:
    """What a dry run found: the layers, the groups of parameters with their rates, the cost.

    Returns what of it the plan of a sweep shows: `facts` by name, `seconds` of training, `bytes` of checkpoints.
    """
    t = r.training
    assert t.phases
    groups = [
        [
            _modules(group["names"]),
            f"{sum(p.numel() for p in group['params']):,}",
            f"{group['base_lr'] * max(group['lr_scales']):.3g}",
            f"{group['weight_decay']:g}",
            _when(group, t.phases.spans()),
        ]
        for group in t.optimizer.param_groups
    ]
    out.table("parameters and their rates", ["parameters of", "count", "peak rate", "weight decay", "when"], groups)
    size = sum(value.numel() * value.element_size() for value in t.objective.state_dict().values())
    training = sum(
        v.numel() * v.element_size()
        for s in t.optimizer.state.values()
        for v in s.values()
        if isinstance(v, torch.Tensor)
    )
    steps = len(t.loader) if r.execution.probe else t.total
    limits = [step_seconds * steps if steps else None, 60 * t.budget.minutes if t.budget.minutes else None]
    seconds = min(limit for limit in limits if limit is not None)
    cost = {"seconds": seconds, "bytes": 2 * size + training}
    out.block(
        "cost, from one step",
        {
            "time": f"about {duration(seconds)} of training",
            "disk": f"{cost['bytes'] / 2**20:,.1f} MiB for best.pt and last.pt",
            "written": "nothing",
        },
    )
    return {"facts": _facts(r), **cost}


def _facts(r: Run) -> dict[str, str]:
    """What jobs of a sweep may share or not, shorter than in the header."""
    return {
        "size": _parameters(r),
        "data": _data(r),
        "budget": _budget(r),
        "evaluate": _evaluations(r).split(";")[0],
        "device": device_name(r.device, r.execution.compute_format, r.cfg.train.processes),
        "start": r.inputs.start.path if r.inputs.start else "fresh weights",
    }


def _when(group: dict[str, Any], spans: list[tuple[float, float]]) -> str:
    """The parts of the run in which the group learns, with their rates where these differ."""
    parts: list[tuple[float, float, float]] = []
    for (start, end), scale in zip(spans, group["lr_scales"], strict=True):
        if parts and parts[-1][2] == scale:
            start = parts.pop()[0]
        parts.append((start, end, scale))
    if len(parts) == 1:
        return "throughout"
    learning = [part for part in parts if part[2]]
    rates = [f" at {group['base_lr'] * scale:.3g}" if len(learning) > 1 else "" for _, _, scale in learning]
    return ", ".join(f"{a * 100:g} % - {b * 100:g} %{rate}" for (a, b, _), rate in zip(learning, rates, strict=True))


def _modules(names: list[str]) -> str:
    """The modules that the parameters belong to, each once; many are shortened."""
    return shortened(dict.fromkeys(name.rsplit(".", 1)[0] for name in names))


def shape_of(spec: Spec) -> str:
    """28×28×1, or whatever describes an example of that modality, as the header shows it."""
    return readers.of(spec).describe(spec)


def _measured(r: Run) -> str:
    """What was tried and how long a step took in it, the fastest first."""
    timings = r.execution.timings
    times = "; ".join(f"{each}: {timings[each]:.1f} ms" for each in sorted(timings, key=timings.__getitem__))
    return f" (a step in {times})" if timings else ""
