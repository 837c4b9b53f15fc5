"""Files become one tensor without a change to any example, and what can't be read is counted."""

import hashlib

import pytest
import torch

from ptft.data.memory import MemoryExamples, ReadExamples, Resized, Subset, check_skipped, into_memory, select
from ptft.errors import DataError


class Counting(ReadExamples):
    """Image i is filled with i; those in `broken` are left out."""

    def __init__(self, count, broken=()):
        self.labels = torch.arange(count) % 3
        self.broken = torch.tensor(broken, dtype=torch.long)

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        index = indices[~torch.isin(indices, self.broken)]
        images = index.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone()
        return {"input": images, "label": self.labels[index], "index": index}

    @property
    def nbytes(self):
        return 12 * len(self)

    def name(self, index):
        return f"file{index}.png"

    def digest(self):
        return hashlib.sha256(bytes(len(self))).digest()


def test_everything_is_read_once_in_order_and_progress_ends_at_the_total():
    said = []
    examples = Counting(200)
    memory = into_memory(examples, 10_000, lambda done, total: said.append((done, total)), chunk=16)
    assert memory.in_memory
    assert torch.equal(memory.take(torch.arange(200))["input"], examples.take(torch.arange(200))["input"])
    assert torch.equal(memory.labels, examples.labels)
    assert said[-1] == (200, 200)
    assert said == sorted(said)


def test_what_does_not_fit_stays_where_it_is():
    examples = Counting(200)
    assert into_memory(examples, 200 * 12 - 1) is examples
    assert into_memory(examples, 200 * 12) is not examples


def test_unreadable_files_are_left_out_and_said():
    memory = into_memory(Counting(100, broken=[3, 50]), 10_000, chunk=7)
    assert len(memory) == 98
    batch = memory.take(torch.tensor([2, 3]))
    assert batch["input"][:, 0, 0, 0].tolist() == [2, 4]
    assert batch["index"].tolist() == [2, 3]
    assert memory.labels[3] == 4 % 3
    assert "2 of 100" in memory.notes[0]
    assert "file3.png" in memory.notes[0]


def test_a_first_chunk_of_broken_files_does_not_matter():
    assert len(into_memory(Counting(100, broken=list(range(8))), 10_000, chunk=8)) == 92


def test_too_many_unreadable_files_end_the_run():
    with pytest.raises(DataError, match=r"11 of 100 files.*file0\.png.*on_error"):
        into_memory(Counting(100, broken=list(range(11))), 10_000)
    check_skipped(Counting(50_000), list(range(1000)))
    with pytest.raises(DataError, match="1001 of 50000"):
        check_skipped(Counting(50_000), list(range(1001)))


def test_the_first_error_of_a_thread_comes_through():
    class Broken(Counting):
        def take(self, indices):
            if 70 in indices:
                raise DataError("file70.png: cut")
            return super().take(indices)

    with pytest.raises(DataError, match=r"file70\.png"):
        into_memory(Broken(100), 10_000, chunk=8)


def test_a_subset_counts_from_its_own_zero_and_has_its_own_labels():
    subset = select(Counting(100, broken=[20]), torch.tensor([10, 20, 30]), torch.tensor([2, 1, 0]))
    assert isinstance(subset, Subset)
    assert subset.nbytes == 36
    assert subset.name(2) == "file30.png"
    batch = subset.take(torch.tensor([2, 1, 0]))
    assert batch["input"][:, 0, 0, 0].tolist() == [30, 10]
    assert batch["label"].tolist() == [0, 2]
    assert batch["index"].tolist() == [2, 0]


def test_a_subset_in_memory_is_in_memory():
    memory = MemoryExamples(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.arange(5))
    part = select(memory, torch.tensor([4, 1]), torch.tensor([0, 1]))
    assert part.in_memory
    assert part.take(torch.tensor([0]))["input"].item() == 4


def test_images_resized_by_the_batch_say_so_of_memory():
    memory = MemoryExamples(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5))
    resized = Resized(memory, lambda images: images.repeat(1, 1, 2, 2))
    assert resized.in_memory
    assert resized.to(torch.device("cpu")).take(torch.tensor([1, 3]))["input"].shape == (2, 1, 4, 4)


def test_the_digest_notices_a_pixel():
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    before = MemoryExamples(images, torch.arange(5)).digest()
    images[2, 0, 0, 0] = 1
    assert MemoryExamples(images, torch.arange(5)).digest() != before
