"""Views that masks follow: what is drawn in the image is drawn in the mask, and both are seen in the same place."""

import pytest
import torch

from ptft.augment.boxes import refuse_others
from ptft.augment.masks import MaskViews
from ptft.errors import ConfigError
from tests.augment.test_boxes import drawn


def figures():
    """Images with a box each in a channel of its own, and the mask of the first one."""
    x, _, _ = drawn()
    return x, x[:, 0].to(torch.uint8)


@pytest.mark.parametrize("options", [{"flip": True}, {"zoom": [0.5, 0.9]}, {"flip": True, "zoom": [1.2, 2.0]}])
def test_masks_are_where_their_pixels_are(options):
    x, masks = figures()
    torch.manual_seed(1)
    out, moved = MaskViews(**options)(x, masks)
    known = moved != 255
    bright, dark = out[:, 0] > 0.6, out[:, 0] < 0.2  # a corner may be a quarter of its pixel
    assert (moved[bright & known] == 1).all()
    assert (moved[dark & known] == 0).all()
    assert not torch.equal(moved, masks)
    outside = options.get("zoom", [1])[0] < 1
    assert bool((moved == 255).any()) == outside
    assert (out[(moved == 255).unsqueeze(1).expand_as(out)] < 0.51).all()  # the mean colour, or half of an edge


def test_what_does_not_change_pixels_leaves_masks_alone():
    x, masks = figures()
    views = MaskViews(flip=True, zoom=[0.5, 2], color=0.3)
    assert views.eval()(x, masks)[1] is masks
    torch.manual_seed(0)
    out, same = MaskViews(color=0.5)(x, masks)
    assert torch.equal(same, masks)
    assert not torch.equal(out, x)


def test_views_that_masks_do_not_follow_are_refused():
    with pytest.raises(ConfigError, match=r"objective\.views\.mosaic does not exist; there are flip, zoom, color"):
        MaskViews(mosaic=0.5)
    with pytest.raises(ConfigError, match="masks do not follow it"):
        refuse_others({"rotate": 5}, "masks")
