"""The methods by themselves, on models whose explanation is known."""

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from ptft.core import Features, Spec
from ptft.data.tokenizer import Tokenizer
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.models.text.transformer import Transformer
from ptft.objectives.supervised.classify import Classify
from ptft.objectives.supervised.multilabel import Multilabel
from ptft.stages.explain import checks
from ptft.stages.explain.asked import Asked, Question, alone
from ptft.stages.explain.integrated import integrated_gradients
from ptft.stages.explain.methods import attention_rollout, grad_cam

IMAGES = Spec(
    "image", {"size": [8, 8], "channels": 1, "fit": "stretch"}, classes=("a", "b", "c"), mean=(0.5,), std=(0.5,)
)
TEXTS = Spec("text", {"tokenizer": Tokenizer().to_dict(), "length": 16}, classes=("a", "b", "c"))


def asked(backbone, spec=IMAGES):
    torch.manual_seed(0)
    return Asked(Classify(backbone, spec), 7, "ckpt=x")


def question(x, empty=None, target=1):
    return Question(
        x, torch.zeros_like(x) if empty is None else empty, target, tuple(x.shape[-2:]) if x.ndim > 2 else x.shape[1:]
    )


def test_integrated_gradients_are_those_of_captum():
    torch.manual_seed(0)
    model, x = asked(CNN(IMAGES, channels=(3, 4), width=6)), torch.randn(1, 1, 8, 8)
    found = integrated_gradients(model, question(x), 256)
    theirs = IntegratedGradients(lambda points: model.score(points, 1)).attribute(x, torch.zeros_like(x), n_steps=500)
    assert torch.allclose(found.values, theirs[0, 0].float(), atol=2e-3)
    assert found.values.abs().max() > 0.01
    assert found.gap < 0.01


def test_a_label_among_several_is_believed_by_itself():
    torch.manual_seed(0)
    model, x = Asked(Multilabel(CNN(IMAGES, channels=(3, 4), width=6), IMAGES), 7, "ckpt=x"), torch.randn(2, 1, 8, 8)
    logits = model.logits(x)
    assert torch.equal(model.score(x, 1), logits[:, 1])
    assert torch.allclose(model.belief(logits, 1), logits[:, 1].sigmoid())


def test_what_is_explained_of_labels_is_one_that_is_answered():
    """A label is answered from its own probability on, however likely others are."""
    objective = Multilabel(CNN(IMAGES, channels=(3, 4), width=6), IMAGES)
    objective.thresholds.copy_(torch.tensor([0.9, 0.05, 0.3]))
    model = Asked(objective, 7, "ckpt=x")
    given = torch.tensor([[0.8, 0.2, 0.4], [0.8, 0.04, 0.2], [0.95, 0.04, 0.2]])
    assert [model.decided(row.logit()) for row in given.unsqueeze(1)] == [1, 0, 0]
    answered = [[False, True, True], [False, False, False], [True, False, False]]
    assert [model.answered(row.logit()).tolist() for row in given.unsqueeze(1)] == answered


def test_of_texts_they_are_those_on_embeddings_and_add_up():
    torch.manual_seed(0)
    model = asked(Transformer(TEXTS, width=8, depth=1, heads=2), TEXTS)
    ids, empty = torch.tensor([[72, 105, 33]]), torch.tensor([[260, 260, 33]])
    found = integrated_gradients(model, question(ids, empty), 64)
    due = float(model.score(ids, 1) - model.score(empty, 1))
    assert found.values.shape == (3,)
    assert found.values[2] == 0  # which is the same in both
    assert float(found.values.sum()) == pytest.approx(due, abs=0.01)


def test_parts_are_short_where_the_score_turns():
    """A step of the score between two places of an even way is lost to few even steps."""
    from ptft.stages.explain import integrated

    edges, _ = integrated._edges(32, 7, lambda shares: (2000 * (shares - 0.311)).tanh())
    assert len(edges) == 33
    assert torch.equal(edges, edges.sort().values)
    assert (edges.diff() < 1e-3).sum() >= 4


def test_grad_cam_sees_the_place_that_counts():
    class OneCell(CNN):
        def forward(self, x, mask=None):
            return Features(x[:, :, ::2, ::2].flatten(2).transpose(1, 2).expand(-1, -1, 2).clamp(min=0))

        def pool(self, features):
            return features.tokens.mean(1)

    model = asked(OneCell(IMAGES, width=2))
    model.objective.head.weight.zero_()[1] = 1.0
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 2, 6] = 3.0
    found = grad_cam(model, question(x))
    assert divmod(int(found.values.argmax()), 8)[0] in (2, 3)
    assert divmod(int(found.values.argmax()), 8)[1] in (6, 7)


def test_grad_cam_reads_the_last_convolution_of_a_network_without_places():
    torch.manual_seed(0)
    model = asked(CNN(IMAGES, channels=(3, 4), width=6))
    assert grad_cam(model, question(torch.randn(1, 1, 8, 8))).values.shape == (8, 8)


def test_grad_cam_and_rollout_of_a_class_token():
    """Its gradient reaches no patch at the end, so that there is no map; attention does."""
    torch.manual_seed(0)
    model = asked(VisionTransformer(IMAGES, patch=2, width=8, depth=2, heads=2, pool="cls"))
    ask = question(torch.randn(1, 1, 8, 8))
    assert grad_cam(model, ask) is None
    rolled = attention_rollout(model, ask).values
    assert rolled.shape == (8, 8)
    assert bool((rolled > 0).all())


def test_rollout_is_the_product_of_attention_with_half_of_each_token():
    torch.manual_seed(0)
    model = asked(Transformer(TEXTS, causal=True, width=8, depth=2, heads=2, pool="last"), TEXTS)
    nn.init.zeros_(model.backbone.blocks[0].attention.qkv.weight)
    nn.init.zeros_(model.backbone.blocks[1].attention.qkv.weight)
    found = attention_rollout(model, question(torch.tensor([[72, 105, 33]])))
    even = torch.tensor([[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])
    step = (even + torch.eye(3)) / 2
    assert torch.allclose(found.values, (step @ step)[2], atol=1e-6)


def test_deletion_falls_at_once_where_the_order_is_right():
    class Sum(nn.Module):
        backbone = nn.Identity()

        def logits(self, x):
            return torch.stack([torch.zeros(len(x)), 10 * x[:, 0, 0, 0]], 1)

    model = Asked(Sum(), 7, "ckpt=x")
    x = torch.ones(1, 1, 2, 4)
    units = torch.arange(8).view(2, 4)
    orders = torch.stack([torch.arange(8), torch.arange(8).flip(0)])
    found = checks.deletion(model, question(x), units, orders)
    assert found.curves.shape == (2, checks.SHARES)
    assert found.curves[0, 2:].tolist() == [0.5] * 9
    assert (found.curves[1, :-1] > 0.99).all()
    assert found.areas[0] < found.areas[1]
    assert torch.equal(found.last, found.curves.flip(0))
    assert (
        float(found.advantages[0]) == -float(found.advantages[1]) == pytest.approx(8, abs=0.01)
    )  # of 10: lost at once, or at the end
    masked = checks.deletion(model, question(x), torch.where(units == 0, -1, units - 1), orders[:1, :7])
    assert (masked.curves > 0.99).all()  # what is of no unit stays


def test_equal_values_are_ordered_at_random_and_sums_leave_out_what_is_of_none():
    draw = torch.Generator().manual_seed(0)
    firsts = {int(checks.order_of(torch.zeros(5), draw)[0]) for _ in range(30)}
    assert len(firsts) > 2
    assert checks.order_of(torch.tensor([1.0, 3.0, 2.0]), draw).tolist() == [1, 2, 0]
    assert checks.unit_values(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, -1, 0])).tolist() == [5.0]


def test_reasons_name_what_fails():
    assert checks.reasons(0.04, 0.04, 0.5, 3.0, 1.0, 0.1) == []
    assert checks.reasons(0.04, None, 0.5, 3.0, 0.0, None) == []
    assert len(checks.reasons(0.3, 0.3, 0.01, 0.1, 0.0, 0.9)) == 4
    assert "as much by what it marks" in checks.reasons(0.04, 0.04, 0.5, 3.0, 2.0, 0.1)[0]


def test_of_twenty_alike_one_is_better_than_all_others():
    """So an explanation that is one of those of random weights passes once in twenty times."""
    advantages = torch.randn(20, generator=torch.Generator().manual_seed(0))
    passed = [checks.chance(float(advantages[k]), advantages[torch.arange(20) != k]) <= checks.LEVEL for k in range(20)]
    assert sum(passed) == 1
    assert passed[int(advantages.argmax())]


def test_one_example_of_a_batch_has_no_padding():
    texts = {"input": torch.tensor([[5, 6, 0], [7, 8, 9]]), "mask": torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()}
    assert {name: value.tolist() for name, value in alone(texts, 0).items()} == {"input": [[5, 6]]}
    sounds = {"input": torch.tensor([[5, 6, 0]]), "length": torch.tensor([2])}
    assert alone(sounds, 0)["input"].tolist() == [[5, 6]]
