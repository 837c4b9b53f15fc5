"""Batches of examples of uneven length."""

import pytest
import torch

from ptft.core import Examples, length_mask
from ptft.data.loader import Loader
from ptft.data.ragged import Ragged, pad, padded, starts_of
from ptft.errors import ConfigError


class Rows(Examples):
    """Row i holds `lengths[i]` times the value i."""

    def __init__(self, lengths):
        self.lengths = torch.tensor(lengths)
        values = torch.arange(len(lengths)).repeat_interleave(self.lengths)
        self.ragged = Ragged(values, self.lengths.cumsum(0) - self.lengths, self.lengths)

    def __len__(self):
        return len(self.lengths)

    def take(self, indices):
        return {**self.ragged.take(indices, pad=-1), "index": indices}

    @property
    def in_memory(self):
        return True


LENGTHS = [1 + (37 * i * i) % 91 for i in range(400)]


def batches(loader, epoch=0, start=0):
    return [batch["index"].tolist() for batch in loader.epoch(epoch, start)]


def flat(found):
    return [index for batch in found for index in batch]


def waste(loader):
    masks = [batch["mask"] for batch in loader.epoch()]
    return 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)


def test_a_batch_is_as_long_as_its_longest_example():
    batch = Rows([3, 1, 4]).take(torch.tensor([1, 0]))
    assert batch["input"].tolist() == [[1, -1, -1], [0, 0, 0]]
    assert batch["mask"].tolist() == [[True, False, False], [True, True, True]]
    values, mask = padded([torch.tensor([5.0]), torch.tensor([6.0, 7.0])])
    assert values.tolist() == [[5, 0], [6, 7]]
    assert mask.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("options", [{"batch_size": 16}, {"batch_size": 1, "tokens": 300}])
def test_an_epoch_holds_everything_once_in_batches_of_like_length(options):
    found = Loader(Rows(LENGTHS), **options, seed=3, shuffle=True)
    first, second = batches(found), batches(found, 1)
    for epoch in (first, second):
        assert len(epoch) == len(found)
        assert sorted(flat(epoch)) == list(range(400))
    assert first != second
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}, "mixed anew, not only moved"
    assert batches(Loader(Rows(LENGTHS), **options, seed=3, shuffle=True), 1) == second
    assert batches(found, 1, start=7) == second[7:]
    assert waste(found) < 0.1
    longest = [max(LENGTHS[i] for i in batch) for batch in first]
    assert longest != sorted(longest), "short and long batches come mixed"


def test_tokens_fill_a_batch_and_never_overflow_it():
    found = Loader(Rows(LENGTHS), 1, tokens=300, shuffle=True)
    sizes = [batch["mask"].numel() for epoch in range(3) for batch in found.epoch(epoch)]
    assert max(sizes) <= 300
    assert sum(sizes) / len(sizes) > 240
    assert [len(Loader(Rows(LENGTHS), 1, tokens=n)) for n in (1, 10**6)] == [400, 1]


def test_a_last_batch_of_one_joins_the_one_before():
    found = Loader(Rows(LENGTHS[:33]), 16, shuffle=True)
    assert sorted(map(len, batches(found))) == [16, 17]
    assert len(found) == 2


def test_equal_lengths_are_mixed_as_if_they_had_none():
    even = Loader(Rows([5] * 40), 8, shuffle=True, seed=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1_000_003)).tolist()
    assert flat(batches(even)) == order
    assert [len(batch) for batch in batches(Loader(Rows([5] * 40), 1, tokens=42, shuffle=True))] == [8] * 5


def test_evaluation_goes_from_short_to_long():
    lengths = [max(LENGTHS[i] for i in batch) for batch in batches(Loader(Rows(LENGTHS), 16))]
    assert lengths == sorted(lengths)


def test_tokens_need_lengths():
    class Blind(Rows):
        lengths = None

        def __init__(self):
            self.ragged = None

        def __len__(self):
            return 3

    with pytest.raises(ConfigError, match=r"train\.tokens=9: .*train\.batch_size"):
        Loader(Blind(), 2, tokens=9)


def test_rows_that_stand_one_after_another_are_flat_again():
    ragged = Rows([2, 0, 3]).ragged
    assert starts_of(ragged.lengths).tolist() == ragged.starts.tolist() == [0, 2, 2]
    assert ragged.at(torch.tensor([2, 0])).flat().tolist() == [2, 2, 2, 0, 0]
    values, lengths = ragged.rows(torch.tensor([1, 0]), fill=-1)
    assert values.tolist() == [[-1, -1], [0, 0]]
    assert lengths.tolist() == [0, 2]
    assert Ragged(torch.empty(0), torch.zeros(2).long(), torch.zeros(2).long()).rows(torch.arange(2), 0)[0].shape == (
        2,
        0,
    )
    assert pad([torch.tensor([1]), torch.tensor([2, 3])], -1)[0].tolist() == [[1, -1], [2, 3]]
    assert length_mask(torch.tensor([0, 2]), 3).tolist() == [[False] * 3, [True, True, False]]
