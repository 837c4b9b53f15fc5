"""DINOv2: balanced answers, spread, hidden patches; alone and over two processes."""

import subprocess
import sys
from datetime import timedelta

import pytest
import torch
from torch import distributed as dist
from torch.nn import functional as F

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.image.cnn import CNN
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.self_supervised.dino import cross_entropy
from ptft.objectives.self_supervised.dinov2 import DINOv2, nearness, sinkhorn
from ptft.objectives.self_supervised.mae import chosen
from tests.helpers.processes import Process
from tests.helpers.self_supervised import built, metrics, train

SPEC = Spec("image", {"size": [16, 16], "channels": 1, "fit": "none"})


def dinov2(pool="mean", **options):
    torch.manual_seed(0)
    backbone = VisionTransformer(SPEC, patch=4, width=16, depth=1, heads=2, pool=pool)
    small = {"hidden": 16, "bottleneck": 8, "prototypes": 12, "local_crops": 2}
    return DINOv2(backbone, SPEC, **{**small, **options}).train()


def images(count=6):
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def rows(count=9, width=5):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0))


def test_features_are_better_than_random_ones_by_what_these_never_are():
    run = built("dinov2", "train.steps=100", "optimizer.lr=3e-3", "train.every.evaluate=100")
    before = metrics(run)["knn"]
    train(run)
    assert metrics(run)["knn"] > before + 0.07


def test_answers_are_balanced_over_rows_that_count():
    weights = torch.tensor([1.0, 0, 1, 1, 1, 0, 1, 1, 1])
    found = sinkhorn(rows() / 0.3, weights)
    by_hand = (rows()[weights > 0] / 0.3).exp()
    for _ in range(3):
        by_hand = by_hand / by_hand.sum(0)
        by_hand = by_hand / by_hand.sum(1, keepdim=True)
    torch.testing.assert_close(found[weights > 0], by_hand)
    assert not found[weights == 0].any()
    uneven, even = ((answers.mean(0) - 0.2).abs().max() for answers in ((rows() / 0.3).softmax(1), by_hand))
    assert float(even) < 0.5 * float(uneven)


def test_spread_is_the_distance_to_the_nearest_other():
    points = F.normalize(rows(), dim=1)
    distances = torch.cdist(points, points) + 10 * torch.eye(9)
    torch.testing.assert_close(nearness(rows()), -(distances.amin(1) + 1e-8).log().sum())
    assert float(nearness(rows(1))) == 0


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_half_of_the_crops_hide_patches_and_the_student_does_not_see_them(pool):
    objective = dinov2(pool, mask_ratio=(0.2, 0.5))
    places, weights = objective.masks(torch.zeros(800, 1, 16, 16))
    hidden = (weights > 0).sum(1)
    assert places.shape == (800, 8)
    assert set(hidden.tolist()) == {0, 3, 4, 5, 6, 7, 8}
    assert abs(float((hidden > 0).float().mean()) - 0.5) < 0.06
    torch.testing.assert_close(weights.sum(1), (hidden > 0).float())
    x = images()
    places, weights = objective.masks(x)
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4).clone()
    for image in range(6):
        for place in places[image][weights[image] > 0].tolist():
            patches[image, :, place // 4, place % 4] += 50.0
    other = patches.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)
    assert not torch.equal(other, x)
    torch.testing.assert_close(
        objective._student(other, places, weights).tokens, objective._student(x, places, weights).tokens
    )


def test_the_loss_is_its_three_parts():
    objective = dinov2(local_crops=0, patch_weight=2.0, koleo=0.5, freeze_last=0).eval()
    objective.views = torch.nn.Identity()
    x = images()
    large = x.repeat(2, 1, 1, 1)
    torch.manual_seed(3)
    places, weights = objective.masks(large)
    torch.manual_seed(3)
    found = objective.learn(x).total
    seen = objective._student(large, places, weights)
    pooled = objective.backbone.pool(seen)
    targets, patch_targets = objective.balanced(large, places, weights)
    answers = (objective.head(pooled) / 0.1).log_softmax(1)
    expected = cross_entropy(targets.view(2, 6, -1), answers.view(2, 6, -1))
    expected = expected + 0.5 * (nearness(pooled[:6]) + nearness(pooled[6:])) / 2
    logits = objective.patch_head(chosen(seen.tokens, places).flatten(0, 1)).view(12, 8, -1) / 0.1
    patch_targets = patch_targets.view(12, 8, -1)
    for crop in range(12):
        count = int((weights[crop] > 0).sum())
        for place in range(count):
            error = -(patch_targets[crop, place] * logits[crop, place].log_softmax(0)).sum()
            expected = expected + 2.0 * error / count / 2
    torch.testing.assert_close(found, expected)


def test_the_teacher_has_both_heads_and_gets_no_gradient():
    objective = dinov2(freeze_last=0)
    objective.learn(images(12)).total.backward()
    assert set(objective.teacher) == {"backbone", "head", "patch_head"}
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    assert all(parameter.grad is not None for parameter in objective.backbone.parameters())
    assert objective.patch_head.prototypes.grad.abs().max() > 0
    assert objective.hidden_token.grad.abs().max() > 0
    objective.advance(1, 10)
    assert not objective.center.any()


def test_a_backbone_without_patches_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"objective=dinov2: model CNN .*model=vit_tiny"):
        DINOv2(CNN(SPEC), SPEC)


MINUTE = timedelta(minutes=1)
SPLIT = 4


def _process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=MINUTE)
    mine = rows()[slice(0, SPLIT) if rank == 0 else slice(SPLIT, 9)].requires_grad_()
    spread = nearness(mine)
    spread.backward()
    answers = sinkhorn(mine.detach() / 0.3, torch.ones(len(mine)))
    torch.save([spread.detach(), mine.grad, answers], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_are_one_with_the_joint_batch(tmp_path):
    code = "from tests.objectives.self_supervised import test_dinov2\n"
    code += f"test_dinov2._process(1, {str(tmp_path)!r})"
    with Process([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as other:
        _process(0, tmp_path)
        said = other.communicate(timeout=60)[1]
    assert other.returncode == 0, said
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    joint = rows().requires_grad_()
    spread = nearness(joint)
    spread.backward()
    torch.testing.assert_close(parts[0][0] + parts[1][0], spread.detach())
    torch.testing.assert_close(torch.cat([parts[0][1], parts[1][1]]), joint.grad)
    expected = sinkhorn(rows() / 0.3, torch.ones(9))
    torch.testing.assert_close(torch.cat([parts[0][2], parts[1][2]]), expected)
