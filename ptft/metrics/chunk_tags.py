"""Tags of words that say where chunks begin and end, in several schemes that mean the same: to IOB2 and back.

A scheme is written as four letters: what begins a chunk, goes on in it, ends it, and is one by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ptft.errors import DataError

IOB = "BIIB"
"""B-TYPE begins a chunk and I-TYPE goes on in it, whatever comes after."""
BEGINS, GOES_ON = "BSUW", "IMEL"
"""All letters that begin a chunk or go on in one: of BIOES, BILOU, BMES and BMEOW as well."""


def scheme_of(tags: Collection[str], where: str) -> str:
    """The scheme that some tags are in. Raises DataError where they are of two, `where` says which tags."""
    letters = {tag[0] for tag in tags if is_chunk_tag(tag)} - {"O"}
    inside, last, single = "IM", "EL", "SUW"
    present = [[letter for letter in group if letter in letters] for group in (inside, last, single)]
    if any(len(group) > 1 for group in present):
        mixed = next(group for group in present if len(group) > 1)
        raise DataError(f"{where}: holds tags of several schemes ({'- and '.join(mixed)}-); one is needed")
    if not present[1] and not present[2] and "M" not in letters:
        return IOB
    ends = present[1] or ["L" if "U" in letters else "E"]
    alone = present[2] or ["U" if "L" in letters else "S"]
    return f"B{(present[0] or ['I'])[0]}{ends[0]}{alone[0]}"


def is_chunk_tag(tag: str) -> bool:
    """Whether it is O, or a letter of a scheme, alone (where there is one type) or with a dash and a type."""
    return tag == "O" or (tag != "" and tag[0] in BEGINS + GOES_ON and (len(tag) == 1 or is_typed(tag)))


def is_typed(tag: str) -> bool:
    return len(tag) > 2 and tag[1] == "-"


def to_iob(tag: str) -> str:
    """The same in IOB2, tag by tag."""
    return tag if tag == "O" else f"{'B' if tag[0] in BEGINS else 'I'}{tag[1:]}"


def from_iob(tags: Sequence[str], scheme: str) -> list[str]:
    """The chunks of a sentence's IOB2 tags in a scheme; I-TYPE after O or another type begins one, as in conlleval."""
    if scheme == IOB:
        return list(tags)
    begins, inside, ends, alone = tuple(scheme)
    written = []
    for place, tag in enumerate(tags):
        if tag == "O":
            written.append(tag)
            continue
        before, after = (tags[i] if 0 <= i < len(tags) else "O" for i in (place - 1, place + 1))
        first = tag[0] == "B" or before == "O" or before[1:] != tag[1:]
        last = after != f"I{tag[1:]}"
        written.append(f"{(alone if last else begins) if first else ends if last else inside}{tag[1:]}")
    return written
