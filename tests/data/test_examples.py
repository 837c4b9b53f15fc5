"""Parts of a set are views of it, whatever they are asked for; what can't be read is counted."""

import hashlib
import struct
import sys

import pytest
import torch

from ptft.data import examples
from ptft.data.cache.policy import into_memory
from ptft.data.examples import MemoryExamples, OnDemandExamples, Resized, Subset, check_unreadable
from ptft.data.labels import Renumbered
from ptft.errors import DataError
from tests.helpers.processes import python


class Counting(OnDemandExamples):
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
    def shape(self):
        return 3, 2, 2

    def name(self, index):
        return f"file{index}.png"

    def digest(self):
        return hashlib.sha256(bytes(len(self))).digest()


def test_too_many_unreadable_files_are_refused():
    many = Counting(50_000)
    many.unreadable.update(range(1000))
    check_unreadable(many)
    many.unreadable.add(1000)
    with pytest.raises(DataError, match="1001 of 50,000"):
        check_unreadable(many)


def test_a_subset_counts_from_its_own_zero_and_has_its_own_labels():
    subset = Counting(100, broken=[20]).at(torch.tensor([10, 20, 30]), torch.tensor([2, 1, 0]))
    assert isinstance(subset, Subset)
    assert subset.nbytes == 36
    assert subset.name(2) == "file30.png"
    batch = subset.take(torch.tensor([2, 1, 0]))
    assert batch["input"][:, 0, 0, 0].tolist() == [30, 10]
    assert batch["label"].tolist() == [0, 2]
    assert batch["index"].tolist() == [2, 0]


def numbers(count):
    return MemoryExamples(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(count))


def test_a_part_of_a_set_in_memory_shares_it():
    whole = numbers(50)
    part = whole.at(torch.tensor([40, 10, 20]), torch.tensor([0, 1, 2]))
    smaller = part.at(torch.tensor([2, 0]), torch.tensor([7, 8]))
    assert smaller.base.data_ptr() == part.base.data_ptr() == whole.base.data_ptr()
    batch = smaller.take(torch.tensor([1, 0, 1]))
    assert batch["input"].flatten().tolist() == [40, 20, 40]
    assert batch["label"].tolist() == [8, 7, 8]
    assert batch["index"].tolist() == [1, 0, 1]
    assert [part.in_memory, part.nbytes, len(smaller), smaller.nbytes] == [True, 3, 2, 2]
    assert whole.at(torch.arange(50), whole.labels).rows is None


def test_another_device_gets_the_part_alone():
    part = numbers(50).at(torch.tensor([40, 10, 20]), torch.tensor([0, 1, 2]))
    moved = part.to(torch.device("meta"))
    assert (moved.base.shape, moved.rows, moved.device.type) == ((3, 1, 1, 1), None, "meta")
    assert part.to(torch.device("cpu")) is part


def test_what_was_left_out_is_known_wherever_they_are_kept():
    part = into_memory(Counting(40, broken=[3, 20]))
    assert part.unreadable == {3, 20}
    names = ("0", "1", "2")
    same = (Resized(part, lambda images: images), Renumbered(part, names, names[::-1]))
    for kept in (part, *same):
        assert kept.to(torch.device("meta")).unreadable == kept.unreadable == {3, 20}


def test_the_digest_is_of_values_and_order_not_of_how_they_are_kept(monkeypatch):
    part = numbers(50).at(torch.tensor([40, 10, 20]), torch.arange(3))
    assert part.digest() == hashlib.sha256(bytes([40, 10, 20])).digest()
    assert part.at(torch.tensor([1, 0, 2]), torch.arange(3)).digest() != part.digest()
    before = part.digest()
    monkeypatch.setattr(examples, "PART", 2)
    assert part.digest() == before


MANY = """
import re
from pathlib import Path
from ptft.data.loader import Loader
from ptft.data.image.torchvision import Torchvision

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def epoch(root):
    source = Torchvision(name="mnist", root=root, val=0.1, download=False)
    splits = [source.split(name) for name in ("train", "val")]
    return [sum(len(batch["label"]) for batch in Loader(x, 512, shuffle=True).epoch()) for x in splits]

assert sum(epoch("small")) == 1000
before = peak()
assert epoch("large") == [270_000, 30_000]
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_many_images_need_their_size_and_no_copy(tmp_path):
    for name, count in (("small", 1000), ("large", 300_000)):
        folder = tmp_path / name / "MNIST" / "raw"
        folder.mkdir(parents=True)
        with (folder / "train-images-idx3-ubyte").open("wb") as file:
            file.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", count, 28, 28))
            file.truncate(16 + count * 784)
        labels = bytes([0, 0, 8, 1]) + struct.pack(">I", count) + bytes(range(10)) * (count // 10)
        (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    done = python(MANY)
    assert done.returncode == 0, done.stderr
    assert 0.9 * 235e6 < int(done.stdout) < 1.25 * 235e6


def test_images_resized_by_the_batch_say_so_of_memory():
    small = MemoryExamples(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5))
    resized = Resized(small, lambda images: images.repeat(1, 1, 2, 2))
    assert resized.in_memory
    assert resized.to(torch.device("cpu")).take(torch.tensor([1, 3]))["input"].shape == (2, 1, 4, 4)


def test_the_digest_notices_a_pixel():
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    before = MemoryExamples(images, torch.arange(5)).digest()
    images[2, 0, 0, 0] = 1
    assert MemoryExamples(images, torch.arange(5)).digest() != before
