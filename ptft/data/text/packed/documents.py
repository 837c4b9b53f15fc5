"""Running text whose documents are told apart: each by itself with special ids around it, several of them in a row.

Axes: N documents, n all ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptft.data.files import read_file
from ptft.data.own.text_record import Columns
from ptft.data.own.text_rows import read_texts
from ptft.data.own.unusable import UnusableRows
from ptft.data.ragged import Ragged, starts_of
from ptft.data.text.blocks import chunks
from ptft.data.text.examples import joined
from ptft.data.text.packed.examples import PackedTexts
from ptft.data.text.packed.packing import pieces
from ptft.data.tokenizer import Tokenizer
from ptft.errors import are, counted

UNITS = ("file", "line", "paragraph", "row")
"""What one document may be."""


def separated(documents: Sequence[str], tokenizer: Tokenizer, room: int) -> PackedTexts:
    """Documents as rows of `room` ids at most, `cls` before and `sep` after each; longer ones in pieces."""
    values, lengths = tokenizer.encode_flat([chunk for document in documents for chunk in chunks(document)])
    of_chunks, flat = [sum(1 for _ in chunks(document)) for document in documents], lengths.tolist()
    ends = [sum(flat[begin:end]) for begin, end in _spans(of_chunks)]
    sizes = starts_of(lengths).new_tensor(ends)
    sizes_kept = sizes[sizes > 0]
    whole = joined([Ragged(values, starts_of(sizes_kept), sizes_kept)], tokenizer)
    starts, lengths, document = pieces(whole.starts, whole.lengths, room)
    found = PackedTexts(Ragged(whole.values, starts, lengths), room, tokenizer.pad)
    longer = int((document.bincount() > 1).sum())
    found.notes = (
        f"{counted(len(whole), 'documents')} apart in {counted(len(found), 'rows')} of {room} tokens, "
        f"{found.filled:.0%} full" + (f"; {longer:,} {are(longer)} longer and cut into pieces" if longer else ""),
    )
    return found


def _spans(counts: Sequence[int]) -> list[tuple[int, int]]:
    spans, begin = [], 0
    for count in counts:
        spans.append((begin, begin + count))
        begin += count
    return spans


def documents_in(file: Path, unit: str, column: str, notes: list[str]) -> list[str]:
    """The documents of a file, by what one is (`UNITS`); of a row of a table the text in a column.

    notes: gets what is to be said of rows that are left out. Raises DataError.
    """
    if unit == "row":
        unusable = UnusableRows("skip")
        hint = "; dataset.column names the texts"
        rows = read_texts(file, Columns((column,), None, alone=True, hint=hint), unusable)
        notes += unusable.notes(len(rows), str(file))
        return [row.texts[0] for row in rows]
    content = read_file(file)
    if unit == "file":
        return [content] if content else []
    parts = content.split("\n") if unit == "line" else content.split("\n\n")
    return [part.strip("\n") for part in parts if part.strip()]
