"""Text to token ids and back: bytes, or subwords that the `tokenizers` library trains or loads (`ptft[text]`).

A tokenizer is plain data (`to_dict`), so it is part of the Spec and travels in every checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptft.data import subwords
from ptft.data.subwords import SPECIALS
from ptft.errors import CheckpointError, ConfigError, DataError

KINDS = ("bytes", "bpe", "wordpiece", "unigram")
ROLES = ("pad", "unk", "cls", "sep", "mask")

Offsets = list[tuple[int, int]]


class Tokenizer:
    """Between text and ids.

    kind: "bytes" (the ids 0..255 are the UTF-8 bytes themselves; lossless, needs no training and no package), "bpe"
        (Sennrich et al. 2016) and "unigram" (Kudo 2018), both over bytes and so lossless too, or "wordpiece" (Schuster
        & Nakajima 2012; Devlin et al. 2018), which lowercases and parts at spaces and punctuation.
    size: how many ids there are, special ones included.
    pad, unk, cls, sep, mask: special ids; `cls` and `sep` also begin and end texts. -1 where a loaded one has none.
    between: how often `sep` stands between two texts: once, or of RoBERTa's kind (Liu et al. 2019) twice.

    Raises ConfigError where `tokenizers` is missing or `kind` is none of these.
    """

    def __init__(
        self, kind: str = "bytes", text: str | None = None, special: dict[str, int] | None = None, between: int = 1
    ) -> None:
        """text: the tokenizer.json of a kind other than bytes; special: its special ids, found by name if None."""
        if kind not in KINDS:
            raise ConfigError(f"dataset.tokenizer={kind}: one of {', '.join(KINDS)}, or the path of a tokenizer.json")
        assert (text is None) == (kind == "bytes")
        self.kind, self.text, self.between = kind, text, between
        self._library = None if text is None else subwords.parsed(text)
        if self._library is None:
            self.size, special_ids = 256 + len(SPECIALS), {role: 256 + i for i, role in enumerate(ROLES)}
        else:
            assert text is not None
            self.size = max(self._library.get_vocab().values()) + 1
            special_ids = special or subwords.special(self._library.get_vocab())
            self._encoder = subwords.encoder(self._library, text, special_ids)
        self.pad, self.unk, self.cls, self.sep, self.mask = (special_ids[role] for role in ROLES)
        self._tokens = self._vocabulary()
        self._opens, self._closes = self._boundaries()

    @classmethod
    def train(cls, kind: str, texts: Iterable[str], size: int) -> Tokenizer:
        """One of `size` ids at the most, learned from `texts`.

        "bytes" and "bpe" are always the same for the same texts. The library goes through the words in an order that
        differs each time: the ids of "wordpiece" differ, and pieces that are equally frequent may; of "unigram" the
        last digits of the scores.
        A word of more than a thousand characters is learned from in parts (`subwords.bounded`).
        """
        if kind == "bytes" or kind not in KINDS:
            return cls(kind)
        tokenizer, trainer = subwords.untrained(kind, size)
        tokenizer.train_from_iterator(subwords.bounded(kind, texts), trainer)
        return cls(kind, tokenizer.to_str())

    @classmethod
    def train_spoken(cls, texts: Iterable[str], size: int, characters: Iterable[str] = ()) -> Tokenizer:
        """Pieces of words, of characters rather than bytes and without special ids: each of its ids is a text.

        Every word is cut with the space before it, and the first as if it had one. Characters that neither `texts` have
        nor `characters` are left out of what it encodes.
        """
        tokenizer, trainer = subwords.untrained_spoken(size, characters)
        tokenizer.train_from_iterator(subwords.bounded("spoken", texts), trainer)
        return cls("bpe", tokenizer.to_str())

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """From a tokenizer.json, or from a Hugging Face folder that holds one, or BERT's vocab.txt.

        Raises DataError naming what is missing or broken.
        """
        path = Path(path).expanduser()
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            if not file.is_file() and (path / "vocab.txt").is_file():
                return cls("wordpiece", subwords.bert(path))
            text = file.read_text(encoding="utf-8")
            loaded = cls(subwords.kind_of(text), text)
            loaded.between = subwords.between(text, loaded.sep)
            return loaded
        except subwords.BROKEN as error:
            raise DataError(f"dataset.tokenizer={path}: no tokenizer.json can be read there ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` makes the same tokenizer of; size and special ids are there to be read."""
        special = {role: getattr(self, role) for role in ROLES}
        twice = {"between": self.between} if self.between > 1 else {}  # those of before have no such key
        return {"kind": self.kind, "size": self.size, **special, "json": self.text, **twice}

    def means(self, other: Tokenizer) -> bool:
        """Whether ids stand for the same, however many marks are between texts."""
        return {**self.to_dict(), "between": 1} == {**other.to_dict(), "between": 1}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Tokenizer:
        """Raises CheckpointError for what `to_dict` never gave."""
        try:
            special = {role: plain[role] for role in ROLES}
            if not all(type(index) is int and -1 <= index < plain["size"] for index in special.values()):
                raise ValueError("special ids that it has not")
            if plain["kind"] not in KINDS:
                raise ValueError(f"its kind is {plain['kind']!r}")
            if plain.get("between", 1) not in (1, 2):
                raise ValueError(f"it has {plain['between']!r} marks between texts")
            return cls(plain["kind"], plain["json"], special, plain.get("between", 1))
        except (*subwords.BROKEN, AssertionError) as error:
            raise CheckpointError(f"the checkpoint's tokenizer is damaged ({error})") from error

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of every text, without special ones around or in it: `[SEP]` in a text is five characters."""
        if self._library is None:
            return [list(text.encode("utf-8", "replace")) for text in texts]
        return [encoding.ids for encoding in subwords.encoded(self._encoder, list(texts), fast=True)]

    def encode_flat(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """All ids in a row, int32 [sum of n], and how many each text has, long [len(texts)]."""
        if self._library is None:
            raw = [np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8) for text in texts]
        else:
            raw = [np.asarray(ids, dtype=np.int32) for ids in self.encode(texts)]
        lengths = torch.tensor([len(ids) for ids in raw], dtype=torch.long)
        flat = np.concatenate([np.empty(0, dtype=np.int32), *raw]).astype(np.int32)
        return torch.from_numpy(flat), lengths

    def encode_with_offsets(self, texts: Sequence[str]) -> tuple[list[list[int]], list[Offsets]]:
        """As `encode`, and for every token the characters [start, end) of its text that it stands for."""
        if self._library is None:
            ids = self.encode(texts)
            return ids, [_byte_offsets(row) for row in ids]
        encodings = subwords.encoded(self._encoder, list(texts))
        return [encoding.ids for encoding in encodings], [encoding.offsets for encoding in encodings]

    def encode_words(self, words: Sequence[Sequence[str]]) -> tuple[list[list[int]], list[list[int]]]:
        """The ids of sentences that are given as words, and for every token the index of its word.

        The words are joined by spaces; a space that is a token of its own belongs to the word after it. Every word has
        a token: `unk` where the tokenizer leaves nothing of it.
        """
        ids, offsets = self.encode_with_offsets([" ".join(sentence) for sentence in words])
        parts = [self._in_words(*row) for row in zip(ids, offsets, words, strict=True)]
        return [ids for ids, _ in parts], [index for _, index in parts]

    def _in_words(self, ids: list[int], offsets: Offsets, words: Sequence[str]) -> tuple[list[int], list[int]]:
        ends = np.cumsum([len(word) + 1 for word in words])  # where the space after each word ends
        last = np.asarray([max(end - 1, start) for start, end in offsets], dtype=np.int64)
        owner = np.searchsorted(ends - 1, last, side="right").clip(max=max(len(words) - 1, 0)).tolist()
        missing = sorted(set(range(len(words))) - set(owner))
        if not missing:
            return ids, owner
        pairs = sorted([*zip(owner, ids, strict=True), *((i, self.unk) for i in missing)], key=lambda pair: pair[0])
        return [token for _, token in pairs], [index for index, _ in pairs]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special ones vanish, and bytes that are no UTF-8 become a replacement character."""
        if self._library is None:
            return bytes(token for token in ids if token < 256).decode("utf-8", "replace")
        decoded: str = self._library.decode(list(ids), skip_special_tokens=True)
        return decoded

    def starts_word(self, ids: Tensor) -> Tensor:
        """ids long [..., T] -> bool [..., T]: whether a word begins at that token, as the tokens before it show."""
        after = self._closes.to(ids.device)[ids[..., :-1]]
        first = torch.ones_like(ids[..., :1], dtype=torch.bool)
        return self._opens.to(ids.device)[ids] | torch.cat([first, after], dim=-1)

    @property
    def byte_lengths(self) -> Tensor:
        """Long [size]: the bytes of text that each id stands for, 0 for special ones.

        Wordpiece keeps no spaces: one is counted for every token that begins a word.
        """
        return torch.tensor([len(token) for token in self._tokens], dtype=torch.long)

    @property
    def pieces(self) -> list[bytes]:
        """The bytes of every id, none for special ones; a space in front says that a word begins."""
        return self._tokens

    def _vocabulary(self) -> list[bytes]:
        """The bytes of every id; none for special ones."""
        if self._library is None:
            return [*(bytes([i]) for i in range(256)), *([b""] * len(SPECIALS))]
        assert self.text is not None
        plain, tokens = json.loads(self.text), [b""] * self.size
        special = {token["id"] for token in plain.get("added_tokens", []) if token.get("special")}
        convert = subwords.bytes_of(plain)
        for token, index in self._library.get_vocab().items():
            tokens[index] = b"" if index in special else convert(token)
        return tokens

    def _boundaries(self) -> tuple[Tensor, Tensor]:
        """Two bool [size]: ids at which a word begins, and ids after which one does."""
        letters = [bytes([i]).isalnum() or i >= 128 for i in range(256)]
        opens = [not token or not letters[token[0]] for token in self._tokens]
        closes = [not token or not letters[token[-1]] for token in self._tokens]
        return torch.tensor(opens), torch.tensor(closes)


def _byte_offsets(ids: list[int]) -> Offsets:
    raw = np.asarray(ids, dtype=np.uint8)
    start = np.cumsum((raw & 0xC0) != 0x80) - 1
    return [(int(i), int(i) + 1) for i in start]
