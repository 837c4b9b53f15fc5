"""Raw batches to try an export with: noise in the form of the Spec's examples.

Axes: B batch, C channels, H height, W width, T tokens, N samples.
"""

from __future__ import annotations

import torch

from ptft.core import Batch, Spec

AXES = {
    "image": {"input": {0: "batch", 2: "height", 3: "width"}},
    "text": {"input": {0: "batch", 1: "length"}, "mask": {0: "batch", 1: "length"}},
    "audio": {"input": {0: "batch", 1: "samples"}, "length": {0: "batch"}},
}
"""Modality -> the names of a raw batch's axes that may vary."""
SIZES = (1, 2, 5)
"""Examples in a batch that every export is tried with."""
TEXTS = (5, 12)
"""Tokens of the longest text of a batch, two that differ."""
SECONDS = (0.3, 0.5)
"""Seconds of the longest recording of a batch, likewise."""


def batches(spec: Spec, sizes: list[tuple[int, int]]) -> list[Batch]:
    """A batch of each of SIZES, whose longest example is as long as one or the other; images have one of `sizes`."""
    generator = torch.Generator().manual_seed(0)
    return [_batch(spec, count, number % 2, sizes, generator) for number, count in enumerate(SIZES)]


def _batch(spec: Spec, count: int, which: int, sizes: list[tuple[int, int]], generator: torch.Generator) -> Batch:
    if spec.modality == "image":
        shape = (count, int(spec.shape["channels"]), *sizes[which % len(sizes)])
        return {"input": torch.randint(0, 256, shape, generator=generator).to(torch.uint8)}
    if spec.modality == "text":
        longest = min(TEXTS[which], int(spec.shape["length"]) - 1 + which)
        plain = _plain_ids(spec)
        ids = plain[torch.randint(0, len(plain), (count, longest), generator=generator)]
        mask = _uneven(count, longest).unsqueeze(1) > torch.arange(longest)
        return {"input": ids.masked_fill(~mask, int(spec.shape["tokenizer"]["pad"])), "mask": mask}
    longest = round(SECONDS[which] * int(spec.shape["rate"]))
    sound = torch.randint(-9000, 9000, (count, longest), generator=generator).to(torch.int16)
    lengths = _uneven(count, longest)
    return {"input": sound * (torch.arange(longest) < lengths.unsqueeze(1)), "length": lengths}


def _plain_ids(spec: Spec) -> torch.Tensor:
    """Ids that are not special, long [n]."""
    tokenizer = spec.shape["tokenizer"]
    special = {tokenizer[role] for role in ("pad", "unk", "cls", "sep", "mask")}
    return torch.tensor([i for i in range(int(tokenizer["size"])) if i not in special])


def _uneven(count: int, longest: int) -> torch.Tensor:
    """Lengths of so many examples, long [B], the first of which is the longest."""
    return torch.tensor([max(1, longest - longest * i // (2 * count)) for i in range(count)])
