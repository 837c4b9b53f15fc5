"""Examples of a dataset that could not be read: said once, whatever read them, and counted in `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping

from ptft.builders import membership
from ptft.builders.run import Run
from ptft.core import Examples
from ptft.data.examples import left_out
from ptft.data.replay.examples import OLD
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder
from ptft.runtime.together.alone import current


def gather(splits: Mapping[str, Examples]) -> None:
    """Each of several processes knows those that it met; from here on all know them all. All of them come by."""
    everyones = current().gathered({split: examples.unreadable for split, examples in splits.items()})
    for split, examples in splits.items():
        examples.unreadable.update(*(each[split] for each in everyones))


def say(splits: Mapping[str, Examples], out: Console) -> None:
    """Say which could not be read when they were due; of those that were read beforehand the `notes` said it."""
    for split, examples in splits.items():
        for note in () if examples.in_memory else left_out(examples):
            out.say(f"{split}: {note}", "yellow")


def of_training(r: Run, out: Console, folder: RunFolder | None) -> None:
    """As `gather` and `say`, of all splits of a training, and of what it replays; `split.csv` names them."""
    splits = r.inputs.splits
    gather(splits)
    if r.inputs.replay:
        r.inputs.replay.examples.unreadable.update(row - OLD for row in splits["train"].unreadable if row >= OLD)
        say({"train.replay": r.inputs.replay.examples}, out)
    say(splits, out)
    if folder is not None and any(examples.unreadable and not examples.in_memory for examples in splits.values()):
        membership.write(folder.path, r.inputs.source, splits)


def counted(splits: Mapping[str, Examples]) -> dict[str, int]:
    """How many of each split, as `summary.json` has them; splits that could be read are not in it."""
    lost = {split: sum(row < len(examples) for row in examples.unreadable) for split, examples in splits.items()}
    return {split: count for split, count in lost.items() if count}
