"""ignore.csv: what it names of copies of several kinds at once, and that nothing leaks where it is used."""

import csv
import random

import pytest

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
