"""The training loop: one for every task. It knows a module that turns a batch into a loss, and when to do what else.

Gradients are of summed losses; they are divided once, by the count of the whole batch, so cutting a batch into parts
(or spreading it over processes) changes nothing else.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Objective, Step, Table
from ptft.loggers.logger import Logger
from ptft.optim.averaging import fitted, put_back
from ptft.optim.param_groups import clip_and_scale, highest_lr, set_lr
from ptft.runtime.together import draws
from ptft.train import gradient_cache, pause
from ptft.train.found import Found, lists_of, taken
from ptft.train.state import Batches, Meter, Progress, Training
from ptft.train.watch import FiniteCheck, Timer


def fit(t: Training, logger: Logger, save: Callable[[bool], None]) -> dict[str, float]:
    """Train until the budget, the patience or a stop ends it. `save(best)` writes a checkpoint.

    Returns the metrics of training between the last two evaluations, where they were before a resume, too.
    Raises NotFiniteError before weights that a loss which is not finite has spoiled are saved, on a CPU before they
    are.
    """
    finite, timer = FiniteCheck(t), Timer(t.progress)
    t.objective.train()
    if t.evaluation_due():
        save(assess(t, finite, logger))
    pause.hear(t)
    while not t.finished() and not t.stops():
        for batch in timer.waiting(t.loader.epoch(t.progress.epoch, t.progress.batch)):
            train_step(t, batch, finite)
            timer.tick()
            t.stepped(len(batch["input"]))
            logger.step(t.progress.step)
            if t.finished() or timer.due(t.every.log, t.progress.step):
                log(t, finite, logger)
            better = False
            if t.evaluation_due():
                better = assess(t, finite, logger)
                pause.hear(t)
            ended = t.finished() or t.stop is not None
            if ended or better or t.progress.step % t.every.save == 0:
                finite.check()
                save(better)
            timer.start()
            if ended:
                break
    draws.whole()
    return t.trained


def train_step(t: Training, batch: Batch, finite: FiniteCheck) -> None:
    """One optimizer step on one batch, in `accumulate` parts; moves the progress."""
    p = t.progress
    if t.phases:
        t.phases.enter(t.optimizer, p.step, t.horizon())
    set_lr(t.optimizer, t.schedule(p.step, t.horizon()))
    sums, norm = t.graph(batch) if t.graph else gradients(t, batch)
    finite.add(sums["total"] if t.scaler else norm + sums["total"])
    move(t)
    for meter in (t.window, t.running):
        meter.merge(sums)
    p.step, p.batch = p.step + 1, p.batch + 1
    if p.batch == len(t.loader):
        p.epoch, p.batch = p.epoch + 1, 0
    if t.ema:
        t.ema.update(t.objective)
    t.objective.advance(p.step, t.horizon())


def move(t: Training) -> None:
    """The optimizer's step by the gradients that are there, which are gone then."""
    if t.scaler:
        t.scaler.step(t.optimizer)
        t.scaler.update()
    elif not t.graph:  # which has done it
        t.optimizer.step()
    t.optimizer.zero_grad(set_to_none=True)


def gradients(t: Training, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """Leaves the mean loss's clipped gradients on the parameters; the batch's sums, and the norm before clipping."""
    sums = Meter()
    if t.accumulate > 1 and isinstance(t.objective, gradient_cache.InHalves):
        sums.add(gradient_cache.backward(t, t.objective, batch))
    else:
        if t.accumulate > 1:
            draws.whole()
        for part in _parts(batch, t.accumulate, t.objective.whole_batch):
            with t.autocast():
                step = t.objective(part)
            (t.scaler.scale(step.total) if t.scaler else step.total).backward()
            sums.add(step)
    total = t.group.summed(sums.sums)
    if t.scaler:
        t.scaler.unscale_(t.optimizer)
    if t.l2sp:
        t.l2sp.add_gradient(total["count"])
    return total, clip_and_scale(t.parameters, total["count"], t.clip)


@torch.inference_mode()
def evaluate(
    objective: Objective,
    loader: Batches,
    autocast: Callable[[], contextlib.AbstractContextManager[Any]],
    stopped: Callable[[], bool] = lambda: False,
    keep: Callable[[Batch, Step], None] | None = None,
    settle: bool = False,
    found: Found | None = None,
) -> tuple[dict[str, float], dict[str, Table]]:
    """Metrics and tables over a split, the whole of it unless `stopped` says to leave early.

    keep: called with each batch and what was found of it. settle: whether the objective fits thresholds and the like to
    all of it, which is the validation split of a training then. found: gets what was found of each example. Draws no
    random number, so training is the same with or without it.
    """
    was_training, meter, places = objective.training, Meter(), list[int]()
    objective.eval()
    for place, batch in enumerate(loader.epoch()):
        for part in _parts(batch, 1, objective.whole_batch):
            with autocast():
                step = objective(part)
            meter.add(step)
            places.append(place)
            if found is not None:
                meter.keep(lists_of(part, step))
            if keep:
                keep(part, step)
        if stopped():
            break
    draws.whole()
    objective.train(was_training)
    meter.sums, meter.parts = loader.whole(meter.sums, meter.parts, places)
    each = taken(meter.parts)
    lists = meter.lists
    if found is not None:
        found.fill(each, lists)
    if settle and not stopped():
        objective.settle({**meter.sums, **lists})
    scored = loader.score(lists) if lists else {}
    scores = {name: value for name, value in scored.items() if not isinstance(value, Table)}
    more = {name: value for name, value in scored.items() if isinstance(value, Table)}
    return {**meter.metrics(objective), **scores}, {**objective.tables({**meter.sums, **lists}), **more}


def _parts(batch: Batch, accumulate: int, whole: bool) -> Iterator[Batch]:
    """whole: whether a part of no examples is computed as well, for the other processes compute theirs with all."""
    if len(batch["input"]) == 0 and not whole:
        return
    if accumulate == 1:
        yield batch
        return
    count = accumulate if whole else min(accumulate, len(batch["input"]))
    pieces = {name: tensor.tensor_split(count) for name, tensor in batch.items()}
    for values in zip(*pieces.values(), strict=True):
        yield dict(zip(pieces, values, strict=True))


def log(t: Training, finite: FiniteCheck, logger: Logger) -> None:
    """Tell how training went since the last log."""
    finite.check()
    p = t.progress
    row = {"step": p.step, "epoch": p.epoch, "split": "train", **t.window.metrics(t.objective)}
    logger.log({**row, "lr": highest_lr(t.optimizer), "seconds": round(p.seconds, 3), "samples": p.samples})
    t.window.sums = {}


def assess(t: Training, finite: FiniteCheck, logger: Logger) -> bool:
    """Evaluate on the validation split where there is one; whether it was the best so far.

    A stop leaves everything as it was, so that the run evaluates first when it is continued.
    """
    finite.check()
    p, p.averaged = t.progress, 0
    metrics, kept = _measure(t), fitted(t.objective)
    averaged = _measure_average(t)
    if t.stop:
        return False
    p.evaluated, t.evaluated_at = p.step, p.seconds
    t.trained, t.running.sums = t.running.metrics(t.objective), {}
    if t.val is None:
        p.averaged = t.average.count if t.average and t.finished() else 0
        logger.evaluated(t.trained, None, False)
        return False
    better = _judge(t, metrics)
    logger.evaluated(t.trained, _row(p, metrics), better)
    if averaged:
        assert t.average
        p.averaged = t.average.count if _judge(t, averaged) else 0
        if not p.averaged:
            put_back(t.objective, kept)
        logger.evaluated(t.trained, {**_row(p, averaged), "averaged": t.average.count}, p.averaged > 0)
    for text in t.objective.warnings(metrics):
        logger.warn(text)
    return better or p.averaged > 0


def _judge(t: Training, metrics: dict[str, float]) -> bool:
    """Whether these metrics are the best so far, of equal ones those with less loss; they count as such from now on."""
    p, value, loss = t.progress, metrics.get(t.monitor["metric"].removeprefix("val/"), math.nan), metrics.get("loss")
    better = is_better(value, p.best, t.monitor["mode"])
    p.worse = 0 if better else p.worse + 1
    if not better and not (value == p.best and loss is not None and p.best_loss is not None and loss < p.best_loss):
        return False
    p.best, p.best_step, p.best_loss = value, p.step, loss
    return True


def _row(p: Progress, metrics: dict[str, float]) -> dict[str, Any]:
    return {"step": p.step, "epoch": p.epoch, "split": "val", **metrics, "seconds": round(p.seconds, 3)}


def _measure_average(t: Training) -> dict[str, float]:
    """Take this evaluation's weights into the average, and at the end measure it as `_measure` does its."""
    if t.average is None:
        return {}
    assert t.total is not None, "an average of the last evaluations needs a budget in steps"
    assert t.every.evaluate is not None, "and evaluations by steps"
    t.average.update(t.objective, t.progress.step, t.total, t.every.evaluate)
    if t.val is None or t.stop or not t.finished() or t.average.count < 2:
        return {}
    with t.average.swapped(t.objective):
        t.group.same_buffers(t.objective)
        return evaluate(t.objective, t.val, t.autocast, t.stops, settle=True)[0]


def _measure(t: Training) -> dict[str, float]:
    """Metrics of the result's weights on the validation split; of a part of it only once a stop is asked for."""
    if t.val is None or t.stop:
        return {}
    with t.result():
        t.group.same_buffers(t.objective)
        return evaluate(t.objective, t.val, t.autocast, t.stops, settle=True)[0]


def is_better(value: float, best: float | None, mode: str) -> bool:
    """Whether `value` beats `best`; NaN and infinity never do."""
    if not math.isfinite(value):
        return False
    return best is None or (value > best if mode == "max" else value < best)
