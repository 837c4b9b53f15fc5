"""From texts to token ids and back: characters or words, whose names are the Spec's classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ptft.core import Spec
from ptft.data.waves import Said, transcripts
from ptft.errors import ConfigError, DataError

UNITS = {"characters": "", "words": " "}
"""What a transcript is made of, and what stands between two of them in a text."""


def split(text: str, units: str) -> list[str]:
    """A text with single spaces as its tokens. Raises ConfigError for units that do not exist."""
    if units not in UNITS:
        raise ConfigError(f"dataset.units={units}: one of {', '.join(UNITS)}")
    words = text.split()
    return words if units == "words" else list(" ".join(words))


def vocabulary(
    texts: Iterable[str], units: str, like: Spec | None = None, given: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The given tokens; else those of the texts, sorted, or those of the checkpoint where they are enough."""
    if given is not None:
        if len(set(given)) < len(given) or not given:
            raise ConfigError(f"dataset.symbols={list(given)}: at least one token, and none twice")
        return tuple(str(token) for token in given)
    found = sorted({token for text in texts for token in split(text, units)})
    if like is not None and like.shape.get("units") == units and set(found) <= set(like.classes):
        return like.classes
    return tuple(found)


def said(texts: Sequence[str], names: Sequence[str], classes: Sequence[str], units: str) -> Said:
    """The transcripts as numbers of `classes`. `names` say in a message where a text comes from.

    Raises DataError for a text without a token, or with one that the training split has not.
    """
    number = {token: k for k, token in enumerate(classes)}
    rows = []
    for text, name in zip(texts, names, strict=True):
        tokens = split(text, units)
        strange = [token for token in tokens if token not in number]
        if strange or not tokens:
            what = f"{strange[0]!r} is not in the vocabulary" if strange else "its transcript is empty"
            raise DataError(f"{name}: {what} (dataset.units={units})")
        rows.append([number[token] for token in tokens])
    return transcripts(rows)


def join(tokens: Iterable[int], spec: Spec) -> str:
    """Token ids, without padding, as a text."""
    return UNITS[spec.shape["units"]].join(spec.classes[token] for token in tokens)
