"""Retrieval between pictures and what is said of them: recall at 1, 5 and 10, as published for COCO and Flickr30k.

Axes: n pairs, P pictures, N captions, D width, k candidates that are nearest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MOST = 5000
"""Pictures of an evaluation that are looked among, at the most: as many as COCO's test split of Karpathy has."""
AT = (1, 5, 10)
AT_ONCE = 1000

Right = Callable[[Tensor, Tensor], Tensor]
"""(who asks, long [m, 1], candidates, long [m, k]) -> whether each is right, bool [m, k]."""


def retrieval(image: Tensor, text: Tensor, said: Tensor, picture: Tensor) -> dict[str, float]:
    """Pairs: both sides [n, D] of length 1, a number for what is said, and one for the picture (long [n]).

    `image_to_text` is the share of pictures one of whose captions is the nearest of all, `text_to_image` that of
    captions whose picture is; with `_r5` and `_r10` whether one of the nearest 5 and 10 is. `recall` is the mean of
    both at 1. A caption that is word for word one of the picture's is right. Of the first MOST pictures, with all of
    their captions.
    """
    first, place = pictures(picture)
    kept = place < MOST
    image, text, place = image[first[:MOST]], text[kept], place[kept]
    said = _numbered(said[kept])
    many = len(said)
    pairs = place * many + said

    def has(asking: Tensor, captions: Tensor) -> Tensor:
        return torch.isin(asking * many + said[captions], pairs)

    def shown(asking: Tensor, candidates: Tensor) -> Tensor:
        return torch.isin(candidates * many + said[asking], pairs)

    found = {"image_to_text": recall(image, text, has), "text_to_image": recall(text, image, shown)}
    named = {name if k == 1 else f"{name}_r{k}": share for name, at in found.items() for k, share in at.items()}
    return {"recall": (named["image_to_text"] + named["text_to_image"]) / 2, **named}


def pictures(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Long [n], a number for the picture of each pair -> the first pair of each, long [P], in their order, and of
    each pair which of these it belongs to, long [n]."""
    owner = _numbered(picture)
    numbers = torch.arange(len(picture), device=picture.device)
    first = numbers.new_full((int(owner.max()) + 1,), len(picture)).scatter_reduce(0, owner, numbers, "amin")
    order = first.argsort()
    return first[order], order.argsort()[owner]


def _numbered(values: Tensor) -> Tensor:
    """Long [n] -> numbers from 0, the same for the same value."""
    _, numbers = torch.unique(values, return_inverse=True)
    return numbers  # type: ignore[no-any-return]


def recall(asked: Tensor, candidates: Tensor, right: Right) -> dict[int, float]:
    """[m, D] and [c, D] of length 1 -> for each of AT how many find what is right among so many, from 0 to 1."""
    k = min(max(AT), len(candidates))
    parts = torch.split(torch.arange(len(asked), device=asked.device), AT_ONCE)
    hits = torch.cat([right(rows[:, None], (asked[rows] @ candidates.T).topk(k).indices) for rows in parts])
    return {at: float(hits[:, :at].any(1).float().mean()) for at in AT}
