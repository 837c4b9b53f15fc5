"""Examples of a dataset that could not be read: said once, whatever read them, and counted in `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping

from ptft.builders import membership
from ptft.builders.run import Run
from ptft.core import Examples
from ptft.data.examples import left_out
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder
from ptft.runtime.together.alone import current


def say(splits: Mapping[str, Examples], out: Console) -> bool:
    """Say which of the examples could not be read when they were due; whether there are any. All processes come by.

    Those that were read beforehand are said by their `notes`.
    """
    late = {split: examples for split, examples in splits.items() if not examples.in_memory}
    everyones = current().gathered({split: examples.unreadable for split, examples in late.items()})
    for split, examples in late.items():
        examples.unreadable.update(*(each[split] for each in everyones))
        for note in left_out(examples):
            out.say(f"{split}: {note}", "yellow")
    return any(examples.unreadable for examples in late.values())


def of_training(r: Run, out: Console, folder: RunFolder | None) -> None:
    """As `say`, of all splits of a training, which `split.csv` names then."""
    if say(r.inputs.splits, out) and folder is not None:
        membership.write(folder.path, r.inputs.source, r.inputs.splits)


def counted(splits: Mapping[str, Examples]) -> dict[str, int]:
    """How many of each split, as `summary.json` has them; splits that could be read are not in it."""
    lost = {split: sum(row < len(examples) for row in examples.unreadable) for split, examples in splits.items()}
    return {split: count for split, count in lost.items() if count}
