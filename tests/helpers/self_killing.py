"""A small model with batch statistics, and an objective that ends its own process at a chosen moment.

Real components of a user's own package, for runs with `trusted=[tests.helpers.self_killing]`. The environment says what
happens: `KILL_AT="SIGKILL step 7"` after the seventh optimizer step, `"SIGTERM evaluate 8"` in the evaluation after
step 8, `"SIGKILL save 2"` before the second renaming of a checkpoint in that process.
"""

import os
import signal
import sys
import time
from pathlib import Path

from torch import nn

from ptft.models.image.cnn import CNN
from ptft.objectives.supervised.classify import Classify


def at(moment: str) -> None:
    """Send this process its signal, once, if this is the moment."""
    name, _, chosen = os.environ.get("KILL_AT", "").partition(" ")
    if moment == chosen:
        del os.environ["KILL_AT"]
        if moment == "step 1":  # the first checkpoint is written meanwhile; without it nothing can go on
            for _ in range(1000):
                if [*Path.cwd().glob("*/checkpoints/last.pt")]:
                    break
                time.sleep(0.01)
        os.kill(os.getpid(), signal.Signals[name])


class Net(CNN):
    """The small convolutional network, normalised over the batch."""

    def __init__(self, spec, channels=(32, 64), width=128):
        super().__init__(spec, channels, width)
        self.conv2 = nn.Sequential(self.conv2, nn.BatchNorm2d(channels[1]))


class SelfKilling(Classify):
    """Classification that dies at the moment."""

    step = 0

    def forward(self, batch):
        if not self.training:
            at(f"evaluate {self.step}")
        return super().forward(batch)

    def advance(self, step, steps):
        super().advance(step, steps)
        self.step = step
        at(f"step {step}")


class Renames:
    """Counts the checkpoints that are renamed to their place."""

    def __init__(self):
        self.count = 0

    def __call__(self, event, arguments):
        if event == "os.rename" and str(arguments[1]).endswith(".pt"):
            self.count += 1
            at(f"save {self.count}")


if " save " in os.environ.get("KILL_AT", ""):
    sys.addaudithook(Renames())
