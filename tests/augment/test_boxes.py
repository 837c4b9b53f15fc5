"""Views that boxes follow: each box is drawn, the view is made, and the box is found again in the pixels."""

import pytest
import torch

from ptft.augment.boxes import VISIBLE, BoxViews, refuse_others
from ptft.errors import ConfigError

HEIGHT, WIDTH, BOXES = 48, 64, 3


def drawn(count=16, seed=0):
    """Images with BOXES boxes each, every one in a channel of its own; float [B, C, H, W], boxes in whole pixels."""
    torch.manual_seed(seed)
    low = torch.stack([torch.randint(0, WIDTH - 24, (count, BOXES)), torch.randint(0, HEIGHT - 24, (count, BOXES))], -1)
    box = torch.cat([low, low + torch.randint(8, 24, (count, BOXES, 2))], -1).float()
    rows, columns = torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5
    left, top, right, bottom = (side[..., None] for side in box.unbind(-1))
    inside = ((columns > left) & (columns < right)).unsqueeze(2) & ((rows > top) & (rows < bottom)).unsqueeze(3)
    return inside.float(), box, torch.arange(BOXES).expand(count, -1).clone()


def extents(channel):
    """left, top, right, bottom of what is bright in [H, W]."""
    rows, columns = (channel > 0.5).nonzero(as_tuple=True)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


def test_flipped_boxes_are_where_their_pixels_are():
    x, box, label = drawn()
    torch.manual_seed(1)
    out, moved, kept = BoxViews(flip=True)(x, box, label)
    assert torch.equal(kept, label)
    for i in range(len(x)):
        assert torch.equal(moved[i], torch.stack([extents(channel) for channel in out[i]]))
    turned = (moved != box).flatten(1).any(1).sum()
    assert 0 < turned < len(x)


@pytest.mark.parametrize("zoom", [[0.5, 0.8], [1.2, 2.0], [0.6, 1.6]])
def test_zoomed_boxes_are_where_their_pixels_are(zoom):
    x, box, label = drawn()
    out, moved, kept = BoxViews(flip=True, zoom=zoom)(x, box, label)
    found = 0
    for i, k in (kept >= 0).nonzero().tolist():
        assert (moved[i, k] - extents(out[i, k])).abs().max() <= 1.0, (moved[i, k], extents(out[i, k]))
        found += 1
    assert found > len(x)
    gone = out.flatten(2).amax(2)[kept < 0]  # what is no box any more is hardly seen
    assert zoom[0] > 1 or len(gone) == 0 or zoom[1] > 1


def test_what_is_hardly_seen_is_no_box_any_more():
    x, box, label = drawn(64)
    _, moved, kept = BoxViews(zoom=[1.9, 2.0])(x, box, label)
    area, before = ((each[..., 2:] - each[..., :2]).prod(-1) for each in (moved, box))
    share = area / (before * 1.95**2)
    assert (kept < 0).any()
    assert share[kept >= 0].min() > VISIBLE * 0.9
    assert share[kept < 0].max() < VISIBLE * 1.1


def test_the_boxes_of_a_mosaic_are_where_their_pixels_are():
    x, box, label = drawn(8)
    out, moved, kept = BoxViews(mosaic=1.0)(x, box, label)
    assert moved.shape == (8, 4 * BOXES, 4)
    assert (kept >= 0).sum() > 8 * BOXES
    channel = torch.arange(BOXES).repeat(4)
    for i in range(8):
        for k in range(BOXES):  # every bright pixel is in a box of its channel, and every box is bright
            covered = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
            for b in ((channel == k) & (kept[i] >= 0)).nonzero().flatten().tolist():
                left, top, right, bottom = moved[i, b].round().int().tolist()
                covered[top:bottom, left:right] = True
                inner = out[i, k, top + 1 : bottom - 1, left + 1 : right - 1]
                assert inner.numel() == 0 or inner.min() > 0.45
            known = (kept[i, channel == k] >= 0).all()
            grown = torch.nn.functional.max_pool2d(covered.float()[None], 3, 1, 1)[0] > 0
            assert not known or not (out[i, k] > 0.55)[~grown].any()


def test_an_image_that_is_no_mosaic_keeps_its_boxes():
    x, box, label = drawn(32)
    out, moved, kept = BoxViews(mosaic=0.5)(x, box, label)
    same = (out == x).flatten(1).all(1)
    assert 0 < same.sum() < 32
    assert torch.equal(moved[same, :BOXES], box[same])
    assert torch.equal(kept[same, :BOXES], label[same])
    assert (kept[same, BOXES:] == -1).all()


def test_without_training_nothing_moves():
    x, box, label = drawn(2)
    views = BoxViews(flip=True, zoom=[0.5, 2], mosaic=1.0, color=0.5).eval()
    assert all(one is other for one, other in zip(views(x, box, label), (x, box, label), strict=True))


@pytest.mark.parametrize(
    "options", [{"zoom": [2, 1]}, {"zoom": [0, 1]}, {"mosaic": 1.5}, {"rotate": 3}, {"flip": "yes"}]
)
def test_options_that_can_not_be_are_refused(options):
    with pytest.raises(ConfigError, match=f"objective.views.{next(iter(options))}"):
        BoxViews(**options)


def test_views_of_the_dataset_that_boxes_do_not_follow_are_refused():
    refuse_others({"flip": True, "color": 0.3, "rotate": 0, "padding": "border"})
    with pytest.raises(ConfigError, match=r"dataset\.views\.rotate=5: boxes do not follow it"):
        refuse_others({"rotate": 5})
