"""All inputs of a run explained, one after the other: what `explanations.json` says of them, and their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ptft.builders.predictor import Predictor
from ptft.builders.reading import ReadBatch, Remarks
from ptft.core import Batch
from ptft.data import readers
from ptft.errors import DataError
from ptft.runtime.prefetch import on_device
from ptft.stages.asking.new_files import Unread
from ptft.stages.explain import shown
from ptft.stages.explain.asked import Asked, alone
from ptft.stages.explain.neighbours import Bank, nearest
from ptft.stages.explain.one import Begun, Settings, begin, finish, mark_by


class Telling:
    """Explains what is read. told, lost: a row for each input that was explained, and that was not.

    untrained: the model with random weights, those of a number; one is held at a time. target: the class to explain;
    None: each input's own. banks: where neighbours are looked for, `count` in each.
    """

    def __init__(
        self,
        predictor: Predictor,
        asked: Asked,
        untrained: Callable[[int], Asked],
        settings: Settings,
        target: int | None,
        banks: Sequence[Bank],
        count: int,
        folder: Path,
    ) -> None:
        self.predictor, self.asked, self.untrained, self.settings = predictor, asked, untrained, settings
        self.target, self.banks, self.count, self.folder = target, banks, count, folder
        self.told: list[dict[str, Any]] = []
        self.lost: list[dict[str, str]] = []
        self.unread, self.remarks = Unread(), Remarks()

    def each(self, items: Sequence[Any]) -> Iterator[int]:
        """How many of the items are done, after each."""
        for read in self.predictor.batches(items):
            for i, remark in read.remarks.items():
                self.remarks.add(remark, read.items[i])
            yield from self._batch(read)

    def _batch(self, read: ReadBatch) -> Iterator[int]:
        """Explains what was read of a batch: by the model, then by each with random weights, then what that means."""
        batch = next(on_device(iter([read.batch]), self.predictor.device)) if read.batch else {}
        near = nearest(self.banks, self.predictor.embed(read.batch), self.count) if self.banks and batch else []
        rows = [i for i in range(len(read.items)) if i not in read.errors]
        alones = [alone(batch, place) for place in range(len(rows))]
        done, begun = len(self.told) + len(self.lost), list[Begun | None]()
        for place, one in enumerate(alones):
            number = len(self.told) + place
            begun.append(begin(self.asked, one, self.target, self.predictor.spec, self.settings, number))
            yield done
        for number in range(self.settings.randomised if rows else 0):
            model = self.untrained(number)
            for each in filter(None, begun):
                mark_by(model, each, self.settings)
                yield done
        at = {i: place for place, i in enumerate(rows)}
        for i, item in enumerate(read.items):
            error = read.errors.get(i)
            if error is None:
                neighbours = {"neighbours": near[at[i]]} if near else {}
                error = self._told(item, alones[at[i]], begun[at[i]], neighbours)
            if error is not None:
                self.unread.add([str(error)])
                self.lost.append({"item": str(item), "reason": str(error)})
            yield len(self.told) + len(self.lost)

    def _told(self, item: Any, batch: Batch, begun: Begun | None, more: dict[str, Any]) -> DataError | None:
        """Why an input can't be explained; None where it is."""
        spec, number = self.predictor.spec, len(self.told)
        if begun is None:
            return DataError(f"{item}: has fewer than two parts that could be told apart")
        row = finish(self.asked, begun, spec, self.settings)
        with torch.inference_mode():
            answer = self.predictor.objective.predict(batch, **self.predictor.options)[0]
        shown.draw(self.folder, f"{number:03d}", begun, row, spec)
        name = readers.finish(spec, [(item, answer)])[0].get("path", str(item))
        self.told.append({"item": name, "answer": answer, **row, **more})
        return None
