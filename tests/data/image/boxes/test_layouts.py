"""Annotation files of three layouts: what is read of them, what is refused and what is left out, with its name."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.cache.policy import into_memory
from ptft.data.image.boxes.coco import Coco
from ptft.errors import ConfigError, DataError

NAMES = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]


def picture(path, size=(60, 80), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path, **more)


def annotation(number, image, category, bbox, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, "iscrowd": 0, **more}


def write(root, split="train", images=(1, 2), annotations=(), categories=NAMES, **more):
    for image in images:
        picture(root / f"{split}2017" / f"{image}.png", **more)
    listed = [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 80} for i in images]
    content = {"images": listed, "annotations": list(annotations), "categories": list(categories)}
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path):
    """Three images to train on, one of them without a box, and two to measure with a class that has none there."""
    boxes = [annotation(5, 2, 7, [8, 6, 16, 24]), annotation(9, 1, 2, [0, 0, 80, 60])]
    write(tmp_path, images=(1, 2, 3), annotations=[*boxes, annotation(4, 2, 2, [40, 30, 20, 20], iscrowd=1)])
    other = [*reversed(NAMES), {"id": 30, "name": "hen"}]
    write(tmp_path, "val", (11, 12), [annotation(1, 11, 30, [10, 10, 5, 5], area=20.0)], other)
    return tmp_path


def test_boxes_are_read_by_the_names_of_their_classes_and_crowds_are_not_learned(root):
    source = Coco(root=root, size=120)
    train = source.split("train")
    assert source.spec.classes == ("cat", "dog", "hen")
    assert source.spec.shape["categories"] == [2, 7, 30]
    batch = train.take(torch.arange(3))  # 80 pixels across become 120
    assert batch["box_label"].tolist() == [[0], [1], [-1]]
    assert batch["box"][:2].tolist() == [[[0, 0, 120, 90]], [[12, 9, 36, 45]]]
    assert batch["input"].shape == (3, 3, 120, 120)
    for channel, mean in zip(batch["input"][0, :, 90:], (124, 116, 104), strict=True):  # ImageNet's
        assert channel.unique().tolist() == [mean]
    assert train.boxes.crowd.tolist() == [False, False, True]
    assert source.split("val").boxes.area.tolist() == [20.0]
    assert any("no box of cat, dog is in val" in note for note in source.notes)


def test_the_cache_has_the_same_examples_and_both_targets_share_it(root):
    boxes, labels = (Coco(root=root, size=40, target=target).split("train") for target in ("boxes", "labels"))
    rows = torch.tensor([2, 0])
    for name, values in into_memory(boxes).take(rows).items():
        assert torch.equal(values, boxes.take(rows)[name]), name
    (one, _), (other, _) = boxes.whole(), labels.whole()
    assert (type(one), one.cache_digest()) == (type(other), other.cache_digest())
    assert labels.take(torch.arange(3))["label"].tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_chosen_classes_keep_every_image(root):
    train = Coco(root=root, size=40, classes=["dog"]).split("train")
    assert train.take(torch.arange(3))["box_label"].tolist() == [[-1], [0], [-1]]


def test_classes_take_the_order_of_the_checkpoint_that_is_measured(root):
    shape = {"size": [40, 40], "channels": 3, "fit": "letterbox", "categories": [30, 7, 2, 99]}
    like = Spec("image", shape, "boxes", ("hen", "dog", "cat", "owl"))
    source = Coco(root=root, like=like, whole=True)
    assert source.spec.classes == like.classes
    assert source.split("val").boxes.label.tolist() == [0]


BROKEN = {
    "of negative size": [5, 5, -3, 4],
    "empty": [5, 5, 0, 4],
    "outside of the image": [85, 5, 4, 4],
    "not finite": [5, float("nan"), 4, 4],
    "not four numbers": [5, 5, 4],
}


def test_boxes_that_are_none_are_counted_and_named(tmp_path):
    good = [annotation(100 + i, 1, 2, [i, 1, 5, 5]) for i in range(10)]
    bad = [annotation(i, 1, 2, bbox) for i, bbox in enumerate(BROKEN.values())]
    write(tmp_path, annotations=[*good, *bad, annotation(50, 2, 3, [1, 1, 5, 5])])
    write(tmp_path, "val")
    with pytest.raises(DataError, match=r"train: 6 of 16 boxes can't be used: annotation 0 of 1.png \(of negative"):
        Coco(root=tmp_path, size=40)
    source = Coco(root=tmp_path, size=40, on_error="skip")
    assert source.split("train").boxes.count.tolist() == [10, 0]
    said = dict(source.unusable)
    assert all(why in said[f"annotation {i} of 1.png"] for i, why in enumerate(BROKEN))
    assert said["annotation 50 of 2.png"] == "of category 3, which there is not"
    assert any("6 of 16 boxes can't be used and are left out" in note for note in source.notes)


def test_images_that_are_not_what_is_said_are_found_beforehand(root):
    picture(root / "train2017" / "1.png", (30, 80))
    (root / "train2017" / "3.png").unlink()
    with pytest.raises(
        DataError, match=r"2 of 3 images can't be used: .*1.png \(is 30×80 and its annotation says 60×80"
    ):
        Coco(root=root, size=40)


def test_ids_that_are_there_twice_are_refused(root):
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["images"][1]["id"] = 1
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="two images have the id 1"):
        Coco(root=root)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_turn_with_images_that_exif_turns(tmp_path, orientation):
    """A white box is drawn into the picture as it is stored, and found again in the picture as it is seen."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(tmp_path, "val")
    write(tmp_path, annotations=[annotation(1, 1, 2, [8, 4, 24, 16])])
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[4:20, 8:32] = 255
    Image.fromarray(pixels).save(tmp_path / "train2017" / "1.png", exif=exif)
    batch = Coco(root=tmp_path, size=[80, 60]).split("train").take(torch.tensor([0]))
    rows, columns = (batch["input"][0, 0] > 128).nonzero(as_tuple=True)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert batch["box"][0, 0].tolist() == [int(side) for side in seen]


def test_a_picture_that_may_be_turned_or_not_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    write(tmp_path, annotations=[annotation(1, 1, 2, [8, 4, 24, 16])], exif=exif)
    with pytest.raises(DataError, match=r"EXIF orientation \(3\)"):
        Coco(root=tmp_path, val=None)


def yolo(root):
    for split, numbers in (("train", (0, 1)), ("val", (0, 1))):
        for i in numbers:
            picture(root / "images" / split / f"{i}.png")
        (root / "labels" / split).mkdir(parents=True)
        (root / "labels" / split / "0.txt").write_text("1 0.2 0.3 0.2 0.4\n0 0.5 0.5 1 0.5 1 1 0.5 1\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")


def voc(root):
    for i in range(4):
        picture(root / "JPEGImages" / f"{i}.png")
        objects = [("dog", 9, 7, 24, 30, i % 2), ("cat", 41, 31, 80, 60, 0)] if i % 2 == 0 else []
        text = "".join(
            f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
            f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
            for name, a, b, c, d, hard in objects
        )
        (root / "Annotations").mkdir(exist_ok=True)
        size = "<size><width>80</width><height>60</height></size>"
        (root / "Annotations" / f"{i}.xml").write_text(
            f"<annotation><filename>{i}.png</filename>{size}{text}</annotation>"
        )
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, names in (("train", "0\n1\n"), ("val", "2\n3\n")):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)


@pytest.mark.parametrize("layout", [yolo, voc])
def test_other_layouts_say_the_same(tmp_path, layout):
    layout(tmp_path)
    source = Coco(root=tmp_path, size=[60, 80])
    assert source.spec.classes == ("cat", "dog")
    batch = source.split("train").take(torch.arange(2))
    assert batch["box_label"].tolist() == [[1, 0], [-1, -1]]
    torch.testing.assert_close(batch["box"][0], torch.tensor([[8.0, 6, 24, 30], [40, 30, 80, 60]]))


def test_an_xml_file_goes_with_the_picture_that_is_called_as_it_is(tmp_path):
    voc(tmp_path)
    stale = tmp_path / "Annotations" / "2.xml"
    stale.write_text(stale.read_text().replace("2.png", "1.png"))
    (tmp_path / "Annotations" / "5.xml").write_text("<annotation></annotation>")
    source = Coco(root=tmp_path, size=[60, 80])
    assert [path.name for path in source.made["val"][0]] == ["2.png", "3.png"]
    called = "1 of 2 XML files name another picture than the one called as they are, which is taken: 2.xml 1.png"
    assert {called, "1 XML file is in no list of a split (ImageSets/Main) and not used: 5.xml"} <= {*source.notes}
    (tmp_path / "JPEGImages" / "3.png").rename(tmp_path / "JPEGImages" / "b.png")
    (tmp_path / "Annotations" / "3.xml").write_text("<annotation><filename>2.png</filename></annotation>")
    with pytest.raises(DataError, match=r"3\.xml: 2\.xml and 3\.xml are both of 2\.png, by their <filename>"):
        Coco(root=tmp_path, size=[60, 80])
    (tmp_path / "ImageSets" / "Main" / "valid.txt").write_text("3\n")
    with pytest.raises(DataError, match=r"val\.txt and valid\.txt are both lists of the val split"):
        Coco(root=tmp_path, size=[60, 80])


def test_two_folders_of_a_split_are_refused_and_others_told(tmp_path):
    yolo(tmp_path)
    (tmp_path / "labels" / "val" / "7.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    picture(tmp_path / "images" / "extra" / "9.png")
    picture(tmp_path / "more" / "images" / "9.png")
    folders = "images/extra (1 image), more/images (1 image) are there and not used"
    for text in ("train: images/train\nval: images/val\nnames: [cat, dog]\n", "names: [cat, dog]\n"):
        (tmp_path / "data.yaml").write_text(text)
        notes = " ".join(Coco(root=tmp_path, size=32).notes)
        assert folders in notes
        assert "1 file of labels is of no image and not used: labels/val/7.txt" in notes
    picture(tmp_path / "images" / "valid" / "9.png")
    with pytest.raises(DataError, match="images/val and images/valid are both the val split; put"):
        Coco(root=tmp_path, size=32)
    (tmp_path / "data.yaml").write_text("val: images/val\nvalid: images/valid\nnames: [cat, dog]\n")
    with pytest.raises(DataError, match=r"data\.yaml: val and valid are both the val split"):
        Coco(root=tmp_path, size=32)


def test_two_exports_of_a_split_are_refused(tmp_path):
    for folder in ("train", "valid", "val"):
        picture(tmp_path / folder / "1.png")
        content = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [], "categories": NAMES}
        (tmp_path / folder / "_annotations.coco.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="val and valid are both the val split"):
        Coco(root=tmp_path, size=32)


def test_one_file_is_divided_and_its_parts_share_no_image(tmp_path):
    write(tmp_path, images=range(40), annotations=[annotation(i + 1, i, 2, [1, 1, 9, 9]) for i in range(40)])
    source = Coco(root=tmp_path, size=40)
    names = [name for split in ("train", "val", "test") for name in source.known_by(split)]
    assert sorted(names) == sorted(f"train2017/{i}.png" for i in range(40))
    assert min(len(source.split(split)) for split in ("train", "val", "test")) > 0


def test_without_a_size_the_longer_side_is_512(tmp_path):
    write(tmp_path, size=(960, 1280))
    file = tmp_path / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text().replace(": 60", ": 960").replace(": 80", ": 1280"))
    assert Coco(root=tmp_path, val=None).spec.shape["size"] == [384, 512]


@pytest.mark.parametrize("key", [{"fit": "crop"}, {"crop_pct": 0.9}, {"target": "outlines"}, {"layout": "kitti"}])
def test_what_cuts_boxes_or_is_not_known_is_refused(root, key):
    with pytest.raises(ConfigError, match=f"dataset.{next(iter(key))}="):
        Coco(root=root, **key)
