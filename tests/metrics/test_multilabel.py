"""Metrics of label sets and of calibration, against scikit-learn and against all that could be chosen."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from ptft.metrics import calibration
from ptft.metrics import multilabel as measures


def drawn(count=200, labels=4, ties=False):
    """Scores and labels of which the scores know something; the last label no example has."""
    generator = torch.Generator().manual_seed(3)
    true = (torch.rand(count, labels, generator=generator) < torch.tensor([0.6, 0.3, 0.05, 0.0])[:labels]).to(
        torch.uint8
    )
    scores = (torch.randn(count, labels, generator=generator) + true).sigmoid()
    return ((scores * 5).round() / 5 if ties else scores), true


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns_also_of_equal_scores(ties):
    scores, true = drawn(ties=ties)
    found = measures.average_precisions(scores, true)
    expected = [reference.average_precision_score(true[:, k], scores[:, k]) for k in range(3)]
    assert found[:3].tolist() == pytest.approx(expected, abs=1e-12)
    assert math.isnan(found[3])


@pytest.mark.parametrize("ties", [False, True])
def test_no_threshold_has_a_higher_f1(ties):
    scores, true = drawn(ties=ties)
    thresholds = measures.best_thresholds(scores, true)
    f1 = measures.counted(scores >= thresholds, true).f1
    for k in range(3):
        best = max(float(measures.counted(scores[:, k : k + 1] >= cut, true[:, k : k + 1]).f1) for cut in scores[:, k])
        assert float(f1[k]) == pytest.approx(best)
        assert float(thresholds[k]) not in scores[:, k].tolist()
    assert thresholds[3] == measures.UNDECIDED


def test_neighbouring_floats_leave_a_threshold_between_them():
    scores = torch.tensor([[1.0], [1.0 - 2**-24]])
    assert (scores >= measures.best_thresholds(scores, torch.tensor([[1], [0]]))).tolist() == [[True], [False]]


def test_f1_is_scikit_learns():
    scores, true = drawn(labels=3)
    predicted = scores > 0.5
    found = measures.counted(predicted, true)
    for average, value in (("micro", measures.micro_f1(found)), ("macro", measures.macro_f1(found))):
        assert value == pytest.approx(reference.f1_score(true, predicted, average=average))
    precision, recall, _, support = reference.precision_recall_fscore_support(true, predicted)
    assert np.allclose(found.precision, precision)
    assert np.allclose(found.recall, recall)
    assert np.allclose(found.hits + found.missed, support)


@pytest.mark.parametrize("sets", [False, True])
def test_the_temperature_that_logits_were_spoiled_with_is_found(sets):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 3, generator=generator)
    true = calibration.probabilities(logits, sets)
    labels = (
        torch.bernoulli(true, generator=generator) if sets else torch.multinomial(true, 1, generator=generator)[:, 0]
    )
    found = calibration.fit_temperature(3 * logits, labels)
    assert found == pytest.approx(3, rel=0.05)
    before = calibration.calibration_error(calibration.probabilities(3 * logits, sets), labels)
    after = calibration.calibration_error(calibration.probabilities(3 * logits / found, sets), labels)
    assert after < 0.01 < before
    assert calibration.fit_temperature(logits, true.argmax(1)) == pytest.approx(calibration.COOLEST, rel=1e-3)


def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy():
    given = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.45, 0.55]])
    error = calibration.calibration_error(given, torch.tensor([0, 1, 0, 1]))
    assert error == pytest.approx((abs(1 - 1.8) + abs(1 - 0.8) + abs(1 - 0.55)) / 4)
