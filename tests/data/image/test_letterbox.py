"""Images brought to a size whole: where their pixels are afterwards, and back."""

import pytest
import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.image import letterbox, reader


def spec(size, channels=3, **more):
    return Spec("image", reader.shape(size, channels, "letterbox", **more), mean=(0.5,) * channels)


@pytest.mark.parametrize(("whole", "size"), [((480, 640), (384, 512)), ((333, 77), (64, 64)), ((10, 10), (64, 96))])
def test_a_place_of_the_image_is_a_place_of_the_input_and_back(whole, size):
    ratio = letterbox.ratios(torch.tensor([whole]), spec(size))
    high, wide = letterbox.inside(whole, size)
    corner = torch.tensor([[whole[1], whole[0]]], dtype=torch.float64)
    assert (corner * ratio).tolist() == [[wide, high]]
    assert high == size[0] or wide == size[1]


def test_the_border_is_the_mean_and_a_large_jpeg_is_as_large_as_a_png(tmp_path):
    image = Image.new("RGB", (1283, 641), "white")
    for name in ("a.png", "a.jpg"):
        image.save(tmp_path / name)
    one, other = (reader.read(tmp_path / name, spec((64, 96))) for name in ("a.png", "a.jpg"))
    assert torch.equal(one, other)
    assert (one[:, :48] == 255).all()
    assert (one[:, 48:] == 128).all()


def test_images_in_memory_are_boxed_as_files_are():
    images = torch.randint(0, 256, (2, 3, 20, 40), dtype=torch.uint8)
    out = reader.resize(images, spec((30, 30)))
    inner = reader.resize(images, Spec("image", reader.shape((15, 30), 3, "stretch")))
    assert torch.equal(out[..., :15, :], inner)
    assert (out[..., 15:, :] == 128).all()
