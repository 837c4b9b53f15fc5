"""What is read ahead is interrupted wherever that may be; what threads read has its order, and its errors."""

import gc
import os
import threading
import time

import pytest
import torch

from ptft.data.workers import from_workers, in_threads
from tests.helpers.processes import python

INTERRUPTED = """
import itertools, signal, sys
from ptft.data.workers import in_threads
from ptft.errors import Interrupted
from ptft.runtime.signals import interrupting


def at(step):
    # Called at each line, and each end of a function, of all that this thread runs: also of Python's own modules.
    steps = itertools.count()

    def trace(frame, event, value):
        if next(steps) == step:
            sent.append(step)
            signal.raise_signal(signal.SIGINT)
        return trace

    return trace


sent, ended = [-1], 0
for step in itertools.count():
    try:
        with interrupting():
            sys.settrace(at(step))
            found = list(in_threads(abs, [[-1, -2], [-3], [-4, -5]]))
            sys.settrace(None)
        if sent[-1] < step:
            break
    except Interrupted:
        ended += 1
print(ended > 1000, found)
"""


LOCKED = """
import signal, sys, torch
from ptft.data.workers import from_workers
from ptft.errors import Interrupted
from ptft.runtime.signals import interrupting


class Numbers:
    def take(self, indices):
        return {"input": indices}


def trace(frame, event, value):
    # Where Python's queue has just taken the lock that its thread waits for.
    names = frame.f_code.co_name, frame.f_back and frame.f_back.f_code.co_name
    if event == "return" and names == ("__enter__", "put") and len(found) == 2 and not sent:
        sent.append(True)
        signal.raise_signal(signal.SIGINT)
    return trace


found, sent = [], []
try:
    with interrupting():
        for batch in from_workers(Numbers(), list(torch.arange(12).split(2)), 1):
            found.append(batch["input"].tolist())
            sys.settrace(trace)
except Interrupted:
    sys.settrace(None)
    print(found)
"""


def test_parts_come_in_order_while_the_next_is_read():
    asked, release = [], threading.Event()

    def read(item):
        asked.append(item)
        if item == 0:
            release.wait(10)
        return item * 10

    parts = in_threads(read, iter([[0, 1], [], [2, 3], [4]]))
    threading.Timer(0.05, release.set).start()
    assert next(parts) == [0, 10]
    assert list(parts) == [[], [20, 30], [40]]
    assert sorted(asked) == [0, 1, 2, 3, 4]


def test_no_more_is_read_than_one_part_ahead_and_threads_end_with_who_asks():
    asked, before = [], threading.active_count()
    parts = in_threads(lambda item: asked.append(item), ([i] for i in range(100)))
    next(parts)
    end = time.monotonic() + 10
    while len(asked) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(asked) == [0, 1]
    parts.close()
    assert threading.active_count() == before


def test_what_reading_raises_is_raised_the_first_in_order_whichever_comes_first():
    def read(item):
        time.sleep(0.05 if item == 1 else 0)
        raise LookupError(f"no {item}")

    before = threading.active_count()
    with pytest.raises(LookupError, match="no 1"):
        next(in_threads(read, [[1, 2, 3]]))
    assert threading.active_count() == before


def test_a_signal_at_any_moment_ends_it():
    """Where a handler raises within the locks of Python's own pool, it waits forever."""
    done = python(INTERRUPTED, timeout=60)
    assert (done.stdout, done.returncode) == ("True [[1, 2], [3], [4, 5]]\n", 0), done.stderr


def test_a_signal_while_a_batch_is_asked_for_ends_the_reading_processes():
    """It comes to nothing before the queue is whole again: who ends the processes uses it, too."""
    done = python(LOCKED, timeout=60)
    assert (done.stdout, done.returncode) == ("[[0, 1], [2, 3]]\n", 0), done.stderr


class Numbers:
    def take(self, indices):
        return {"input": indices}


def test_an_epoch_gives_its_handles_back_at_once():
    """And not only when Python next looks for what holds itself."""
    counts = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            assert len(list(from_workers(Numbers(), list(torch.arange(4).split(2)), 1))) == 2
            counts.append(len(os.listdir("/proc/self/fd")))
    finally:
        gc.enable()
    assert counts[0] == counts[1]
