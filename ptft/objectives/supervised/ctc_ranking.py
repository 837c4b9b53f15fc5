"""How much a language model counts in what is heard, and what that is measured to be worth.

Axes: n recordings, K texts that each may say; a recording that has fewer texts has the sound -inf behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ptft.metrics.edit_distance import edits
from ptft.objectives.supervised.ctc_decoding import NEVER
from ptft.objectives.supervised.ctc_language import Heard, Prefix, Weights

ALPHAS = tuple(step / 10 for step in range(21))
BETAS = (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0)
PARTS = ("sound", "language", "symbols")
"""What the rank of a text is made of, as the lists of a Step have it, each [n, K]."""


def ranked(
    true: Sequence[str], found: Sequence[Sequence[Heard]], text_of: Callable[[Prefix], str], most: int
) -> dict[str, Any]:
    """What was said and what is heard, n texts each, the edits between them, and in `lists` of all texts, [n, most].

    found: what each recording may say, the likeliest first.
    """
    texts = [[text_of(text.symbols) for text in row] for row in found]
    flat = [text for row in texts for text in row]
    said = [one for one, row in zip(true, texts, strict=True) for _ in row]
    words = edits([text.split() for text in said], [text.split() for text in flat])
    characters = edits([[*text] for text in said], [[*text] for text in flat])
    sizes = [len(row) for row in texts]

    def filled(values: Sequence[float] | Tensor, fill: float = 0.0) -> Tensor:
        rows = torch.split(torch.as_tensor(values).float(), sizes)
        return torch.stack([F.pad(row, (0, most - len(row)), value=fill) for row in rows])

    lists = {
        "sound": filled([text.sound for row in found for text in row], NEVER),
        "language": filled([text.language for row in found for text in row]),
        "symbols": filled([len(text.symbols) for row in found for text in row]),
        "edits": filled(words),
        "changes": filled(characters),
    }
    first = {"word_edits": lists["edits"][:, 0].long(), "character_edits": lists["changes"][:, 0].long()}
    return {"true": true, "predicted": [row[0] for row in texts], **first, "lists": lists}


def chosen(sums: dict[str, Tensor]) -> Weights:
    """The weights under which the best of each recording's texts have the fewest wrong words.

    Of weights that are equal in that it is those with the fewest wrong characters, and of these the least alpha.
    """
    best, fewest = Weights(0.0, 0.0), (float("inf"), float("inf"))
    for alpha in ALPHAS:
        for beta in BETAS if alpha else (0.0,):
            weights = Weights(alpha, beta)
            place = best_of(sums, weights)
            words, characters = (float(sums[name].cpu().gather(1, place).sum()) for name in ("edits", "changes"))
            if (words, characters) < fewest:
                best, fewest = weights, (words, characters)
    return best


def best_of(sums: dict[str, Tensor], weights: Weights) -> Tensor:
    """Which of each recording's texts ranks highest, long [n, 1]."""
    sound, language, symbols = (sums[name].cpu() for name in PARTS)
    return (sound + weights.alpha * language + weights.beta * symbols).argmax(1, keepdim=True)


def with_language(sums: dict[str, Tensor], weights: Weights) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The sums of the texts that rank highest; and the word errors of those that do by sound alone, and the weights."""
    place, alone = best_of(sums, weights), best_of(sums, Weights(0.0, 0.0))
    words, characters = sums["edits"].cpu(), sums["changes"].cpu().gather(1, place)
    kept = {
        "word_edits": words.gather(1, place).sum(),
        "character_edits": characters.sum(),
        "whole": (characters == 0).sum(),
    }
    here = sums["words"].device
    without = float(words.gather(1, alone).sum() / sums["words"].cpu())
    more = {"wer_without_lm": without, "lm_alpha": weights.alpha, "lm_beta": weights.beta}
    return {**sums, **{name: value.to(here) for name, value in kept.items()}}, more
