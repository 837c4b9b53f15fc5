"""Label sets: the loss and its variants against formulas, thresholds, what is answered; focal loss and calibration of
single classes.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ptft.core import Spec
from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.errors import ConfigError
from ptft.objectives.supervised.multilabel import Multilabel
from ptft.optim.averaging import Ema, fitted, put_back
from ptft.train.loop import evaluate
from tests.objectives.supervised.test_classify import Pixels, classify
from tests.objectives.supervised.test_classify import batch as single

SPEC = Spec("image", {"size": [6, 6], "channels": 1}, "labels", ("a", "b;c", "d", "e"))


def multilabel(spec=SPEC, **options):
    torch.manual_seed(0)
    objective = Multilabel(Pixels(), spec, **options)
    nn.init.normal_(objective.head.weight, std=0.5)
    return objective


def examples(count=60):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    labels = (torch.rand(count, 4, generator=generator) < torch.tensor([0.9, 0.5, 0.2, 0.0])).to(torch.uint8)
    return MemoryExamples(images, labels)


def batch():
    return examples().take(torch.arange(60))


def outputs(objective, raw):
    with torch.no_grad():
        logits = objective.logits(objective.backbone.prepare(raw["input"]))
    return logits, logits.sigmoid(), raw["label"].float()


def test_the_loss_is_the_cross_entropy_of_every_label_summed():
    objective, raw = multilabel(), batch()
    logits, _, true = outputs(objective, raw)
    step = objective(raw)
    expected = F.binary_cross_entropy_with_logits(logits, true, reduction="sum")
    assert torch.allclose(step.total, expected)
    assert int(step.count) == 60
    assert torch.allclose(objective.eval()(raw).total, expected)


def test_weights_focus_and_margin_are_those_of_the_papers():
    raw = batch()
    options = {"positive_weights": [1, 2, 0.5, 3], "focal": 1.0, "focal_negative": 4.0, "margin": 0.05}
    objective = multilabel(**options)
    _, p, true = outputs(objective, raw)
    shifted = (p - 0.05).clamp(min=0)
    there = torch.tensor([1, 2, 0.5, 3]) * (1 - p) * p.log()
    expected = -(true * there + (1 - true) * shifted**4 * (1 - shifted).log()).sum()
    assert torch.allclose(objective(raw).total, expected, rtol=1e-5)
    plain = F.binary_cross_entropy(p, true, reduction="sum")
    assert torch.allclose(objective.eval()(raw).total, plain, rtol=1e-5), "an evaluation measures the plain loss"
    focal = multilabel(focal=2.0)
    right = torch.where(true > 0, p, 1 - p)
    assert torch.allclose(focal(raw).total, -((1 - right) ** 2 * right.log()).sum(), rtol=1e-5)


def test_extreme_logits_have_finite_gradients():
    objective = multilabel(focal=0.5, focal_negative=0.5, margin=0.05)
    logits = torch.tensor([[200.0, -200.0, 200.0, -200.0]], requires_grad=True)
    objective.weighted_loss(logits, torch.tensor([[1, 1, 0, 0]])).backward()
    assert bool(logits.grad.isfinite().all())


def test_balanced_weights_are_examples_without_for_each_with():
    labels = examples().labels
    have = labels.sum(0).double()
    weights = multilabel(positive_weights="balanced", labels=labels).positive_weights
    assert torch.allclose(weights.double(), (60 - have) / have.clamp(min=1))
    with pytest.raises(ConfigError, match="must be null, balanced, or 4 numbers"):
        multilabel(positive_weights=[1, 2])


def test_thresholds_come_from_the_split_that_is_settled_on_and_averages_leave_them_alone():
    objective = multilabel(calibrate=True)
    ema = Ema(objective, 0.5)
    loader = Loader(examples(), 16)
    plain, _ = evaluate(objective, loader, torch.no_grad)
    assert torch.equal(objective.thresholds, torch.full((4,), 0.5))
    kept = fitted(objective)
    with ema.swapped(objective):
        settled, tables = evaluate(objective, loader, torch.no_grad, settle=True)
    assert settled["macro_f1"] > plain["macro_f1"]
    assert settled["ece"] < plain["ece"]
    assert objective.thresholds[3] == 0.5, "no example has the label"
    chosen = objective.thresholds.clone()
    assert len(set(chosen.tolist())) == 4, "they are there after the average was taken away"
    ema.update(objective)
    assert evaluate(objective, loader, torch.no_grad)[0] == settled
    assert tables["labels"].rows == list(SPEC.classes)
    assert [row[-1] for row in tables["labels"].values] == chosen.tolist()
    put_back(objective, kept)
    assert torch.equal(objective.thresholds, torch.full((4,), 0.5))
    assert multilabel(threshold=0.3).cutoffs.tolist() == pytest.approx([0.3] * 4)


def test_answers_are_the_labels_above_their_thresholds():
    objective, raw = multilabel().eval(), batch()
    objective.thresholds.copy_(torch.tensor([0.9, 0.2, 0.5, 0.5]))
    _, p, _ = outputs(objective, raw)
    answers, rows = objective.predict(raw), objective.rows(raw, objective(raw).outputs)
    for i, answer in enumerate(answers):
        above = [
            (name, value)
            for name, value, cut in zip(SPEC.classes, p[i], [0.9, 0.2, 0.5, 0.5], strict=True)
            if value >= cut
        ]
        assert answer["labels"] == "|".join(name for name, _ in above), "what stands in no name separates them"
        assert answer["probabilities"] == "|".join(f"{value:.4f}" for _, value in above)
        assert answer["p_d"] == pytest.approx(float(p[i, 2]), abs=1e-6)
    assert rows["predicted"] == [answer["labels"] for answer in answers]
    assert sum(rows["loss"]) == pytest.approx(float(objective(raw).total.detach()), rel=1e-5)


def test_single_classes_are_sets_of_one():
    raw = single()
    spec = Spec("image", SPEC.shape, classes=tuple(f"class {number}" for number in range(5)))
    objective = multilabel(spec)
    logits, _, _ = outputs(objective, raw)
    expected = F.binary_cross_entropy_with_logits(logits, F.one_hot(raw["label"], 5).float(), reduction="sum")
    assert torch.allclose(objective(raw).total, expected)


def test_what_has_no_labels_or_several_is_refused():
    with pytest.raises(ConfigError, match="the dataset has a number each"):
        multilabel(Spec("text", {}, "number"))
    with pytest.raises(ConfigError, match="choose objective=multilabel"):
        classify.__globals__["Classify"](Pixels(), SPEC)
    notes = multilabel().examine({"train": examples()})
    assert notes == ["without a val split every label is answered from a probability of 0.5 on"]
    everywhere = MemoryExamples(examples().base, torch.ones(60, 4, dtype=torch.uint8))
    told = multilabel().examine({"train": everywhere, "val": examples()})
    assert [note.split(":")[0] for note in told] == [
        "every training example has a, b;c, d, e",
        "the threshold of e stays 0.5",
    ]


def test_the_focal_loss_of_classes_leaves_out_what_is_answered_well():
    plain, raw = classify(), single()
    with torch.no_grad():
        log_p = plain.logits(plain.backbone.prepare(raw["input"])).log_softmax(1)
    own = log_p.gather(1, raw["label"].unsqueeze(1))[:, 0]
    assert torch.allclose(classify(focal=2.0)(raw).total, -((1 - own.exp()) ** 2 * own).sum(), rtol=1e-5)
    assert torch.equal(classify(focal=2.0).eval()(raw).total, plain.eval()(raw).total)
    smoothed = classify(label_smoothing=0.1, class_weights=[1, 2, 3, 4, 5])
    barely = classify(label_smoothing=0.1, class_weights=[1, 2, 3, 4, 5], focal=1e-7)
    assert torch.allclose(smoothed(raw).total, barely(raw).total, rtol=1e-4), "without focus it is the plain one"


def test_calibrated_probabilities_rank_and_lose_as_before():
    objective, loader = classify(calibrate=True), Loader(MemoryExamples(single()["input"], single()["label"]), 16)
    before = evaluate(objective, loader, torch.no_grad)[0]
    after = evaluate(objective, loader, torch.no_grad, settle=True)[0]
    assert float(objective.calibration) == pytest.approx(after["temperature"]) != 1.0
    assert after["ece"] < before["ece"]
    assert (after["accuracy"], after["loss"]) == (before["accuracy"], before["loss"])
    plain = classify()
    assert "calibration" not in plain.state_dict(), "weights of earlier versions have none"
    raw = single()
    logits = objective.eval().logits(objective.backbone.prepare(raw["input"]))
    expected = (logits / objective.calibration).softmax(1).amax(1)
    assert [row["probability"] for row in objective.predict(raw)] == pytest.approx(expected.tolist())
    assert torch.allclose(objective.answer(objective.backbone.prepare(raw["input"]).flatten(1)).amax(1), expected)
