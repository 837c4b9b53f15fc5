"""Masks of annotations: equal to those of COCO's own functions, painted by a rule, and refused by name."""

import json

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as official
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ptft.data.cache.policy import into_memory, onto_disk
from ptft.data.image.boxes.coco import Coco
from ptft.data.image.boxes.shapes import Figures, Shapes
from ptft.data.image.masks import run_lengths
from ptft.errors import ConfigError, DataError

HEIGHT, WIDTH = 30, 40
CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]


def blobs(seed, size=(HEIGHT, WIDTH)):
    generator = np.random.default_rng(seed)
    return generator.random(size) < generator.random()


def counts_of(mask):
    return official.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (1, 1), (1, 9), (300, 700)])
def test_runs_are_those_of_the_official_functions(size):
    for seed in range(8):
        mask = blobs(seed, size)
        runs = run_lengths.runs_of(mask)
        assert run_lengths.text_of(runs) == counts_of(mask)
        assert run_lengths.runs_in(counts_of(mask)) == runs
        assert np.array_equal(run_lengths.mask_of(runs, size), mask)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30) | st.text(alphabet=[chr(48 + i) for i in range(64)], max_size=30))
def test_texts_that_are_no_runs_are_refused_and_others_come_back(text):
    try:
        runs = run_lengths.runs_in(text)
        mask = run_lengths.mask_of(runs, (5, 5))
    except ValueError:
        return
    assert mask.shape == (5, 5)


def write(root, annotations, split="train", images=2, exif=None, size=(HEIGHT, WIDTH)):
    (root / f"{split}2017").mkdir(parents=True, exist_ok=True)
    for i in range(images):
        picture = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
        more = picture.getexif()
        if exif:
            more[0x0112] = exif
        picture.save(root / f"{split}2017" / f"{i}.png", exif=more)
    listed = [{"id": i, "file_name": f"{i}.png", "height": size[0], "width": size[1]} for i in range(images)]
    marks = [{"id": k, "iscrowd": 0, "bbox": [0, 0, 1, 1], **each} for k, each in enumerate(annotations, 1)]
    if split == "train":  # alone it would be divided
        write(root, [], "val", 1, exif, size)
    (root / "annotations").mkdir(exist_ok=True)
    content = {"images": listed, "annotations": marks, "categories": CATEGORIES}
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


TRIANGLE, LEFT = [[5.5, 3.2, 30.1, 8, 12, 25.7]], [[0, 0, 9, 0, 9, 30, 0, 30], [30, 2, 38, 2, 38, 9, 30, 9]]


def source(root, **keys):
    return Coco(root=root, target="masks", size=[HEIGHT, WIDTH], val=None, test=None, **keys)


def test_a_later_annotation_is_on_top_and_crowds_count_for_nothing(tmp_path):
    blob, crowd = blobs(3), blobs(4)
    runs = {"size": [HEIGHT, WIDTH], "counts": counts_of(blob)}
    plain = {"size": [HEIGHT, WIDTH], "counts": run_lengths.runs_of(crowd)}
    marks = [
        {"image_id": 0, "category_id": 7, "segmentation": TRIANGLE},
        {"image_id": 0, "category_id": 2, "segmentation": runs},
        {"image_id": 0, "category_id": 2, "segmentation": LEFT},
        {"image_id": 0, "category_id": 7, "segmentation": plain, "iscrowd": 1},
    ]
    write(tmp_path, marks)
    made = source(tmp_path)
    assert made.spec.classes == ("background", "cat", "dog")
    assert (made.spec.target, made.spec.shape["reader"]) == ("masks", "masks.rows")
    train = made.split("train")
    expected = np.where(crowd, 255, 0)
    for polygons, label in ((TRIANGLE, 2), (None, 1), (LEFT, 1)):
        inside = blob if polygons is None else official.decode(official.merge(official.frPyObjects(polygons, 30, 40)))
        expected[inside > 0] = label
    batch = train.take(torch.tensor([1, 0]))
    assert np.array_equal(batch["segments"][1].numpy(), expected)
    assert int(batch["segments"][0].amax()) == 0  # of no annotation: all of it is background
    dogs = source(tmp_path, classes=["dog"])
    assert dogs.spec.classes == ("background", "dog")
    assert dogs.split("train")
    assert "pixels of cat count as background (dataset.classes)" in dogs.notes
    of_dogs = np.array([0, 0, 1] + [255] * 253)[expected]
    assert np.array_equal(dogs.split("train").take(torch.tensor([0]))["segments"][0].numpy(), of_dogs)
    like = made.spec  # which knows cats: what it says of them is no mistake
    measured = Coco(root=tmp_path, target="masks", classes=["dog"], like=like, whole=True, test="train", val=None)
    assert measured.split("test")
    assert "pixels of cat count for nothing (dataset.classes)" in measured.notes
    without_cats = np.array([0, 255, 1] + [255] * 253)[expected]
    assert np.array_equal(measured.split("test").take(torch.tensor([0]))["segments"][0].numpy(), without_cats)
    none = source(tmp_path, background=False).split("train").take(torch.tensor([0]))["segments"][0].numpy()
    assert np.array_equal(none, np.array([255, 0, 1] + [255] * 253)[expected])


def test_masks_are_cached_with_their_images(tmp_path):
    examples = Shapes(images=9, held_out=2, target="masks", classes=["square", "circle"]).split("train")
    rows = torch.tensor([8, 2])
    wanted = examples.take(rows)
    part = examples.at(torch.tensor([2, 8, 5]))
    for kept, some in ((into_memory(examples), rows), (onto_disk(part), torch.tensor([1, 0]))):
        found = kept.take(some)
        for name in ("input", "segments"):
            assert torch.equal(found[name], wanted[name])
    every = Shapes(images=9, held_out=2, target="masks").split("train")
    assert torch.equal(onto_disk(every).take(rows)["segments"], every.take(rows)["segments"])  # in a file of its own
    squares = into_memory(examples).of_classes(("square",)).take(rows)["segments"]
    assert torch.equal(squares, torch.where(wanted["segments"] == 1, 0, 255).to(torch.uint8))


def test_figures_lie_where_they_are_drawn():
    figures = Figures(torch.arange(40))
    drawn, masks = figures.draw((64, 64)), figures.masks((64, 64))
    for i in range(40):
        ground = (drawn[i] - figures.ground[:, i, None, None]).abs().amax(0) < 1e-6
        assert not (ground & (masks[i] > 0)).any()
        assert ((masks[i] > 0) | ground).float().mean() > 0.85  # but for pixels at the edges
    assert masks.unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_turn_with_pictures_that_exif_turns(tmp_path, orientation):
    blob = blobs(5)
    stored = {"size": [HEIGHT, WIDTH], "counts": counts_of(blob)}
    write(tmp_path, [{"image_id": 0, "category_id": 2, "segmentation": stored}], images=1, exif=orientation)
    picture = Image.fromarray(blob.astype(np.uint8))
    picture.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture))
    made = Coco(root=tmp_path, target="masks", size=[WIDTH, HEIGHT], val=None, test=None)
    assert np.array_equal(made.split("train").take(torch.tensor([0]))["segments"][0].numpy(), upright)


HOSTILE = {
    "has no segmentation": None,
    "is not x, y of three corners": [[1, 2, 3, 4]],
    "x, y": [[1, 2, 3, 4, 5, 6, 7]],
    "covers no pixel": [[50, 50, 60, 50, 60, 60]],
    "not finite": [[0, 0, 1e400, 1, 5, 9]],
    "farther away": [[0, 0, 1e12, 1, 5, 9]],
    "its runs are of an image of": {"size": [9, 9], "counts": [81]},
    "its runs are 81 pixels": {"size": [HEIGHT, WIDTH], "counts": [40, 41]},
    "neither a text nor whole numbers": {"size": [HEIGHT, WIDTH], "counts": [True]},
    "break off": {"size": [HEIGHT, WIDTH], "counts": "oooo"},
    "none of COCO's": {"size": [HEIGHT, WIDTH], "counts": "é"},
}


def test_outlines_that_are_none_are_refused_by_name(tmp_path):
    for k, (why, outline) in enumerate(HOSTILE.items()):
        root = tmp_path / str(k)
        write(root, [{"image_id": 1, "category_id": 2, "segmentation": outline}], images=2)
        with pytest.raises(DataError, match=f"annotation 1 of 1.png .*{why}"):
            source(root, on_error="raise")
    write(tmp_path, [{"image_id": 0, "category_id": 9, "segmentation": TRIANGLE}])
    with pytest.raises(DataError, match="of category 9"):
        source(tmp_path, on_error="raise")
    with pytest.raises(ConfigError, match="cuts masks"):
        source(tmp_path, fit="crop")


def test_one_that_is_none_among_others_is_left_out(tmp_path):
    good = {"image_id": 0, "category_id": 2, "segmentation": TRIANGLE}
    write(tmp_path, [good, {**good, "segmentation": []}, good])
    made = source(tmp_path, on_error="skip")
    assert any("1 of 3 masks can't be used" in note for note in made.notes)
    assert len(made.split("train")) == 2
