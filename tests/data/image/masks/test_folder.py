"""Masks in files: read by their values, brought to inputs and back, and looked at before anything is learned."""

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.image import reader
from ptft.data.image.masks.fitting import fitted, to_original
from ptft.data.image.masks.folder import MaskFolder, sample
from ptft.errors import ConfigError, DataError

SIZE = (48, 64)


def values(seed, classes=3, size=SIZE):
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, size, dtype=np.uint8)


def write(root, split, name, mask, size=SIZE, mode=None, exif=None):
    for part in ("images", "masks"):
        (root / part / split).mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.full((*size, 3), 80, np.uint8))
    more = picture.getexif()
    if exif:
        more[0x0112] = exif
    picture.save(root / "images" / split / f"{name}.jpg", exif=more)
    if mask is not None:
        image = Image.fromarray(mask)
        if mode == "P":
            image.putpalette([255 - i // 3 for i in range(768)])
        (image if mode in (None, "P") else image.convert(mode)).save(root / "masks" / split / f"{name}.png")


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val"):
        for i in range(3):
            write(tmp_path, split, f"{i}", values(i), mode="P" if i else None)
    (tmp_path / "classes.txt").write_text("ground\ncat\n\ndog\n")
    return tmp_path


def source(root, **keys):
    return MaskFolder(root=root, size=list(SIZE), **keys)


def test_values_are_numbers_of_classes_whatever_the_palette(root):
    write(root, "train", "3", np.where(values(3) == 2, 255, values(3)).astype(np.uint8))
    made = source(root)
    assert made.spec.classes == ("ground", "cat", "dog")
    masks = made.split("train").take(torch.arange(4))["segments"].numpy()
    assert np.array_equal(masks[:3], [values(i) for i in range(3)])
    assert np.array_equal(masks[3] == 255, values(3) == 2)
    cats = source(root, classes=["cat", "dog"], names={"cat": "puss"})
    assert cats.spec.classes == ("puss", "dog")
    assert np.array_equal(cats.split("val").take(torch.tensor([1]))["segments"][0], np.array([255, 0, 1])[values(1)])


def test_values_of_the_classes_can_be_said(root):
    write(root, "train", "4", np.where(values(4, 2), 255, 7).astype(np.uint8))
    made = source(root, values=[7, 255, 1])
    masks = made.split("train").take(torch.tensor([3]))["segments"][0].numpy()
    assert np.array_equal(masks, values(4, 2))
    assert any("does not name count for nothing: 0, 2" in note for note in made.notes)


def test_without_names_classes_are_numbers_and_one_folder_is_divided(root, tmp_path):
    alone = tmp_path / "alone"
    for i in range(20):
        write(alone, "", f"{i}", values(i, 2))
    made = source(alone)
    assert made.spec.classes == ("0", "1")
    assert sum(len(made.split(name)) for name in ("train", "val", "test")) == 20
    assert source(alone, names=["off", "on"]).spec.classes == ("off", "on")


@pytest.mark.parametrize(
    ("mask", "more", "why"),
    [
        (None, {}, r"9\.jpg \(has no mask\)"),
        (values(1, size=(48, 60)), {}, r"is 48×64 and its mask 9\.png is 48×60"),
        (np.full(SIZE, 4, np.uint8), {}, r"9\.png: holds the value 4, and there are 3 classes"),
        (values(1), {"mode": "RGB"}, r"9\.png: its pixels are colours"),
        (np.full(SIZE, 300, np.uint16), {}, r"9\.png: holds the value 300"),
        (values(1), {"exif": 3}, r"its EXIF orientation \(3\) turns it"),
    ],
    ids=["missing", "size", "beyond", "colours", "deep", "turned"],
)
def test_masks_that_do_not_fit_are_named_before_the_first_step(root, mask, more, why):
    write(root, "train", "9", mask, **more)
    with pytest.raises(DataError, match=why):
        source(root)


def test_broken_masks_and_masks_of_two_values_are_refused(root, tmp_path):
    (root / "masks" / "train" / "1.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match=r"train: 1 of 3 images can't be used: .*1\.png: not readable as an image"):
        source(root)
    assert len(source(root, on_error="skip").split("train")) == 2
    (root / "masks" / "train" / "2.bmp").write_bytes((root / "masks" / "train" / "2.png").read_bytes())
    with pytest.raises(DataError, match="are both the mask of one image"):
        source(root)
    for split in ("train", "val"):
        write(tmp_path / "two", split, "1", 255 * values(1, 2))
    with pytest.raises(DataError, match=r"type dataset\.values=\[0,255\]"):
        source(tmp_path / "two")
    assert source(tmp_path / "two", values=[0, 255]).spec.classes == ("0", "255")
    with pytest.raises(ConfigError, match=r"dataset\.values=\[0, 0\]"):
        source(tmp_path / "two", values=[0, 0])
    with pytest.raises(DataError, match="holds no folder images"):
        source(tmp_path / "two" / "masks")


def test_pictures_that_exif_turns_have_masks_of_either_side(root):
    write(root, "train", "8", values(8), exif=6)
    write(root, "train", "9", values(9, size=SIZE[::-1]), exif=6)
    made = MaskFolder(root=root, size=[SIZE[1], SIZE[0]])
    masks = made.split("train").take(torch.tensor([3, 4]))["segments"].numpy()
    assert np.array_equal(masks[0], np.rot90(values(8), -1))
    assert np.array_equal(masks[1], values(9, size=SIZE[::-1]))


@pytest.mark.parametrize("size", [(48, 64), (24, 32), (48, 30), (20, 64)])
def test_masks_come_back_as_they_were(size):
    """Exactly, where the input holds their pixels or a whole number for each of them."""
    spec = Spec("image", {"size": [48, 64], "channels": 3, "fit": "letterbox"}, "masks", ("a", "b", "c"))
    mask = values(7, size=size)
    inside = fitted(mask, spec)
    assert np.array_equal(to_original(inside, size, spec), mask)
    picture = reader.fitted(Image.new("RGB", size[::-1], "white"), spec, "x")[0]
    assert torch.equal(inside != 255, picture == 255)  # the border is where that of the image is
    whole = to_original(fitted(np.kron(mask, np.ones((2, 2), np.uint8)), spec), (2 * size[0], 2 * size[1]), spec)
    assert whole.shape == (2 * size[0], 2 * size[1])


def test_the_set_that_is_written_to_try_things_is_one(tmp_path):
    sample(tmp_path)
    made = MaskFolder(root=tmp_path)
    assert made.spec.classes == ("background", "square")
    assert made.spec.shape["size"] == [64, 64]
