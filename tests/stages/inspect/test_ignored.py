"""ignore.csv: what it names of copies of several kinds at once, and that nothing leaks where it is used."""

import csv
import random
import shlex

import pytest

from ptft.data.image.boxes import coco
from ptft.data.image.masks import folder as masks
from tests.conftest import refused


def listed(run):
    with (run / "ignore.csv").open() as file:
        return {row["name"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture
def sentences(tmp_path):
    """Sentences of nine words; the first of test is the last of train, and nearly the one before that."""
    draw = random.Random(0)
    said = [" ".join(f"{draw.randrange(36**4):x}" for _ in range(9)) for _ in range(28)]
    train, test = said[:20], said[20:]
    for split, texts in (("train", [*train, f"{test[0]} !", test[0]]), ("test", test)):
        rows = [f"{text},{'xy'[i % 2]}" for i, text in enumerate(texts)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return ("stage=inspect", "dataset=table", f"dataset.root={tmp_path}", "dataset.val=null", "dataset.tokenizer=bytes")


def test_who_is_near_a_copy_of_what_is_measured_goes_with_it(sentences, ptft, tmp_path):
    typed = (*sentences, "inspect.strict=true", "report=false")
    refused(ptft(*typed, "hydra.run.dir=one"), 3, "1 of 8 test examples are in another split too")
    kept = "test.csv:2 (test)"
    assert listed(tmp_path / "one") == {
        "train.csv:22": f"nearly the same as {kept}",
        "train.csv:23": f"the same as {kept}",
    }
    done = ptft(*typed, "hydra.run.dir=two", "dataset.ignore=one/ignore.csv")
    assert done.code == 0, done.text
    assert "no leakage" in done.out


def test_of_near_ones_alone_copies_stay(sentences, ptft, tmp_path):
    done = ptft(*sentences, "inspect.ignore=[near_duplicates]", "hydra.run.dir=one", "report=false")
    assert done.code == 0, done.text
    assert listed(tmp_path / "one") == {"train.csv:22": "nearly the same as test.csv:2 (test)"}


def proposed(done):
    return shlex.split(next(line for line in done.out.splitlines() if line.startswith("next")))[2:]


def test_what_comes_next_goes_on_from_the_list_in_use(sentences, ptft, tmp_path):
    (tmp_path / "mine.csv").write_text("name,reason,label\ntrain.csv:5,not mine,x\ntrain.csv:22,too long,\n")
    typed = (*sentences, "dataset.limit=20", "inspect.sheet=0", "dataset.ignore=mine.csv")
    done = ptft(*typed, "hydra.run.dir=one")
    assert "ignore.csv (3 examples, 2 of them of dataset.ignore)" in done.out
    reasons = {"train.csv:5": "not mine", "train.csv:22": "too long", "train.csv:23": "the same as test.csv:2 (test)"}
    assert listed(tmp_path / "one") == reasons
    assert (tmp_path / "one/ignore.csv").read_text().splitlines()[1] == "train.csv:5,,not mine,,x"
    page = (tmp_path / "one/report.html").read_text()
    assert page.count("dataset.ignore=mine.csv") == 1  # to inspect it again as it was
    command = proposed(done)
    assert command == [*typed[:-1], "dataset.ignore=one/ignore.csv"]
    clean = ptft(*command, "inspect.strict=true", "hydra.run.dir=two")
    assert clean.code == 0, clean.text
    assert "3 of train are left out (dataset.ignore=ignore.csv)" in clean.out
    assert (tmp_path / "two/ignore.csv").read_text() == (tmp_path / "one/ignore.csv").read_text()


@pytest.mark.parametrize(("kind", "on_error"), [(coco, "skip"), (masks, "raise")])
def test_pictures_with_marks_that_cannot_be_used_are_no_less_unreadable(kind, on_error, ptft, tmp_path):
    name = "coco" if kind is coco else "mask_folder"
    kind.sample(tmp_path / "data", 6)
    *kept, broken, worse = sorted((tmp_path / "data").rglob("val*/*.png"))
    if kind is masks:
        (image,) = (path for path in (tmp_path / "data/images/val").glob("0.png"))
        kept, broken, worse = [], image, tmp_path / "data/masks/val/1.png"
    for path in (*kept[:3], broken, worse):  # more than on_error=skip would leave out
        path.write_bytes(b"no picture")
    typed = ("stage=inspect", f"dataset={name}", "dataset.root=data", "dataset.size=32", "report=false", "device=cpu")
    done = ptft(*typed, "inspect.strict=true", "inspect.sheet=0", "hydra.run.dir=one")
    count = 5 if kind is coco else 2
    refused(done, 3, f"inspect.strict=true: {count} files can't be used")
    assert f"unreadable          {count}" in done.out
    assert len(listed(tmp_path / "one")) == count
    clean = ptft(*proposed(done), "hydra.run.dir=two", f"dataset.on_error={on_error}")
    assert clean.code == 0, clean.text
    assert f"{count} images are left out (dataset.ignore)" in clean.out
