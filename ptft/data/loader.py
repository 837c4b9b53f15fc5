"""Batches of examples in an order that only (seed, epoch) decide, from memory or from worker processes.

Axes: B batch, N all examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ptft.core import Batch, Examples, Table
from ptft.data.examples import check_unreadable, too_many
from ptft.data.ragged import cut, grouped, sizes
from ptft.data.user_dataset.transformed import DRAW, Transformed
from ptft.data.workers import from_workers
from ptft.errors import DataError, counted
from ptft.runtime.prefetch import on_device
from ptft.runtime.together import draws
from ptft.runtime.together.alone import Lists, Share, current


class Loader:
    """An epoch after another of batches on `device`.

    shuffle: an order of its own for every epoch, a function of `seed` and the epoch; else the order of the examples.
    workers: processes that read ahead; examples in memory need none. What they read ahead changes nothing.
    tokens: instead of `batch_size` examples, as many as are at most so many tokens (or frames, or samples: whatever
        the examples' `lengths` count) once they are padded.
    share: which rows of every batch are given, those of this process; `ptft.runtime.together.draws` is told where they
        stand in the whole batch. Where a batch has fewer examples than there are processes some get a batch of none,
        with all the names of one.
    joins_last: whether the last batch of an epoch would hold one example, which batch normalisation can't take; it
        joins the batch before it then.
    Examples of uneven length are batched with others of about their length; the batches of a shuffled epoch come in a
    random order, the others shortest first. How many there are is the same in every epoch.

    What can't be read is left out of its batch, and counted in `examples.unreadable`. A batch to train on of which
    nothing can has the rows of the next one that has some instead, one to measure is left out.

    Never touches the global random state. Raises ConfigError for `tokens` where the examples have no lengths.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        *,
        seed: int = 0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - immutable
        workers: int = 0,
        shuffle: bool = False,
        tokens: int | None = None,
        share: Share = Share(),  # noqa: B008 - immutable
    ) -> None:
        assert min(len(examples), batch_size) > 0
        joins = tokens is None  # else it would hold more of them than it may
        self.lengths, batch_size, tokens = sizes(examples, batch_size, tokens)
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.device, self.shuffle, self.share = device, shuffle, share
        self.workers = 0 if examples.in_memory else workers
        self.joins_last = joins and len(examples) > batch_size > 1 and len(examples) % batch_size == 1
        self.ends = self._ends(tokens)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.ends) + 1

    def _ends(self, tokens: int | None) -> list[int]:
        """Where an order of all examples is cut into batches."""
        total = len(self.examples)
        if tokens is None:
            return list(range(self.batch_size, total, self.batch_size))[: -1 if self.joins_last else None]
        assert self.lengths is not None
        return cut(grouped(self.lengths, torch.arange(total))[1], tokens)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of that epoch from number `start` on.

        Raises DataError for an example that can't be read, ResourceError for a worker that died or hangs.
        """
        return on_device(self._read(epoch, start), self.device)

    def _read(self, epoch: int, start: int) -> Iterator[Batch]:
        whole, examples = self._batches(epoch), self._of_epoch(epoch)
        owned = [self._own(rows) for rows in whole[start:]]
        for place, batch in enumerate(self._taken(examples, owned), start):
            yield from self._given(whole, place, examples, batch)
        draws.whole()

    def _given(self, whole: list[Tensor], place: int, examples: Examples, batch: Batch) -> Iterator[Batch]:
        """What of the batch at a place could be read, or else what there is in its place; none where there is none."""
        came = self._came(whole[place], batch)
        if came is not None and not len(came) and self.shuffle:
            place = self._readable(whole, place, examples)
            batch = examples.take(self._own(whole[place]))
            came = self._came(whole[place], batch)
        if came is None or len(came) or self.share.count > 1:
            yield self._placed(whole[place], batch, came)

    def _came(self, rows: Tensor, batch: Batch) -> Tensor | None:
        """Which of this process's rows of a batch could be read, long [b]; None where all could. The others count."""
        wanted = self._own(rows)
        if len(batch["index"]) == len(wanted):
            return None
        wanted = wanted % DRAW
        there = torch.isin(wanted.cpu(), batch["index"].cpu())
        self.examples.unreadable.update(wanted.cpu()[~there].tolist())
        check_unreadable(self.examples)
        return there.nonzero().flatten()

    def _readable(self, whole: list[Tensor], place: int, examples: Examples) -> int:
        """The first batch from a place on, in a circle, of which something can be read; the same in every process."""
        tried = 0
        places: list[int] = [*range(place, len(whole)), *range(place)]
        for i in places:
            if len(examples.take(whole[i])["index"]):
                return i
            tried += len(whole[i])
            if too_many(tried, len(examples)):
                break
        none = f"none of the {counted(len(whole[place]), 'files')} of a batch is readable"
        raise DataError(f"{none}; see dataset.on_error")

    def _own(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch; one that shows what a batch looks like where it has none."""
        own = self.share.of(rows)
        return own if len(own) else rows[:1]

    def _placed(self, rows: Tensor, batch: Batch, came: Tensor | None) -> Batch:
        """The batch, whose rows are drawn for from here on by where they stand in the whole of it."""
        size = len(self.share.of(rows))
        if self.share.count == 1 and came is None:
            draws.whole()
            return batch
        draws.at(self.share.start(len(rows)), size, len(rows), came if size else None)
        return batch if size else {name: value[:0] for name, value in batch.items()}

    def score(self, lists: dict[str, Tensor]) -> Mapping[str, float | Table]:
        """What the examples make of the lists of an evaluation."""
        return self.examples.score(lists)

    def whole(self, sums: dict[str, Tensor], lists: Lists, places: list[int]) -> tuple[dict[str, Tensor], Lists]:
        """Sums and lists of whole batches, of those of this loader's; places: which batches the lists are of.

        Of several processes those of all, lists in the order of the batches.
        """
        return current().measured(sums, lists, places) if self.share.count > 1 else (sums, lists)

    def first(self, parts: int = 1, number: int = 0) -> Batch:
        """The first part of a batch of the first epoch, read here and not in a worker: to try things with."""
        draws.whole()
        whole = [rows[: -(-len(rows) // (parts * self.share.count))] for rows in self._batches(0)]
        batch = self.examples.take(whole[number])
        if not len(batch["index"]):
            batch = self.examples.take(whole[self._readable(whole, number, self.examples)])
        return {name: value.to(self.device) for name, value in batch.items()}

    def rows(self) -> tuple[int, int]:
        """How many examples the largest and the smallest batch of an epoch have."""
        counts = [len(indices) for indices in self._batches(0)]
        return max(counts), min(counts)

    def heaviest(self) -> list[Batch]:
        """What `first` gives of the batch of the most values once it is padded, and of that of the longest examples
        where this is another: those that take the most memory."""
        batches, lengths = self._batches(0), self.lengths
        longest = [1 if lengths is None else int(lengths[indices.cpu()].max()) for indices in batches]
        values = [len(indices) * each for indices, each in zip(batches, longest, strict=True)]
        chosen = [values.index(max(values))]
        if longest[chosen[0]] < max(longest):
            chosen.append(longest.index(max(longest)))
        return [self.first(number=number) for number in chosen]

    def _batches(self, epoch: int) -> list[Tensor]:
        seed = self._seed(epoch)
        order = self.examples.shuffled(seed) if self.shuffle else torch.arange(len(self.examples))
        if self.lengths is not None:
            order = grouped(self.lengths, order)[0]
        # One copy an epoch, and batches are views of it: examples that lie on a GPU are gathered there without waiting
        # for an index from here.
        # Where some are known to be unreadable they are chosen from on the CPU.
        device = torch.device("cpu") if self.examples.unreadable else self.examples.device
        batches = list(order.to(device).tensor_split(self.ends))
        if self.lengths is None or not self.shuffle:
            return batches
        mixed = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed + 1))
        return [batches[i] for i in mixed.tolist()]

    def _seed(self, epoch: int) -> int:
        return (self.seed * 1_000_003 + epoch) % (2**63 - 1)

    def _of_epoch(self, epoch: int) -> Examples:
        own = self.examples
        return own.of_epoch(self._seed(epoch)) if isinstance(own, Transformed) else own

    def _taken(self, examples: Examples, indices: list[Tensor]) -> Iterator[Batch]:
        if self.workers == 0 or not indices:
            return map(examples.take, indices)
        return from_workers(examples, indices, self.workers, self.device.type == "cuda")
