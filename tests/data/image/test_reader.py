"""Files of every kind become uint8 [C, H, W] of the configured shape, or one clear line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.image import reader as image_reader
from ptft.data.image.pixels import depths
from ptft.errors import ConfigError, DataError


def spec(size, channels=3, fit="crop"):
    return Spec("image", image_reader.shape(size, channels, fit))


def save(path, mode="RGB", size=(32, 32), **options):
    """A left-to-right ramp in any mode; `size` is (width, height) as in Pillow."""
    ramp = np.tile(np.linspace(0, 255, size[0]), (size[1], 1))
    if mode == "I;16":
        picture = Image.fromarray((ramp * 257).astype(np.uint16))
    else:
        picture = Image.fromarray(ramp.astype(np.uint8)).convert(mode)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("1", "a.png"),
        ("L", "a.webp"),
        ("LA", "a.png"),
        ("P", "a.gif"),
        ("RGBA", "a.png"),
        ("CMYK", "a.jpg"),
        ("I;16", "a.png"),
        ("I;16", "a.tif"),
        ("RGB", "a.bmp"),
    ],
)
def test_every_mode_becomes_the_configured_channels(tmp_path, mode, name, channels):
    pixels = image_reader.read(save(tmp_path / name, mode), spec((32, 32), channels))
    assert pixels.shape == (channels, 32, 32)
    assert pixels.dtype == torch.uint8
    ramp = pixels.float().mean((0, 1))
    assert ramp[:8].mean() < 60
    assert ramp[-8:].mean() > 190
    if mode != "1":
        assert 110 < ramp[12:20].mean() < 145  # clipped 16-bit values would all be white here


def test_images_in_other_colour_spaces_are_grey_or_coloured(tmp_path):
    Image.new("LAB", (8, 8), (255, 128, 128)).save(tmp_path / "a.tif")
    assert image_reader.read(tmp_path / "a.tif", spec((8, 8), 1)).float().mean() > 200
    assert image_reader.read(tmp_path / "a.tif", spec((8, 8), 3)).shape == (3, 8, 8)


def test_transparent_pixels_are_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert bool((image_reader.read(tmp_path / "clear.png", spec((8, 8))) == 255).all())
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "palette.png", transparency=1)
    assert bool((image_reader.read(tmp_path / "palette.png", spec((8, 8))) == 255).all())


def test_orientation_of_a_camera_is_applied(tmp_path):
    picture = Image.new("L", (40, 20))
    picture.paste(255, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it upright: what is left becomes the top
    picture.save(tmp_path / "turned.png", exif=exif)
    assert image_reader.size_of(tmp_path / "turned.png") == (40, 20)
    pixels = image_reader.read(tmp_path / "turned.png", spec((40, 20), 1, "none"))
    assert bool((pixels[0, :18] == 255).all())
    assert bool((pixels[0, 22:] == 0).all())


def test_crop_keeps_proportions_and_stretch_keeps_everything(tmp_path):
    picture = Image.new("L", (60, 20))
    picture.paste(255, (20, 0, 40, 20))
    picture.save(tmp_path / "wide.png")
    cropped = image_reader.read(tmp_path / "wide.png", spec((10, 10), 1, "crop"))
    stretched = image_reader.read(tmp_path / "wide.png", spec((10, 12), 1, "stretch"))
    assert cropped.float().mean() > 250
    assert stretched.shape == (1, 10, 12)
    assert 70 < stretched.float().mean() < 100
    assert bool((stretched[0, :, 0] == 0).all())


def test_large_photos_shrink_without_aliasing(tmp_path):
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    small = image_reader.read(tmp_path / "board.png", spec((32, 32), 1))
    in_memory = image_reader.resize(torch.from_numpy(board)[None, None], spec((32, 32), 1))
    for pixels in (small, in_memory):
        assert (pixels.float() - 127.5).abs().max() < 10


def test_mixed_sizes_name_both_files_and_the_key(tmp_path):
    first, other = save(tmp_path / "first.png"), save(tmp_path / "other.png", size=(48, 32))
    with pytest.raises(image_reader.SizeError) as error:
        image_reader.read(other, spec((32, 32), 3, "none"), first=first)
    for part in (str(first), str(other), "32×48", "32×32", "dataset.size"):
        assert part in str(error.value)
    for size, typed in (((32, 32), "32"), ((24, 32), "[24,32]")):  # a model's own: new files can't change it
        with pytest.raises(image_reader.SizeError) as error:
            image_reader.read(other, spec(size, 3, "none"))
        assert f"resize it first, or train with dataset.size={typed}, which" in str(error.value)


def test_broken_files_are_named(tmp_path):
    whole = save(tmp_path / "whole.jpg", size=(200, 200)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no\n")
    png = save(tmp_path / "whole.png", size=(200, 200)).read_bytes()
    (tmp_path / "cut.png").write_bytes(png[: len(png) // 2])
    for name, reason in {"empty.png": "empty", "text.jpg": "not an image", "cut.jpg": "", "cut.png": ""}.items():
        with pytest.raises(DataError, match=name) as error:
            image_reader.read(tmp_path / name, spec((32, 32)))
        assert reason in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no such file"):
        image_reader.read(tmp_path / "absent.png", spec((8, 8)))


def test_find_takes_files_folders_and_globs(tmp_path):
    for name in (
        "b/two.PNG",
        "a/one.jpg",
        "a/.ipynb_checkpoints/hidden.png",
        "a/._one.jpg",
        "notes.txt",
        "c [1]/x.tif",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = [tmp_path / "a/one.jpg", tmp_path / "b/two.PNG", tmp_path / "c [1]/x.tif"]
    assert image_reader.find(tmp_path) == expected
    assert image_reader.find(str(tmp_path)) == expected
    assert image_reader.find(tmp_path / "a/one.jpg") == expected[:1]
    assert image_reader.find(tmp_path / "c [1]") == expected[2:]
    assert image_reader.find(f"{tmp_path}/*/*.PNG") == expected[1:2]
    assert image_reader.find(tmp_path / "nothing") == []


def test_links_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "data/cat").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far.png").touch()
    (tmp_path / "data/cat/back").symlink_to(tmp_path / "data")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/dangling").symlink_to(tmp_path / "gone")
    assert image_reader.find(tmp_path / "data") == [tmp_path / "data/dog/far.png"]


def test_resize_of_an_image_does_not_depend_on_its_batch():
    images = torch.randint(256, (7, 3, 20, 30), dtype=torch.uint8)
    for fit in ("crop", "stretch"):
        whole = image_reader.resize(images, spec((28, 28), 1, fit), chunk=3)
        assert whole.shape == (7, 1, 28, 28)
        assert all(
            torch.equal(image_reader.resize(images[i : i + 1], spec((28, 28), 1, fit))[0], whole[i]) for i in range(7)
        )


def test_grey_and_colour_convert_both_ways():
    grey = torch.randint(256, (2, 1, 4, 4), dtype=torch.uint8)
    colour = image_reader.convert(grey, 3)
    assert colour.shape == (2, 3, 4, 4)
    assert torch.equal(image_reader.convert(colour, 1), grey)


@pytest.mark.parametrize(("interpolation", "apart"), [("nearest", 0), ("bilinear", 2), ("bicubic", 20), ("lanczos", 0)])
@pytest.mark.parametrize("side", [14, 28, 90])
def test_files_and_memory_are_resized_alike(tmp_path, interpolation, apart, side):
    picture = Image.fromarray(np.random.default_rng(0).normal(128, 80, (40, 60)).clip(0, 255).astype(np.uint8))
    picture.save(tmp_path / "noise.png")
    asked = spec((side, side), 1)
    asked = replace(asked, shape={**asked.shape, "fit": "stretch", "interpolation": interpolation})
    from_file = image_reader.read(tmp_path / "noise.png", asked)
    from_memory = image_reader.resize(torch.from_numpy(np.array(picture))[None, None], asked)[0]
    difference = (from_file.int() - from_memory.int()).abs().float()
    assert difference.max() <= apart
    assert difference.mean() < 0.5


def test_impossible_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"dataset\.channels=4"):
        image_reader.shape((8, 8), 4, "crop")
    with pytest.raises(ConfigError, match=r"dataset\.fit=pad"):
        image_reader.shape((8, 8), 3, "pad")


RANGES = {
    "12 bits in 16": (np.uint16, 0, 4095),
    "8 bits in 16": (np.uint16, 0, 255),
    "16 bits": (np.uint16, 0, 65535),
    "integers up to 255": (np.int32, 0, 255),
    "integers of 16 bits": (np.int32, 0, 65535),
    "integers of 32 bits": (np.int32, 0, 2**31 - 1),
    "integers below 0": (np.int32, -1000, 3000),
    "floats up to 1": (np.float32, 0, 1),
    "floats up to 255": (np.float32, 0, 255),
    "floats below 0": (np.float32, -1, 1),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_ramp_over_the_range_that_a_file_uses_is_a_ramp_from_black_to_white(tmp_path, name):
    kind, least, most = RANGES[name]
    ramp = np.tile(np.linspace(least, most, 32), (32, 1)).astype(kind)
    path = tmp_path / "a.tif"
    Image.fromarray(ramp).save(path)
    pixels = image_reader.read(path, spec((32, 32), 1))[0, 0].double()
    assert (pixels - torch.linspace(0, 255, 32)).abs().max() <= 1
    assert abs(pixels.mean() - 127.5) < 0.6
    said = depths.range_note([tmp_path / "none.tif", path, path])
    assert (said is None) == (name in ("16 bits", "integers of 16 bits", "floats up to 1"))
    assert said is None or said.startswith(f"{path} holds values up to {most:g}; such images are scaled")
    assert said is None or said.endswith("white (2 of 3 that were looked at)")


def test_images_of_one_value_stay_what_they_are(tmp_path):
    for value, wanted in ((0.0, 0), (1.0, 255), (7.0, 255)):
        Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / "a.tif")
        assert image_reader.read(tmp_path / "a.tif", spec((8, 8), 1)).unique().tolist() == [wanted]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_with_a_value_that_is_no_number_is_named(tmp_path, value):
    values = np.ones((8, 8), np.float32)
    values[2, 3] = value
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: not readable as an image \(it holds values that are not finite\)"):
        image_reader.read(tmp_path / "a.tif", spec((8, 8), 1))
