"""What the parts of an input are, and how marks are drawn."""

import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.marked import audio, image, marks, text
from ptft.data.tokenizer import Tokenizer

TEXTS = Spec("text", {"tokenizer": Tokenizer().to_dict(), "length": 64})


def test_words_have_the_space_before_them_and_special_ids_are_of_none():
    tokenizer = Tokenizer()
    ids = torch.tensor([tokenizer.cls, *b"The old  cat.", tokenizer.sep, *b"Oh", tokenizer.sep])
    units = text.units(ids, ids.unsqueeze(0), TEXTS)
    assert text.named(ids, units, TEXTS) == {"words": ["The", "old", "cat", ".", "Oh"]}
    assert units[0] == units[14] == units[-1] == -1
    empty = text.empty(ids.unsqueeze(0), units, TEXTS)[0]
    assert empty.tolist() == [
        tokenizer.cls,
        *[tokenizer.mask] * 13,
        tokenizer.sep,
        *[tokenizer.mask] * 2,
        tokenizer.sep,
    ]


def test_cells_are_squares_of_images_and_end_with_a_recording():
    units = image.units(torch.zeros(1, 30, 20), torch.zeros(1, 1, 30, 20), TEXTS)
    assert image.named(torch.zeros(1), units, TEXTS) == {"grid": [10, 7]}
    x = torch.zeros(1, 50, 16)
    x[:, 40:] = torch.nan
    units = audio.units(torch.zeros(1), x, TEXTS)
    assert (units[40:] == -1).all()
    assert audio.named(torch.zeros(1), units, TEXTS) == {"grid": [20, 8]}
    assert audio.units(torch.zeros(1), torch.zeros(1, 960, 1), TEXTS).max() == 95


def test_what_speaks_for_an_answer_is_red_and_what_speaks_against_it_blue(tmp_path):
    raw, values = torch.full((1, 4, 4), 100, dtype=torch.uint8), torch.zeros(4, 4)
    values[0, 0], values[3, 3] = 2.0, -2.0
    files = image.draw(tmp_path / "a", raw, torch.zeros(1, 1, 4, 4), values, TEXTS)
    with Image.open(files["picture"]) as picture:
        assert picture.size == (224, 224)
        (red, _, low), (_, _, blue), plain = (picture.getpixel(at) for at in ((5, 5), (220, 220), (110, 110)))
    assert red > 150 > low
    assert blue > 130
    assert plain == (114, 114, 114)


def test_the_loudest_mark_is_heard_and_a_spectrogram_of_samples_is_drawn(tmp_path):
    moments = torch.zeros(100)
    moments[40:60] = 1
    gain = audio.gain(moments, 8000, 8000)
    assert gain.shape == (8000,)
    assert (gain[3400:4600] == 1).all()
    assert 0.2 < float(gain.mean()) < 0.3
    spec = Spec("audio", {"rate": 8000, "seconds": None})
    x = torch.sin(torch.arange(4000) / 3).view(1, -1, 1)
    files = audio.draw(tmp_path / "a", (x[0, :, 0] * 9000).short(), x, torch.rand(4000, 1), spec)
    with Image.open(files["picture"]) as picture:
        assert picture.size == (audio.WIDTH, audio.HEIGHT)
    assert files["sound"].stat().st_size == 8044


def test_neighbours_are_averaged_in_large_inputs_alone():
    values = torch.zeros(64, 64)
    values[5, 5] = 1
    assert (marks.strength(values) != 0).sum() == 1
    large = torch.zeros(200, 40)
    large[5, 5] = 1
    assert (marks.strength(large) > 0).sum() == 49
