"""One pass over examples: what each holds, whatever can't be read, and what a modality measures of a batch.

Axes: N examples of all splits, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.cache.policy import decode
from ptft.data.examples import OnDemandExamples
from ptft.data.inspected.subject import Subject
from ptft.data.stratify import numbers
from ptft.errors import DataError
from ptft.loggers.console import Console

AT_ONCE = 256
"""Examples in memory that are looked at as one batch."""

Encode = Callable[[Batch], Tensor]
"""A raw batch -> what a checkpoint's backbone makes of it, float32 [B, D] on the CPU."""


@dataclass
class Seen:
    """What was found by reading; rows of what can't be read hold zeros and NaN.

    contents: long [N], equal where examples decode to the same. measures: float [N] by what is measured. odd: why an
    example is unlike what it should be. tensors: what a modality compares examples by; columns: of texts all of one
    kind (the first of a pair, say), [N] each. encoded: features of the checkpoint, float [N, D].
    """

    contents: Tensor
    readable: Tensor
    unreadable: dict[int, str] = field(default_factory=dict)
    measures: dict[str, Tensor] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    columns: list[Sequence[str]] = field(default_factory=list)
    encoded: Tensor | None = None
    notes: list[str] = field(default_factory=list)

    def rows(self) -> Tensor:
        """Those that can be read, each content once: the first that has it, long [n]."""
        readable = self.readable.nonzero().flatten()
        order = readable[self.contents[readable].argsort(stable=True)]
        first = torch.ones(len(order), dtype=torch.bool)
        first[1:] = self.contents[order][1:] != self.contents[order][:-1]
        return order[first].sort().values


class Table:
    """Tensors of all examples that are filled batch by batch."""

    def __init__(self, count: int) -> None:
        self.count, self.columns = count, dict[str, Tensor]()

    def put(self, index: Tensor, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            if name not in self.columns:
                empty = torch.nan if value.is_floating_point() and value.ndim == 1 else 0
                self.columns[name] = torch.full((self.count, *value.shape[1:]), empty, dtype=value.dtype)
            self.columns[name][index] = value


def every(
    subject: Subject, look: Callable[[Examples, Batch], dict[str, Tensor]], encode: Encode | None, out: Console
) -> tuple[Table, Seen]:
    """Read all that there is; `look` measures a batch by name, [B] or [B, ...].

    What it calls `content` is bytes, uint8 [B, n], or with `length` (long [B]) so many bytes of each.
    """
    table = Table(len(subject))
    seen = Seen(torch.zeros(len(subject), dtype=torch.long), torch.zeros(len(subject), dtype=torch.bool))
    with out.reading("reading") as progress:
        for split, examples in subject.parts.items():
            assert examples is not None
            start = subject.starts[split]
            for batch in batches(examples):
                index = batch["index"] + start
                seen.readable[index] = True
                found = look(examples, batch)
                seen.contents[index] = digests(found.pop("content"), found.pop("length", None))
                table.put(index, found | ({} if encode is None else {"encoded": encode(batch)}))
                progress(int(index[-1]) + 1, len(subject))
            missing = (~seen.readable[start : start + len(examples)]).nonzero().flatten().tolist()
            seen.unreadable |= {start + row: _reason(examples, row) for row in missing}
    seen.encoded = table.columns.pop("encoded", None)
    return table, seen


def batches(examples: Examples) -> Iterator[Batch]:
    """All that can be read of them, in order."""
    rows = torch.arange(len(examples))
    if not isinstance(examples, OnDemandExamples):
        yield from (examples.take(part) for part in torch.split(rows, AT_ONCE))
        return
    on_error(examples, "skip")
    for _, batch in decode(examples, rows):
        if len(batch["index"]):
            yield batch


def on_error(examples: Examples, what: str) -> None:
    """From here on unreadable examples, where there may be any, raise or are left out of what is taken ("skip")."""
    base = examples.whole()[0] if isinstance(examples, OnDemandExamples) else examples
    if hasattr(base, "on_error"):
        base.on_error = what


def _reason(examples: Examples, row: int) -> str:
    """Why an example can't be read, without the name of its file in front."""
    on_error(examples, "raise")
    try:
        examples.take(torch.tensor([row]))
    except DataError as error:
        said = str(error.__cause__ if isinstance(error.__cause__, DataError) else error)
        name = f"{examples.name(row)}: " if isinstance(examples, OnDemandExamples) else ""
        return said.removeprefix(name)
    return "could not be read at first"


def digests(content: Tensor, lengths: Tensor | None) -> Tensor:
    """Long [B]: a number for the bytes of each, uint8 [B, n], or of the first `lengths` (long [B])."""
    rows: Sequence[memoryview] = [memoryview(row) for row in content.contiguous().numpy()]
    ends = [content.shape[1]] * len(rows) if lengths is None else lengths.tolist()
    return numbers(blake2b(row[:end], digest_size=8).digest() for row, end in zip(rows, ends, strict=True))
