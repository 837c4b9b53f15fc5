"""Batches on their way to the device: the same values, none read before its turn, and an end for those left behind."""

import pytest
import torch

from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.errors import DataError
from ptft.runtime.prefetch import on_device

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CPU = torch.device("cpu")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=GPU)]


class Reading:
    """Three batches, and what became of them."""

    def __init__(self, fails_at=None):
        self.read, self.ended, self.fails_at = 0, False, fails_at

    def __iter__(self):
        try:
            for number in range(3):
                if number == self.fails_at:
                    raise DataError(f"batch {number}")
                self.read += 1
                yield {"input": torch.full((2, 3), float(number)), "index": torch.tensor([number, 9])}
        finally:
            self.ended = True


def test_on_a_cpu_the_very_tensors_are_passed_on():
    batch = {"input": torch.ones(2)}
    (passed,) = on_device(iter([batch]), CPU)
    assert passed["input"] is batch["input"]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_values_and_order_stay(device):
    batches = list(on_device(iter(Reading()), device))
    assert [batch["input"].device.type for batch in batches] == [device.type] * 3
    assert [batch["input"].tolist() for batch in batches] == [[[number] * 3] * 2 for number in (0.0, 1.0, 2.0)]
    assert [batch["index"].tolist() for batch in batches] == [[0, 9], [1, 9], [2, 9]]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_nothing_is_read_before_its_turn(device):
    reading = Reading(fails_at=1)
    batches = on_device(iter(reading), device)
    assert reading.read == 0
    next(batches)
    assert reading.read == 1
    with pytest.raises(DataError, match="batch 1"):
        next(batches)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_leaving_early_ends_the_reading(device):
    reading = Reading()
    batches = on_device(iter(reading), device)
    next(batches)
    batches.close()
    assert reading.ended


def test_the_order_goes_to_the_examples_once_an_epoch():
    """Every batch's indices lie where the examples do, so that a gather needs no copy."""

    class Resident(MemoryExamples):
        @property
        def device(self):
            return torch.device("meta")

        def take(self, indices):
            assert indices.device.type == "meta"
            return {"input": torch.zeros(len(indices)), "index": torch.arange(len(indices))}

    examples = Resident(torch.zeros(10, 1, 1, 1, dtype=torch.uint8), torch.arange(10))
    assert [len(batch["input"]) for batch in Loader(examples, 4, shuffle=True).epoch()] == [4, 4, 2]


@GPU
def test_what_is_there_is_not_copied():
    batch = {"input": torch.ones(2, device="cuda")}
    (passed,) = on_device(iter([batch]), torch.device("cuda"))
    assert passed["input"] is batch["input"]
