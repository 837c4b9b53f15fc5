"""Where examples are kept changes nothing about them, and what is chosen is said."""

import multiprocessing
import os
import signal
from functools import partial

import pytest
import torch

from ptft.data.cache.policy import choose, decode, into_memory, keep, onto_disk, silent
from ptft.data.examples import MemoryExamples
from ptft.errors import DataError, ResourceError, StorageError
from tests.data.test_examples import Counting


@pytest.fixture(params=["here", "processes"])
def decoder(request):
    """Reads 16 examples at a time, in this process or, from the second part on, in others."""
    return partial(decode, worth=float("inf") if request.param == "here" else 0.0, at_a_time=12 * 16, workers=2)


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_every_example_is_read_once_in_order_and_progress_ends_at_the_total(decoder, mode):
    said, examples = [], Counting(200)
    kept = keep(examples, mode, lambda done, total: said.append((done, total)), decoder)
    assert kept.in_memory
    assert kept.notes == ()
    for indices in (torch.arange(200), torch.tensor([7, 199, 0])):
        one, other = kept.take(indices), examples.take(indices)
        assert all(torch.equal(one[key], other[key]) for key in ("input", "label", "index"))
    assert torch.equal(kept.labels, examples.labels)
    assert said[-1] == (200, 200)
    assert said == sorted(said)
    assert len(said) == 13


def test_what_is_off_or_in_memory_already_stays_as_it_is():
    examples = Counting(20)
    assert keep(examples, "off", silent) is examples
    memory = into_memory(examples)
    assert all(keep(memory, mode, silent) is memory for mode in ("memory", "disk", "off"))


@pytest.mark.parametrize("read", [into_memory, onto_disk])
def test_unreadable_files_are_left_out_said_and_capped(decoder, read):
    kept = read(Counting(100, broken=[3, 50]), silent, decoder)
    assert (len(kept), kept.unreadable) == (100, {3, 50})
    batch = kept.take(torch.tensor([2, 3, 4]))
    assert batch["input"][:, 0, 0, 0].tolist() == batch["index"].tolist() == [2, 4]
    assert batch["label"].tolist() == [2 % 3, 4 % 3]
    assert "2 of 100" in kept.notes[0]
    assert "file3.png" in kept.notes[0]
    assert len(read(Counting(170, broken=list(range(17)))).unreadable) == 17, "a whole part of them changes nothing"
    with pytest.raises(DataError, match=r"11 of 101 files.*file0\.png.*on_error"):
        read(Counting(101, broken=list(range(11))))


class Broken(Counting):
    def take(self, indices):
        if 70 in indices:
            raise DataError("file70.png: cut")
        return super().take(indices)


class Deadly(Counting):
    def take(self, indices):
        if 70 in indices:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().take(indices)


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_the_first_error_comes_through(decoder, mode):
    with pytest.raises(DataError, match=r"file70\.png"):
        keep(Broken(100), mode, silent, decoder)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("decoder", ["processes"], indirect=True)
def test_a_killed_process_is_named_with_its_signal(decoder):
    with pytest.raises(ResourceError, match="Killed"):
        keep(Deadly(100), "memory", silent, decoder)


@pytest.mark.parametrize("read", [into_memory, onto_disk])
def test_a_part_has_labels_of_its_own(read):
    part = Counting(100).at(torch.tensor([10, 30, 20]), torch.tensor([2, 1, 0]))
    batch = read(part).take(torch.tensor([2, 1]))
    assert batch["input"][:, 0, 0, 0].tolist() == [20, 30]
    assert batch["label"].tolist() == [0, 1]
    assert batch["index"].tolist() == [2, 1]


@pytest.mark.parametrize("read", [into_memory, onto_disk])
def test_what_several_examples_share_is_read_and_kept_once(decoder, read):
    """As the picture of five captions."""
    said, alike = [], torch.tensor([40, 10, 40, 10, 30, 10])
    examples = Counting(100, broken=[30]).at(alike, torch.arange(6))
    kept = read(examples, lambda done, total: said.append((done, total)), decoder)
    assert said[-1] == (3, 3)
    batch = kept.take(torch.arange(6))
    assert batch["input"][:, 0, 0, 0].tolist() == [40, 10, 40, 10, 10]
    assert batch["label"].tolist() == [0, 1, 2, 3, 5]
    assert kept.unreadable == {4}
    assert choose("memory", [examples], memory=36)[0] == "memory"
    with pytest.raises(ResourceError):
        choose("memory", [examples], memory=35)


PARTS = [Counting(200), Counting(100).at(torch.arange(50), torch.arange(50))]
"""3,000 bytes to read."""


@pytest.mark.parametrize(
    ("mode", "memory", "disk", "chosen", "said"),
    [
        ("auto", 12_000, 0, "memory", "250 examples are read once and kept in memory"),
        ("auto", 11_999, 6_000, "disk", "dataset.cache=auto; they need 0.0 MiB of memory"),
        ("auto", 11_999, 5_999, "off", "read again in every epoch (dataset.cache=auto; they need"),
        ("memory", 3_000, 0, "memory", "dataset.cache=memory"),
        ("disk", 10**9, 3_000, "disk", "dataset.cache=disk"),
        ("off", 10**9, 10**9, "off", "250 examples are read again in every epoch (dataset.cache=off)"),
        (False, 10**9, 10**9, "off", "dataset.cache=off"),
    ],
)
def test_the_first_that_fits_is_chosen_and_said(mode, memory, disk, chosen, said):
    found, sentence = choose(mode, [*PARTS, MemoryExamples(torch.zeros(9, 1), torch.zeros(9))], memory, disk)
    assert found == chosen
    assert said in sentence


def test_what_is_on_the_disk_already_needs_no_room():
    onto_disk(PARTS[0])
    assert choose("disk", PARTS, 0, 600)[0] == "disk"
    assert "of them there already" in choose("auto", PARTS, 0, 1200)[1]
    assert choose("auto", PARTS, 0, 1199)[0] == "off"


def test_what_was_asked_for_and_does_not_fit_is_refused():
    with pytest.raises(ResourceError, match=r"dataset\.cache=memory.*dataset\.cache=disk"):
        choose("memory", PARTS, 2_999, 10**9)
    with pytest.raises(StorageError, match=r"cache.*need 3,000 bytes.*free.*PTFT_CACHE.*dataset\.cache=off"):
        choose("disk", PARTS, 10**9, 2_999)


def test_nothing_is_said_where_nothing_is_read():
    assert choose("disk", [into_memory(PARTS[0])]) == ("off", "")
