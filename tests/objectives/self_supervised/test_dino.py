"""DINO: its loss, its center, its phases, and crops of two sizes."""

import numpy as np
import pytest
import torch

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.self_supervised.dino import DINO, cross_entropy


def spec(height=16, width=16):
    return Spec("image", {"size": [height, width], "channels": 1, "fit": "none"})


def vit(size=(16, 16)):
    return VisionTransformer(spec(*size), patch=4, width=16, depth=1, heads=2)


def dino(backbone=None, size=(16, 16), **options):
    torch.manual_seed(0)
    small = {"hidden": 16, "bottleneck": 8, "prototypes": 12, "local_crops": 3}
    return DINO(backbone or vit(size), spec(*size), **{**small, **options}).train()


def images(count=6, size=(16, 16)):
    return torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(1))


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def test_the_loss_is_that_of_a_loop_over_pairs_of_different_crops():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(2, 4, 7, generator=generator, dtype=torch.float64).softmax(-1)
    log_answers = torch.randn(5, 4, 7, generator=generator, dtype=torch.float64).log_softmax(-1)
    losses = [-(targets[t].numpy() * log_answers[s].numpy()).sum(-1) for t in range(2) for s in range(5) if s != t]
    np.testing.assert_allclose(float(cross_entropy(targets, log_answers)), np.mean(losses, axis=0).sum())


def outputs(objective, large):
    """The teacher's cosines by its own parts, [2 B, K], in double precision."""
    teacher = objective.teacher
    points = teacher["head"].mlp(teacher["backbone"].pool(teacher["backbone"](large))).double()
    points = points / points.norm(dim=1, keepdim=True)
    rows = teacher["head"].prototypes.double()
    return (points @ (rows / rows.norm(dim=1, keepdim=True)).T).detach().numpy()


def test_targets_are_centered_and_sharpened_and_the_center_follows_the_teachers_mean():
    objective, large = dino(center_momentum=0.8, teacher_temperature=(0.05, 0.05)), images(8)
    objective.center.copy_(torch.linspace(-0.2, 0.2, 12))
    before, found = objective.center.double().numpy().copy(), outputs(objective, large)
    targets = objective.targets(large)
    np.testing.assert_allclose(targets.numpy(), softmax((found - before) / 0.05), atol=1e-5)
    objective.advance(1, 10)
    np.testing.assert_allclose(objective.center.numpy(), 0.8 * before + 0.2 * found.mean(0), atol=1e-5)
    objective.eval().learn(images())
    assert not objective.teacher_sum.any(), "an evaluation moves nothing"


def test_the_teacher_gets_no_gradient_and_the_student_all_of_it():
    objective = dino(freeze_last=0)
    objective.learn(images()).total.backward()
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    assert all(parameter.grad is not None for parameter in objective.backbone.parameters())
    assert objective.head.prototypes.grad.abs().max() > 0


def test_the_student_learns_what_a_teacher_at_rest_answers():
    """Its neighbours do not show that: batch statistics and the center improve them without a step."""
    objective = dino(freeze_last=0.0)
    optimizer = torch.optim.SGD([parameter for parameter in objective.parameters() if parameter.requires_grad], 0.5)
    losses = []
    for _ in range(30):
        torch.manual_seed(0)  # the same crops
        step = objective.learn(images(12))
        loss = step.total / step.count
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_the_last_layer_learns_after_its_share_of_the_run():
    objective = dino(freeze_last=0.2)
    gradients = []
    for step in range(4):
        objective.zero_grad()
        objective.learn(images()).total.backward()
        assert objective.head.mlp[0].weight.grad.abs().max() > 0
        gradients.append(float(objective.head.prototypes.grad.abs().max()))
        objective.advance(step + 1, 10)
    assert [gradient > 0 for gradient in gradients] == [False, False, True, True]


def test_the_teachers_temperature_rises_in_a_straight_line_and_stays():
    objective = dino(teacher_temperature=(0.02, 0.06), warmup=0.5)
    found = [float(objective.teacher_temperature)]
    for step in range(1, 9):
        objective.targets(images())
        objective.advance(step, 8)
        found.append(float(objective.teacher_temperature))
    assert found == pytest.approx([0.02, 0.03, 0.04, 0.05, *[0.06] * 5])


def test_the_last_layer_answers_with_cosines_whatever_its_rows_lengths():
    objective, features = dino(), torch.randn(9, 16)
    found = objective.head(features)
    assert float(found.detach().abs().max()) <= 1 + 1e-6
    with torch.no_grad():
        objective.head.prototypes.mul_(torch.linspace(0.1, 9, 12)[:, None])
    torch.testing.assert_close(objective.head(features), found)


def seen(backbone, objective, x):
    """Shapes of what the student's backbone is given in a step."""
    shapes = []
    hook = backbone.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape)))
    objective.learn(x)
    hook.remove()
    return shapes


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((16, 16), {}, [(12, 1, 16, 16), (18, 1, 8, 8)]),
        ((28, 28), {}, [(12, 1, 28, 28), (18, 1, 16, 16)]),
        ((16, 32), {}, [(12, 1, 16, 32), (18, 1, 8, 16)]),
        ((16, 16), {"local_size": 12, "local_crops": 1}, [(12, 1, 16, 16), (6, 1, 12, 12)]),
        ((16, 16), {"local_crops": 0}, [(12, 1, 16, 16)]),
    ],
)
def test_small_crops_are_smaller_images_where_the_backbone_takes_them(size, options, expected):
    objective = dino(size=size, **options)
    assert seen(objective.backbone, objective, images(6, size)) == expected


def test_small_crops_have_the_images_size_where_the_backbone_takes_no_other():
    objective = dino(CNN(spec(), channels=(2, 4), width=8))
    assert seen(objective.backbone, objective, images()) == [(12, 1, 16, 16), (18, 1, 16, 16)]
    with pytest.raises(ConfigError, match=r"objective\.local_size=8: model CNN"):
        dino(CNN(spec(), channels=(2, 4), width=8), local_size=8)


def test_crops_cover_the_areas_that_are_asked_for():
    """Of an image that grows from left to right, a crop's spread says how wide it is."""
    objective = dino(global_crop=(0.8, 1.0), local_crop=(0.05, 0.1))
    ramp = torch.linspace(0, 1, 16).expand(400, 1, 16, 16)
    found = [views(ramp) for views in (objective.views, objective.local_views)]
    wide, narrow = (crops.amax((1, 2, 3)) - crops.amin((1, 2, 3)) for crops in found)
    assert float(narrow.max()) < 0.45 < 0.6 < float(wide.min())
