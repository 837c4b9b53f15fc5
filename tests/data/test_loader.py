"""Batches in an order that only (seed, epoch) decide, whoever reads them."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest
import torch

from ptft.data import workers as readers
from ptft.data.examples import MemoryExamples, OnDemandExamples
from ptft.data.image import folder as image_folder
from ptft.data.image.folder import ImageFolder
from ptft.data.loader import Loader
from ptft.errors import DataError, ResourceError
from ptft.runtime.system import worker_failure
from ptft.runtime.together import draws
from ptft.runtime.together.alone import Share
from tests.helpers.processes import python

CPU = torch.device("cpu")


def numbers(count):
    return MemoryExamples(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(count))


class Read(OnDemandExamples):
    """Label i at index i, with things that happen at some indices."""

    def __init__(self, count, fail=(), skip=(), die=(), hang=()):
        self.labels = torch.arange(count)
        self.fail, self.skip, self.die, self.hang = set(fail), set(skip), set(die), set(hang)

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        wanted = set(indices.tolist())
        if self.die & wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hang & wanted:
            time.sleep(1000)
        if self.fail & wanted:
            raise DataError(f"file{min(self.fail & wanted)}.png: cut")
        index = torch.tensor([i for i in indices.tolist() if i not in self.skip], dtype=torch.long)
        return {"input": torch.zeros(len(index), 1, 2, 2, dtype=torch.uint8), "label": index, "index": index}

    @property
    def shape(self):
        return 1, 2, 2

    def name(self, index):
        return f"file{index}.png"

    def digest(self):
        return b""


def labels(loader, epoch=0, start=0):
    return [batch["label"].tolist() for batch in loader.epoch(epoch, start)]


def flat(batches):
    return [label for batch in batches for label in batch]


def test_an_epoch_holds_everything_once_in_an_order_of_its_own():
    found = Loader(numbers(100), 16, seed=3, shuffle=True)
    first, second = labels(found, 0), labels(found, 1)
    assert len(found) == len(first) == 7
    assert sorted(flat(first)) == list(range(100))
    assert first != second
    assert labels(Loader(numbers(100), 16, seed=3, shuffle=True), 1) == second
    assert labels(Loader(numbers(100), 16, seed=4, shuffle=True), 0) != first
    assert flat(labels(Loader(numbers(100), 16))) == list(range(100))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_continues_where_it_was_left(workers):
    found = Loader(Read(50), 8, shuffle=True, workers=workers)
    assert labels(found, 5, start=3) == labels(found, 5)[3:]
    assert labels(found, 5, start=7) == []
    batches = found.epoch(5)
    next(batches)
    batches.close()
    assert labels(found, 5) == labels(Loader(Read(50), 8, shuffle=True), 5)


@pytest.mark.parametrize(
    ("count", "size", "lengths", "joins"),
    [
        (33, 32, [33], True),
        (65, 32, [32, 33], True),
        (64, 32, [32, 32], False),
        (66, 32, [32, 32, 2], False),
        (10, 32, [10], False),
        (1, 32, [1], False),
        (3, 1, [1, 1, 1], False),
    ],
)
def test_a_last_batch_of_one_joins_the_one_before(count, size, lengths, joins):
    found = Loader(numbers(count), size, shuffle=True)
    assert [len(batch) for batch in labels(found)] == lengths
    assert len(found) == len(lengths)
    assert found.joins_last == joins


@pytest.mark.parametrize("workers", [0, 2])
def test_no_random_state_is_touched(tmp_path, workers):
    image_folder.sample(tmp_path)
    train = ImageFolder(root=tmp_path, size=8).split("train")
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for _ in Loader(train, 4, shuffle=True, workers=workers).epoch():
        pass
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_workers_read_the_same_as_this_process(tmp_path):
    image_folder.sample(tmp_path)
    train = ImageFolder(root=tmp_path, size=8).split("train")
    here = list(Loader(train, 5, seed=1, shuffle=True).epoch(2))
    there = list(Loader(train, 5, seed=1, shuffle=True, workers=2).epoch(2))
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("input", "label", "index"))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_as_it_was(workers):
    with pytest.raises(DataError) as error:
        labels(Loader(Read(50, fail=[20]), 8, workers=workers))
    assert str(error.value) == "file20.png: cut"


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_examples_are_counted_and_capped(workers):
    found = Loader(Read(100, skip=[3, 40]), 8, workers=workers)
    assert sum(len(batch) for batch in labels(found)) == 98
    assert found.examples.unreadable == {3, 40}
    with pytest.raises(DataError, match=r"11 of 100.*file0\.png"):
        labels(Loader(Read(100, skip=range(11)), 100, workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_nothing_readable_has_the_rows_of_the_next_one_or_is_not_measured(workers):
    unread = Read(100, skip=range(4))
    assert labels(Loader(unread, 4, workers=workers)) == labels(Loader(Read(100), 4))[1:]
    mixed = labels(whole := Loader(Read(100), 1, shuffle=True, workers=workers))
    wanted = [batch if batch[0] > 3 else None for batch in mixed]
    later = {i: next(batch for batch in (wanted[i:] + wanted) if batch) for i in range(100)}
    found = Loader(unread, 1, shuffle=True, workers=workers)
    assert labels(found) == list(later.values())
    assert labels(found, 0, 7) == list(later.values())[7:], "and where an epoch goes on"
    assert len(whole) == len(found)
    assert int(found.first()["label"]) == later[0][0]
    with pytest.raises(DataError, match="none of the 4 files of a batch"):
        Loader(Read(20, skip=range(20)), 4).first()


def drawn(*processes):
    """Of an epoch the examples of each batch, and what is drawn for two copies of each; as `Group` does it, a process
    that has no rows goes on from where another stands."""
    torch.manual_seed(5)
    if len(processes) > 1:
        draws.share(CPU, 99, in_parts=False)
    epochs, found = [each.epoch(3) for each in processes], []
    for _ in range(len(processes[0])):
        batch, before = [], [generator.get_state() for generator in draws.shared().values()]
        after = before
        for epoch in epochs:
            for generator, state in zip(draws.shared().values(), before, strict=True):
                generator.set_state(state)
            index = next(epoch)["index"].tolist()
            if not draws.none():
                rows = draws.rand(2 * len(index), 3, device=CPU).view(2, len(index), 3).unbind(1)
                batch += zip(index, [each.tolist() for each in rows], strict=True)
                after = [generator.get_state() for generator in draws.shared().values()]
        for generator, state in zip(draws.shared().values(), after, strict=True):
            generator.set_state(state)
        found.append(batch)
    draws.forget()
    return found


def test_what_can_not_be_read_changes_no_other_batch_and_no_number_wherever_it_is_kept():
    """Cached, in workers, and in two processes, of which the first has none of the second batch that it could read."""
    broken = [*Loader(numbers(20), 4, seed=2, shuffle=True)._batches(3)[1][:2].tolist(), 7]
    options = {"batch_size": 4, "seed": 2, "shuffle": True}
    unread = Read(20, skip=broken)
    expected = drawn(Loader(unread, **options))
    assert sorted(index for batch in expected for index, _ in batch) == [i for i in range(20) if i not in broken]
    whole = drawn(Loader(Read(20), **options))
    assert expected == [[row for row in batch if row[0] not in broken] for batch in whole]
    assert drawn(Loader(unread, **options, workers=2)) == expected
    there = ~torch.isin(torch.arange(20), torch.tensor(broken))
    kept = MemoryExamples(numbers(20).base, torch.arange(20), readable=there)
    for examples in (unread, kept):
        shared = [Loader(examples, **options, share=Share(rank, 2)) for rank in range(2)]
        assert drawn(Loader(examples, **options)) == drawn(*shared) == expected


def test_a_killed_worker_is_named_with_its_signal():
    with pytest.raises(ResourceError, match=r"Killed.*train\.workers"):
        labels(Loader(Read(50, die=[0]), 8, workers=1))


def test_a_hanging_worker_is_named_and_ended(monkeypatch):
    monkeypatch.setattr(readers, "TIMEOUT", 1)
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)
    started = time.monotonic()
    with pytest.raises(ResourceError, match=r"no batch for 1 s.*train\.workers"):
        labels(Loader(Read(16, hang=[9]), 8, workers=1))
    assert time.monotonic() - started < 20
    assert not multiprocessing.active_children()


def test_a_process_ends_although_an_epoch_was_left_behind():
    """Workers ignore SIGTERM, and Python waits at its end for every process that it started."""
    code = (
        "from pathlib import Path\nfrom ptft.data.image import folder\nfrom ptft.data.loader import Loader\n"
        "import warnings\nwarnings.simplefilter('ignore')\n"  # two workers are many for a machine of one core
        "folder.sample(Path('images'))\n"
        "train = folder.ImageFolder(root='images', size=8).split('train')\n"
        "batches = Loader(train, 2, workers=2).epoch()\nnext(batches)\nraise SystemExit(4)"
    )
    done = python(code, timeout=60)
    assert (done.returncode, done.stderr) == (4, "")


def test_other_errors_are_not_taken_for_lost_workers():
    assert worker_failure(RuntimeError("CUDA out of memory"), [0, 0]) is None
    assert worker_failure(OSError("no such file")) is None


def test_a_connection_to_a_dead_worker_is_a_lost_worker():
    assert "Segmentation fault" in str(worker_failure(ConnectionResetError("reset by peer"), [0, -signal.SIGSEGV]))


def operations(found):
    """How often every operation of torch runs in an epoch."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        for _ in found.epoch():
            pass
    return {event.key: event.count for event in profile.key_averages()}


@pytest.mark.parametrize("part", [False, True])
def test_an_epoch_over_memory_is_one_gather_a_tensor_and_batch_and_nothing_else(part):
    def loader(count):
        examples = MemoryExamples(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.arange(count))
        kept = torch.arange(0, count, 2)
        return Loader(examples.at(kept, kept) if part else examples, count // 20, shuffle=True)

    found = loader(200)
    counts = operations(found)
    assert counts["aten::index_select"] == (3 if part else 2) * len(found)  # the input, the label, and which rows
    assert not counts.keys() & {f"aten::{name}" for name in ("copy_", "_to_copy", "clone", "cat", "index", "item")}
    assert operations(loader(4000)) == counts, "with more examples in as many batches nothing is done more often"


def test_the_order_goes_to_the_device_once_an_epoch():
    """On a device that computes nothing: there the batches of indices are, before any is taken."""
    found = Loader(numbers(100).to(torch.device("meta")), 16, shuffle=True, device=torch.device("meta"))
    counts = operations(found)
    assert counts["aten::_to_copy"] == 1
    assert counts["aten::index_select"] == 2 * len(found)
