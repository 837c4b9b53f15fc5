"""Texts: their lengths in tokens, what is cut, encodings that went wrong, and shingles. Axes: N texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data.inspected import features, shingles
from ptft.data.inspected.reading import Encode, Seen
from ptft.data.inspected.subject import Subject
from ptft.data.stratify import numbers
from ptft.data.text.blocks import chunks
from ptft.data.text.corpus import CorpusSource
from ptft.data.text.examples import room
from ptft.data.text.source import TextSource
from ptft.data.tokenizer import Tokenizer
from ptft.loggers.console import Console

AT_ONCE = 1000
"""Texts that are tokenised at a time."""
TOKENS = 16_384
"""Tokens, padding included, that a checkpoint reads at a time."""
MISREAD = re.compile("Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]|ï¿½")
"""UTF-8 that was read as Windows-1252 or Latin-1."""
LOST = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Characters that stand where others were lost, and that no text has."""
FEATURES = f"the {features.TEXT_WIDTH} main components of words and pairs of words (TF-IDF)"
HASH = "shingles"
LEFT_OUT = ("a contact sheet: texts have no pictures",)
USUAL = 64
"""Characters from which on a text says enough of how usual it is."""


def read(subject: Subject, encode: Encode | None, out: Console) -> Seen:
    """Tokenise all texts, and say what is odd."""
    texts = subject.texts or []
    contents = numbers(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest() for text in texts)
    seen = Seen(contents, torch.ones(len(texts), dtype=torch.bool))
    first, *_ = subject.columns or [()]
    seen.columns = [[each[place] for each in subject.columns or ()] for place in range(len(first))]
    seen.measures = {"characters": torch.tensor(list(map(len, texts)), dtype=torch.float32)}
    for row, text in enumerate(texts):
        if why := oddness(text):
            seen.odd[row] = why
    if isinstance(subject.source, TextSource | CorpusSource):
        _tokens(subject, subject.source, seen, out)
    if encode is not None:
        _encode(subject, seen, encode, out)
    return seen


def oddness(text: str) -> str:
    """What is wrong with a text by itself, or ""."""
    if not text.strip():
        return "is empty"
    if found := MISREAD.search(text):
        return f"holds {found.group()!r}, UTF-8 that was read as another encoding"
    if found := LOST.search(text):
        return f"holds the character U+{ord(found.group()):04X}, which stands for lost ones"
    return ""


def _tokens(subject: Subject, source: TextSource | CorpusSource, seen: Seen, out: Console) -> None:
    """How many tokens the texts have, how many are cut by `dataset.length`, and how many tokens are unknown."""
    tokenizer: Tokenizer = source.tokenizer
    texts, lengths, unknown = subject.texts or [], list[Tensor](), 0
    with out.reading("tokens") as progress:
        for begin in range(0, len(texts), AT_ONCE):
            pieces = [list(chunks(text)) or [""] for text in texts[begin : begin + AT_ONCE]]
            ids, counts = tokenizer.encode_flat([piece for each in pieces for piece in each])
            owner = torch.arange(len(pieces)).repeat_interleave(torch.tensor(list(map(len, pieces))))
            lengths.append(torch.zeros(len(pieces), dtype=torch.long).index_add_(0, owner, counts))
            unknown += int((ids == tokenizer.unk).sum()) if tokenizer.unk >= 0 else 0
            progress(min(len(texts), begin + AT_ONCE), len(texts))
    tokens = torch.cat(lengths) if lengths else torch.zeros(0, dtype=torch.long)
    seen.measures["tokens"] = tokens.float()
    total = max(1, int(tokens.sum()))
    if unknown:
        seen.notes.append(f"{unknown:,} of {total:,} tokens ({unknown / total:.2%}) are unknown to the tokenizer")
    if isinstance(source, TextSource):
        most = room(tokenizer, max(1, len(seen.columns)), source.length)
        long = int((tokens > most).sum())
        longest = int(tokens.max()) if len(tokens) else 0
        cut = f"{long:,} of {len(texts):,} texts ({long / max(1, len(texts)):.1%}) {source.longer} dataset.length"
        seen.notes.append(f"{cut}={source.length}; the longest has {longest:,} tokens")
        seen.measures["cut"] = (tokens > most).float()


def _encode(subject: Subject, seen: Seen, encode: Encode, out: Console) -> None:
    """Features by the checkpoint, of texts of about one length at a time."""
    for split, examples in subject.parts.items():
        if examples is None or examples.lengths is None or len(examples) != subject.sizes[split]:
            seen.notes.append("the checkpoint's features are not used: examples are pieces of what is inspected")
            seen.encoded = None
            return
        order = examples.lengths.argsort()
        sizes = (TOKENS // examples.lengths[order].clamp(min=1)).clamp(1, 256)
        with out.reading(f"features of {split}") as progress:
            done = 0
            while done < len(order):
                size = int(sizes[min(len(order), done + int(sizes[done])) - 1])
                rows = order[done : done + size]
                values = encode(examples.take(rows))
                if seen.encoded is None:
                    seen.encoded = torch.zeros(len(subject), values.shape[1])
                seen.encoded[rows + subject.starts[split]] = values
                done += len(rows)
                progress(done, len(order))


def near(seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> tuple[Tensor, Tensor]:
    """Pairs of near duplicates among the `rows`, as places among these, long [n, 2], and what they do not share.

    Both texts of a pair are near: many questions are asked of one text, and are no copies of each other.
    """
    chosen = rows.tolist()
    return shingles.near(seed, *([column[row] for row in chosen] for column in seen.columns))


def alike(seen: Seen, rows: Tensor, pairs: Tensor, seed: int) -> Tensor:
    """Which pairs of the `rows` (long [n, 2], as `near` has them) that features found share much of what they say too,
    bool [n]."""
    chosen = rows.tolist()
    return shingles.alike(pairs, *([column[row] for row in chosen] for column in seen.columns))


def described(seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> Tensor:
    """Features of the rows, float32 [n, W]."""
    assert texts is not None
    return features.of_texts([texts[row] for row in rows.tolist()], seed)


def strange(rows: Tensor, texts: list[str] | None) -> Tensor:
    """How rare the characters of the rows are together in all others, in robust standard deviations, float [n].

    Other languages, encodings and what was typed by a cat stand out; short texts say less and count less.
    """
    assert texts is not None
    chosen = [texts[row] for row in rows.tolist()]
    said = torch.tensor([len(text) / USUAL for text in chosen]).clamp(max=1).sqrt()
    scores = features.surprise(chosen)
    return features.deviations((scores - scores.median()) * said)


def sheet(spec: Spec, batch: Batch, options: Mapping[str, Any] | None) -> list[Image.Image]:
    """None: texts have no pictures."""
    return []
