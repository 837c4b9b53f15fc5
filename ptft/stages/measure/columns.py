"""What a column of the dataset says of the examples that are measured, and which of these belong together by it."""

from __future__ import annotations

from ptft.builders import components, membership
from ptft.core import Examples
from ptft.data.own.grouping import Told
from ptft.errors import ConfigError, DataError
from ptft.stages.measure import intervals
from ptft.stages.measure.intervals import Units
from ptft.stages.measure.subject import Subject


def cells(model: Subject, split: str, examples: Examples, column: str, key: str) -> list[str] | None:
    """Of every example, or of each unit that it is a part of: the dataset is read once more, as if `column` said which
    belong together. None where the dataset has no columns. key: what names the column, for messages.

    What keeps them in one split (`dataset.group`) is not heeded there: its splits may be others, examples go by name.
    """
    node = {**model.cfg.dataset.plain(), "group": Told(column)}
    labelled = "label" in components.needs(model.cfg.objective, model.cfg.trusted)
    like, trusted = model.checkpoint.spec, model.cfg.trusted
    try:
        told = components.source(node, like, trusted, labelled=labelled, whole=model.whole)
        return membership.told(model.source, told, split, examples)
    except (ConfigError, DataError) as error:  # readers know the column by either key
        text = str(error)
        for other in ("dataset.group", "evaluate.by"):
            text = text.replace(other, key)
        raise type(error)(text) from error


def units(model: Subject, split: str, examples: Examples) -> Units:
    """As `intervals.units`, also by `dataset.group` where all of other data is measured, which it need not divide.

    Where it says nothing of these, that is noted: examples that belong together are drawn alone then.
    """
    usual, column = intervals.units(model.source, split, examples), model.cfg.dataset.get("group")
    if column is None or not model.whole:
        return usual
    try:
        groups = cells(model, split, examples, str(column), "dataset.group")
    except (ConfigError, DataError) as error:
        groups, why = None, str(error)
    else:
        why = f"dataset.group={column}: these data have no columns"
    if groups is None:
        sentence = f"intervals draw {usual.noun} and no groups, as if none belonged together: {why}"
        model.source.notes = (*model.source.notes, sentence)
        return usual
    return intervals.of_groups(groups, column)
