"""Forms of a table of answers, and pictures of them, where the module that reads a Spec's items has some.

`forms` of the module: name -> what makes some rows into those of the form, of (columns, Spec). `draw(name, rows,
spec)`: a PNG of an item, None of one that can't be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ptft.core import Columns, Spec
from ptft.data import readers
from ptft.data.readers import Row
from ptft.errors import ConfigError

ROWS = "rows"
"""Of `predict.format`: a row each, as the module makes them."""
Drawing = Callable[[str, Sequence[Row]], "bytes | None"]


def form(spec: Spec, name: str) -> Callable[[Columns], Columns] | None:
    """What makes tables of answers into those that `predict.format` names; None where they stay. Raises ConfigError."""
    if name == ROWS:
        return None
    forms: dict[str, Callable[[Columns, Spec], Columns]] = getattr(readers.of(spec), "forms", {})
    if name not in forms:
        raise ConfigError(f"predict.format={name}: is for boxes, the target of the checkpoint is {spec.target}")
    return lambda columns: forms[name](columns, spec)


def drawing(spec: Spec) -> Drawing:
    """What makes a picture of an item's name and rows. Raises ConfigError for a Spec that has none."""
    draw: Callable[[str, Sequence[Row], Spec], bytes | None] | None = getattr(readers.of(spec), "draw", None)
    if draw is None:
        raise ConfigError(f"draw=true: is for boxes, the target of the checkpoint is {spec.target}")
    return lambda name, rows: draw(name, rows, spec)
