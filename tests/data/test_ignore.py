"""`dataset.ignore`: what a list names is used for nothing; and what the list got wrong is said."""

import csv
import json

import pytest
from PIL import Image

from ptft.data.audio.tones import Tones
from ptft.data.cleaning.ignore import digest_of, hexadecimal
from ptft.data.image.digits import Digits
from ptft.data.image.folder import ImageFolder
from ptft.data.text.conll import Conll
from ptft.data.text.corpus import Text
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts
from ptft.errors import DataError
from tests.conftest import refused

STEP = ("train.steps=1", "train.batch_size=4", "device=cpu", "model.width=8", "model.channels=[2,2]")


def listed(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "content", "reason"), *rows])
    return path


@pytest.fixture
def photos(tmp_path):
    """Four pictures of two classes in train and val, one of train broken."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(2):
                shade = 60 * i + 20 * len(split) + (name == "cat")
                Image.new("RGB", (8, 8), (shade, 0, 0)).save(tmp_path / "photos" / split / name / f"{i}.png")
    (tmp_path / "photos/train/cat/0.png").write_text("no image")
    return tmp_path / "photos"


def test_a_run_leaves_them_out_and_says_what_is_nowhere(photos, ptft, tmp_path):
    listed(tmp_path / "out.csv", ("train/cat/0.png", "", "broken"), ("val/dog/1.png", "", ""), ("no.png", "", ""))
    typed = ("dataset=image_folder", f"dataset.root={photos}", "dataset.on_error=raise", "dataset.test=null")
    done = ptft("stage=pretrain", *typed, "dataset.ignore=out.csv", *STEP, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "1 of train, 1 of val are left out (dataset.ignore=out.csv)" in done.out
    assert "1 name of 3, no.png is not in this dataset" in done.out
    with (tmp_path / "run/split.csv").open() as file:
        rows = {row["name"]: (row["split"], row["left out because"]) for row in csv.DictReader(file)}
    assert rows["train/cat/0.png"] == ("", "dataset.ignore: broken")
    assert rows["val/dog/1.png"] == ("", "dataset.ignore")
    assert [split for split, _ in rows.values()].count("train") == 3
    with (tmp_path / "run/predictions_val.csv").open() as file:
        assert "val/dog/1.png" not in {row["item"] for row in csv.DictReader(file)}
    measured = ptft("stage=evaluate", "ckpt=run", "split=val", "hydra.run.dir=measured")
    assert "1 of val is left out" in measured.out
    assert json.loads((tmp_path / "measured/summary.json").read_text())["samples"] == 3
    (tmp_path / "out.csv").rename(tmp_path / "moved.csv")
    refused(ptft("resume=run", "train.steps=2", "dataset.ignore=null"), 2, "dataset.ignore: the run has ")
    listed(tmp_path / "other.csv", *((f"{name}.png", "", "") for name in ("train/cat/0", "train/cat/1", "val/dog/1")))
    refused(
        ptft("resume=run", "train.steps=2", "dataset.ignore=other.csv"), 3, "the dataset changed since this was saved"
    )
    done = ptft("resume=run", "train.steps=2", "dataset.ignore=moved.csv")
    assert done.code == 0, done.text
    assert "1 of train, 1 of val are left out (dataset.ignore=moved.csv)" in done.out


def test_a_split_of_which_nothing_is_left_is_said_to_be_so_because_of_it(photos, tmp_path):
    names = [(f"train/{path.parent.name}/{path.name}", "", "") for path in photos.glob("train/*/*.png")]
    source = ImageFolder(root=photos, ignore=listed(tmp_path / "out.csv", *names))
    with pytest.raises(DataError, match=r"holds no images without those that dataset.ignore names; see dataset.train"):
        source.split("train")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda ignore: Digits(ignore=ignore), "train 3"),
        (lambda ignore: Tones(count=12, held_out=6, ignore=ignore), "train 3"),
    ],
)
def test_the_fingerprint_heeds_it_and_nothing_else_moves(make, name, tmp_path):
    before, after = make(None), make(listed(tmp_path / "out.csv", (name, "", "")))
    assert len(after.split("train")) == len(before.split("train")) - 1
    assert after.part("val").rows.tolist() == before.part("val").rows.tolist()
    assert after.fingerprint() != before.fingerprint()
    again = make(listed(tmp_path / "again.csv", ("train 3", "", "another reason")))
    assert again.fingerprint() == after.fingerprint()


def test_a_list_that_is_older_than_its_data_leaves_out_nothing_else(tmp_path):
    table = tmp_path / "texts.csv"
    rows = [f"text {i},{i % 2},{split}" for split in ("train", "test") for i in range(4)]
    table.write_text("\n".join(["text,label,split", *rows]) + "\n")

    def source(ignore=None):
        return TableTexts(root=table, split="split", val=None, tokenizer="bytes", classes=None, ignore=ignore)

    whole = source()
    content = whole.contents("train", whole.part("train").rows)
    name = whole.names("train")[1]
    ignore = listed(tmp_path / "out.csv", (name, hexadecimal(int(content[1])), "twice"))
    assert len(source(ignore).split("train")) == len(whole.split("train")) - 1
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], "another,0,train", *lines[1:]]) + "\n")
    moved = source(ignore)
    assert len(moved.split("train")) == len(whole.split("train")) + 1
    assert len(moved.split("test")) == 4
    assert [name in note and "hold something else" in note for note in moved.ignore_notes()] == [True]


def test_documents_are_known_by_their_contents(tmp_path):
    (tmp_path / "text.txt").write_text("\n\n".join(f"paragraph number {i} of some text" for i in range(20)))
    keys = {"root": tmp_path / "text.txt", "documents": "paragraph", "val": None, "length": 8}
    ignore = listed(tmp_path / "out.csv", ("x", digest_of("paragraph number 3 of some text"), "twice"))
    before, after = Text(**keys), Text(**keys, ignore=ignore)
    assert len(after.texts("train")) == len(before.texts("train")) - 1 == 19
    assert before.fingerprint() != after.fingerprint()
    assert after.ignore_notes() == ["1 of train is left out (dataset.ignore=out.csv)"]


def test_a_smaller_share_of_running_text_leaves_the_copy_that_stays(tmp_path):
    """What is left out is left out of the whole, of which a share is taken then."""
    lines = [f"line number {i} of some text" for i in range(40)]
    lines[30] = lines[5]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    path = tmp_path / "out.csv"
    path.write_text(f"name,content,reason,split\ntrain document 30,{digest_of(lines[5])},twice,train\n")
    keys = {"root": tmp_path / "text.txt", "documents": "line", "val": None, "length": 8, "ignore": path}
    assert [Text(**keys, **share).texts("train").count(lines[5]) for share in ({}, {"fraction": 0.5})] == [1, 1]


def test_names_that_splits_share_say_which_one_they_are_of(tmp_path):
    def squad(split):
        questions = [{"id": str(i), "question": f"who is {split} {i}?", "answers": []} for i in range(4)]
        questions = [{**each, "answers": [{"text": "Ann", "answer_start": 0}]} for each in questions]
        return {"data": [{"title": split, "paragraphs": [{"context": f"Ann is {split}.", "qas": questions}]}]}

    for split in ("train", "dev"):
        (tmp_path / "squad" / f"{split}.json").parent.mkdir(exist_ok=True)
        (tmp_path / "squad" / f"{split}.json").write_text(json.dumps(squad(split)))
        (tmp_path / "tags" / split).mkdir(parents=True)
        (tmp_path / "tags" / split / f"{split}.conll").write_text(f"Ann B-PER\n\n{split} O\n")
    asked = Squad(root=tmp_path / "squad", tokenizer="bytes", length=64)
    assert [asked.names(split)[0] for split in ("train", "val")] == ["train 0", "val 0"]
    tagged = Conll(root=tmp_path / "tags", tokenizer="bytes", length=16)
    assert [tagged.names(split) for split in ("train", "val")] == [
        [f"{split}/{split}.conll:{line}" for line in (1, 3)] for split in ("train", "dev")
    ]
    ignore = listed(tmp_path / "out.csv", ("train 1", "", ""))
    less = Squad(root=tmp_path / "squad", tokenizer="bytes", length=64, ignore=ignore)
    assert [len(less.part(split).rows) for split in ("train", "val")] == [3, 4]


def test_a_file_that_is_no_such_list_is_refused(photos, ptft, tmp_path):
    (tmp_path / "names.txt").write_text("train/cat/0.png\n")
    typed = ("stage=pretrain", "dataset=image_folder", f"dataset.root={photos}", *STEP)
    refused(ptft(*typed, "dataset.ignore=names.txt"), 3, "names.txt: has no column name (train/cat/0.png)")
    refused(ptft(*typed, "dataset.ignore=nowhere.csv"), 3, "dataset.ignore=", "nowhere.csv: does not exist")


def test_files_of_a_list_are_left_out_of_the_look_beforehand(photos, tmp_path):
    ignore = listed(tmp_path / "out.csv", ("train/cat/0.png", "", ""))
    source = ImageFolder(root=photos, on_error="raise", test=None, ignore=ignore)
    assert source.spec.shape["size"] == [8, 8]
    assert len(source.split("train")) == 3
