"""Short trainings in this process of any objective that needs no labels, built as `ptft` builds them."""

import copy
from collections.abc import Callable
from typing import Any

from ptft.builders.run import Run, build
from ptft.config.resolve import resolve
from ptft.loggers.console import Console
from ptft.loggers.logger import Logger
from ptft.train.loop import evaluate, fit
from tests.helpers import options

DIGITS = ("dataset=digits", "dataset.size=16", "dataset.limit=320")
SETTLED = ("device=cpu", "precision=fp32", "train.layout=contiguous")
FEW = ("train.batch_size=32", "train.every.log=3", "train.every.save=100", *SETTLED)
SMALL = (*DIGITS, "model=convnet", "model.channels=[8,16,32]")


class Listening(Logger):
    """Keeps what evaluations gave and warned of; ends the run after step `last`."""

    def __init__(self, t, last=None):
        self.t, self.last, self.rows, self.warned_of = t, last, [], []

    def step(self, step):
        if step == self.last:
            self.t.stop = "SIGTERM"

    def evaluated(self, train, row, best):
        if row is not None:
            self.rows.append({key: value for key, value in row.items() if key != "seconds"})

    def warn(self, text):
        self.warned_of.append(text)


def small(objective: str) -> tuple[str, ...]:
    """What to type for a small run of the objective, whose YAML names a model where a convolutional one won't do."""
    typed = options.typed(f"objective/{objective}")
    return (*DIGITS, *typed) if any(word.startswith("model=") for word in typed) else (*SMALL, *typed)


def built(objective: str, *typed: str) -> Run:
    """A run of the objective on embedded digits that is ready to train."""
    job = resolve(["stage=pretrain", f"objective={objective}", *small(objective), *FEW, *typed])
    return build(job, Console())


def train(run: Run, last: int | None = None) -> Listening:
    """Train to the end, or to step `last`."""
    listening = Listening(run.training, last)
    fit(run.training, listening, lambda better: None)
    run.training.stop = None
    return listening


def in_two(make: Callable[[], Run], last: int) -> tuple[list[dict[str, Any]], Run]:
    """A run that ended at step `last` and one that went on from what it saved: the rows of both, and the second."""
    ended = make()
    rows = train(ended, last).rows
    saved = ended.training.weights(), ended.training.state_dict()
    resumed = make()
    resumed.training.load_state_dict(*saved)
    return rows + train(resumed).rows, resumed


def state(run: Run):
    """All that is saved of it, without the time it took."""
    saved = copy.deepcopy(run.training.state_dict())
    del saved["progress"]["seconds"], saved["progress"]["waited"]
    return {"weights": run.training.weights(), **saved}


def metrics(run: Run):
    """Of the validation split, with the weights as they are."""
    return evaluate(run.objective, run.training.val, run.training.autocast)[0]
