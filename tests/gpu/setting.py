"""What the checks of a GPU share: where they run, how large, and training runs built in this process."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ptft.builders.run import Run, build
from ptft.cli.main import run
from ptft.config.resolve import resolve
from ptft.core import Batch
from ptft.distributed.group import Group
from ptft.loggers.console import Console
from ptft.runtime.rng import seed_everything
from ptft.runtime.together import alone
from tests.helpers import processes

ROOT = Path(__file__).resolve().parents[2]


class Setting(NamedTuple):
    """device: what is checked. work: a folder to write in. root: of CIFAR-10, where there is one.

    Without a GPU everything that needs none runs on the CPU, in the smallest sizes, so that the checks are checked.
    """

    device: torch.device
    work: Path
    root: Path | None = None

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"


class Skipped(Exception):
    """A check that this machine can't do, and why."""


def built(device: torch.device, *typed: str) -> Run:
    """The training run that is typed, with its weights and its first batches in place; nothing is printed or written.

    The same seed before each, so that runs on two devices start from the same weights.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        job = resolve([*typed, f"device={device}", "train.keep_memory=false"])
        seed_everything(0)
        return build(job, Console(quiet=True))


@contextlib.contextmanager
def grouped() -> Iterator[None]:
    """Inside, this process is a group of one, as a launcher starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    before = {name: os.environ.get(name) for name in place}
    os.environ.update(place)
    try:
        group = Group.join()
        yield
        group.end()
    finally:
        torch.distributed.destroy_process_group()
        alone.enter(alone.Alone())
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def moved(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device) for name, value in batch.items()}


def batches(run: Run) -> Iterator[Batch]:
    """The batches of its epochs, one after another, without an end."""
    epoch = 0
    while True:
        yield from run.training.loader.epoch(epoch)
        epoch += 1


def weights(run: Run) -> dict[str, Tensor]:
    return copy.deepcopy({name: value.detach().cpu() for name, value in run.objective.state_dict().items()})


def distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """‖found - wanted‖ / ‖wanted‖ over all tensors together, in float64 on the CPU."""
    pairs = [(a.detach().cpu().double(), b.detach().cpu().double()) for a, b in zip(found, wanted, strict=True)]
    apart = sum(float((a - b).square().sum()) for a, b in pairs)
    return (apart / sum(float(b.square().sum()) for _, b in pairs)) ** 0.5


def in_process(*typed: str) -> None:
    """The command in this process, in silence. Raises AssertionError where it fails."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(list(typed))
    assert code == 0, f"ptft {' '.join(typed)} ended with {code}: {said.getvalue()[-1500:]}"


def ptft(setting: Setting, *typed: str) -> None:
    """The command as a process of its own, which on a GPU starts as a user's does. AssertionError where it fails."""
    command = [sys.executable, "-m", "ptft", *typed]
    if setting.gpu:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=setting.work, env=environment, timeout=240)
    else:
        done = processes.run(command, cwd=setting.work, timeout=240)
    assert done.returncode == 0, f"ptft {' '.join(typed)} ended with {done.returncode}: {done.stderr[-1500:]}"
