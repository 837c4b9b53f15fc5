"""From texts to token ids and back: characters, words or pieces of words, whose texts are the Spec's classes.

Pieces are found by byte pair encoding over characters (Sennrich et al. 2016). A piece that begins a word begins with a
space, so a text is its pieces one after another, without the first space. `Spec.shape["tokenizer"]` says how a text is
cut; to put one together the classes are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ptft.core import Spec
from ptft.data.audio.examples import Targets
from ptft.data.files import nfc
from ptft.data.labels import as_written
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError, DataError

UNITS = {"characters": "", "words": " ", "bpe": ""}
"""What a transcript is made of, and what stands between two of them in a text."""


def symbols_of(text: str, units: str) -> list[str]:
    """What a vocabulary must know of a text: its words, or its characters with single spaces.

    Raises ConfigError for units that do not exist.
    """
    if units not in UNITS:
        raise ConfigError(f"dataset.units={units}: one of {', '.join(UNITS)}")
    return nfc(text).split() if units == "words" else list(_spaced(text))


def vocabulary(
    texts: Iterable[str],
    units: str,
    like: Spec | None = None,
    given: Sequence[str] | None = None,
    size: int = 300,
    learned: Callable[[], Iterable[str]] | None = None,
) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """The tokens: given, or those of the texts, or those of the checkpoint where they are enough; and for pieces the
    `Tokenizer.to_dict` that finds them, of which there are `size` at the most, all characters among them.

    learned: gives the texts that longer pieces are found in, where these are not all. Raises ConfigError for given
    tokens that can't be, and for a size below the number of characters.
    """
    if given is not None:
        return _typed_symbols(given, units, {symbol for text in texts for symbol in symbols_of(text, units)}), None
    texts = list(texts)
    own_symbols = sorted({symbol for text in texts for symbol in symbols_of(text, units)})
    if like is not None and like.shape.get("units") == units and set(own_symbols) <= set(like.classes):
        return like.classes, like.shape.get("tokenizer")
    return (tuple(own_symbols), None) if units != "bpe" else _train_bpe(texts, learned, size)


def encode(texts: Sequence[str], names: Sequence[str], spec: Spec) -> Targets:
    """The transcripts as numbers of the Spec's classes. `names` say in a message where a text comes from.

    Raises DataError for a text without a token, or with one that the training split has not.
    """
    units, number = spec.shape["units"], {token: k for k, token in enumerate(spec.classes)}
    split = [symbols_of(text, units) for text in texts]
    for symbols, name in zip(split, names, strict=True):
        strange = [symbol for symbol in symbols if symbol not in number]
        if strange or not symbols:
            what = f"{strange[0]!r} is not in the vocabulary" if strange else "its transcript is empty"
            raise DataError(f"{name}: {what} (dataset.units={units})")
    if units == "bpe":
        return Targets.of_tokens(Tokenizer.from_dict(spec.shape["tokenizer"]).encode([_spaced(text) for text in texts]))
    return Targets.of_tokens([[number[symbol] for symbol in symbols] for symbols in split])


def join(tokens: Iterable[int], spec: Spec) -> str:
    """Token ids, without padding, as a text."""
    units = spec.shape["units"]
    text = UNITS[units].join(spec.classes[token] for token in tokens)
    return text.removeprefix(" ") if units == "bpe" else text


def _spaced(text: str) -> str:
    return " ".join(nfc(text).split())


def _typed_symbols(tokens: Sequence[str], units: str, own: Iterable[str]) -> tuple[str, ...]:
    """As the texts have them: `own` are theirs."""
    if units == "bpe":
        raise ConfigError(f"dataset.symbols={list(tokens)}: dataset.units=bpe finds its own; leave it null")
    if len(set(tokens)) < len(tokens) or not tokens:
        raise ConfigError(f"dataset.symbols={list(tokens)}: at least one token, and none twice")
    return as_written("dataset.symbols", tokens, sorted(own))


def _train_bpe(
    texts: Sequence[str], learned: Callable[[], Iterable[str]] | None, size: int
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The texts of `size` pieces at the most, and the tokenizer. Every character is a piece, so any text has some."""
    characters = {" ", *"".join(map(_spaced, texts))}
    if size < len(characters):
        raise ConfigError(
            f"dataset.vocabulary={size}: the transcripts have {len(characters)} characters, which are pieces too; "
            f"at least {len(characters)}"
        )
    tokenizer = Tokenizer.train_spoken(map(_spaced, texts if learned is None else learned()), size, characters)
    return tuple(tokenizer.decode([token]) for token in range(tokenizer.size)), tokenizer.to_dict()
