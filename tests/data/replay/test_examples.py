"""Batches of which a fixed number of examples comes from another dataset."""

import pytest
import torch

from ptft.data.audio.examples import MemoryRecordings, Targets
from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.data.ragged import Ragged, starts_of
from ptft.data.replay.examples import OLD, Replayed
from ptft.data.replay.joined import joined
from ptft.data.text.examples import TextExamples
from ptft.errors import DataError
from ptft.runtime.together import draws
from ptft.runtime.together.alone import Share


@pytest.fixture(autouse=True)
def _alone_again():
    """A share of a batch says which rows are drawn for, and here no run ends that would take it back."""
    yield
    draws.forget()


def images(count, value=0):
    """[count, 1, 2, 2], all pixels `value` + the number of the example."""
    pixels = (torch.arange(count) + value).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return MemoryExamples(pixels, torch.zeros(count, dtype=torch.long))


def texts(lengths, value):
    """One token again and again: `value` + the number of the text."""
    lengths = torch.tensor(lengths)
    ids = (torch.arange(len(lengths)) + value).repeat_interleave(lengths).int()
    return TextExamples(Ragged(ids, starts_of(lengths), lengths), pad=9)


def epoch(examples, number=0, size=8):
    return list(Loader(examples, size, shuffle=True).epoch(number))


def old_rows(batch):
    return (batch["index"] >= OLD).nonzero().flatten().tolist()


def test_every_batch_has_its_share_and_every_new_example_comes_once():
    examples = Replayed(images(21), images(100, 100), 8, 2)
    batches = epoch(examples)
    assert [len(batch["input"]) for batch in batches] == [8, 8, 8, 4]
    assert [len(old_rows(batch)) for batch in batches] == [2, 2, 2, 1]
    assert [old_rows(batch) for batch in batches[:3]] == [[2, 6]] * 3  # one in each half, for parts of a batch
    index = torch.cat([batch["index"] for batch in batches])
    assert sorted(index[index < OLD].tolist()) == list(range(21))
    pixels = torch.cat([batch["input"][:, 0, 0, 0] for batch in batches]).long()
    assert torch.equal(pixels, torch.where(index >= OLD, index - OLD + 100, index))
    assert len(set(index[index >= OLD].tolist())) == 7


def test_an_epoch_follows_from_its_seed_and_another_has_others():
    made = [Replayed(images(20), images(50, 100), 8, 2) for _ in range(2)]
    orders = [torch.cat([batch["index"] for batch in epoch(one, number)]) for one in made for number in (3, 4)]
    assert torch.equal(orders[0], orders[2])
    assert torch.equal(orders[1], orders[3])
    drawn = [set(order[order >= OLD].tolist()) for order in orders[:2]]
    assert drawn[0] != drawn[1]
    loader = Loader(made[0], 8, shuffle=True)
    rest = torch.cat([batch["index"] for batch in loader.epoch(3, 1)])
    assert torch.equal(rest, orders[0][8:])


@pytest.mark.parametrize("old", [1, 3])
def test_few_old_examples_come_again_equally_often(old):
    batches = epoch(Replayed(images(24), images(old, 100), 8, 2))
    index = torch.cat([batch["index"] for batch in batches])
    counts = (index[index >= OLD] - OLD).bincount()
    assert len(counts) == old
    assert int(counts.max() - counts.min()) <= 1


def test_uneven_texts_meet_those_of_their_length_and_are_padded_together():
    new, old = texts([3, 20] * 12, 10), texts([19, 4] * 10, 100)
    batches = epoch(Replayed(new, old, 8, 2, padding=9))
    full = [batch for batch in batches if len(batch["input"]) == 8]
    assert sorted(batch["input"].shape[1] for batch in full) == [4, 4, 20, 20] or len(full) == 4
    for batch in batches:
        length = batch["mask"].sum(1)
        assert int(length.max()) == batch["input"].shape[1]
        value = torch.where(batch["index"] >= OLD, batch["index"] - OLD + 100, batch["index"] + 10)
        assert torch.equal(batch["input"], torch.where(batch["mask"], value[:, None], 9))
    padding = sum(int((~batch["mask"]).sum()) for batch in batches)
    assert padding < sum(batch["mask"].numel() for batch in batches) / 4
    assert len(
        {tuple(batch["index"].tolist()) for number in (0, 1) for batch in epoch(Replayed(new, old, 8, 2), number)}
    )


def test_recordings_of_other_lengths_are_padded_too():
    long = MemoryRecordings.of([torch.full((7,), 3, dtype=torch.int16)] * 6, Targets(6))
    short = MemoryRecordings.of([torch.full((4,), 5, dtype=torch.int16)] * 6, Targets(6))
    (batch,) = epoch(Replayed(long, short, 8, 2))
    assert batch["input"].shape == (8, 7)
    assert batch["length"].tolist() == [4 if row in old_rows(batch) else 7 for row in range(8)]
    assert [int(row[4:].abs().sum()) for row in batch["input"]] == [
        0 if row in old_rows(batch) else 9 for row in range(8)
    ]


def test_processes_share_the_same_batches():
    examples = Replayed(images(21), images(50, 100), 8, 2)
    whole = epoch(examples)
    parts = [list(Loader(examples, 8, share=Share(rank, 2), shuffle=True).epoch(0)) for rank in range(2)]
    for batch, one, other in zip(whole, *parts, strict=True):
        for name, values in batch.items():
            assert torch.equal(values, torch.cat([one[name], other[name]]))
        assert len(batch["input"]) < 8 or len(old_rows(one)) == len(old_rows(other)) == 1


class Unreadable(MemoryExamples):
    """Of which some can't be read, as `dataset.on_error=skip` has them."""

    def take(self, indices):
        return super().take(indices[indices % 3 > 0])


def test_examples_that_can_not_be_read_are_left_out_of_both():
    held = images(30)
    new, old = Unreadable(held.base, None), Unreadable(held.base + 100, None)
    examples = Replayed(new, old, 8, 2)
    batch = examples.take(torch.tensor([0, OLD + 1, 2, OLD + 3, 4]))
    assert batch["index"].tolist() == [OLD + 1, 2, 4]
    assert batch["input"][:, 0, 0, 0].tolist() == [101, 2, 4]
    assert examples.take(torch.tensor([0, OLD + 1]))["index"].tolist() == [OLD + 1]
    assert examples.take(torch.tensor([1, OLD]))["index"].tolist() == [1]


def test_what_only_one_of_two_batches_has_is_completed_or_refused():
    one = {"input": torch.ones(1, 2).long(), "mask": torch.ones(1, 2, dtype=torch.bool)}
    other = {**one, "document": torch.tensor([[1, 2]]), "answer": torch.tensor([[False, True]])}
    both = joined(one, other, torch.tensor([1, 0]), 0)
    assert both["document"].tolist() == [[1, 2], [1, 1]]
    assert both["answer"].tolist() == [[False, True], [True, True]]
    with pytest.raises(DataError, match=r"only one of the two datasets has label"):
        joined(one, {**one, "label": torch.zeros(1)}, torch.tensor([0, 1]), 0)
