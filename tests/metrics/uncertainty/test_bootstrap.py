"""Resamples, the intervals that are made of them, and metrics of weighted examples beside those of copies."""

import pytest
import torch

from ptft.metrics.calibration import equal_mass_error, reliability
from ptft.metrics.classification import Margins, macro_f1, matthews
from ptft.metrics.correlation import pearson, spearman, weighed_pearson, weighed_spearman
from ptft.metrics.entities import chunk_counts, sentence_counts, tags_of
from ptft.metrics.multilabel import average_precisions, counted, weighed_counts, weighed_precisions
from ptft.metrics.uncertainty import bootstrap
from ptft.metrics.uncertainty.bootstrap import Resampling
from tests.benchmarks.coverage import covered

N, CLASSES = 40, 4
WEIGHT = torch.randint(3, (3, N), generator=torch.Generator().manual_seed(1)).double()
ROWS = [torch.arange(N).repeat_interleave(weight.long()) for weight in WEIGHT]
"""The same as copies of examples."""


def drawn(*shape, high=CLASSES):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(len(shape) + high))


def test_resamples_are_of_all_units_and_follow_from_the_seed(monkeypatch):
    monkeypatch.setattr(bootstrap, "AT_ONCE", 70)  # a few resamples at a time, the last fewer
    first, again, other = (torch.cat([*bootstrap.draws(N, Resampling(0.9, 10, seed))]) for seed in (1, 1, 2))
    assert first.shape == (10, N)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.sum(1).tolist() == [N] * 10


def test_an_interval_of_what_never_varies_is_none_but_of_a_share_that_is_0_or_1():
    same = torch.ones(100).double()
    assert bootstrap.interval(same, 0.95) is None
    low, high = bootstrap.of_share(1.0, same, 30, 0.95)
    assert (low, high) == (pytest.approx(0.884, abs=1e-3), 1.0)  # Clopper & Pearson of 30 of 30
    assert bootstrap.of_share(0.0, 0 * same, 30, 0.95) == (0.0, pytest.approx(1 - low))
    some = torch.linspace(0, 1, 101).double()
    assert bootstrap.interval(some, 0.9) == (pytest.approx(0.05), pytest.approx(0.95))
    assert bootstrap.interval(torch.where(some < 0.6, torch.nan, some), 0.9) is None


@pytest.mark.parametrize("units", [2, 3, 8])
def test_of_few_units_a_difference_that_is_none_is_rarely_called_one(units):
    """Percentiles of resamples exclude 0 in 50 %, 26 % and 10 % of these."""
    generator, plan, called = torch.Generator().manual_seed(units), Resampling(resamples=300), 0
    counts = torch.cat([*bootstrap.draws(units, plan)])
    for _ in range(400):
        weight, value = torch.randint(4, 9, (units,), generator=generator), torch.randn(units, generator=generator)
        weight, value = weight.double(), value.double()
        apart, values = float(weight @ value / weight.sum()), counts @ (weight * value) / (counts @ weight)
        pair = bootstrap.of_difference(apart, values, units, plan.level)
        called += pair is not None and not pair[0] <= 0 <= pair[1]
    assert called < 0.09 * 400


def test_of_few_units_a_large_difference_is_called_one_and_of_many_its_percentiles_are_asked():
    weight = torch.cat([*bootstrap.draws(8, Resampling())])
    sure = 1 + 0.1 * torch.arange(8).double()
    low, high = bootstrap.of_difference(float(sure.mean()), weight @ sure / 8, 8, 0.95)
    half = 2.3646 * float(sure.std()) / 8**0.5  # Student's t of 7 degrees of freedom
    assert (low, high) == (pytest.approx(1.35 - half, rel=0.02), pytest.approx(1.35 + half, rel=0.02))
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)).double()
    assert bootstrap.of_difference(0.0, values, 30, 0.9) == bootstrap.interval(values, 0.9)


def test_margins_of_weighted_examples_are_those_of_copies():
    true, predicted = drawn(N), drawn(N, high=3)
    margins = Margins.of_pairs(true, predicted, WEIGHT, CLASSES)
    for r, rows in enumerate(ROWS):
        confusion = torch.bincount(CLASSES * true[rows] + predicted[rows], minlength=CLASSES**2).view(CLASSES, -1)
        assert float(margins.macro_f1()[r]) == pytest.approx(macro_f1(confusion))
        assert float(margins.matthews()[r]) == pytest.approx(matthews(confusion))


def test_average_precisions_and_counts_of_weighted_examples_are_those_of_copies():
    scores, labels = drawn(N, CLASSES, high=9) / 9, (drawn(N, CLASSES, high=3) == 0).to(torch.uint8)  # with ties
    precisions, counts = weighed_precisions(scores, labels, WEIGHT), weighed_counts(scores > 0.5, labels, WEIGHT)
    for r, rows in enumerate(ROWS):
        assert precisions[r].tolist() == pytest.approx(average_precisions(scores[rows], labels[rows]).tolist())
        expected = counted((scores > 0.5)[rows], labels[rows])
        assert [each[r].tolist() for each in counts] == [each.tolist() for each in expected]


def test_correlations_of_weighted_pairs_are_those_of_copies():
    x, y = drawn(N, high=12).double(), drawn(N, 1, high=12)[:, 0].double().square()
    for r, rows in enumerate(ROWS):
        assert float(weighed_pearson(x, y, WEIGHT)[r]) == pytest.approx(pearson(x[rows], y[rows]))
        assert float(weighed_spearman(x, y, WEIGHT)[r]) == pytest.approx(spearman(x[rows], y[rows]))


def test_chunks_of_each_sentence_add_up_to_those_of_all():
    tags = tags_of(["O", "B-a", "I-a", "B-b"])
    true, predicted, sentence = drawn(N), drawn(N, 1)[:, 0], torch.arange(N) // 7
    each = sentence_counts(true, predicted, sentence, 6, tags)
    assert torch.equal(each.sum(0), chunk_counts(true, predicted, sentence, tags))
    one = sentence == 2
    assert torch.equal(each[2], chunk_counts(true[one], predicted[one], sentence[one] - 2, tags))


def test_reliability_has_bins_of_equally_many_and_sees_what_is_too_sure():
    said = torch.linspace(0.5, 1, 1000)
    right = torch.rand(1000, generator=torch.Generator().manual_seed(0)) < said - 0.2
    curve = reliability(said, right, 10)
    assert [each.size for each in curve] == [100] * 10
    assert equal_mass_error(curve) == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("what", ["accuracy", "paired difference of accuracy"])
def test_intervals_hold_the_truth_of_simulated_sets(what):
    assert covered(what, 40) >= 0.85  # of 1,000 sets it is 93 to 97 %, which takes minutes
