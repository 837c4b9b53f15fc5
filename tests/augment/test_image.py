"""Random views and mixtures, measured on the pixels that come out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ptft.augment.image import Views
from ptft.errors import ConfigError


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images(b: int = 64, channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(b, channels, height, width, generator=generator)


ALL = {
    "shift": 2,
    "flip": True,
    "rotate": 10.0,
    "scale": 0.1,
    "shear": 5.0,
    "crop": 0.5,
    "color": 0.4,
    "erase": 0.5,
    "grey": 0.5,
    "blur": 0.5,
    "solarize": 0.5,
    "randaugment": {"ops": 2, "magnitude": 9},
}


@pytest.mark.parametrize("options", [{}, ALL], ids=["none", "all"])
def test_evaluation_sees_the_images_themselves(options: dict) -> None:
    x = images()
    assert Views(**options).eval()(x) is x


def test_without_options_training_sees_the_images_themselves() -> None:
    x = images()
    assert torch.equal(Views().train()(x), x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("key", [*ALL, "all"])
def test_every_view_keeps_the_shape_and_changes_the_images(key: str, channels: int) -> None:
    if (key, channels) == ("grey", 1):
        channels = 3  # what is grey stays as it is
    x = images(channels=channels)
    before = x.clone()
    out = Views(**(ALL if key == "all" else {key: ALL[key]})).train()(x)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert torch.isfinite(out).all()
    assert not torch.equal(out, before)
    assert torch.equal(x, before), "the batch itself must stay as it is"


@pytest.mark.parametrize("key", [*ALL, "all"])
def test_the_same_generator_state_gives_the_same_views(key: str) -> None:
    views = Views(**(ALL if key == "all" else {key: ALL[key]})).train()
    torch.manual_seed(3)
    first, second = views(images()), views(images())
    torch.manual_seed(3)
    assert torch.equal(views(images()), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("key", [key for key in ALL if key not in ("flip", "grey", "solarize")])
def test_every_sample_gets_a_view_of_its_own(key: str) -> None:
    same = images(1).expand(32, -1, -1, -1)
    out = Views(**{key: ALL[key]}).train()(same)
    assert len(out.flatten(1).unique(dim=0)) > 4


def test_a_view_does_not_depend_on_the_other_samples() -> None:
    views, x = Views(**ALL).train(), images()
    other = x.clone()
    other[0] = 5.0
    torch.manual_seed(3)
    first = views(x)
    torch.manual_seed(3)
    assert torch.equal(views(other)[1:], first[1:])


def test_flips_are_exact_mirror_images_of_about_half() -> None:
    x = images(1000)
    out = Views(flip=True).train()(x)
    mirrored = (out == x.flip(3)).flatten(1).all(1)
    unchanged = (out == x).flatten(1).all(1)
    assert torch.equal(mirrored, ~unchanged)
    assert 430 < int(mirrored.sum()) < 570


def test_grey_views_are_the_mean_of_the_channels_of_about_so_many() -> None:
    x = images(1000)
    out = Views(grey=0.2).train()(x)
    grey = torch.isclose(out, x.mean(1, keepdim=True).expand_as(x), atol=1e-6).flatten(1).all(1)
    assert 150 < int(grey.sum()) < 250
    torch.testing.assert_close(out[~grey], x[~grey])


def test_solarized_views_invert_what_is_bright_of_about_so_many() -> None:
    x = images(1000)
    out = Views(solarize=0.3).train()(x)
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    inverted = (out == torch.where(x > (low + high) / 2, low + high - x, x)).flatten(1).all(1)
    unchanged = (out == x).flatten(1).all(1)
    assert torch.equal(inverted, ~unchanged)
    assert 240 < int(inverted.sum()) < 360


def test_a_blur_is_a_gaussian_of_its_own_width_and_keeps_the_sum() -> None:
    x = torch.zeros(400, 2, 81, 61)
    x[:, :, 40, 30] = 1.0
    out = Views(blur=0.5).train()(x)
    torch.testing.assert_close(out.sum((2, 3)), torch.ones(400, 2))
    untouched = (out == x).flatten(1).all(1)
    assert 150 < int(untouched.sum()) < 250
    row = out[~untouched][:, :, 40, 27:34]
    row = row[row[:, 0, 3] < 0.7]  # those that are wide enough to be measured
    assert len(row) > 100
    variance = -1 / (2 * (row[:, 0, 4] / row[:, 0, 3]).log())  # exp(-1 / 2 variance) is next to the middle
    assert 0.2 < float(variance.sqrt().min()) < 0.6
    assert 1.8 < float(variance.sqrt().max()) < 2.001
    torch.testing.assert_close(row[:, 0, 5] / row[:, 0, 3], torch.exp(-4 / (2 * variance)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("padding", ["border", "reflection", "zeros"])
def test_shifts_are_whole_pixels_in_every_direction(padding: str) -> None:
    x = images(400)
    out = Views(shift=2, padding=padding).train()(x)
    inner = out[:, :, 2:-2, 2:-2]
    counts = []
    for dy in range(5):
        for dx in range(5):
            window = x[:, :, dy : dy + 8, dx : dx + 12]
            counts.append(int((inner == window).flatten(1).all(1).sum()))
    assert sum(counts) == 400
    assert min(counts) > 0


@pytest.mark.parametrize(("padding", "corner"), [("border", 0.0), ("reflection", 1.0), ("zeros", 0.0)])
def test_padding_decides_what_comes_in(padding: str, corner: float) -> None:
    # The column next to the edge is 1, the edge 0: two columns of mirror show it, a continued edge does not.
    x = torch.full((200, 1, 6, 6), 3.0)
    x[..., 0], x[..., 1] = 0.0, 1.0
    out = Views(shift=2, padding=padding).train()(x)
    moved = out[(out[..., 2] == 0).all(-1).flatten()]  # two to the right
    assert len(moved) > 10
    assert (moved[..., 0] == corner).all()


def test_zeros_padding_is_zero() -> None:
    out = Views(shift=1, padding="zeros").train()(torch.ones(300, 1, 5, 5))
    share = out.mean((1, 2, 3))
    assert {round(float(value), 2) for value in share.unique()} == {1.0, 0.8, 0.64}


def test_geometry_keeps_a_plain_background_plain() -> None:
    x = torch.full((32, 1, 16, 16), -0.5)
    out = Views(rotate=30, scale=0.3, shear=20, shift=3, crop=0.5, flip=True).train()(x)
    torch.testing.assert_close(out, x)


def test_rotation_keeps_distances_on_images_that_are_not_square() -> None:
    x = torch.zeros(200, 1, 41, 81)
    x[:, :, 20, 55] = 1.0  # 15 pixels right of the centre
    out = Views(rotate=180.0).train()(x)
    rows, columns = torch.arange(41.0) - 20, torch.arange(81.0) - 40
    mass = out.sum((1, 2, 3))
    y = (out.sum((1, 3)) * rows).sum(1) / mass
    x_ = (out.sum((1, 2)) * columns).sum(1) / mass
    torch.testing.assert_close(torch.hypot(x_, y), torch.full((200,), 15.0), atol=0.5, rtol=0)
    assert float(torch.atan2(y, x_).abs().max()) > 3.0
    assert float(torch.atan2(y, x_).std()) == pytest.approx(torch.pi / 3**0.5, abs=0.25)


def test_scale_is_within_its_limits_and_on_both_sides() -> None:
    x = torch.zeros(300, 1, 64, 64)
    x[:, :, 22:42, 22:42] = 1.0
    side = Views(scale=0.2).train()(x).sum((1, 2, 3)).sqrt() / 20
    assert 0.78 < float(side.min()) < 0.85
    assert 1.15 < float(side.max()) < 1.22


def test_crops_are_inside_the_image_and_not_smaller_than_asked() -> None:
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 64, 64)
    out = Views(crop=0.25).train()(ramp)
    width = (out[..., -1] - out[..., 0]).amax((1, 2))
    assert float(width.max()) <= 1.0 + 1e-5
    assert float(width.min()) > (0.25 * 3 / 4) ** 0.5 * 0.95
    assert float(out.diff(dim=3).min()) > 0, "a crop never reaches over the border"


def test_crops_may_have_a_range_of_areas_and_a_size_of_their_own() -> None:
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 48, 64)
    out = Views(crop=[0.1, 0.3], size=(12, 16)).train()(ramp)
    assert out.shape == (500, 1, 12, 16)
    width = (out[..., -1] - out[..., 0]).amax((1, 2)) * 16 / 15  # from the first pixel's edge to the last one's
    assert (0.1 * 3 / 4) ** 0.5 * 0.95 < float(width.min()) < 0.35
    assert 0.5 < float(width.max()) <= (0.3 * 4 / 3) ** 0.5 * 1.05


def test_a_size_alone_is_the_whole_image_at_that_size() -> None:
    ramp = torch.linspace(-1, 1, 8).expand(3, 1, 8, 8)
    torch.testing.assert_close(Views(size=(4, 4)).train()(ramp), ramp.unflatten(3, (4, 2)).mean(4)[:, :, ::2])


def test_color_changes_mean_and_spread_by_up_to_its_strength() -> None:
    x = images(500)
    out = Views(color=0.4).train()(x)
    moved = out.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert 0.35 < float(moved.abs().max()) <= 0.4 + 1e-4
    assert float(moved.mean()) == pytest.approx(0, abs=0.05)
    grey = Views(color=0.4).train()(images(500, channels=1))
    spread = grey.std((1, 2, 3)) / images(500, channels=1).std((1, 2, 3))
    assert 0.6 - 1e-4 <= float(spread.min()) < 0.65
    assert 1.35 < float(spread.max()) <= 1.4 + 1e-4


def test_erasing_blanks_one_box_of_so_many_images() -> None:
    x = torch.ones(1000, 2, 20, 20)
    out = Views(erase=0.3).train()(x)
    share = 1 - out.mean((1, 2, 3))
    assert 240 < int((share > 0).sum()) < 360
    assert float(share.max()) < 0.4
    blank = out[:, 0] == 0
    box = blank.any(2)[:, :, None] & blank.any(1)[:, None, :]
    assert torch.equal(blank, box), "what is blank is a rectangle, the same in every channel"
    assert torch.equal(out[:, 0], out[:, 1])


def test_randaugment_does_more_with_more_magnitude_and_nothing_with_none() -> None:
    x = torch.nn.functional.avg_pool2d(images(400, height=36, width=36), 5, stride=1)
    change = []
    for magnitude in (0.0, 2.0, 9.0):
        torch.manual_seed(0)
        out = Views(randaugment={"ops": 2, "magnitude": magnitude}).train()(x)
        change.append(float((out - x).abs().mean()))
    assert change[0] < 1e-3
    assert change[0] < change[1] < change[2]


def test_randaugment_picks_some_operations_of_some_images() -> None:
    torch.manual_seed(0)
    x = images(600, channels=1)
    out = Views(randaugment={"ops": 1, "magnitude": 10}).train()(x)
    kept = (out - x).abs().amax((1, 2, 3)) < 1e-4
    # Of one channel, "identity" and "saturation" change nothing: 2 of 12.
    assert 600 * 0.1 < int(kept.sum()) < 600 * 0.25


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rotat": 10}, "objective.views.rotat"),
        ({"shift": -1}, "objective.views.shift=-1"),
        ({"shift": 1.5}, "objective.views.shift=1.5"),
        ({"flip": "often"}, "objective.views.flip=often"),
        ({"rotate": 200}, "objective.views.rotate=200"),
        ({"crop": 0}, "objective.views.crop=0"),
        ({"crop": [0.5, 0.3]}, "objective.views.crop=[0.5, 0.3]"),
        ({"crop": [0.5, 1.5]}, "objective.views.crop=[0.5, 1.5]"),
        ({"crop": "small"}, "objective.views.crop=small"),
        ({"color": float("nan")}, "objective.views.color=nan"),
        ({"erase": 1.1}, "objective.views.erase=1.1"),
        ({"padding": "black"}, "objective.views.padding=black"),
        ({"randaugment": {"ops": 2}}, "objective.views.randaugment"),
        ({"randaugment": True}, "objective.views.randaugment=True"),
        ({"randaugment": {"ops": 2, "magnitude": 11}}, "objective.views.randaugment.magnitude=11"),
    ],
)
def test_what_can_not_be_done_is_refused_by_name(options: dict, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Views(**options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
