"""A run from its job: everything that it needs, built in the one order that works.

The checkpoint decides what inputs look like, the data how large the model is, the model and the device in what
precision it computes, and all of them what is trained.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ptft.builders import acceleration, components, membership, probe
from ptft.builders.inputs import Inputs, eval_loader, read_inputs, sampler_notes, train_loader
from ptft.builders.intervals import impatient, intervals, within
from ptft.builders.parts import accumulation, cut, embeddings, monitor, own_views, panel, recipe, replay, spread, tower
from ptft.builders.parts.handover import hand_over
from ptft.builders.restore import classifier, rebuilt, teacher
from ptft.builders.sizes import limit
from ptft.checkpoint.load import Checkpoint, held_by
from ptft.checkpoint.transfer import Transfer
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.config.settled import idle, own_code
from ptft.core import Objective
from ptft.data.loader import Loader
from ptft.errors import ConfigError
from ptft.finetune.head_init import start_head
from ptft.finetune.l2sp import L2SP
from ptft.finetune.phases import Phases
from ptft.loggers.console import Console
from ptft.optim.averaging import Ema, EvaluationAverage
from ptft.runtime.precision import ComputeFormat, autocast, place
from ptft.runtime.together.alone import current
from ptft.train import pause
from ptft.train.activation_checkpointing import checkpoint_activations
from ptft.train.every import Every
from ptft.train.state import Budget, Progress, Training


@dataclass(frozen=True)
class Task:
    """What is trained, with its weights in place, and how they got there."""

    objective: Objective
    phases: Phases
    transfer: Transfer | None
    notes: list[str]


@dataclass(frozen=True)
class Execution:
    """How a step is computed: batches, precision and memory format, and what each one tried took in milliseconds."""

    loader: Loader
    compute_format: ComputeFormat
    timings: dict[ComputeFormat, float]
    notes: list[str]
    probe: bool = False
    """Whether the head is fitted to convergence, and nothing is trained in steps."""
    seconds: float = 0.0
    """That fitting it took."""
    samples: int = 0


@dataclass(frozen=True)
class Run:
    """Everything of one training run.

    cfg: the configuration with what was settled on the way in its place, as checkpoints keep it.
    transfer: names and sizes of what was loaded from the parent; both are the earlier ones where a run continues.
    trained_on: identities of what it and those that it started from are trained on, long [n]; None: not known.
    code: digests of the user's own code (`settled.own_code`), as it was when the run began.
    notes: sentences about decisions that were made for the user.
    """

    cfg: Config
    inputs: Inputs
    execution: Execution
    training: Training
    transfer: dict[str, Any] | None
    parent: dict[str, Any] | None
    trained_on: Tensor | None
    code: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def objective(self) -> Objective:
        return self.training.objective

    @property
    def device(self) -> torch.device:
        return self.inputs.device


def build(job: Job, out: Console) -> Run:
    """Everything of the training run that the job asks for. Raises the typed errors of ptft."""
    code = own_code.digests(job.config.trusted)
    inputs = replay.added(job, read_inputs(job, out), out)
    cfg, recipes = recipe.settled(job.config, inputs.source.spec.modality, inputs.splits["train"])
    cfg = cfg.merged(tower.settled(inputs.tower))
    overlap, trained_on = _trained_on(job, inputs)
    task = objective(cfg, inputs)
    cfg, in_parts = accumulation.settled(cfg, inputs, task.objective, partial(_on_trial, inputs, task))
    execution = executed(cfg, inputs, task)
    trained = training(cfg, inputs, task, execution)
    short = within(trained, cfg, of_many=job.of_many)
    computed = [*in_parts, *execution.notes, *acceleration.recording(trained.graph), *pause.said(trained)]
    if cfg.train.patience:
        continued = inputs.start if cfg.resume else None
        computed += impatient(trained, cfg.train.every.evaluate, continued, of_many=job.of_many)
    meta = inputs.start.meta if inputs.start and cfg.resume else {}
    typed = job.overrides.typed
    settled = [*probe.unused(typed), *idle.noted(cfg.plain(), typed)] if execution.probe else job.notes
    return Run(
        cfg=cfg.merged(_settled(cfg, task, execution, trained.every, inputs)),
        inputs=inputs,
        execution=execution,
        training=trained,
        transfer=meta.get("transfer") if cfg.resume else task.transfer.to_dict() if task.transfer else None,
        parent=meta.get("parent") if cfg.resume else inputs.start.parent if inputs.start else None,
        trained_on=trained_on,
        code=code,
        notes=[*settled, *_notes(job.checkpoint, inputs, task), *overlap, *recipes, *task.notes, *short, *computed],
    )


def _trained_on(job: Job, inputs: Inputs) -> tuple[list[str], Tensor | None]:
    """What to say of held-out examples that the checkpoint was trained on, and all that the run's weights will know.

    Raises DataError for those of the test split.
    """
    checkpoint, source, train = job.checkpoint, inputs.source, inputs.splits["train"]
    start = checkpoint if job.config.finetune.weights != "fresh" else None
    before, replayed = start.trained_on if start else None, inputs.replay.checkpoint if inputs.replay else None
    if job.config.resume:
        return membership.replaced(source, train, before, str(checkpoint and checkpoint.path)), before
    allowed = {"val": True, "test": job.config.split_overlap == "allow"}
    asked = before is not None or getattr(source, "fold", None)
    known = {each.path: each for each in (start if asked else None, replayed) if each}
    sentences = [membership.check(source, s, each, allowed=allowed[s]) for each in known.values() for s in allowed]
    after = membership.trained_on(source, train, before)
    if inputs.replay:
        after = membership.trained_on(inputs.replay.source, inputs.replay.examples, after)
    return [sentence for sentence in sentences if sentence], after


def objective(cfg: Config, inputs: Inputs) -> Task:
    """The objective on its device, with the checkpoint's backbone in it, and what of it learns when."""
    train, spec, within = inputs.splits["train"], inputs.source.spec, limit(inputs.start)
    open_others: dict[str, Any] = {"rebuild": rebuilt, "teach": teacher, "classifier": classifier}
    others = {name: partial(opens, trusted=cfg.trusted) for name, opens in open_others.items()}
    options: dict[str, Any] = {"others": others, "within": within, "views": own_views.key_of(cfg)}
    with _built_from(cfg, inputs.start):
        built = components.objective(cfg.model, cfg.objective, spec, train, cfg.trusted, **options)
    _check_objective(cfg, built)
    transfer = hand_over(cfg, built, inputs.start, inputs.source) if inputs.start and not cfg.resume else None
    tower.started(built, spec, inputs.tower, transfer)
    phases, notes = components.phases(built, cfg.finetune.plain())
    built.to(home := cut.home(cfg, inputs.device))
    notes += [*embeddings.started(cfg, built, spec, inputs.start), *built.examine(inputs.splits)]
    if inputs.start is None:
        notes += components.calibrate(built, train, home)
    if not cfg.resume:
        _begin(built, transfer)
    return Task(built, phases, transfer, notes)


def _begin(built: Objective, transfer: Transfer | None) -> None:
    """Copies start, and what is found at the beginning; it is not what was loaded then."""
    names = transfer.beside() if transfer else []
    before = {name: value.clone() for name, value in built.state_dict().items() if name in names}
    built.begin()
    after = built.state_dict()
    if transfer and (moved := [name for name, value in before.items() if not torch.equal(value, after[name])]):
        transfer.begin_anew(moved)


def _built_from(cfg: Config, start: Checkpoint | None) -> AbstractContextManager[None]:
    """Inside, what the plain data of the checkpoint can't build is its fault, unless the user's own code has a part."""
    return held_by(start.path) if start and start.config and not cfg.trusted else nullcontext()


def executed(cfg: Config, inputs: Inputs, task: Task) -> Execution:
    """Precision and layout, chosen and put in place, and a head that starts from what the backbone computes in them."""
    train, device = inputs.splits["train"], inputs.device
    loader = train_loader(cfg, inputs)
    chosen, timings = current().same(acceleration.compute_format(cfg, task.objective, loader))
    place(task.objective, chosen, device)
    notes = sampler_notes(cfg, inputs, loader) + spread.decisions(task.objective, cfg.train, device)
    notes += acceleration.decisions(task.objective, cfg.train, device, chosen.precision)
    precision = autocast(chosen.precision, device)
    exact, probe_notes = probe.exact(cfg, task.objective, inputs)
    if exact and not (cfg.resume or cfg.dry_run):
        probe_notes, seconds, samples = probe.fitted(cfg, task.objective, inputs, precision)
        return Execution(loader, chosen, timings, [*notes, *probe_notes], True, seconds, samples)
    if not cfg.resume:
        batches = None if cfg.dry_run else eval_loader(cfg, train, device).epoch()
        notes += start_head(cfg.finetune.head_init, task.objective, batches, precision)
    return Execution(loader, chosen, timings, [*notes, *probe_notes], exact)


def training(cfg: Config, inputs: Inputs, task: Task, execution: Execution) -> Training:
    """All that moves while the run trains, at its start, begun with the others."""
    if cut.wanted(cfg):
        cut.divide(cfg, task.objective, task.phases, inputs.device)
    t = _moving(cfg, execution, inputs, task)
    if cfg.train.compile:
        task.objective.compile()
    spread.join(t)
    t.graph = acceleration.graph(t, cfg, inputs.splits["train"])
    if cfg.train.monitor:
        monitor.check(t)
    return t


def _on_trial(inputs: Inputs, task: Task, cfg: Config, loader: Loader, compute_format: ComputeFormat) -> Training:
    """One to be thrown away, that few steps are taken with to see what they take."""
    place(task.objective, compute_format, inputs.device)
    if cfg.train.checkpoint_activations:
        checkpoint_activations(task.objective.backbone)
    return _moving(cfg, Execution(loader, compute_format, {}, []), inputs, task)


def _moving(cfg: Config, execution: Execution, inputs: Inputs, task: Task) -> Training:
    """The same as of one process, which a few steps may be tried with."""
    options, device, l2sp = cfg.train, inputs.device, cfg.finetune.l2sp
    built, phases, precision = task.objective, task.phases, execution.compute_format.precision
    with _built_from(cfg, inputs.start if cfg.resume else None):
        optimizer = components.optimizer(cut.optimizer(cfg), built, phases, l2sp is not None, cfg.trusted)
    backbone = {name: p for name, p in built.backbone.named_parameters() if p in phases.scales}
    val = inputs.splits.get("val")
    return Training(
        objective=built,
        optimizer=optimizer,
        schedule=components.schedule(cfg.schedule, cfg.trusted),
        loader=execution.loader,
        val=eval_loader(cfg, val, device, shared=True) if val is not None else None,
        budget=Budget(steps=0) if execution.probe else components.budget(options, len(execution.loader)),
        every=intervals(cfg, inputs, built, len(execution.loader)),
        monitor=monitor.named(options.monitor.plain()) if options.monitor else built.monitor,
        autocast=autocast(precision, device, keep=not cut.wanted(cfg)),
        scaler=torch.amp.GradScaler(device.type) if precision == "fp16" else None,
        ema=Ema(built, options.ema) if options.ema else None,
        phases=phases,
        l2sp=L2SP(backbone, l2sp) if l2sp else None,
        average=EvaluationAverage(built, options.average_last) if options.average_last else None,
        accumulate=options.accumulate,
        clip=options.clip,
        patience=options.patience,
        progress=Progress(seconds=execution.seconds, samples=execution.samples),
    )


def _settled(cfg: Config, task: Task, execution: Execution, every: Every, inputs: Inputs) -> dict[str, Any]:
    """What was left open in the configuration and is known now, so that a checkpoint rebuilds the same."""
    chosen = execution.compute_format
    by_steps = {"every": {"evaluate": every.evaluate}} if every.evaluate and not every.minutes else {}
    return {
        "model": dict(task.objective.backbone.settled),
        "objective": dict(task.objective.settled),
        "dataset": dict(inputs.source.settled),
        "precision": chosen.precision,
        "train": {"layout": chosen.layout, **by_steps, **_places(cfg, inputs)},
        "finetune": {"probe": "exact" if execution.probe else "steps"},
    }


def _places(cfg: Config, inputs: Inputs) -> dict[str, Any]:
    """Where earlier runs are that it learns from or is measured by, from wherever it goes on."""
    replayed = {"replay": inputs.replay.path} if inputs.replay else {}
    return {**replayed, "panel": panel.runs(cfg) or None}


def _check_objective(cfg: Config, built: Objective) -> None:
    """Raises ConfigError where a copy of the backbone could not follow it."""
    follows = type(built).begin is not Objective.begin and type(built).advance is not Objective.advance
    if cfg.finetune.lora.rank and follows:
        raise ConfigError(
            f"finetune.lora.rank={cfg.finetune.lora.rank}: objective={cfg.names.objective} keeps a copy of the "
            "backbone that follows its weights, which do not move then; leave it at null"
        )


def _notes(checkpoint: Checkpoint | None, inputs: Inputs, task: Task) -> list[str]:
    """What is to be said of the data and of the weights that a run starts from."""
    latest, note = checkpoint.latest if checkpoint else "", inputs.start.note if inputs.start else ""
    loaded = task.transfer.lines() if task.transfer else []
    return [*filter(None, [latest]), *inputs.source.notes, *filter(None, [inputs.note, note]), *loaded]
