"""SQuAD's exact match and F1: how close an answer is to those that are right, by the published rules.

Rajpurkar et al. 2016 (section 6.1) and 2018: letter case, punctuation, the articles a, an and the, and how many spaces
there are don't count. Right answers that are empty stand for "no answer".
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """Lower case, without punctuation, then without articles, with single spaces."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, right: Sequence[str]) -> float:
    """1 if the answer is one of the right ones, else 0."""
    return float(any(normalised(answer) == normalised(one) for one in _meant(right)))


def f1(answer: str, right: Sequence[str]) -> float:
    """F1 of the words that the answer shares with the right one it is closest to."""
    return max(_f1(normalised(answer).split(), normalised(one).split()) for one in _meant(right))


def _meant(right: Sequence[str]) -> Sequence[str]:
    """Those that something is left of, else no answer."""
    return [one for one in right if normalised(one)] or [""]


def _f1(answer: list[str], right: list[str]) -> float:
    if not answer or not right:
        return float(answer == right)
    shared = sum((Counter(answer) & Counter(right)).values())
    return 2 * shared / (len(answer) + len(right))
