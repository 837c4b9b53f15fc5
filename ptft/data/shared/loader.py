"""The batches of a run of several processes: the same ones, of which each process has its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.examples import check_skipped
from ptft.data.loader import Loader
from ptft.runtime.prefetch import on_device
from ptft.runtime.together import draws
from ptft.runtime.together.alone import Lists, Share, current


class SharedLoader(Loader):
    """As `Loader`, and as many batches: `share` says which rows of each. Where a batch has fewer examples than there
    are processes some get a batch of none, with all the names of one.

    What it gives says its place in the whole batch to `ptft.runtime.together.draws`.
    """

    def __init__(self, examples: Examples, batch_size: int, share: Share, **options: Any) -> None:
        super().__init__(examples, batch_size, **options)
        self.share = share

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        whole = self._batches(epoch)[start:]
        batches = on_device(self._these([self._own(rows) for rows in whole], epoch), self.device)
        for rows, batch in zip(whole, batches, strict=True):
            size = len(self.share.of(rows))
            draws.at(self.share.start(len(rows)), size, len(rows))
            yield batch if size else {name: value[:0] for name, value in batch.items()}

    def _own(self, batch: Tensor) -> Tensor:
        """Its rows; where it has none, one that shows what a batch looks like."""
        rows = self.share.of(batch)
        return rows if len(rows) else batch[:1]

    def first(self, parts: int = 1) -> Batch:
        return super().first(parts * self.share.count)

    def _count(self, wanted: Tensor, got: Tensor) -> None:
        """One process's rows may all be unreadable where those of the others are not."""
        self.skipped.update(wanted[~torch.isin(wanted, got.cpu())].tolist())
        check_skipped(self.examples, sorted(self.skipped))

    def whole(self, sums: dict[str, Tensor], lists: Lists, places: list[int]) -> tuple[dict[str, Tensor], Lists]:
        """Those of all processes, lists in the order of the batches."""
        return current().measured(sums, lists, places)
