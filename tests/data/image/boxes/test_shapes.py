"""Drawn figures: the same whatever is drawn beside them, and exactly as large as their boxes."""

import torch

from ptft.data.image.boxes.shapes import KINDS, Figures, Shapes


def test_an_image_does_not_depend_on_its_batch():
    train = Shapes(images=40, held_out=10).split("train")
    whole = train.take(torch.arange(20))
    part = train.take(torch.tensor([7, 3]))
    for name in ("input", "index"):
        assert torch.equal(part[name], whole[name][[7, 3]])
    count = part["box"].shape[1]
    assert torch.equal(part["box_label"], whole["box_label"][[7, 3], :count])


def test_figures_fill_their_boxes():
    figures = Figures(torch.arange(100, 140))
    figures.there &= figures.there.cumsum(0) == 1  # one alone in each image
    boxes, pixels = figures.boxes((64, 64)), figures.draw((64, 64))
    difference = (pixels - figures.ground.T[:, :, None, None]).abs().amax(1)
    strokes = difference / difference.amax((1, 2), keepdim=True).clamp(min=1e-6)
    assert set(boxes.label.tolist()) == set(range(len(KINDS)))
    for image, box in zip(boxes.owner.tolist(), boxes.box, strict=True):
        rows, columns = (strokes[image] > 0.1).nonzero(as_tuple=True)
        seen = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        # the tip of a triangle is thinner than a pixel
        assert (seen - box).abs().max() < (3 if int(boxes.label[boxes.owner == image]) == 3 else 1.5)


def test_splits_share_nothing_and_labels_are_the_kinds_that_are_there():
    source = Shapes(images=30, held_out=30, target="labels")
    boxes = Shapes(images=30, held_out=30).split("train").take(torch.arange(30))
    sets = torch.zeros(30, len(KINDS) + 1, dtype=torch.uint8).scatter_(1, boxes["box_label"] % 5, 1)[:, :4]
    assert torch.equal(source.split("train").take(torch.arange(30))["label"], sets)
    images = torch.cat([source.split(name).take(torch.arange(30))["input"] for name in ("train", "val", "test")])
    assert len(images.flatten(1).unique(dim=0)) == 90
