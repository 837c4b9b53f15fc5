"""Whether intervals hold what they promise: the truth, in 95 % of simulated test sets.

Run `python -m tests.benchmarks.coverage [sets]`. Every set is drawn anew from a process whose truth is known: a
classifier of five uneven classes, two such classifiers on the same examples, transcripts whose error rates differ by
utterance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from ptft.metrics.classification import Margins
from ptft.metrics.uncertainty import bootstrap
from ptft.metrics.uncertainty.bootstrap import Resampling

SETS, EXAMPLES, UTTERANCES = 1000, 500, 200
PRIOR = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05], dtype=torch.float64)
CLASSES = len(PRIOR)
RIGHT, OTHER_RIGHT, SHARED = 0.8, 0.76, 0.7
"""How often each classifier is right; in `SHARED` of the examples both draw the same answer where both are right."""


def confusion(right: float) -> torch.Tensor:
    """[K, K]: how likely each answer is for each class; wrong ones are as likely each."""
    wrong = (1 - right) / (CLASSES - 1)
    return torch.full((CLASSES, CLASSES), wrong, dtype=torch.float64) + torch.eye(CLASSES) * (right - wrong)


def answers(seed: int) -> dict[str, torch.Tensor]:
    """True classes and those of two classifiers, [N] each; what one draws the other shares in part."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.multinomial(PRIOR, EXAMPLES, True, generator=generator)
    chance = torch.rand(EXAMPLES, generator=generator)
    own = torch.where(
        torch.rand(EXAMPLES, generator=generator) < SHARED, chance, torch.rand(EXAMPLES, generator=generator)
    )
    shift = torch.randint(1, CLASSES, (2, EXAMPLES), generator=generator)
    one = torch.where(chance < RIGHT, true, (true + shift[0]) % CLASSES)
    two = torch.where(own < OTHER_RIGHT, true, (true + shift[1]) % CLASSES)
    return {"true": true, "one": one, "two": two}


def accuracy(drawn: dict[str, torch.Tensor], weight: torch.Tensor, name: str = "one") -> torch.Tensor:
    return (weight * (drawn["true"] == drawn[name])).sum(1) / weight.sum(1)


def macro_f1(drawn: dict[str, torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    return Margins.of_pairs(drawn["true"], drawn["one"], weight, CLASSES).macro_f1()


def difference(drawn: dict[str, torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    return accuracy(drawn, weight, "one") - accuracy(drawn, weight, "two")


def transcripts(seed: int) -> dict[str, torch.Tensor]:
    """Words and edits of utterances, [N]; a mean of 10 % of the words is wrong, and of some far more."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(3, 20, (UTTERANCES,), generator=generator).double()
    rate = 0.4 * torch.rand(UTTERANCES, generator=generator).double() ** 3
    return {"words": words, "edits": torch.poisson(words * rate, generator=generator)}


def wer(drawn: dict[str, torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    return bootstrap.ratios(drawn, weight, {"wer": ("edits", "words")})["wer"]


def true_macro_f1() -> float:
    joint = PRIOR.unsqueeze(1) * confusion(RIGHT)
    return float(Margins.of(joint).macro_f1())


Simulated = tuple[
    Callable[[int], dict[str, torch.Tensor]], Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor], float
]
SIMULATED: dict[str, Simulated] = {
    "accuracy": (answers, accuracy, RIGHT),
    "macro F1": (answers, macro_f1, true_macro_f1()),
    "WER": (transcripts, wer, 0.1),
    "paired difference of accuracy": (answers, difference, RIGHT - OTHER_RIGHT),
}


def covered(name: str, sets: int) -> float:
    """The share of sets whose interval holds the truth."""
    draw, metric, truth = SIMULATED[name]
    hits = 0
    for seed in range(sets):
        drawn = draw(seed)
        units = len(next(iter(drawn.values())))
        values = bootstrap.resampled(lambda weight, d=drawn: {name: metric(d, weight)}, units, Resampling(seed=seed))
        pair = bootstrap.interval(values[name], 0.95)
        hits += pair is not None and pair[0] <= truth <= pair[1]
    return hits / sets


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else SETS
    for which in SIMULATED:
        print(f"{which}: {100 * covered(which, number):.1f} % of {number:,} sets", flush=True)
