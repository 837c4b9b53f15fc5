"""Folders and lists of images: every layout, every way to get one wrong."""

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.cache.policy import into_memory
from ptft.data.image import folder as image_folder
from ptft.data.image import reader as image_reader
from ptft.data.image.folder import ImageFolder
from ptft.data.image.listed import images as listed
from ptft.data.image.listed.images import MEAN
from ptft.errors import ConfigError, DataError
from tests.conftest import refused


def put(path, size=(32, 32), colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, colour, colour)).save(path)


def pool(root, count=20):
    for name, base in (("cat", 0), ("dog", 100)):
        for i in range(count):
            put(root / name / f"{i:02}.png", colour=base + i)


def ids(examples):
    batch = examples.take(torch.arange(len(examples)))
    assert torch.equal(batch["label"], (batch["input"][:, 0, 0, 0] >= 100).long())
    return set(batch["input"][:, 0, 0, 0].tolist())


def test_train_and_val_folders(tmp_path):
    image_folder.sample(tmp_path)
    source = ImageFolder(root=tmp_path, size=24)
    assert source.spec.classes == ("cat", "dog")
    assert source.spec.shape == {"size": [24, 24], "channels": 3, "fit": "crop"}
    assert source.spec.mean == MEAN
    train = source.split("train")
    assert [len(train), len(source.split("val")), source.split("test")] == [24, 24, None]
    memory = into_memory(train)
    assert memory.in_memory
    indices = torch.tensor([20, 3])
    assert torch.equal(memory.take(indices)["input"], train.take(indices)["input"])
    assert train.take(indices)["label"].tolist() == [1, 0]


def test_one_folder_is_divided_by_class_and_the_same_for_every_seed(tmp_path):
    pool(tmp_path)
    first, second = ImageFolder(root=tmp_path, seed=0), ImageFolder(root=tmp_path, seed=1)
    parts = [ids(first.split(name)) for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert len(set.union(*parts)) == 40
    assert first.split("test").labels.bincount().tolist() == [2, 2]
    assert ids(second.split("test")) == parts[2]
    assert ids(ImageFolder(root=tmp_path, split_seed=1).split("test")) != parts[2]
    assert any("not divided" in note for note in first.notes)


def test_a_csv_of_paths_and_labels(tmp_path):
    pool(tmp_path / "images", 10)
    rows = [f"images/{name}/{i:02}.png,{name}" for name in ("cat", "dog") for i in range(10)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *rows]))
    source = ImageFolder(root=tmp_path / "all.csv")
    assert [len(source.split(name)) for name in ("train", "val", "test")] == [16, 2, 2]
    with_split = [f"{row},{'train' if i % 2 else 'val'}" for i, row in enumerate(rows)]
    (tmp_path / "split.csv").write_text("\n".join(["path,label,split", *with_split]))
    source = ImageFolder(root=tmp_path / "split.csv")
    assert ids(source.split("train")) == {*range(1, 10, 2), *range(101, 110, 2)}
    assert source.split("test") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label\na.png,cat\n", "no column path"),
        ("path,label\na.png,\n", ":2: has no label"),
        ("path,label,split\na.png,cat,train\nb.png,cat,\n", "some rows only"),
        ("path,label\n", "no images"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_a_wrong_csv_says_what_is_wrong(tmp_path, text, said):
    (tmp_path / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"dataset\.root.*list\.csv.*{said}"):
        ImageFolder(root=tmp_path / "list.csv")


def test_each_way_a_root_can_be_wrong_has_its_message(tmp_path):
    for name in ("empty", "nothing/cat", "nothing/dog"):
        (tmp_path / name).mkdir(parents=True)
    put(tmp_path / "flat/a.png")
    put(tmp_path / "half/train/a.png")
    put(tmp_path / "half/val/a.png")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/notes.txt").touch()
    wrong = {
        "missing": "does not exist",
        "empty": "is empty",
        "flat": "no folder for each class",
        "half": "no folder for each class",
        "nothing": "no images in them",
        "text": "holds no images",
    }
    for name, said in wrong.items():
        with pytest.raises(DataError) as error:
            ImageFolder(root=tmp_path / name)
        for part in (said, str(tmp_path / name), "dataset.root", "root/train/CLASS", "root/CLASS/image.jpg"):
            assert part in str(error.value), name
    with pytest.raises(ConfigError, match=r"dataset\.root"):
        ImageFolder()


def test_an_empty_train_or_val_folder(tmp_path):
    image_folder.sample(tmp_path / "a")
    for file in (tmp_path / "a/val").rglob("*.jpg"):
        file.unlink()
    source = ImageFolder(root=tmp_path / "a", size=8)
    assert len(source.split("train")) == 24
    with pytest.raises(DataError, match=r"val.*dataset\.val=null"):
        source.split("val")
    assert ImageFolder(root=tmp_path / "a", size=8, val=None).split("val") is None
    (tmp_path / "b/train").mkdir(parents=True)
    put(tmp_path / "b/val/cat/a.png")
    with pytest.raises(DataError, match="train split"):
        ImageFolder(root=tmp_path / "b")


def test_splits_of_other_names_are_found(tmp_path):
    image_folder.sample(tmp_path)
    (tmp_path / "val").rename(tmp_path / "valid")
    assert len(ImageFolder(root=tmp_path, size=8).split("val")) == 24
    (tmp_path / "train").rename(tmp_path / "training")
    with pytest.raises(ConfigError, match=r"dataset\.train.*'train', nearest: training"):
        ImageFolder(root=tmp_path, size=8)


def test_a_class_only_in_val_is_named(tmp_path):
    image_folder.sample(tmp_path)
    (tmp_path / "val/dog").rename(tmp_path / "val/wolf")
    source = ImageFolder(root=tmp_path, size=8)
    with pytest.raises(DataError, match="val has other classes than train: no example of wolf is in train"):
        source.split("val")
    assert len(ImageFolder(root=tmp_path, size=8, classes=["cat"]).split("val")) == 12


def test_hidden_and_empty_folders_are_no_classes(tmp_path):
    image_folder.sample(tmp_path)
    put(tmp_path / "train/.ipynb_checkpoints/a.png")
    put(tmp_path / "train/cat/.ipynb_checkpoints/a.png")
    (tmp_path / "train/unused").mkdir()
    source = ImageFolder(root=tmp_path, size=8)
    assert source.spec.classes == ("cat", "dog")
    assert len(source.split("train")) == 24
    assert any("unused" in note for note in source.notes)


def test_equal_sizes_are_kept_and_mixed_ones_brought_to_one(tmp_path):
    pool(tmp_path / "train", 3)
    source = ImageFolder(root=tmp_path, val=None)
    assert source.spec.shape == {"size": [32, 32], "channels": 3, "fit": "none"}
    assert len(ids(source.split("train"))) == 6
    put(tmp_path / "train/dog/00.png", size=(48, 35), colour=100)
    small = ImageFolder(root=tmp_path, val=None)
    assert small.spec.shape == {"size": [40, 40], "channels": 3, "fit": "crop"}
    said = "images of 32×32 to 35×48 are brought to 40×40, as none has a shorter side of more than 35; dataset.size=…"
    assert [note for note in small.notes if note.startswith(said)]
    put(tmp_path / "test/dog/00.png", size=(400, 300))
    assert ImageFolder(root=tmp_path, val=None).spec.shape["size"] == [224, 224]
    known = ImageFolder(root=tmp_path, val=None, model_size=lambda: (192, 192))
    assert known.spec.shape["size"] == [192, 192]
    assert len(ids(known.split("train"))) == 6


def test_an_odd_size_that_was_not_looked_at_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(listed, "LOOKED_AT", 3)
    pool(tmp_path / "train", 3)
    put(tmp_path / "train/cat/01.png", size=(48, 32), colour=1)
    train = ImageFolder(root=tmp_path, val=None, on_error="skip").split("train")
    with pytest.raises(DataError, match=r"cat/01\.png is 32.48 .*cat/00\.png is 32.32; dataset\.size"):
        ids(train)


def test_a_broken_file_is_named_or_skipped(tmp_path):
    pool(tmp_path / "train")
    whole = (tmp_path / "train/cat/03.png").read_bytes()
    (tmp_path / "train/cat/03.png").write_bytes(whole[: len(whole) // 2])
    train = ImageFolder(root=tmp_path, size=8, val=None).split("train")
    with pytest.raises(DataError, match=r"cat/03\.png.*\(sample 3\).*dataset\.on_error=skip"):
        train.take(torch.tensor([2, 3]))
    train = ImageFolder(root=tmp_path, size=8, val=None, on_error="skip").split("train")
    batch = train.take(torch.tensor([2, 3, 30]))
    assert batch["index"].tolist() == [2, 30]
    assert batch["label"].tolist() == [0, 1]
    assert train.take(torch.tensor([3]))["input"].shape == (0, 3, 8, 8)
    memory = into_memory(train)
    assert len(memory) == 40
    assert memory.take(torch.tensor([2, 3, 30]))["index"].tolist() == [2, 30]
    assert "cat/03.png" in memory.notes[0]


def test_a_broken_first_file_does_not_decide_the_size(tmp_path):
    pool(tmp_path / "train")
    (tmp_path / "train/cat/00.png").write_text("no")
    with pytest.raises(DataError, match=r"cat/00\.png.*sample 0"):
        ImageFolder(root=tmp_path, val=None)
    assert ImageFolder(root=tmp_path, val=None, on_error="skip").spec.shape["size"] == [32, 32]


def test_a_checkpoint_decides_the_size(tmp_path):
    image_folder.sample(tmp_path)
    like = Spec("image", image_reader.shape((28, 28), 1, "none"), "class", ("a",), (0.1,), (0.3,))
    source = ImageFolder(root=tmp_path, like=like)
    assert source.spec.shape == {"size": [28, 28], "channels": 1, "fit": "crop"}
    assert source.spec.mean == (0.1,)
    assert len(source.notes) == 2
    assert ImageFolder(root=tmp_path, own_size=30, like=like).spec.shape["size"] == [28, 28]
    assert ImageFolder(root=tmp_path, own_size=30).spec.shape["size"] == [30, 30]
    assert ImageFolder(root=tmp_path, own_size=30, channels=1).spec.std == (0.5,)


def test_the_fingerprint_notices_a_deleted_and_a_replaced_image(tmp_path):
    image_folder.sample(tmp_path)
    seen = [ImageFolder(root=tmp_path, size=8).fingerprint()]
    assert ImageFolder(root=tmp_path, size=8).fingerprint() == seen[0]
    put(tmp_path / "train/cat/0.jpg", size=(9, 9))
    seen.append(ImageFolder(root=tmp_path, size=8).fingerprint())
    (tmp_path / "val/dog/5.jpg").unlink()
    seen.append(ImageFolder(root=tmp_path, size=8).fingerprint())
    assert len(set(seen)) == 3
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert ImageFolder(root=moved, size=8).fingerprint() == seen[2]


def test_paths_of_any_script(tmp_path):
    root = tmp_path / "данные a,b (1)=x"
    pool(root, 10)
    assert len(ImageFolder(root=root).split("train")) == 16


def flat(root, count=20):
    for i in range(count):
        put(root / f"{i:02}.png", colour=i)


@pytest.mark.parametrize("cached", [False, True])
def test_a_folder_without_classes_is_a_source_where_no_labels_are_needed(tmp_path, cached):
    flat(tmp_path / "all")
    source = ImageFolder(root=tmp_path / "all", labelled=False)
    assert (source.spec.classes, source.spec.target) == ((), "none")
    parts = {name: source.split(name) for name in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [16, 2, 2]
    seen = set()
    for part in parts.values():
        assert part.labels is None
        read = into_memory(part) if cached else part
        batch = read.take(torch.arange(len(read)))
        assert batch.keys() == {"input", "index"}
        seen |= set(batch["input"][:, 0, 0, 0].tolist())
    assert seen == set(range(20))
    assert any("no labels" in note for note in source.notes)
    same = ImageFolder(root=tmp_path / "all", labelled=False, seed=3)
    assert same.fingerprint() == source.fingerprint()
    assert ImageFolder(root=tmp_path / "all", labelled=False, split_seed=3).fingerprint() != source.fingerprint()


def test_splits_without_classes_and_a_part_of_them(tmp_path):
    flat(tmp_path / "train")
    flat(tmp_path / "val", 5)
    source = ImageFolder(root=tmp_path, labelled=False, limit=6)
    assert [len(source.split("train")), len(source.split("val")), source.split("test")] == [6, 5, None]
    fraction = ImageFolder(root=tmp_path, labelled=False, val=0.25)
    assert [len(fraction.split("train")), len(fraction.split("val"))] == [15, 5]
    with pytest.raises(DataError, match="no folder for each class"):
        ImageFolder(root=tmp_path)


def test_folders_of_classes_keep_their_labels_where_none_are_needed(tmp_path):
    pool(tmp_path)
    source = ImageFolder(root=tmp_path, labelled=False)
    assert source.spec.classes == ("cat", "dog")
    assert source.split("train").labels is not None


def test_where_no_image_is_readable_the_first_is_named(tmp_path):
    rows = [f"{i},{kind},{split}" for i in range(8) for kind in "ab" for split in ("train", "val")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    with pytest.raises(DataError, match=rf"none of 32 files .* the first: {tmp_path}/0: no such file"):
        ImageFolder(root=tmp_path / "list.csv", on_error="skip")


def test_an_only_class_that_holds_folders_is_said_with_them(ptft, tmp_path):
    for split in ("train", "val"):
        for kind in "ab":
            for i in range(4):
                file = tmp_path / "photos" / split / "images" / kind / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), 9 * i, np.uint8)).save(file)
    typed = ("stage=pretrain", "model=cnn", "dataset=image_folder", "dataset.root=photos", "train.steps=1")
    where = f"the only class is images: {tmp_path}/photos/train/images holds folders (a, b), and all below it is one"
    refused(ptft(*typed), 2, "the dataset has one class (images), and at least 2 are needed", where)


def test_images_of_one_size_are_the_same_data_where_a_run_goes_on(tmp_path):
    pool(tmp_path)
    first = ImageFolder(root=tmp_path)
    again = ImageFolder(root=tmp_path, like=first.spec)
    assert again.spec == first.spec
    assert again.fingerprint() == first.fingerprint()
    put(tmp_path / "cat" / "larger.png", size=(40, 40))
    assert ImageFolder(root=tmp_path, like=first.spec).spec.shape["fit"] == "crop"
