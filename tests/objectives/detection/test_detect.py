"""A detector: what it is to find at each point, what it learns, and that a run is the same however it is cut."""

from types import SimpleNamespace

import pytest
import torch
from torchvision.models.detection.fcos import FCOS
from torchvision.ops import box_iou, nms

from ptft.core import Spec
from ptft.data.image.boxes.shapes import Shapes
from ptft.errors import ConfigError
from ptft.models.image.cnn import CNN
from ptft.models.image.convnet import Convnet
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.detection.detect import Detect
from ptft.objectives.detection.points import assigned, points
from ptft.objectives.detection.pyramid import maps_of, strides_for
from ptft.objectives.detection.suppression import detections
from ptft.optim.param_groups import clip_and_scale

SPEC = Spec("image", {"size": [64, 64], "channels": 3, "fit": "letterbox"}, "boxes", ("circle", "cross", "square"))


def small(spec=SPEC, **options):
    torch.manual_seed(0)
    return Detect(Convnet(spec, channels=(8, 16, 32, 32)), spec, **{"width": 32, "depth": 1, **options})


def batch(boxes, labels, seed=0):
    pixels = torch.randint(0, 256, (len(boxes), 3, 64, 64), generator=torch.Generator().manual_seed(seed))
    return {
        "input": pixels.to(torch.uint8),
        "index": torch.arange(len(boxes)),
        "box": torch.tensor(boxes, dtype=torch.float32),
        "box_label": torch.tensor(labels),
    }


NONE = [0.0, 0, 0, 0]


def random_boxes(count=6, most=7):
    torch.manual_seed(3)
    low = torch.rand(count, most, 2) * 50
    box = torch.cat([low, low + 2 + torch.rand(count, most, 2) * 60], -1)
    label = torch.randint(0, 3, (count, most)).masked_fill(torch.rand(count, most) < 0.3, -1)
    label[0] = -1
    return box, label


def test_every_point_is_to_find_the_box_that_torchvision_gives_it():
    strides, box, label = [4, 8, 16], *random_boxes()
    levels = [torch.zeros(6, 1, 64 // stride, 64 // stride) for stride in strides]
    where = points(levels, strides)
    found, classes = assigned(where, box, label)

    matched = []  # by torchvision's own loop over images, which hands them to its head
    head = SimpleNamespace(compute_loss=lambda targets, outputs, anchors, which: matched.extend(which))
    targets = [{"boxes": b[c >= 0], "labels": c[c >= 0]} for b, c in zip(box, label, strict=True)]
    own = SimpleNamespace(center_sampling_radius=1.5, head=head)
    counts = [level.shape[2] * level.shape[3] for level in levels]
    FCOS.compute_loss(own, targets, {}, [where.cells] * 6, counts)

    for i, (target, which) in enumerate(zip(targets, matched, strict=True)):
        assert torch.equal(classes[i] >= 0, which >= 0)
        assert torch.equal(classes[i][which >= 0], target["labels"][which[which >= 0]])
        assert torch.equal(found[i][which >= 0], target["boxes"][which[which >= 0]])
    assert (classes >= 0).sum() > 20


def test_boxes_are_suppressed_as_image_by_image_and_class_by_class():
    torch.manual_seed(0)
    cells = points([torch.zeros(1, 1, 8, 8)], [8]).cells
    logits, centres = torch.randn(3, 64, 4), torch.randn(3, 64)
    distances = torch.rand(3, 64, 4) * 2
    found = detections(logits, distances, centres, cells, (64, 64), least=0.3, overlap=0.4, most=300)
    scores = (logits.sigmoid() * centres.sigmoid().unsqueeze(-1)).sqrt()
    middle = (cells[:, :2] + cells[:, 2:]) / 2
    boxes = torch.cat([middle - distances[..., :2] * 8, middle + distances[..., 2:] * 8], -1).clamp(0, 64)
    for i in range(3):
        for k in range(4):
            sure = scores[i, :, k] > 0.3
            own, likely = boxes[i][sure], scores[i, sure, k]
            stays = nms(own, likely, 0.4)
            rows = found[i][found[i, :, 5] == k]
            torch.testing.assert_close(rows[:, :4], own[stays])
            torch.testing.assert_close(rows[:, 4], likely[stays])
    assert (found[..., 4].diff(dim=1) <= 0).all()


def test_a_batch_without_any_box_trains_and_counts_each_image_once():
    objective = small()
    step = objective(batch([[NONE], [NONE]], [[-1], [-1]]))
    assert int(step.count) == 2
    assert float(step.sums["box_loss"]) == float(step.sums["centre_loss"]) == 0
    step.total.backward()
    norm = clip_and_scale(objective.parameters(), step.count, 1.0)
    assert torch.isfinite(norm)
    assert norm > 0


def test_parts_of_a_batch_sum_up_to_it():
    """Of a backbone without batch statistics, as everywhere."""
    torch.manual_seed(0)
    vit = VisionTransformer(SPEC, patch=8, width=24, depth=1)
    objective = Detect(vit, SPEC, width=32, depth=1)
    boxes = [[[4.0, 4, 30, 40], [30, 30, 60, 62]], [[8, 8, 20, 20], NONE], [NONE, NONE]]
    whole = batch(boxes, [[0, 2], [1, -1], [-1, -1]])
    parts = [{name: value[i : i + 1] for name, value in whole.items()} for i in range(3)]
    steps = [objective(part) for part in parts]
    step = objective(whole)
    assert int(step.count) == sum(int(each.count) for each in steps)
    torch.testing.assert_close(step.total, sum(each.total for each in steps))


def test_eight_pictures_are_learned_by_heart():
    source = Shapes(images=8, held_out=8, seed=1)
    examples = source.split("train")
    batch = examples.take(torch.arange(8))
    objective = small(source.spec, depth=1, width=64)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=OVERFIT)
    for _ in range(OVERFIT):
        step = objective(batch)
        step.total.backward()
        clip_and_scale(objective.parameters(), step.count, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    objective.eval()
    with torch.no_grad():
        scores = examples.score(objective(batch).lists)
    assert scores["AP"] >= 0.99, scores
    assert scores["by_class"].rows == list(source.spec.classes)


OVERFIT = 120


@pytest.mark.parametrize(
    ("size", "finest", "expected"),
    [
        ((64, 64), None, [4, 8, 16]),
        ((384, 512), None, [8, 16, 32, 64, 128]),
        ((28, 28), None, [2, 4]),
        ((64, 64), 8, [8, 16]),
    ],
)
def test_levels_follow_from_the_size_of_images(size, finest, expected):
    spec = Spec("image", {**SPEC.shape, "size": list(size)}, "boxes", SPEC.classes)
    assert strides_for(size, finest, maps_of(CNN(spec, width=1), spec)) == expected


@pytest.mark.parametrize(
    "build",
    [
        lambda spec: CNN(spec, channels=(4, 8), width=16),
        lambda spec: Convnet(spec, channels=(4, 8)),
        lambda spec: VisionTransformer(spec, patch=16, width=24, depth=1, pool="cls"),
    ],
    ids=["cnn", "convnet", "vit"],
)
def test_maps_of_any_kind_become_levels_of_all_strides(build):
    spec = Spec("image", {**SPEC.shape, "size": [64, 96]}, "boxes", SPEC.classes)
    objective = Detect(build(spec), spec, width=32, depth=0).eval()
    with torch.no_grad():
        levels = objective.pyramid(objective.backbone.maps(torch.zeros(2, 3, 64, 96)))
    assert [tuple(level.shape[1:]) for level in levels] == [(32, 64 // s, 96 // s) for s in objective.strides]


def test_cells_of_a_map_are_what_is_around_their_middle():
    """A dot in the image is seen most by the cell that it lies in, in maps that leave out cells at the edge as well."""
    spec = Spec("image", {**SPEC.shape, "size": [32, 32]}, "boxes", SPEC.classes)
    torch.manual_seed(0)
    for net in (CNN(spec), Convnet(spec, channels=(8, 8, 8))):
        net.eval()
        for y, x in ((3, 12), (16, 27), (28, 5)):
            images = torch.zeros(2, 3, 32, 32)
            images[1, :, y - 1 : y + 1, x - 1 : x + 1] = 50.0
            with torch.no_grad():
                for level in net.maps(images):
                    stride = 32 // level.shape[2]
                    seen = (level[1] - level[0]).abs().sum(0)
                    rows, columns = (torch.arange(side) + 0.5 for side in seen.shape)
                    at = (seen.sum(1) @ rows, seen.sum(0) @ columns)
                    centre = torch.stack(at) / seen.sum() * stride
                    assert (centre - torch.tensor([float(y), float(x)])).abs().max() < 0.75 * stride + 0.5


def test_what_has_no_boxes_or_no_maps_is_refused():
    with pytest.raises(ConfigError, match="the target of the dataset is class"):
        Detect(CNN(SPEC), Spec("image", SPEC.shape, "class", SPEC.classes))
    with pytest.raises(ConfigError, match=r"objective\.width=48: a multiple of 32"):
        small(width=48)
    net = CNN(SPEC)
    net.maps = lambda x: []
    with pytest.raises(ConfigError, match="model=CNN names no feature maps"):
        Detect(net, SPEC)


def test_predicted_boxes_are_those_that_are_measured():
    objective = small().eval()
    some = batch([[[4.0, 4, 30, 40]], [NONE]], [[0], [-1]])
    with torch.no_grad():
        found = objective(some).lists["detections"]
        told = objective.predict(some, score=0.05)
    for rows, answer in zip(found, told, strict=True):
        assert rows[rows[:, 5] >= 0].tolist() == answer["boxes"]
        assert (box_iou(rows[:1, :4], rows[:1, :4]) > 0.99).all() or not answer["boxes"]
