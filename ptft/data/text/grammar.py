"""Sentences of a small probabilistic grammar: embedded text of which the best possible loss is known.

Chosen over text that a Python installation carries because its entropy can be computed, so that a run says how far it
is from the optimum; because verbs agree with nouns across relative clauses, so that there is something to learn beyond
neighbouring words; and because there is as much of it as wanted, the same on every machine.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ptft.data.splits import SPLITS
from ptft.data.text.corpus import CorpusKeys, CorpusSource
from ptft.errors import ConfigError, reads_no_files
from ptft.runtime.together.splitmix import key, uniform

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEPTH = 2
"""Relative clauses within each other, at the most."""

DRAWS = 64
"""Random choices that a sentence takes at the most."""

Rules = dict[str, list[tuple[float, tuple[str, ...]]]]
"""Symbol -> its expansions with their probabilities; what is no symbol is a word."""

_NOUNS = ("cat", "dog", "child", "teacher", "painter", "robot", "neighbour", "captain", "spider", "engineer")
_TRANSITIVE = ("see", "chase", "like", "hear", "follow", "remember", "draw")
_INTRANSITIVE = ("sleep", "laugh", "wait", "sing", "vanish")
_ADJECTIVES = ("old", "small", "quiet", "clever", "green", "famous")
_ADVERBS = ("often", "never", "slowly", "again")


def _ranked(words: Sequence[str]) -> list[tuple[float, tuple[str, ...]]]:
    """The words with probabilities that fall as 1 / rank (Zipf 1935)."""
    total = sum(1 / rank for rank in range(1, len(words) + 1))
    return [(1 / (rank * total), (word,)) for rank, word in enumerate(words, 1)]


def _plural(noun: str) -> str:
    return {"child": "children"}.get(noun, f"{noun}s")


def grammar() -> Rules:
    """One derivation a sentence: "that" belongs to the noun before it, and forms tell singular from plural."""
    rules: Rules = {"S": [(0.55, ("NP1.0", "VP1")), (0.45, ("NP2.0", "VP2"))], "Adj": _ranked(_ADJECTIVES)}
    rules["Det1"] = [(0.5, ("the",)), (0.3, ("a certain",)), (0.2, ("every",))]
    rules["Det2"] = [(0.6, ("the",)), (0.25, ("some",)), (0.15, ("many",))]
    rules["Adv"] = _ranked(_ADVERBS)
    for number in "12":
        noun, verb = (str, _third_person) if number == "1" else (_plural, str)
        rules[f"N{number}"] = _ranked([noun(word) for word in _NOUNS])
        rules[f"Vt{number}"] = _ranked([verb(word) for word in _TRANSITIVE])
        rules[f"Vi{number}"] = _ranked([verb(word) for word in _INTRANSITIVE])
        objects = [(0.5, (f"Vt{number}", "NP1.0")), (0.5, (f"Vt{number}", "NP2.0"))]
        verbs = [(0.35, (f"Vi{number}",)), (0.15, (f"Vi{number}", "Adv"))]
        rules[f"VP{number}"] = [*verbs, *((p / 2, symbols) for p, symbols in objects)]
        for depth in range(DEPTH + 1):
            simple = [(0.6, (f"Det{number}", f"N{number}")), (0.4, (f"Det{number}", "Adj", f"N{number}"))]
            clause = 0.3 if depth < DEPTH else 0.0
            rules[f"NP{number}.{depth}"] = [
                *((p * (1 - clause), symbols) for p, symbols in simple),
                *((p * clause, (*symbols, f"RC{number}.{depth + 1}")) for p, symbols in simple if clause),
            ]
            inner = [(0.25, ("that", f"Vt{number}", f"NP{other}.{depth}")) for other in "12"]
            rules[f"RC{number}.{depth}"] = [*inner, (0.5, ("that", f"Vi{number}"))]
    return rules


def _third_person(verb: str) -> str:
    return f"{verb}es" if verb.endswith("sh") else f"{verb}s"


def statistics(rules: Rules) -> tuple[float, float]:
    """(entropy of a sentence in bits, its mean length in bytes with the line's end)."""

    @cache
    def of(symbol: str) -> tuple[float, float]:
        if symbol not in rules:
            return 0.0, len(symbol.encode()) + 1.0  # a word and the space, full stop or end after it
        bits = sum(-p * math.log2(p) for p, _ in rules[symbol])
        parts = [[p * value for value in map(sum, zip(*map(of, symbols), strict=True))] for p, symbols in rules[symbol]]
        return bits + sum(part[0] for part in parts), sum(part[1] for part in parts)

    bits, size = of("S")
    return bits, size + 1.0


def sentence(rules: Rules, chance: Sequence[float]) -> str:
    """The sentence that numbers in 0..1 choose, one for each choice from the left."""
    words, stack, at = [], ["S"], 0
    while stack:
        symbol = stack.pop()
        if symbol not in rules:
            words.append(symbol)
            continue
        shares = list(accumulate(share for share, _ in rules[symbol]))
        choice = min(bisect_right(shares, chance[at]), len(shares) - 1)
        stack, at = [*stack, *reversed(rules[symbol][choice][1])], at + 1
    return " ".join(words)


class Grammar(CorpusSource):
    """A text of so many `sentences`, one a line; val and test have `held_out` each, drawn by themselves.

    bits_per_byte: the entropy of the text, below which no model's mean can stay.
    Raises ConfigError where val or test is another split than its own, and for a root.
    """

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        sentences: int = 20_000,
        held_out: int = 1_000,
        **keys: Unpack[CorpusKeys],
    ) -> None:
        if root is not None:
            raise reads_no_files(type(self).__name__, root, "text", "text")
        self.sentences = {"train": sentences, "val": held_out, "test": held_out}
        self.rules = grammar()
        bits, size = statistics(self.rules)
        self.bits_per_byte = bits / size
        super().__init__(**keys)
        self.notes = (f"no model of this grammar can be better than {self.bits_per_byte:.4f} bits per byte",)

    def documents(self, split: str) -> list[str]:
        if split not in self.sentences:
            raise ConfigError(f"dataset: there is no split {split}; train, val and test are")
        seed = key(self.seed, SPLITS.index(split))
        chances = uniform(torch.arange(self.sentences[split]) ^ seed, DRAWS).T.tolist()
        return ["".join(f"{sentence(self.rules, chance)}.\n" for chance in chances)]


def sample(root: Path) -> None:
    """Nothing to write: the sentences are made."""
