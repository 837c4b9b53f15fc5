"""Forms of a table of answers, and pictures of them, where the module that reads a Spec's items has some.

`forms` of the module: name -> what makes some rows into those of the form, of (columns, Spec). `draw(name, rows,
spec)`: a PNG of an item, None of one that can't be read; `picture` likewise of the answer alone.
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
        raise ConfigError(
            f"predict.format={name}: is for boxes and masks, the target of the checkpoint is {spec.target}"
        )
    return lambda columns: forms[name](columns, spec)


def unshown(spec: Spec) -> Sequence[str]:
    """Columns of answers that a terminal leaves out, as the module's `unshown` says."""
    names: Sequence[str] = getattr(readers.of(spec), "unshown", ())
    return names


PICTURES = "masks"
"""Of `draw`: the answers alone, without the images."""


def drawing(spec: Spec, typed: bool | str) -> Drawing | None:
    """What makes a picture of an item's name and rows, as `draw` says. Raises ConfigError for a Spec that has none."""
    if not typed:
        return None
    alone = typed == PICTURES
    draw: Callable[[str, Sequence[Row], Spec], bytes | None] | None
    draw = getattr(readers.of(spec), "picture" if alone else "draw", None)
    if draw is None:
        kinds, typed = ("masks", typed) if alone else ("boxes and masks", "true")
        raise ConfigError(f"draw={typed}: is for {kinds}, the target of the checkpoint is {spec.target}")
    return lambda name, rows: draw(name, rows, spec)
