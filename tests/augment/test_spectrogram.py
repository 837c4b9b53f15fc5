"""Random views of spectrograms: what they change, and that recordings stay as long as they are."""

import pytest
import torch

from ptft.augment.spectrogram import SpectrogramViews, pieces
from ptft.augment.views import views
from ptft.core import Spec
from ptft.errors import ConfigError


def batch(lengths=(30, 12, 1)):
    x = torch.randn(len(lengths), max(lengths), 10, generator=torch.Generator().manual_seed(0)) + 3
    for row, length in zip(x, lengths, strict=True):
        row[length:] = torch.nan
    return x


@pytest.mark.parametrize(
    "options",
    [
        {"shift": 3},
        {"speed": 0.3},
        {"time_masks": 2},
        {"freq_masks": 2},
        {"noise": 0.5},
        {"shift": 2, "noise": 1.0},
        {"pitch": 0.2},
        {"tone": 0.5},
    ],
)
def test_a_view_is_another_and_as_long(options):
    torch.manual_seed(0)
    x = batch()
    kept, made = x.clone(), SpectrogramViews(**options)
    view = made(x)
    assert torch.equal(x, kept) or bool((x.isnan() == kept.isnan()).all())
    assert torch.equal(view.isnan(), x.isnan())
    assert not torch.equal(view.nan_to_num(0), x.nan_to_num(0))
    assert torch.equal(made.eval()(x).nan_to_num(0), x.nan_to_num(0))


def test_nothing_chosen_changes_nothing():
    x = batch()
    assert torch.equal(SpectrogramViews()(x).nan_to_num(0), x.nan_to_num(0))


def test_a_shift_moves_frames_and_keeps_the_edge():
    torch.manual_seed(0)
    ramp = torch.arange(20.0).view(1, 20, 1).expand(200, 20, 4)
    view = SpectrogramViews(shift=3)(ramp)[:, :, 0]
    moved = view[:, 10] - 10
    assert moved.min() >= -3
    assert moved.max() <= 3
    assert moved.std() > 1
    assert view.min() >= 0
    assert view.max() <= 19


def test_speed_stretches_around_the_middle():
    torch.manual_seed(0)
    ramp = torch.arange(21.0).view(1, 21, 1).expand(100, 21, 4)
    view = SpectrogramViews(speed=0.25)(ramp)[:, :, 0]
    assert (view[:, 10] - 10).abs().max() < 1e-4
    factors = view[:, 12] - view[:, 11]
    assert 0.75 <= factors.min() < 0.85
    assert 1.15 < factors.max() <= 1.25


def test_pitch_stretches_from_the_lowest_band_and_keeps_the_highest():
    torch.manual_seed(0)
    ramp = torch.arange(40.0).expand(200, 3, 40)
    view = SpectrogramViews(pitch=0.2)(ramp)[:, 0]
    factors = (view[:, 30] - view[:, 10]) / 20
    lower = factors < 1  # of the others the top is cut at the highest band
    low = factors[lower]
    assert 0.8 <= low.min() < 0.83
    assert 60 < len(low) < 140
    assert torch.allclose((view[lower, 10] + 0.5) / low, torch.tensor(10.5), atol=1e-3)
    assert view.max() <= 39


def test_tone_adds_one_smooth_curve_to_all_of_a_recording():
    torch.manual_seed(0)
    x = torch.zeros(2000, 2, 16)
    view = SpectrogramViews(tone=0.5)(x)
    assert torch.equal(view[:, 0], view[:, 1])
    assert float(view[:, 0].mean(1).std()) == pytest.approx(0.5, rel=0.1)  # the level
    again = torch.linalg.matrix_rank(view[:, 0], rtol=1e-4)
    assert int(again) == 4
    assert view[:, 0].diff(dim=1).abs().max() < 1.0


def test_masks_are_as_many_and_as_wide_as_was_asked():
    torch.manual_seed(0)
    lengths = torch.tensor([40, 10]).repeat(200)
    hidden = pieces(lengths, 40, 1, 0.25)
    assert not hidden[1::2, 10:].any()
    widths = hidden.sum(1)
    assert widths[0::2].max() == 10
    assert widths[1::2].max() == 2
    assert widths.min() == 0
    starts = hidden.int().diff(dim=1, prepend=torch.zeros(400, 1, dtype=torch.int)).eq(1).sum(1)
    assert starts.max() == 1


def test_rows_differ_and_the_seed_decides():
    x = batch((20, 20)).expand(-1, -1, -1)
    made = SpectrogramViews(time_masks=1, freq_masks=1, noise=0.1, shift=2)
    torch.manual_seed(1)
    first = made(x)
    torch.manual_seed(1)
    assert torch.equal(made(x), first)
    assert not torch.equal((first - x)[0], (first - x)[1])


def test_options_that_can_not_be():
    with pytest.raises(ConfigError, match=r"objective\.views\.rotate does not exist for audio"):
        views(Spec("audio", {}), {"rotate": 10})
    with pytest.raises(ConfigError, match=r"objective\.views\.shift=0.5"):
        SpectrogramViews(shift=0.5)
    with pytest.raises(ConfigError, match=r"objective\.views\.speed=0.9"):
        SpectrogramViews(speed=0.9)
    with pytest.raises(ConfigError, match="there are none of text"):
        views(Spec("text", {}), {"shift": 1})
