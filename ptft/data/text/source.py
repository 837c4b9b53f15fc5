"""What every dataset of labelled texts shares: tokenizer and length, its Spec, and how it is divided."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ptft.data.cleaning.learned import comes_too_late
from ptft.data.own.keys import Shared
from ptft.data.source import DividedSource
from ptft.data.splits import SPLITS
from ptft.data.stratify import numbers
from ptft.data.text.examples import TextExamples
from ptft.data.text.packed.examples import PackedTexts
from ptft.data.text.reader import choose_tokenizer, text_spec
from ptft.data.tokenizer import KINDS
from ptft.errors import ConfigError, DataError

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TextKeys(Shared, total=False):
    """The keys of every dataset of labelled texts; `TextSource` says what they mean."""

    tokenizer: str | None
    vocabulary: int
    length: int | None


class TextSource(DividedSource):
    """A source of texts and what is asked of them. A subclass calls `describe`, and implements `load`.

    tokenizer: bytes, bpe, wordpiece or unigram, learned from the examples that are trained on and no others
        (`ptft.data.cleaning.learned`), or the path of one; None is the checkpoint's, else bpe.
    vocabulary: how many ids a tokenizer that is trained here has at the most.
    length: tokens of an example at the most, special ones included; None is the checkpoint's, else `own_length`.
    shared: the keys of every dataset.

    Raises ConfigError for values that can't work together.
    """

    modality, noun = "text", "texts"
    own_length: ClassVar[int] = 128
    longer: ClassVar[str] = "are cut by"
    """What becomes of texts that are longer, in messages: they … dataset.length."""

    def __init__(
        self,
        *,
        tokenizer: str | None = None,
        vocabulary: int = 8000,
        length: int | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.wanted, self.vocabulary = tokenizer, vocabulary
        self.length = length or (int(self.like.shape["length"]) if self.like is not None else self.own_length)

    def describe(
        self,
        classes: Sequence[str],
        splits: Iterable[str],
        target: str,
        texts: Callable[[], Iterable[str]],
        **shape: Any,
    ) -> None:
        """Say what the dataset is: from that and the keys follow the tokenizer and `self.spec`.

        texts: those that are trained on (`learned`), which a new tokenizer learns from. shape: what else the Spec's
        shape holds.
        """
        self.own_classes, self.splits, self.target = tuple(classes), tuple(splits), target
        self.check()
        if not (every := list(texts())):
            split = f"{self.train} split" if self.whole else f"train split ({self.train})"
            left = "" if self.ignore is None else " without those that dataset.ignore names"
            raise DataError(f"{self._where()}: the {split} holds no {self.noun}, or too few{left}")
        if self.like is None and self.wanted in (None, *KINDS[1:]) and comes_too_late(self):
            held_out = "what dataset.divide_by=order takes of it for val or test is known by its tokens alone"
            self.note(
                f"the tokenizer learns from all {self.noun} of {self.train}, as {held_out}; name keeps them apart"
            )
        self.tokenizer = choose_tokenizer(self.wanted, self.vocabulary, lambda: every, self.like, default="bpe")
        self.spec = text_spec(self.tokenizer, self.length, target, self.class_names(), **shape)

    @abstractmethod
    def load(self, split: str) -> TextExamples:
        """All examples of one of the dataset's own splits, tokenised."""

    def check(self) -> None:
        for key, value in (("classes", self.classes), ("per_class", self.per_class), ("names", self.called)):
            if self.target not in ("class", "labels") and value is not None:
                raise ConfigError(
                    f"dataset.{key}: is for datasets with a class per example, this one has a {self.target}"
                )
        super().check()

    def below(self, place: str) -> str:
        """A file, or a place in one, as it is seen from the root."""
        above = "" if self.root is None else f"{self.root if self.root.is_dir() else self.root.parent}{os.sep}"
        return place.removeprefix(above)

    def groups(self, split: str) -> Tensor:
        if self.target in ("class", "labels"):
            return super().groups(split)
        known = self.known_by(split)
        return torch.zeros(len(self.loaded(split) if known is None else known), dtype=torch.long)

    @property
    def has_tokens(self) -> bool:
        """Whether there is a tokenizer yet, which may cut an example into several, or leave it out."""
        return "tokenizer" in vars(self)

    def compared(self, split: str) -> Sequence[str] | None:
        """What of each example of one of the dataset's own splits tells copies from others: all that is read of it, and
        no label, which may be corrected. It is also known by that, unless something names it. None: not known."""
        return self.known_by(split)

    def identities(self, split: str) -> Tensor | None:
        if split not in self._identities:
            texts = self.compared(split)
            self._identities[split] = None if texts is None else numbers_of(texts)
        return self._identities[split]

    def contents(self, split: str, rows: Tensor) -> Tensor | None:
        known = self.identities(split)  # texts are known by all that they hold
        return None if known is None else known[rows]

    @cached_property
    def _identities(self) -> dict[str, Tensor | None]:
        return {}

    def fingerprint(self) -> str:
        spec = self.spec.to_dict()
        spec["shape"] = {key: value for key, value in spec["shape"].items() if key not in ("token", "tag")}
        digest = hashlib.sha256(json.dumps([spec, self.splits], sort_keys=True).encode())
        for name in SPLITS:
            if (examples := self.split(name)) is not None:
                assert isinstance(examples, TextExamples | PackedTexts)
                digest.update(name.encode() + examples.digest())
        return digest.hexdigest()[:16]


def numbers_of(texts: Iterable[str]) -> Tensor:
    """Long [N], one for each text."""
    encoded = (text.encode("utf-8", "surrogateescape") for text in texts)
    return numbers(hashlib.blake2b(text, digest_size=8).digest() for text in encoded)
