"""From a configuration to a run that is ready to train: where everything that was built is put together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from ptft.builders import acceleration, components
from ptft.builders.restore import rebuilt
from ptft.checkpoint.load import Origin, load
from ptft.checkpoint.transfer import Transfer, take_over
from ptft.core import Examples, Objective, Source, Spec
from ptft.data.cache import policy
from ptft.data.loader import Loader
from ptft.errors import ConfigError, DataError, suggest
from ptft.finetune.head_init import start_head
from ptft.finetune.l2sp import L2SP
from ptft.finetune.phases import Phases
from ptft.loggers.console import Console
from ptft.optim.averaging import Ema, EvaluationAverage
from ptft.runtime import process
from ptft.runtime.autotune import fastest
from ptft.runtime.device import find_device
from ptft.runtime.precision import ComputeFormat, autocast, choices, place
from ptft.runtime.rng import seed_everything
from ptft.train.loop import evaluate
from ptft.train.state import Every, Training

WORTH_MEASURING = 100
"""Optimizer steps from which on a few more to find the fastest precision and layout pay."""


@dataclass
class Run:
    """Everything of one training run."""

    cfg: DictConfig
    device: torch.device
    compute_format: ComputeFormat
    timings: dict[ComputeFormat, float]
    """Milliseconds a step of what was tried, where precision or layout were measured."""
    source: Source
    splits: dict[str, Examples]
    origin: Origin | None
    transfer: dict[str, Any] | None
    parent: dict[str, Any] | None
    training: Training
    fingerprint: str
    said: list[str]
    """Sentences about decisions that were made for the user."""

    @property
    def objective(self) -> Objective:
        return self.training.objective


def assemble(cfg: DictConfig, out: Console) -> Run:
    """Build it all. The order matters: the checkpoint decides the input's shape, the data the model's size."""
    origin = load(cfg.resume, "resume") if cfg.resume else load(cfg.ckpt) if cfg.ckpt else None
    like = origin.spec if origin else None
    if cfg.finetune.weights == "fresh" and not cfg.resume:
        origin = None  # model and inputs are those of the checkpoint all the same
    device = find_device(cfg.device)
    if cfg.train.keep_memory and device.type == "cpu":
        process.keep_freed_memory()
    seed_everything(cfg.seed)
    labelled = "label" in components.needs(plain(cfg.objective), tuple(cfg.trusted))
    source = components.source(plain(cfg.dataset), like, tuple(cfg.trusted), labelled=labelled)
    splits = read_splits(source, ("train", "val", "test"), cfg, device, out)
    if not splits.get("train"):
        raise DataError("the training split is empty; check dataset.root and dataset.train")
    objective = components.objective(
        plain(cfg.model),
        plain(cfg.objective),
        source.spec,
        splits["train"],
        tuple(cfg.trusted),
        rebuild=partial(rebuilt, trusted=tuple(cfg.trusted)),
    )
    _check_objective(cfg, objective)
    cfg.model.update(dict(objective.backbone.settled))
    transfer = _hand_over(cfg, objective, origin, source) if origin and not cfg.resume else None
    phases, said = components.phases(objective, plain(cfg.finetune))
    objective.to(device)
    train = _train_loader(cfg, splits["train"], device)
    if origin is None:
        said += components.calibrate(objective, splits["train"], device)
    if not cfg.resume:
        objective.begin()
    chosen, timings = _kernels(cfg, objective, train)
    said += acceleration.decisions(objective, plain(cfg.train), device, chosen.precision)
    if not cfg.resume:
        batches = None if cfg.dry_run else eval_loader(cfg, splits["train"], device).epoch()
        said += start_head(cfg.finetune.head_init, objective, batches, autocast(chosen.precision, device))
    training = _training(cfg, objective, phases, train, splits.get("val"), chosen)
    if cfg.train.cuda_graph:
        training.graph = acceleration.graph(training, cfg.train.batch_size, cfg.names.objective)
    if cfg.train.monitor:
        _check_monitor(training)
    meta = origin.meta if origin else {}
    return Run(
        cfg=cfg,
        device=device,
        compute_format=chosen,
        timings=timings,
        source=source,
        splits=splits,
        origin=origin,
        transfer=meta.get("transfer") if cfg.resume else transfer.to_dict() if transfer else None,
        parent=meta.get("parent") if cfg.resume else origin.parent if origin else None,
        training=training,
        fingerprint=_fingerprint(source, splits),
        said=[*source.notes, *_of_origin(origin, transfer), *said],
    )


def plain(node: DictConfig) -> dict[str, Any]:
    """A node of the configuration as plain dicts and lists."""
    found = OmegaConf.to_container(node, resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def read_splits(
    source: Source, names: tuple[str, ...], cfg: DictConfig, device: torch.device, out: Console
) -> dict[str, Examples]:
    """The splits that the source has, kept as `dataset.cache` says; which way that is becomes a note of the source."""
    found = {name: examples for name in names if (examples := source.split(name)) is not None}
    for name, examples in found.items():
        _check_labels(name, examples, source.spec)
    mode, sentence = policy.choose(cfg.dataset.get("cache", "auto"), list(found.values()))
    source.notes = (*source.notes, *([sentence] if sentence else []))
    if cfg.dry_run and mode == "disk":
        mode = "off"  # nothing is written
    read = {}
    for name, examples in found.items():
        with out.reading(f"reading {name}") as progress:
            read[name] = components.examples(examples, device, mode, progress)
        for note in getattr(read[name], "notes", ()):
            out.say(note, "yellow")
    return read


def _fingerprint(source: Source, splits: dict[str, Examples]) -> str:
    """The source's, and how many examples are left to train on where unreadable ones were left out beforehand.

    Then the order is another than where they are skipped as they come (`dataset.cache=off`).
    """
    left, whole = len(splits["train"]), source.split("train")
    return source.fingerprint() + (f"-{left}" if whole is not None and left < len(whole) else "")


def _check_labels(split: str, examples: Examples, spec: Spec) -> None:
    """Raises DataError for the first label that is no class; losses would fail later, or leave it out in silence."""
    if examples.labels is None or spec.target != "class":
        return
    wrong = ((examples.labels < 0) | (examples.labels >= len(spec.classes))).nonzero().flatten()
    if len(wrong):
        sample, total = int(wrong[0]), len(spec.classes)
        raise DataError(
            f"dataset: sample {sample} of {split} has label {int(examples.labels[sample])}, but there are {total} "
            f"classes (0 to {total - 1})"
        )


def _check_objective(cfg: DictConfig, objective: Objective) -> None:
    """Raises ConfigError where parts of a batch are another task, or a copy of the backbone could not follow it."""
    if cfg.train.accumulate > 1 and objective.whole_batch:
        raise ConfigError(
            f"train.accumulate={cfg.train.accumulate}: objective={cfg.names.objective} compares the examples of a "
            "batch with each other, so parts of it are another task; leave it at 1 and lower train.batch_size"
        )
    if cfg.finetune.lora.rank and type(objective).begin is not Objective.begin:
        raise ConfigError(
            f"finetune.lora.rank={cfg.finetune.lora.rank}: objective={cfg.names.objective} keeps a copy of the "
            "backbone that follows its weights, which do not move then; leave it at null"
        )


def same_channels(origin: Origin, source: Source) -> None:
    """Raises ConfigError where images were asked for with other channels than the checkpoint's model takes."""
    here, there = source.spec.shape.get("channels"), origin.spec.shape.get("channels") if origin.spec else None
    if there is not None and here != there:
        raise ConfigError(
            f"dataset.channels={here}: {origin.path} takes {there}; without dataset.channels the images are adapted"
        )


def _train_loader(cfg: DictConfig, examples: Examples, device: torch.device) -> Loader:
    given = cfg.train
    return components.loader(
        examples, given.batch_size, cfg.seed, device, given.workers, shuffle=True, tokens=given.get("tokens")
    )


def eval_loader(cfg: DictConfig, examples: Examples, device: torch.device) -> Loader:
    """Batches for measuring, larger than in training: there is no backward pass to keep activations for."""
    size, tokens = max(4 * cfg.train.batch_size, 256), cfg.train.get("tokens")
    return components.loader(
        examples, size, cfg.seed, device, cfg.train.workers, shuffle=False, tokens=4 * tokens if tokens else None
    )


def _hand_over(cfg: DictConfig, objective: Objective, origin: Origin, source: Source) -> Transfer:
    keep = cfg.finetune.head == "keep"
    old = list(origin.spec.classes) if origin.spec else []
    new = list(source.spec.classes)
    if keep and old != new:
        raise DataError(
            f"finetune.head=keep: the checkpoint's classes are {_some(old)}, the dataset's {_some(new)}; "
            "use finetune.head=new"
        )
    if old == new:
        why = "finetune.head=new; finetune.head=keep takes the checkpoint's, as the class names are equal"
    else:
        why = (
            f"{len(old)} classes there ({_some(old)}), {len(new)} here ({_some(new)})"
            if old
            else "the checkpoint names no classes"
        )
    return take_over(objective, origin.weights, whole=keep, why=why, origin=origin.path)


def _of_origin(origin: Origin | None, transfer: Transfer | None) -> list[str]:
    """What is to be said of the weights that a run starts from."""
    return [*([origin.said] if origin and origin.said else []), *(transfer.lines() if transfer else [])]


def _some(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 5 else [*names[:3], "…", names[-1]])


def _kernels(cfg: DictConfig, objective: Objective, train: Loader) -> tuple[ComputeFormat, dict[ComputeFormat, float]]:
    """Precision and layout, put in place, and written into `cfg` so that a checkpoint keeps them.

    Measured where they are `auto` and the run is long enough to earn it back.
    """
    device, among = train.device, choices(cfg.precision, cfg.train.layout, train.device, objective)
    chosen = among[0]
    timings: dict[ComputeFormat, float] = {}
    total = components.budget(plain(cfg.train), len(train)).total(len(train))
    if len(among) > 1 and (total is None or total >= WORTH_MEASURING):
        about = {"model": plain(cfg.model), "objective": plain(cfg.objective), "finetune": plain(cfg.finetune)}
        chosen, timings = fastest(objective, train.first(cfg.train.accumulate), among, device, about)
    place(objective, chosen)
    cfg.precision, cfg.train.layout = chosen.precision, chosen.layout
    return chosen, timings


def _training(
    cfg: DictConfig, objective: Objective, phases: Phases, train: Loader, val: Examples | None, chosen: ComputeFormat
) -> Training:
    options, trusted, device, l2sp = cfg.train, tuple(cfg.trusted), train.device, cfg.finetune.l2sp
    optimizer = components.optimizer(plain(cfg.optimizer), objective, phases, l2sp is not None, trusted)
    backbone = {name: p for name, p in objective.backbone.named_parameters() if p in phases.scales}
    if options.compile:
        objective.compile()
    return Training(
        objective=objective,
        optimizer=optimizer,
        schedule=components.schedule(plain(cfg.schedule), trusted),
        loader=train,
        val=eval_loader(cfg, val, device) if val is not None else None,
        budget=components.budget(plain(options), len(train)),
        every=Every.of(options.every.log, options.every.evaluate, options.every.save, len(train)),
        monitor=plain(options.monitor) if options.monitor else objective.monitor,
        autocast=autocast(chosen.precision, device),
        scaler=torch.amp.GradScaler(device.type) if chosen.precision == "fp16" else None,
        ema=Ema(objective, options.ema) if options.ema else None,
        phases=phases,
        l2sp=L2SP(backbone, l2sp) if l2sp else None,
        average=EvaluationAverage(objective, options.average_last) if options.average_last else None,
        accumulate=options.accumulate,
        clip=options.clip,
        patience=options.patience,
    )


def _check_monitor(t: Training) -> None:
    """Raises ConfigError where an evaluation does not give the monitored metric, which one batch of it shows."""
    if t.val is None:
        return
    metric, found = t.monitor["metric"], evaluate(t.objective, t.val, t.autocast, stopped=lambda: True)[0]
    if metric.removeprefix("val/") not in found:
        names = [f"val/{name}" for name in found]
        raise ConfigError(
            f"train.monitor.metric={metric}: there is no such metric{suggest(metric, names)} ({', '.join(names)})"
        )
