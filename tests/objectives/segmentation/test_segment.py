"""Segmentation: learned by heart, counted by pixels, and the same however a batch is cut."""

import pytest
import torch
import torch.nn.functional as F

from ptft.core import Spec
from ptft.data.image.boxes.shapes import Shapes
from ptft.errors import ConfigError
from ptft.models.image.cnn import CNN
from ptft.models.image.convnet import Convnet
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.segmentation.segment import Segment
from ptft.optim.param_groups import clip_and_scale

SPEC = Spec("image", {"size": [32, 48], "channels": 3, "fit": "letterbox"}, "masks", ("background", "a", "b"))


def batch(count=3, seed=0, size=(32, 48)):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 3, (count, *size), generator=generator, dtype=torch.uint8)
    masks[0, :8] = 255
    pixels = torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
    return {"input": pixels, "index": torch.arange(count), "segments": masks}


def small(spec=SPEC, **options):
    torch.manual_seed(0)
    return Segment(VisionTransformer(spec, patch=8, width=24, depth=1), spec, width=32, depth=1, **options)


def test_eight_pictures_are_learned_by_heart():
    examples = Shapes(images=8, held_out=8, seed=1, target="masks", size=32).split("train")
    torch.manual_seed(0)
    spec = Shapes(images=8, held_out=8, target="masks", size=32).spec
    objective = Segment(Convnet(spec, channels=(16, 32)), spec, width=32, depth=1, finest=2)
    some = examples.take(torch.arange(8))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    for _ in range(STEPS):
        step = objective(some)
        step.total.backward()
        clip_and_scale(objective.parameters(), step.count, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    objective.eval()
    with torch.no_grad():
        step = objective(some)
    sums = {**step.sums, "count": step.count}
    assert objective.metrics(sums)["miou"] >= 0.97, objective.metrics(sums)
    table = objective.tables(sums)["by_class"]
    assert table.rows == ["background", "circle", "cross", "square", "triangle"]


STEPS = 130


@pytest.mark.parametrize("dice", [0.0, 0.7])
def test_parts_of_a_batch_sum_up_to_it(dice):
    for mode in (True, False):
        objective = small(dice=dice).train(mode)
        whole = batch()
        parts = [{name: value[i : i + 1] for name, value in whole.items()} for i in range(3)]
        steps, step = [objective(part) for part in parts], objective(whole)
        assert int(step.count) == sum(int(each.count) for each in steps) == int((whole["segments"] != 255).sum())
        torch.testing.assert_close(step.total, sum(each.total for each in steps))
        for name in step.sums:
            torch.testing.assert_close(step.sums[name], sum(each.sums[name] for each in steps))


def test_the_loss_is_that_of_pixels_that_are_of_a_class():
    objective, some = small().eval(), batch()
    logits = objective.of_pixels(objective.backbone.inputs(some))
    expected = F.cross_entropy(logits, some["segments"].long(), ignore_index=255, reduction="sum")
    torch.testing.assert_close(objective(some).total, expected)
    expected = expected.detach()
    others = {**some, "segments": some["segments"].clone()}
    others["segments"][0] = 255
    assert objective(others).total < expected


def test_a_batch_of_which_no_pixel_counts_trains():
    objective = small(dice=1.0)
    some = batch()
    step = objective({**some, "segments": torch.full_like(some["segments"], 255)})
    assert int(step.count) == 3
    step.total.backward()
    assert torch.isfinite(clip_and_scale(objective.parameters(), step.count, 1.0))
    assert step.total == 0


def test_dice_is_nought_where_all_is_right_and_one_where_nothing_is():
    objective, true = small(), torch.tensor([[[0, 1, 255], [1, 1, 0]]])
    right = F.one_hot(true.clamp(max=2), 3).permute(0, 3, 1, 2).float() * 100
    assert float(objective._dice_loss(right, true)) == pytest.approx(0, abs=1e-6)
    assert float(objective._dice_loss(right.roll(1, 1), true)) == pytest.approx(1, abs=1e-6)


def test_answers_are_those_that_are_measured():
    objective, some = small().eval(), batch()
    with torch.no_grad():
        answers, step = objective.predict(some), objective(some)
    hits = sum(int((a["mask"] == m).sum()) for a, m in zip(answers, some["segments"], strict=True))
    assert hits == int(step.sums["correct"]) == int(step.sums["confusion"].diagonal().sum())
    assert all(0 <= score <= 1 for a in answers for score in a["scores"])
    rows = objective.rows(some, step.outputs)
    assert rows.keys() == {"miou", "pixel_accuracy", "loss"}


@pytest.mark.parametrize("build", [lambda s: CNN(s, channels=(4, 8), width=16), lambda s: Convnet(s, channels=(4, 8))])
def test_logits_are_of_every_pixel_of_any_backbone_with_maps(build):
    objective = Segment(build(SPEC), SPEC, width=32, depth=0).eval()
    with torch.no_grad():
        assert objective.of_pixels(torch.zeros(2, 3, 32, 48)).shape == (2, 3, 32, 48)


def test_what_has_no_masks_or_no_maps_is_refused():
    with pytest.raises(ConfigError, match="the target of the dataset is boxes"):
        small(Spec("image", SPEC.shape, "boxes", SPEC.classes))
    with pytest.raises(ConfigError, match=r"objective\.width=40: a multiple of 32"):
        Segment(CNN(SPEC), SPEC, width=40)
    net = CNN(SPEC)
    net.maps = lambda x: []
    with pytest.raises(ConfigError, match="objective=segment: model=CNN names no feature maps"):
        Segment(net, SPEC)
