"""AP of made boxes against the evaluation of COCO's own program: crowds, ties, empty images, more boxes than count."""

import random

import pytest
import torch

from ptft.data.image.boxes.examples import Boxed
from ptft.data.image.boxes.tensors import Boxes
from ptft.metrics.detection import Found, Truth, average_precision

package = pytest.importorskip("faster_coco_eval")

SIZE, CLASSES, IMAGES = 200, ("a", "b", "c"), 12


def made(seed):
    """Annotations as COCO's files have them (the category ids have gaps) and results: near ones, ties, and chance."""
    draw = random.Random(seed)
    truth, found = [], []
    for image in range(IMAGES):
        for _ in range(draw.choice([0, 0, 1, 3, 8])):
            box = [draw.randint(0, 120), draw.randint(0, 120), draw.randint(5, 70), draw.randint(5, 70)]
            crowd = int(draw.random() < 0.15)
            category = draw.choice([1, 4])  # the class c, 9, has no true box
            area = box[2] * box[3] * draw.choice([1, 0.6])
            entry = {"id": len(truth) + 1, "image_id": image, "category_id": category, "bbox": box, "area": area}
            truth.append({**entry, "iscrowd": crowd})
            for _ in range(draw.choice([0, 1, 3])):
                near = [value + draw.randint(-6, 6) for value in box[:2]] + box[2:]
                found.append(
                    {"image_id": image, "category_id": category, "bbox": near, "score": draw.choice([0.5, 0.7])}
                )
        for _ in range(draw.choice([0, 5, 130])):
            box = [draw.randint(0, 150), draw.randint(0, 150), draw.randint(5, 40), draw.randint(5, 40)]
            chance = {"image_id": image, "category_id": draw.choice([1, 4, 9]), "bbox": box}
            found.append({**chance, "score": round(draw.random(), 2)})
    return truth, found


def official(truth, found):
    """The twelve numbers, by the names that ptft gives some of them."""
    reference = package.COCO()
    categories = [{"id": i, "name": name} for i, name in zip((1, 4, 9), CLASSES, strict=True)]
    images = [{"id": i, "height": SIZE, "width": SIZE} for i in range(IMAGES)]
    reference.dataset = {"images": images, "annotations": truth, "categories": categories}
    reference.createIndex()
    measured = package.COCOeval_faster(reference, reference.loadRes(found), iouType="bbox")
    measured.evaluate()
    measured.accumulate()
    measured.summarize()
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "", "", "AR")
    return {name: float(value) for name, value in zip(names, measured.stats, strict=False) if name and value > -1}


def tensors(entries):
    number = {1: 0, 4: 1, 9: 2}
    box = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float64).view(-1, 4)
    box[:, 2:] += box[:, :2]
    image = torch.tensor([entry["image_id"] for entry in entries], dtype=torch.long)
    return image, box, torch.tensor([number[entry["category_id"]] for entry in entries], dtype=torch.long)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_official_one(seed):
    truth, found = made(seed)
    image, box, label = tensors(truth)
    crowd = torch.tensor([bool(entry["iscrowd"]) for entry in truth])
    area = torch.tensor([entry["area"] for entry in truth], dtype=torch.float64)
    scores = torch.tensor([entry["score"] for entry in found], dtype=torch.float64)
    own = average_precision(Truth(IMAGES, image, box, label, crowd, area), Found(*tensors(found), scores), CLASSES)
    table = own.pop("by_class")
    assert own == pytest.approx(official(truth, found), abs=1e-6)
    assert table.values[2][1] != table.values[2][1]  # no true box, so no number
    assert table.values[0][0] == sum(entry["category_id"] == 1 and not entry["iscrowd"] for entry in truth)


def test_boxes_of_the_input_are_measured_in_pixels_of_their_images():
    """Images of 80 x 60 and 30 x 60 that were letterboxed to 40 x 40, the second measured alone and the first empty."""
    from ptft.core import Spec

    shape = {"size": [40, 40], "channels": 3, "fit": "letterbox"}
    boxes = Boxes.of(
        [0, 1, 1],
        [[8, 6, 40, 30], [3, 9, 30, 60], [0, 0, 12, 12]],
        [0, 1, 0],
        [False] * 3,
        [768, 1377, 144],
        [(60, 80), (60, 30)],
    )
    examples = type("Made", (Boxed,), {"__len__": lambda self: 2})()
    examples.boxes, examples.spec = boxes, Spec("image", shape, "boxes", ("a", "b"))
    detections = torch.full((2, 3, 6), -1.0)
    detections[0, 0] = torch.tensor([4.0, 3, 20, 15, 0.9, 0])  # half as large
    detections[1, 0] = torch.tensor([2.0, 6, 20, 40, 0.8, 1])  # two thirds
    detections[1, 1] = torch.tensor([0.0, 0, 8, 8, 0.7, 0])
    assert examples.score({"index": torch.tensor([0, 1]), "detections": detections})["AP"] == pytest.approx(1.0)
    assert examples.score({"index": torch.tensor([1]), "detections": detections[1:]})["AP"] == pytest.approx(1.0)
    assert examples.score({"index": torch.tensor([0, 1]), "detections": detections.flip(0)})["AP"] == 0.0


def test_without_any_answer_it_is_0_and_without_any_box_there_is_none():
    none = torch.empty(0, dtype=torch.long)
    nothing = Found(none, torch.empty(0, 4), none, torch.empty(0))
    one = Truth(
        1,
        torch.tensor([0]),
        torch.tensor([[0.0, 0, 5, 5]]),
        torch.tensor([0]),
        torch.tensor([False]),
        torch.tensor([25.0]),
    )
    assert average_precision(one, nothing, ("a",))["AP"] == 0
    empty = Truth(2, none, torch.empty(0, 4), none, torch.empty(0, dtype=torch.bool), torch.empty(0))
    assert average_precision(empty, nothing, ("a",))["AP"] != average_precision(empty, nothing, ("a",))["AP"]
