"""Pictures in tables: the same as in files, whoever wrote the table, and whatever is wrong with it."""

import io
import os
import pickle

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from ptft.data.audio import huggingface as audio
from ptft.data.cache.policy import keep
from ptft.data.examples import OnDemandExamples
from ptft.data.hub import cells as cells_of_tables
from ptft.data.hub.cells import Cell
from ptft.data.image import reader as image_reader
from ptft.data.image.folder import ImageFolder
from ptft.data.image.listed import huggingface as images
from ptft.data.image.listed.huggingface import HuggingFaceImages
from ptft.data.own import arrow
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.errors import ConfigError, DataError
from tests.helpers.hub import cells, png, save, write

CLASSES = datasets.ClassLabel(names=["zebra", "ant"])
PICTURES = {"image": datasets.Image(), "label": CLASSES}


def pool(file, count=20, **more):
    """`count` pictures of each class, a dark and a bright one by turns."""
    contents = [png(value) for i in range(count) for value in (i, 100 + i)]
    columns = {"image": cells(contents), "label": [0, 1] * count, **more}
    return write(file, columns, **PICTURES)


def values(examples):
    return examples.take(torch.arange(len(examples)))["input"][:, 0, 1, 1].tolist()


def strange_files(folder):
    """Files of every kind that readers have a rule for."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    made = {
        "alpha.png": (Image.fromarray(noise), {}),
        "palette.png": (Image.fromarray(noise[..., :3]).quantize(9), {}),
        "deep.png": (Image.fromarray(noise[..., 0].astype(np.uint16) * 257), {}),
        "turned.jpg": (Image.fromarray(noise[..., :3]), {"exif": turned}),
        "grey.bmp": (Image.fromarray(noise[..., 0]), {}),
    }
    folder.mkdir(parents=True)
    for name, (image, options) in made.items():
        image.save(folder / name, **options)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("saved", [False, True])
def test_a_picture_in_a_cell_is_the_same_as_in_a_file(tmp_path, saved):
    files = strange_files(tmp_path / "files" / "train" / "zebra")
    columns = {"image": cells([file.read_bytes() for file in files]), "label": [0] * len(files)}
    root = write(tmp_path / "rows" / "train.parquet", columns, **PICTURES).parent
    root = save(tmp_path / "saved", train=root / "train.parquet") if saved else root
    keys = {"size": 24, "val": None}
    own, theirs = ImageFolder(root=tmp_path / "files", **keys), HuggingFaceImages(root=root, **keys)
    mine, other = own.split("train"), theirs.split("train")
    every = torch.arange(len(files))
    assert torch.equal(mine.take(every)["input"], other.take(every)["input"])
    assert torch.equal(own.identities("train"), theirs.identities("train"))
    assert torch.equal(own.contents("train", every), theirs.contents("train", every))
    assert theirs.spec.classes == ("zebra", "ant")
    assert list(theirs.names("train"))[1] == ("train row 1" if saved else "train.parquet row 1")
    sent = pickle.dumps(other)  # a worker maps the file itself
    assert len(sent) < sum(file.stat().st_size for file in files) / 2
    assert torch.equal(pickle.loads(sent).take(every)["input"], other.take(every)["input"])


def test_what_is_of_no_split_is_divided_by_name_so_that_more_rows_move_none(tmp_path):
    source = HuggingFaceImages(root=pool(tmp_path / "a.parquet"), divide_by="name")
    parts = {split: set(values(source.split(split))) for split in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 40
    assert all(parts.values())
    assert "is not divided" in source.notes[0]
    contents = [png(value) for i in range(20) for value in (200 + i, i, 100 + i)]
    names = [name for i in range(20) for name in (f"new {i}", f"{2 * i}.bin", f"{2 * i + 1}.bin")]
    write(tmp_path / "b.parquet", {"image": cells(contents, names), "label": [0, 0, 1] * 20}, **PICTURES)
    more = HuggingFaceImages(root=tmp_path / "b.parquet", divide_by="name")
    for split, before in parts.items():
        assert before <= set(values(more.split(split)))


def test_pictures_whose_files_are_called_alike_are_known_by_their_content(tmp_path):
    contents = [png(i) for i in range(4)]
    file = write(
        tmp_path / "a.parquet", {"image": cells(contents, ["a", "a", None, "b"]), "label": [0, 1, 0, 1]}, **PICTURES
    )
    source = HuggingFaceImages(root=file, whole=True)
    known = source.known_by("test")
    assert known[3] == "b"
    assert len(set(known)) == 4
    assert all(len(name) == 16 for name in known[:3])


def test_parts_of_a_split_are_named_by_file_and_row_and_may_lie_in_a_folder(tmp_path):
    for i in range(2):
        pool(tmp_path / "all" / f"train-0000{i}-of-00002.parquet", 3)
    pool(tmp_path / "all" / "validation.parquet", 2)
    source = HuggingFaceImages(root=tmp_path)
    assert source.splits == ("train", "val")
    assert list(source.names("train"))[5:7] == [
        "all/train-00000-of-00002.parquet row 5",
        "all/train-00001-of-00002.parquet row 0",
    ]
    pool(tmp_path / "few" / "train.parquet", 3)
    with pytest.raises(DataError, match=r"all, few hold Parquet files each; dataset\.subset=all"):
        HuggingFaceImages(root=tmp_path)
    assert len(HuggingFaceImages(root=tmp_path, subset="few", val=None).split("train")) == 6
    with pytest.raises(DataError, match="holds no Parquet files"):
        HuggingFaceImages(root=tmp_path, subset="none")
    with pytest.raises(ConfigError, match="set one of them"):
        HuggingFaceImages()


def test_columns_are_found_where_one_reading_is_possible(tmp_path):
    picture, number = cells([png(i) for i in range(4)]), [0, 1, 0, 1]
    features = {"img": datasets.Image(), "kind": CLASSES}
    file = write(tmp_path / "a.parquet", {"img": picture, "kind": number, "id": [3, 4, 5, 6]}, **features)
    source = HuggingFaceImages(root=file, whole=True)
    assert source.settled == {"image": "img", "label": "kind"}
    assert source.spec.shape["path"] == "img"
    two = {"img": picture, "mask": picture, "fine": number, "coarse": number}
    classes = {"fine": CLASSES, "coarse": CLASSES}
    file = write(tmp_path / "b.parquet", two, img=datasets.Image(), mask=datasets.Image(), **classes)
    with pytest.raises(DataError, match=r"'img' and 'mask' may each be the image; type one .*dataset\.image=img, or"):
        HuggingFaceImages(root=file)
    with pytest.raises(DataError, match=r"'fine' and 'coarse' may each be the label .*e\.g\. dataset\.label=fine"):
        HuggingFaceImages(root=file, image="img")
    with pytest.raises(DataError, match=r"dataset\.image: there is no 'photo'"):
        HuggingFaceImages(root=file, image="photo")
    with pytest.raises(DataError, match=r"dataset\.image=fine: has no column of images"):
        HuggingFaceImages(root=file, image="fine")
    assert HuggingFaceImages(root=file, image="mask", label="coarse", whole=True).settled == {}


def test_another_kind_of_table_names_the_dataset_that_reads_it(tmp_path):
    pool(tmp_path / "a" / "train.parquet", 2)
    audio.sample(tmp_path / "b")
    datasets.Dataset.from_dict({"text": ["a"], "label": ["b"]}).to_parquet(str(tmp_path / "c.parquet"))
    for source, root, said in (
        (HuggingFaceTexts, tmp_path / "a", r"holds images \(image, label\); dataset=huggingface_images reads them"),
        (HuggingFaceTexts, tmp_path / "b", r"holds recordings .*; dataset=huggingface_audio reads them"),
        (HuggingFaceImages, tmp_path / "b", r"holds recordings .*; dataset=huggingface_audio reads them"),
        (audio.HuggingFaceAudio, tmp_path / "a", r"holds images .*; dataset=huggingface_images reads them"),
        (
            HuggingFaceImages,
            tmp_path / "c.parquet",
            r"no column of images \(text, label\); dataset=huggingface reads texts",
        ),
        (ImageFolder, tmp_path / "a", r"holds no images; dataset=huggingface_images reads the Parquet files in it"),
    ):
        with pytest.raises(DataError, match=said):
            source(root=root, **({"text": "auto", "label": "auto"} if source is HuggingFaceTexts else {}))


def test_an_image_may_have_several_labels(tmp_path):
    picture = cells([png(i) for i in range(3)])
    listed = datasets.List(datasets.ClassLabel(names=["wet", "big", "red"]))
    columns = {"image": picture, "tags": [[1, 0], [], [2]], "says": ["b;a", "", "a"], "a": [1, 0, 1], "b": [0, 0, 1]}
    file = write(tmp_path / "a.parquet", columns, image=datasets.Image(), tags=listed)
    for keys, classes, wanted in (
        ({"label": "tags"}, ("wet", "big", "red"), [[1, 1, 0], [0, 0, 0], [0, 0, 1]]),
        ({"label": "says", "label_separator": ";"}, ("a", "b"), [[1, 1], [0, 0], [1, 0]]),
        ({"label": ["b", "a"]}, ("b", "a"), [[0, 1], [0, 0], [1, 1]]),
    ):
        source = HuggingFaceImages(root=file, whole=True, **keys)
        assert source.spec.target == "labels"
        assert source.spec.classes == classes
        assert source.split("test").labels.tolist() == wanted


def test_rows_without_a_label_or_a_picture_are_left_out_and_named(tmp_path):
    contents = [png(i) for i in range(30)]
    contents[3], contents[7] = None, b"no picture"
    labels = [i % 2 for i in range(30)]
    labels[5] = -1
    file = write(tmp_path / "train.parquet", {"image": cells(contents, [None] * 30), "label": labels}, **PICTURES)
    source = HuggingFaceImages(root=file, on_error="skip", whole=True, size=16)
    assert (
        source.unusable
        == [
            (f"{file} row 5", "has no label"),
            (f"{file} row 3", "column 'image' holds nothing"),
        ][::-1]
    )
    kept = keep(source.split("test"), "memory")
    assert (len(kept), len(kept.unreadable)) == (28, 1)
    assert kept.notes == (f"1 of 28 files is unreadable and left out, {file} row 7 the first (see split.csv)",)
    with pytest.raises(
        DataError, match=r"row 3: column 'image' holds nothing; dataset\.on_error=skip leaves such rows"
    ):
        HuggingFaceImages(root=file, whole=True)
    apart = HuggingFaceImages(root=file, on_error="skip", labelled=False, whole=True, size=16)
    assert apart.spec.target == "none"
    assert len(apart.split("test")) == 29
    assert HuggingFaceImages(root=file, on_error="skip", label=None, whole=True, size=16).spec.target == "none"


def test_a_split_whose_labels_nobody_knows_is_left_out(tmp_path):
    pool(tmp_path / "train.parquet", 5)
    write(tmp_path / "test.parquet", {"image": cells([png(1)]), "label": [-1]}, **PICTURES)
    source = HuggingFaceImages(root=tmp_path, val=0.2)
    assert source.split("test") is None
    assert any("test has no labels" in note for note in source.notes)
    write(tmp_path / "test.parquet", {"image": cells([png(1)])}, image=datasets.Image())
    assert HuggingFaceImages(root=tmp_path, val=0.2).split("test") is None
    pool(tmp_path / "train.parquet", 5, owner=["a"] * 10)
    with pytest.raises(DataError, match=r"test\.parquet: dataset\.group: there is no 'owner' \(choices: image\)"):
        HuggingFaceImages(root=tmp_path, val=0.2, group="owner", divide_by="name")


def test_a_cell_without_bytes_names_a_file_beside_the_table(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png(50))
    names = ["pictures/a.png", "hf://datasets/a.png", "in.png"]
    columns = {"image": cells([None, None, png(60)], names), "label": [0, 1, 1]}
    source = HuggingFaceImages(root=write(tmp_path / "a.parquet", columns, **PICTURES), whole=True, on_error="skip")
    assert values(source.split("test")) == [50, 60]
    assert list(source.names("test")) == ["pictures/a.png", "a.parquet row 2"]
    assert [why for _, why in source.unusable] == [
        "column 'image' holds no bytes, and hf://datasets/a.png is on no disk"
    ]


def test_groups_classes_and_a_column_of_splits_are_heeded(tmp_path):
    owners = [f"p{i // 4}" for i in range(40)]
    file = pool(tmp_path / "a.parquet", owner=owners)
    source = HuggingFaceImages(root=file, group="owner", group_as="value", divide_by="name")
    held = {split: set(source.groups_of(split)) for split in ("train", "val", "test")}
    assert all(held.values())
    assert not held["train"] & (held["val"] | held["test"])
    assert HuggingFaceImages(root=file, classes=["ant"], limit=3, val=None).split("train").labels.tolist() == [0] * 3
    pool(tmp_path / "b.parquet", split=["Train"] * 30 + ["validation"] * 6 + ["test"] * 4)
    divided = HuggingFaceImages(root=tmp_path / "b.parquet", val="validation")
    assert [len(divided.split(split)) for split in ("train", "val", "test")] == [30, 6, 4]


@pytest.mark.parametrize("whole", [cells_of_tables.WHOLE, 1000])
def test_data_that_changed_have_another_fingerprint_wherever_they_lie(tmp_path, monkeypatch, whole):
    """Of large ones pieces count, and the length of each row."""
    monkeypatch.setattr(cells_of_tables, "WHOLE", whole)
    monkeypatch.setattr(cells_of_tables, "PIECE", 100)
    first = HuggingFaceImages(root=pool(tmp_path / "a" / "train.parquet").parent, val=None, size=16)
    again = HuggingFaceImages(root=pool(tmp_path / "b" / "train.parquet").parent, val=None, size=16)
    assert first.fingerprint() == again.fingerprint()
    contents = [png(value) for i in range(20) for value in (i, 100 + i)]
    contents[0] = contents[0][:20] + b"x" + contents[0][21:]  # no size changes
    write(tmp_path / "a" / "train.parquet", {"image": cells(contents), "label": [0, 1] * 20}, **PICTURES)
    assert HuggingFaceImages(root=tmp_path / "a", val=None, size=16).fingerprint() != first.fingerprint()


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_every_cache_holds_what_is_read(tmp_path, mode):
    images.sample(tmp_path)
    examples = HuggingFaceImages(root=tmp_path, size=24).split("train")
    assert isinstance(examples, OnDemandExamples)
    every = torch.arange(len(examples))
    assert torch.equal(keep(examples, mode).take(every)["input"], examples.take(every)["input"])


def test_rows_are_items_to_predict_for(tmp_path):
    file = pool(tmp_path / "rows" / "a.parquet", 3)
    spec = HuggingFaceImages(root=file, whole=True).spec
    for path in (file, file.parent, tmp_path / "rows" / "*.parquet"):
        items = image_reader.items(str(path), spec)
        assert [str(item) for item in items[1:3]] == [f"{file} row 1", f"{file} row 2"]
        assert [item.passed for item in items[:2]] == [{"label": "zebra"}, {"label": "ant"}]
        assert isinstance(items[0].item, Cell)
        assert image_reader.read(items[0].item, spec).shape == (3, 16, 16)
    assert len(image_reader.items(str(pool(tmp_path / "none.parquet", 0)), spec)) == 0
    (file.parent / "b.parquet").write_bytes(b"PAR1 and no more")
    assert "can't be read" in str(image_reader.items(str(file.parent), spec)[6].error)
    (file.parent / "a.png").write_bytes(png(1))
    assert [str(item) for item in image_reader.items(str(file.parent), spec)] == [str(file.parent / "a.png")]


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
@pytest.mark.parametrize("nested", [True, False])
def test_files_in_cells_that_say_no_kind_are_read_as_what_is_asked_for(tmp_path, kind, nested):
    contents = [png(i) for i in range(4)]
    contents.insert(2, None)
    bytes_alone = pyarrow.array(contents, kind)
    column = pyarrow.StructArray.from_arrays([bytes_alone], ["bytes"]) if nested else bytes_alone
    parquet.write_table(pyarrow.table({"photo": column, "label": [10, 9, 10, 9, 9]}), tmp_path / "a.parquet")
    source = HuggingFaceImages(root=tmp_path / "a.parquet", whole=True, on_error="skip")
    assert values(source.split("test")) == [0, 1, 2, 3]
    assert source.spec.classes == ("9", "10")
    assert source.split("test").labels.tolist() == [1, 0, 0, 0]
    with pytest.raises(
        DataError, match=r"holds files in cells \(photo, label\); dataset=huggingface_images images and"
    ):
        HuggingFaceTexts(root=tmp_path / "a.parquet", text="auto", label="auto")


def test_classes_that_no_row_has_are_classes_and_told(tmp_path):
    file = write(tmp_path / "a.parquet", {"image": cells([png(1), png(2)]), "label": [1, 1]}, **PICTURES)
    source = HuggingFaceImages(root=file, whole=True)
    assert source.spec.classes == ("zebra", "ant")
    assert any("no example of zebra is in" in note for note in source.notes)


def test_a_name_is_what_the_library_makes_of_it(tmp_path, monkeypatch):
    """Which reads a folder as it reads the hub, and says of its pictures where they lie."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pool(tmp_path / "rows" / "train.parquet", 3)
    source = HuggingFaceImages(name=str(tmp_path / "rows"), val=None)
    assert list(source.names("train"))[4] == "train row 4"
    assert values(source.split("train")) == [0, 100, 1, 101, 2, 102]
    for name in ("ant", "zebra"):
        (tmp_path / "files" / "train" / name).mkdir(parents=True)
        (tmp_path / "files" / "train" / name / "a.png").write_bytes(png(len(name)))
    source = HuggingFaceImages(name=str(tmp_path / "files"), val=None)
    assert source.spec.classes == ("ant", "zebra")
    assert values(source.split("train")) == [3, 5]


def test_that_much_is_kept_twice_is_said(tmp_path, monkeypatch):
    file = pool(tmp_path / "a.parquet", 2)
    assert not any("keeps" in note for note in HuggingFaceImages(root=file, whole=True).notes)
    monkeypatch.setattr(arrow, "NOTED", 0)
    assert "as Arrow files in" in HuggingFaceImages(root=file, whole=True).notes[0]


def test_names_with_marks_of_patterns_are_those_of_files_and_no_others(tmp_path):
    own, other = pool(tmp_path / "run[1]" / "train.parquet", 3), pool(tmp_path / "run1" / "train.parquet", 5)
    assert len(HuggingFaceImages(root=own, whole=True).split("test")) == 6
    assert len(HuggingFaceImages(root=other, whole=True).split("test")) == 10


@pytest.mark.parametrize("count", [20, 7])
def test_a_file_that_took_the_place_of_another_of_the_same_time_is_read_anew(tmp_path, count):
    """As files of an archive have, or copies that keep their times; the last has the rows of the first, and others."""
    file = pool(tmp_path / "data.parquet")
    os.utime(file, (10**9, 10**9))
    before = HuggingFaceImages(root=file, whole=True)
    seen, fingerprint = values(before.split("test")), before.fingerprint()
    write(file, {"image": cells([png(50 + i) for i in range(2 * count)]), "label": [0, 1] * count}, **PICTURES)
    os.utime(file, (10**9, 10**9))
    after = HuggingFaceImages(root=file, whole=True)
    assert values(after.split("test")) == [50 + i for i in range(2 * count)] != seen
    assert after.fingerprint() != fingerprint


def test_a_saved_split_without_rows_is_none_and_numbers_of_no_class_are_said(tmp_path):
    columns = {"image": cells([png(i) for i in range(20)]), "label": [0, 1] * 10}
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(PICTURES))
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "saved"))
    nothing = tmp_path / "saved" / "validation"  # as the library writes it since 5.0; before, it could not
    nothing.mkdir()
    (nothing / "state.json").write_text('{"_data_files": []}')
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    source = HuggingFaceImages(root=tmp_path / "saved", val=None)
    assert len(source.split("train")) == 20
    assert source.split("val") is None
    (tmp_path / "saved" / "train" / "state.json").write_text("[]")
    with pytest.raises(DataError, match="saved: can't be read"):
        HuggingFaceImages(root=tmp_path / "saved")
    many = {"image": cells([png(i) for i in range(12)]), "label": [[0], [7], [0, 1], *[[1]] * 9]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Sequence(CLASSES)})
    file = tmp_path / "many.parquet"
    parquet.write_table(pyarrow.Table.from_pydict(many, schema=features.arrow_schema), file)
    source = HuggingFaceImages(root=file, on_error="skip", whole=True)
    assert len(source.split("test")) == 11
    assert source.unusable == [(f"{file} row 1", "column 'label' holds 7, the number of no class")]


def test_nor_does_one_of_the_same_size_and_time_stand_for_another(tmp_path):
    def made(value):
        Image.fromarray(np.full((16, 16), value, np.uint8)).save(file := io.BytesIO(), "BMP")
        return file.getvalue()

    file, seen = tmp_path / "data.parquet", []
    for first in (10, 60):
        columns = {"image": cells([made(first + i) for i in range(8)]), "label": [0, 1] * 4}
        schema = datasets.Features(PICTURES).arrow_schema
        table = pyarrow.Table.from_pydict(columns, schema=schema)
        parquet.write_table(table, file, compression="none", use_dictionary=False)
        os.utime(file, (10**9, 10**9))
        seen.append((file.stat().st_size, values(HuggingFaceImages(root=file, whole=True).split("test"))))
    assert seen[0][0] == seen[1][0]
    assert [each for _, each in seen] == [[first + i for i in range(8)] for first in (10, 60)]
