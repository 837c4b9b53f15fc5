"""Classification: its loss, its random mixtures and its metrics, against formulas and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from ptft.augment.mix import Mix
from ptft.core import Backbone, Features, Spec
from ptft.data.examples import MemoryExamples
from ptft.data.loader import Loader
from ptft.errors import ConfigError
from ptft.objectives.supervised.classify import Classify
from ptft.train.loop import evaluate

EPSILON = 0.1
WEIGHTS = [0.5, 1.0, 2.0, 0.25, 3.0]


class Pixels(Backbone):
    """The pixels themselves, from -1 to 1."""

    width = 36

    def prepare(self, raw):
        return raw / 127.5 - 1

    def forward(self, x, mask=None):
        return Features(x.flatten(1).unsqueeze(1))

    def layers(self):
        return [[nn.Identity()]]


def classify(count=5, **options):
    torch.manual_seed(0)
    names = tuple(f"class {number}" for number in range(count))
    objective = Classify(Pixels(), Spec("image", {"size": [6, 6], "channels": 1}, classes=names), **options)
    nn.init.normal_(objective.head.weight, std=0.3)
    return objective


def examples(count=100, num_classes=5):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return MemoryExamples(images, torch.randint(num_classes, (count,), generator=generator))


def batch(count=100, num_classes=5):
    return examples(count, num_classes).take(torch.arange(count))


def log_probabilities(objective, x):
    """Log-softmax in double precision, [B, K]."""
    logits = (x.flatten(1) @ objective.head.weight.T + objective.head.bias).detach().double().numpy()
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def loss(step):
    return float(step.total.detach()) / int(step.count)


def test_metrics_over_batches_are_scikit_learns():
    """The last class neither occurs nor is ever predicted, and the last batch is a short one."""
    objective = classify(12)
    objective.head.bias.data[11] = -1e3
    held_out = examples(250, num_classes=11)
    found, tables = evaluate(objective, Loader(held_out, 64), torch.no_grad)
    true, log_p = held_out.labels.numpy(), log_probabilities(objective, objective.backbone.prepare(held_out.base))
    predicted = log_p.argmax(1)
    assert found.keys() == {"loss", "accuracy", "top5", "macro_f1", "mcc"}
    close(found["loss"], -log_p[np.arange(250), true].mean())
    close(found["accuracy"], sk.accuracy_score(true, predicted))
    close(found["top5"], sk.top_k_accuracy_score(true, log_p, k=5, labels=range(12)))
    close(found["macro_f1"], sk.f1_score(true, predicted, average="macro"))
    close(found["mcc"], sk.matthews_corrcoef(true, predicted))
    assert 0 < found["accuracy"] < found["top5"] < 1
    table = tables["confusion"]
    assert table.rows == table.columns == objective.classes
    assert table.values == sk.confusion_matrix(true, predicted, labels=range(12)).tolist()


def test_a_class_that_is_never_predicted_counts_as_zero_in_macro_f1():
    objective = classify()
    objective.head.bias.data[2] = -1e3
    held_out = examples()
    found, _ = evaluate(objective, Loader(held_out, 64), torch.no_grad)
    predicted = log_probabilities(objective, objective.backbone.prepare(held_out.base)).argmax(1)
    close(found["macro_f1"], sk.f1_score(held_out.labels, predicted, average="macro", zero_division=0))


def test_top_five_is_asked_above_ten_classes_only():
    few, _ = evaluate(classify(10), Loader(examples(40, 10), 64), torch.no_grad)
    assert few.keys() == {"loss", "accuracy", "macro_f1", "mcc"}


def test_training_counts_what_is_right():
    objective, given = classify(), batch()
    step = objective.train()(given)
    predicted = log_probabilities(objective, objective.backbone.prepare(given["input"])).argmax(1)
    sums = {"count": step.count, **step.sums}
    assert objective.metrics(sums) == {"accuracy": sk.accuracy_score(given["label"], predicted)}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, EPSILON])
def test_smoothing_and_weights_are_the_formulas_and_for_training_only(smoothing, weights):
    """The target is (1 - e) on the label and e / K everywhere; an example counts what the weight of its label is."""
    objective, given = classify(label_smoothing=smoothing, class_weights=weights), batch()
    log_p = log_probabilities(objective, objective.backbone.prepare(given["input"]))
    one_hot = np.eye(5)[given["label"]]
    target = (1 - smoothing) * one_hot + smoothing / 5
    own = np.array(weights or [1.0] * 5)[given["label"]]
    close(loss(objective.train()(given)), -(own * (target * log_p).sum(1)).mean())
    close(loss(objective.eval()(given)), -(one_hot * log_p).sum(1).mean())


def test_balanced_weights_are_scikit_learns():
    labels = torch.tensor([0] * 10 + [1] * 3 + [2] * 5 + [3] + [4])
    objective = classify(class_weights="balanced", labels=labels)
    close(objective.class_weights, compute_class_weight("balanced", classes=np.arange(5), y=labels.numpy()))
    close(objective.class_weights[labels].mean(), 1)


def test_balanced_weights_of_a_class_without_examples_are_finite():
    objective = classify(class_weights="balanced", labels=torch.tensor([0, 1, 1, 3, 4]))
    assert objective.class_weights.isfinite().all()


def test_weights_belong_to_the_data_and_not_to_the_checkpoint():
    assert classify(class_weights=WEIGHTS).state_dict().keys() == {"head.weight", "head.bias"}


@pytest.mark.parametrize("options", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}])
def test_mixed_images_are_asked_for_their_shares(options):
    """The loss is the cross-entropy with the shares of the labels; what is right counts against the image's own."""
    objective, given = classify(label_smoothing=EPSILON, **options), batch()
    x = objective.backbone.prepare(given["input"])
    torch.manual_seed(3)
    step = objective.train()(given)
    torch.manual_seed(3)
    mixed, shares = Mix(**options).train()(x, given["label"], 5)
    assert ((shares > 0).sum(1) == 2).any()
    log_p = log_probabilities(objective, mixed)
    target = (1 - EPSILON) * shares.double().numpy() + EPSILON / 5
    close(loss(step), -(target * log_p).sum(1).mean())
    assert int(step.sums["correct"]) == (log_p.argmax(1) == given["label"].numpy()).sum()


def test_what_is_mixed_smoothed_and_weighed_is_the_mean_of_its_labels_losses():
    objective, given = classify(label_smoothing=EPSILON, class_weights=WEIGHTS, mixup=0.5), batch()
    x = objective.backbone.prepare(given["input"])
    torch.manual_seed(3)
    step = objective.train()(given)
    torch.manual_seed(3)
    mixed, shares = Mix(mixup=0.5).train()(x, given["label"], 5)
    log_p = log_probabilities(objective, mixed)
    each = -np.array(WEIGHTS) * ((1 - EPSILON) * log_p + EPSILON * log_p.mean(1, keepdims=True))
    close(loss(step), (shares.double().numpy() * each).sum(1).mean())


def test_mixing_images_of_one_class_keeps_their_label():
    objective, given = classify(mixup=0.5), batch()
    given["label"] = torch.full_like(given["label"], 3)
    torch.manual_seed(3)
    step = objective.train()(given)
    torch.manual_seed(3)
    mixed, _ = Mix(mixup=0.5).train()(objective.backbone.prepare(given["input"]), given["label"], 5)
    close(loss(step), -log_probabilities(objective, mixed)[:, 3].mean())


def test_what_is_random_is_so_in_training_only():
    noisy = {"views": {"shift": 2, "flip": True, "erase": 0.5}, "mixup": 0.3, "dropout": 0.3}
    given = batch()
    for options in [noisy, *({key: value} for key, value in noisy.items())]:
        objective, plain = classify(**options), classify()
        assert loss(objective.train()(given)) != loss(objective(given)), options
        before = torch.get_rng_state()
        assert loss(objective.eval()(given)) == loss(plain.eval()(given))
        assert objective.predict(given) == plain.predict(given)
        assert torch.equal(torch.get_rng_state(), before), "evaluation draws no random number"


def test_predictions_are_the_likeliest_class_and_its_probability():
    objective, given = classify().eval(), batch()
    found = objective.predict({"input": given["input"]})
    log_p = log_probabilities(objective, objective.backbone.prepare(given["input"]))
    assert [row["class"] for row in found] == [objective.classes[label] for label in log_p.argmax(1)]
    close(torch.tensor([row["probability"] for row in found]), np.exp(log_p.max(1)))


@pytest.mark.parametrize(
    ("count", "options", "said"),
    [
        (5, {"num_classes": 7}, "objective.num_classes=7: the dataset has 5 classes"),
        (1, {}, "the dataset has 1 classes; at least 2 are needed"),
        (5, {"class_weights": [1, 2]}, r"objective.class_weights=\[1, 2\]: .*5 numbers"),
        (5, {"class_weights": "equal"}, "objective.class_weights=equal: must be null, balanced, or 5 numbers"),
        (5, {"views": {"flop": True}}, "objective.views.flop does not exist"),
    ],
)
def test_what_can_not_work_is_refused_by_its_key(count, options, said):
    with pytest.raises(ConfigError, match=said):
        classify(count, **options)


@pytest.mark.parametrize("bad", [[1, 2, 3, 4, -5], [1, 2, 3, 4, float("nan")], [1, 2, 3, 4, "a"], 2.0])
def test_weights_are_finite_numbers_and_not_negative(bad):
    with pytest.raises(ConfigError, match=r"objective\.class_weights"):
        classify(class_weights=bad)


def test_the_right_number_of_classes_may_be_typed():
    assert classify(num_classes=5).head.out_features == 5


def test_flipped_answers_are_averaged_in_evaluation_only():
    plain, flipped = classify(), classify(tta="flip")
    flipped.load_state_dict(plain.state_dict())
    x = torch.randn(3, 1, 6, 6)
    assert torch.equal(plain.train().logits(x), flipped.train().logits(x))
    plain.eval(), flipped.eval()
    both = (plain.logits(x) + plain.logits(x.flip(-1))) / 2
    torch.testing.assert_close(flipped.logits(x), both)
    torch.testing.assert_close(flipped.logits(x.flip(-1)), both)
    assert not torch.allclose(plain.logits(x), both)
    assert len(flipped.predict({"input": torch.randint(256, (3, 1, 6, 6), dtype=torch.uint8)})) == 3


def test_another_way_of_averaging_is_refused():
    with pytest.raises(ConfigError, match=r"objective\.tta"):
        classify(tta="crop")
