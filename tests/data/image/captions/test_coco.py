"""Captions in COCO's and Karpathy's layouts, written here: who is in which split, and what is refused or left out."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.core import length_mask
from ptft.errors import ConfigError, DataError
from tests.conftest import summary
from tests.data.image.captions.test_captions import made, texts
from tests.objectives.pairs.test_siglip import MODEL, TEXT

GREY = 6
"""Steps of grey between images, which are of one each, so that a caption can name its image's."""


def images(folder, numbers):
    folder.mkdir(parents=True)
    for i in numbers:
        Image.fromarray(np.full((8, 8, 3), GREY * i, np.uint8)).save(folder / f"{i}.png")


def said_of(i):
    return [f"a picture of\n grey {GREY * i}", f"grey {GREY * i}"]


def coco(root):
    """12 images to train on and 6 to validate on, two captions each in another order than the images'."""
    (root / "annotations").mkdir(parents=True)
    for split, numbers in (("train2017", range(12)), ("val2017", range(20, 26))):
        images(root / split, numbers)
        listed = [{"id": 100 + i, "file_name": f"{i}.png", "height": 8, "width": 8} for i in numbers]
        said = [{"image_id": 100 + i, "id": 2 * i + k, "caption": said_of(i)[k]} for k in (0, 1) for i in numbers]
        said += [{"image_id": 100 + numbers[0], "id": 999, "caption": " "}]
        content = {"info": {}, "images": listed, "annotations": said}
        (root / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
        (root / "annotations" / f"instances_{split}.json").write_text("{}")
    return root


def karpathy(root, name="dataset_flickr30k.json", folder="flickr30k-images"):
    images(root / folder, range(12))
    splits = ["train"] * 5 + ["restval", "val", "val", "test", "test", "test", "train"]
    entries = [
        {"filename": f"{i}.png", "split": split, "sentences": [{"raw": text} for text in said_of(i)]}
        for i, split in enumerate(splits)
    ]
    (root / name).write_text(json.dumps({"images": entries, "dataset": "flickr30k"}))
    return root


def checked(source):
    """The greys of each split; every caption is its picture's, and pairs of a picture have its number."""
    greys, numbers = {}, {}
    for name in ("train", "val", "test"):
        if (examples := source.split(name)) is None:
            continue
        batch = examples.take(torch.arange(len(examples)))
        for pixels, said, number in zip(batch["input"], texts(batch, source.spec), batch["picture"], strict=True):
            grey = int(pixels[0, 0, 0])
            assert said.split()[-1] == str(grey)
            assert "\n" not in said
            assert numbers.setdefault(grey, int(number)) == int(number)
            greys.setdefault(name, []).append(grey // GREY)
        assert bool(length_mask(batch["caption_length"], batch["caption"].shape[1]).any())
    assert len(set(numbers.values())) == len(numbers)
    return greys


def test_files_of_coco_say_the_splits_and_captions_stand_by_their_pictures(tmp_path):
    source = made(coco(tmp_path / "coco"))
    greys = checked(source)
    assert greys == {
        "train": [i for i in range(12) for _ in (0, 1)],
        "val": [i for i in range(20, 26) for _ in (0, 1)],
    }
    assert [why for _, why in source.unusable] == ["has no caption"] * 2
    alone = checked(made(tmp_path / "coco" / "annotations" / "captions_train2017.json", divide_by="name"))
    assert sorted(i for each in alone.values() for i in set(each)) == list(range(12))


@pytest.mark.parametrize(("name", "folder"), [("dataset_flickr30k.json", "flickr30k-images"),
                                              ("dataset_coco.json", "images")])  # fmt: skip
def test_karpathys_file_says_the_splits_that_results_are_published_for(tmp_path, name, folder):
    greys = checked(made(karpathy(tmp_path / "there", name, folder)))
    assert {split: sorted(set(found)) for split, found in greys.items()} == {
        "train": [0, 1, 2, 3, 4, 5, 11],
        "val": [6, 7],
        "test": [8, 9, 10],
    }


def test_a_plan_counts_pictures_and_captions_and_recall_is_by_pictures(tmp_path, ptft):
    coco(tmp_path / "coco")
    done = ptft("stage=pretrain", "objective=siglip", "dataset=captions", "dataset.root=coco", "dataset.size=16",
                "dataset.tokenizer=bytes", *MODEL, *TEXT, "train.steps=2", "device=cpu",
                "hydra.run.dir=run")  # fmt: skip
    assert done.code == 0, done.text
    assert "captions: train 24 of 12 pictures, val 12 of 6 pictures" in done.out
    assert "finds one of its captions, and a caption its picture, as the first among the 6 pictures of val" in done.out
    found = summary(tmp_path / "run")["metrics"]["val"]
    assert found["image_to_text_r10"] >= found["image_to_text_r5"] >= found["image_to_text"]
    assert (6 * found["image_to_text"]) == pytest.approx(round(6 * found["image_to_text"]), abs=1e-4)
    assert found["text_to_image_r10"] == 1  # of 6


def test_what_is_in_neither_layout_is_refused(tmp_path):
    root = coco(tmp_path / "coco")
    file = root / "annotations" / "captions_train2017.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "annotations": [{"image_id": 100, "id": 1, "bbox": [0, 0, 1, 1]}]}))
    with pytest.raises(DataError, match=r"annotation 1 has no caption; dataset=coco reads boxes"):
        made(root)
    file.write_text(json.dumps({"images": [{"id": 1, "file_name": "1.png"}]}))
    with pytest.raises(DataError, match=r"captions_train2017\.json: has neither annotations nor sentences"):
        made(root)
    content["annotations"][0]["image_id"] = 7
    file.write_text(json.dumps(content))
    assert (f"{file}: annotation 0", "is of image 7, which is not listed") in made(root).unusable
    with pytest.raises(ConfigError, match=r"a folder without captions\.csv.* or ROOT/annotations/captions_train2017"):
        made(tmp_path)
