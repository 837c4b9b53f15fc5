"""Metrics against definitions written out one example at a time, and against scipy and scikit-learn."""

import math
import random

import pytest
import torch
from scipy import stats
from sklearn import metrics as reference

from ptft.metrics.classification import macro_f1, matthews
from ptft.metrics.correlation import average_ranks, pearson, spearman
from ptft.metrics.entities import chunk_counts, precision_recall_f1, tags_of

CLASSES = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]


def chunks(words: list[str]) -> set[tuple[int, int, str]]:
    """(first, last, type) by walking through one sentence, as conlleval's rules read."""
    found, begin, kind = set(), None, ""
    for i, tag in enumerate([*words, "O"]):
        new = tag[0] == "B" or (tag[0] == "I" and (begin is None or tag[2:] != kind))
        if begin is not None and (tag == "O" or new):
            found.add((begin, i - 1, kind))
            begin = None
        if new:
            begin, kind = i, tag[2:]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_entities_are_counted_as_one_would_by_hand(seed):
    random.seed(seed)
    tags = tags_of(CLASSES)
    sentences = [[random.choice(CLASSES) for _ in range(random.randint(1, 9))] for _ in range(40)]
    guesses = [[tag if random.random() < 0.7 else random.choice(CLASSES) for tag in words] for words in sentences]
    pairs = [(chunks(a), chunks(b)) for a, b in zip(sentences, guesses, strict=True)]
    wanted = [
        [
            sum(chunk[2] == kind for a, b in pairs for chunk in some(a, b))
            for some in (lambda a, b: a, lambda a, b: b, lambda a, b: a & b)
        ]
        for kind in tags.names
    ]
    number = {name: i for i, name in enumerate(CLASSES)}
    true, predicted = (torch.tensor([number[tag] for words in some for tag in words]) for some in (sentences, guesses))
    sentence = torch.tensor([i for i, words in enumerate(sentences) for _ in words])
    assert chunk_counts(true, predicted, sentence, tags).tolist() == wanted


def test_an_entity_does_not_go_on_in_the_next_sentence():
    tags, inside = tags_of(CLASSES), CLASSES.index("I-PER")
    words = torch.tensor([inside, inside])
    assert chunk_counts(words, words, torch.tensor([0, 0]), tags).sum(0).tolist() == [1, 1, 1]
    assert chunk_counts(words, words, torch.tensor([0, 1]), tags).sum(0).tolist() == [2, 2, 2]


def test_precision_recall_and_f1_of_nothing_are_zero():
    assert precision_recall_f1(torch.tensor([0, 0, 0])) == {"precision": 0, "recall": 0, "f1": 0}
    assert precision_recall_f1(torch.tensor([4, 2, 1])) == pytest.approx(
        {"precision": 1 / 2, "recall": 1 / 4, "f1": 1 / 3}
    )


def test_other_tags_than_iob_have_no_entities():
    assert tags_of(["NOUN", "O"]) is None
    assert tags_of(["B-", "O"]) is None


def test_correlations_with_ties_agree_with_scipy():
    torch.manual_seed(0)
    x, y = torch.randint(0, 6, (50,)), torch.randint(0, 4, (50,)).float()
    assert average_ranks(x).tolist() == stats.rankdata(x).tolist()
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert pearson(x, torch.ones(50)) == spearman(x, torch.ones(50)) == 0
    for wrong in (math.nan, math.inf, -math.inf):
        broken = torch.cat([x[1:], torch.tensor([wrong])])
        for pair in ((broken, y), (y, broken), (broken, torch.ones(50))):
            assert math.isnan(pearson(*pair))
            assert math.isnan(spearman(*pair))


@pytest.mark.parametrize("classes", [2, 5])
def test_matthews_and_macro_f1_agree_with_scikit_learn(classes):
    torch.manual_seed(classes)
    true, predicted = torch.randint(0, classes, (2, 60))
    confusion = torch.bincount(true * classes + predicted, minlength=classes**2).view(classes, classes)
    assert matthews(confusion) == pytest.approx(reference.matthews_corrcoef(true, predicted))
    assert macro_f1(confusion) == pytest.approx(reference.f1_score(true, predicted, average="macro"))
    assert matthews(torch.tensor([[5, 0], [3, 0]])) == 0
