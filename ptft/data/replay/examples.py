"""Examples to train on, with some of an earlier training among them.

Axes: N the new ones, B batch, r of it old ones, P and Q its new and old rows.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.ragged import grouped
from ptft.data.replay.joined import joined
from ptft.runtime.together.splitmix import key

OLD = 2**40
"""Old example i has the number OLD + i: more than there are new ones, and than a text can begin elsewhere."""


class Replayed(Examples):
    """An epoch is every new example once, and in each batch of `batch_size` the same number of `old` ones beside them.

    Old ones are drawn without repetition, as long as there are enough, others in each epoch; they lie evenly among the
    new ones, so that each part of a batch has its share. Those of uneven length meet others of about their length, of
    both kinds. An epoch follows from its seed alone.

    each: r, from 1 to below B. padding: what fills up `input`. without: names of a batch that old ones don't share.
    """

    def __init__(
        self,
        new: Examples,
        old: Examples,
        batch_size: int,
        each: int,
        *,
        padding: int = 0,
        without: Collection[str] = (),
    ) -> None:
        assert 0 < each < batch_size
        if not (new.in_memory and old.in_memory):  # worker processes read them then, which have no GPU
            new, old = new.to(torch.device("cpu")), old.to(torch.device("cpu"))
        self.new, self.old, self.batch_size, self.each = new, old, batch_size, each
        self.padding, self.without = padding, frozenset(without)
        self.unreadable = new.unreadable  # behind them, from OLD on, those of the old ones
        self.whole, self.rest = divmod(len(new), batch_size - each)
        self.beside = min(batch_size - self.rest, -(-self.rest * each // (batch_size - each)))  # in the last batch

    def __len__(self) -> int:
        return self.whole * self.batch_size + self.rest + self.beside

    def take(self, indices: Tensor) -> Batch:
        is_old = indices >= OLD
        new, old = indices[~is_old], indices[is_old] - OLD
        if not len(old):
            return self._shared(self.new.take(new))
        taken = self._shared(self.old.take(old))
        if not len(taken["index"]) and len(new):  # none of them can be read
            return self._shared(self.new.take(new))
        there, began = _places(old, taken["index"]), is_old.nonzero().flatten()
        taken["index"] = taken["index"] + OLD
        if not len(new):
            return taken
        fresh = self._shared(self.new.take(new))
        if not len(fresh["index"]):
            return taken
        places = torch.cat([(~is_old).nonzero().flatten()[_places(new, fresh["index"])], began[there]])
        return joined(fresh, taken, places.argsort(), self.padding)

    def _shared(self, batch: Batch) -> Batch:
        return {name: value for name, value in batch.items() if name not in self.without}

    def shuffled(self, seed: int) -> Tensor:
        """Batches one after the other, the last one perhaps smaller."""
        count = self._olds
        own = self.old.shuffled(key(seed, OLD) % 2**62)
        new, old = self.new.shuffled(seed), own.repeat(-(-count // len(own)))[:count] + OLD
        new, old = _by_length(new, self.new), _by_length(old, self.old)
        mixed = torch.Generator().manual_seed(seed + 1)
        last = int(torch.randint(self.whole + 1, (), generator=mixed)) if self._uneven else self.whole
        batches = torch.randperm(self.whole, generator=mixed) if self._uneven else torch.arange(self.whole)
        news, olds = (
            _cut(part, size, last, batches) for part, size in ((new, self.batch_size - self.each), (old, self.each))
        )
        order = new.new_empty(len(self))
        is_old = torch.cat([_spread(self.batch_size, self.each).repeat(self.whole), self._last()])
        order[~is_old], order[is_old] = news, olds
        return order

    @property
    def _olds(self) -> int:
        """Old ones of an epoch."""
        return self.whole * self.each + self.beside

    @property
    def repeats(self) -> bool:
        """Whether old ones come several times in an epoch."""
        return self._olds > len(self.old)

    def _last(self) -> Tensor:
        return _spread(self.rest + self.beside, self.beside)

    @property
    def _uneven(self) -> bool:
        return any(_is_uneven(examples) for examples in (self.new, self.old))

    def to(self, device: torch.device) -> Replayed:
        new, old = self.new.to(device), self.old.to(device)
        return Replayed(new, old, self.batch_size, self.each, padding=self.padding, without=self.without)

    def name(self, index: int) -> str:
        """What to call the example in a message."""
        examples, row = (self.new, index) if index < OLD else (self.old, index - OLD)
        own = getattr(examples, "name", None)
        return str(own(row)) if own else f"sample {row}"

    @property
    def nbytes(self) -> int:
        return self.new.nbytes + self.old.nbytes

    @property
    def in_memory(self) -> bool:
        return self.new.in_memory and self.old.in_memory


def _places(wanted: Tensor, got: Tensor) -> Tensor:
    """Which of those that were asked for came (long [n]): some may be unreadable."""
    return torch.arange(len(wanted)) if len(got) == len(wanted) else torch.isin(wanted, got.cpu()).nonzero().flatten()


def _is_uneven(examples: Examples) -> bool:
    return examples.lengths is not None and bool((examples.lengths != examples.lengths[0]).any())


def _by_length(order: Tensor, examples: Examples) -> Tensor:
    """An order of examples, those of uneven length sorted by it; within similar ones it stays as it was."""
    if not _is_uneven(examples):
        return order
    assert examples.lengths is not None
    rows = (order % OLD) % len(examples)
    by_length = grouped(examples.lengths.cpu()[rows], torch.arange(len(rows)))[0]
    return order[by_length]


def _cut(order: Tensor, size: int, last: int, batches: Tensor) -> Tensor:
    """In parts of `size`, in the order of `batches`, and at the end what is too few for one, cut out behind `last`."""
    count = len(batches)
    begin, rest = last * size, len(order) - count * size
    parts = torch.cat([order[:begin], order[begin + rest :]]).view(count, size)
    return torch.cat([parts[batches].flatten(), order[begin : begin + rest]])


def _spread(size: int, count: int) -> Tensor:
    """Bool [size], True at `count` places that lie evenly."""
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[((torch.arange(count) * 2 + 1) * size).div(2 * max(count, 1), rounding_mode="floor")] = True
    return chosen
