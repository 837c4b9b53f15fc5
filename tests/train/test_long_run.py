"""A long run takes no more memory, files and threads than a short one."""

import gc
import os
import threading
from pathlib import Path

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.core import Step
from ptft.loggers.logger import Logger
from ptft.train.loop import fit
from ptft.train.state import Budget, Every
from tests.helpers.autoencoder import Denoise, train, training

STEPS, WARM = 20_000, 2_000
ONE = torch.tensor(1)


class Plain(Denoise):
    """As little as a step can be: a bias that becomes 1. It keeps no memory of its steps."""

    def forward(self, batch):
        error = (self.decoder.bias - 1).square().sum()
        return Step(error, ONE, {"absolute": error.detach()})

    def advance(self, step, steps):
        pass


class Watches(Logger):
    """Takes stock at two steps."""

    def __init__(self):
        self.stock = []

    def step(self, step):
        if step in (WARM, STEPS):
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(os.listdir("/proc/self/fd"))
            self.stock.append((pages * os.sysconf("SC_PAGE_SIZE") / 2**20, files, threading.active_count()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux says what a process holds")
def test_twenty_thousand_steps_leave_memory_files_and_threads_as_they_were(tmp_path, monkeypatch):
    """With everything that a run does now and then: logs, evaluations, checkpoints."""
    watches, writer = Watches(), checkpoint_file.CheckpointWriter()
    t = training(Plain, budget=Budget(steps=STEPS), every=Every(log=100, evaluate=1000, save=2500))

    def fitted(t, loggers, save):
        def saves(better):
            content = {"weights": t.weights(), "training": t.state_dict()}
            writer.submit(lambda: checkpoint_file.write(tmp_path / "last.pt", content))

        return fit(t, loggers, saves)

    monkeypatch.setattr("tests.helpers.autoencoder.fit", fitted)
    train(t, tmp_path, watches)
    writer.wait()
    (before, *kept), (after, *keeps) = watches.stock
    assert keeps == kept
    assert after - before < 2, f"{after - before:.2f} MiB more, which is above 120 bytes a step"
    said = (tmp_path / "run.log").read_text().splitlines()
    assert 50 < len(said) < 1000
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == STEPS // 100 + STEPS // 1000
