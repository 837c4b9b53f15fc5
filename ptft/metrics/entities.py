"""Entity metrics: chunks of tags, their precision, recall and F1, of predictions that are given whole as tensors.

Axes: N examples or words, K classes, C chunk types, S sentences. Everything is counted in float64 or in whole numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ptft.metrics.chunk_tags import is_typed


class Tags(NamedTuple):
    """Tags in two parts, each long [K] over the classes of a Spec.

    part: 0 outside, 1 begins, 2 inside. kind: number of the chunk type, 0 for outside.
    names: the types, [C]; kind k means `names[k - 1]`.
    """

    part: Tensor
    kind: Tensor
    names: list[str]


def tags_of(classes: list[str] | tuple[str, ...], untyped: bool = False) -> Tags | None:
    """The parts of IOB tags (O, B-TYPE, I-TYPE, `untyped` B and I alone); None where a class is something else."""
    typed = {name: is_typed(name) or (untyped and len(name) == 1) for name in classes}
    if not all(name == "O" or (name[:1] in "BI" and typed[name]) for name in classes):
        return None
    names = sorted({name[2:] for name in classes if name != "O"})
    number = {name: place for place, name in enumerate(names, 1)}
    part = torch.tensor(["OBI".index(name[0]) for name in classes])
    kind = torch.tensor([0 if name == "O" else number[name[2:]] for name in classes])
    return Tags(part, kind, names)


def chunk_counts(true: Tensor, predicted: Tensor, sentence: Tensor, tags: Tags) -> Tensor:
    """Long [C, 3]: per type the chunks in truth, in the predictions, and those that agree in both ends and type.

    As `sentence_counts`, of all sentences together.
    """
    return sentence_counts(true, predicted, sentence, int(sentence.max()) + 1 if len(sentence) else 0, tags).sum(0)


def sentence_counts(true: Tensor, predicted: Tensor, sentence: Tensor, sentences: int, tags: Tags) -> Tensor:
    """Long [S, C, 3]: of each of S sentences, per type, the chunks in truth, in the predictions, and those that agree.

    true, predicted: long [N], tags of the words of some sentences one after the other; sentence: long [N], whose they
    are. Chunks are found as conlleval does (Tjong Kim Sang & Buchholz 2000): B- begins one, and so does I- after O or
    after another type; a chunk reaches to the next beginning, O or end of the sentence.
    """
    a, b = _chunks(true, sentence, tags), _chunks(predicted, sentence, tags)
    same = a.starts & b.starts & (a.kind == b.kind) & (a.end == b.end)
    size = len(tags.names) + 1
    found = ((a.kind, a.starts), (b.kind, b.starts), (a.kind, same))
    cells = [sentence[there] * size + kind[there] for kind, there in found]
    counts = [each.bincount(minlength=sentences * size) for each in cells]
    return torch.stack(counts, 1).view(sentences, size, 3)[:, 1:]


class _Chunks(NamedTuple):
    starts: Tensor
    kind: Tensor
    end: Tensor
    """Index of the last word of the chunk that a word begins."""


def _chunks(labels: Tensor, sentence: Tensor, tags: Tags) -> _Chunks:
    part, kind = tags.part.to(labels.device)[labels], tags.kind.to(labels.device)[labels]
    goes_on = torch.zeros_like(part, dtype=torch.bool)
    goes_on[1:] = (part[1:] == 2) & (kind[1:] == kind[:-1]) & (sentence[1:] == sentence[:-1])
    starts = (part > 0) & ~goes_on
    is_end = torch.ones_like(goes_on)
    is_end[:-1] = ~goes_on[1:]
    index = torch.arange(len(labels), device=labels.device)
    end = torch.where(is_end, index, len(labels)).flip(0).cummin(0).values.flip(0) if len(labels) else index
    return _Chunks(starts, kind, end)


def precision_recall_f1(counts: Tensor) -> dict[str, float]:
    """Of [3]: true, predicted and agreeing chunks; 0 where there is nothing to divide by, as conlleval says it."""
    true, predicted, hits = counts.double().tolist()
    precision, recall = hits / predicted if predicted else 0.0, hits / true if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
