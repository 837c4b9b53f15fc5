"""Datasets of the library `datasets`, from folders, without a network."""

import csv
from pathlib import Path

import datasets
import pytest

from ptft.data.text import huggingface
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.errors import ConfigError, DataError
from tests.conftest import refused


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_what_save_to_disk_wrote_keeps_its_class_names(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    table = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, 1]}, features=features)
    datasets.DatasetDict({"train": table, "validation": table}).save_to_disk(str(tmp_path / "saved"))
    source = HuggingFaceTexts(root=tmp_path / "saved", tokenizer="bytes")
    assert source.spec.classes == ("no", "yes")
    assert source.split("val").labels.tolist() == [1, 0, 1]
    assert source.split("test") is None


def test_files_are_read_and_what_is_missing_is_named(tmp_path):
    huggingface.sample(tmp_path / "data")
    source = HuggingFaceTexts(root=tmp_path / "data", tokenizer="bytes")
    assert source.spec.classes == ("bad", "good")
    assert len(source.split("train")) == 24
    with pytest.raises(DataError, match=r"train\.csv:1: column: there is no 'sentence' \(choices: text, label\)"):
        HuggingFaceTexts(root=tmp_path / "data", text="sentence")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        HuggingFaceTexts(root=tmp_path / "empty")
    with pytest.raises(ConfigError, match="set one of them"):
        HuggingFaceTexts()


def test_a_list_in_the_place_of_a_text_is_named(tmp_path):
    rows = {"text": [["a", "b"], ["c"]], "label": ["x", "y"]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=r"train row 0: column 'text' holds a list and not one value"):
        HuggingFaceTexts(root=tmp_path / "saved", tokenizer="bytes")


def test_words_that_other_readers_take_for_missing_are_classes(tmp_path):
    for split in ("train", "validation"):
        rows = [f"null number {i},{word}" for i in range(4) for word in ("None", "NA", "nan", "007")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    source = HuggingFaceTexts(root=tmp_path, tokenizer="bytes")
    assert source.spec.classes == ("007", "NA", "None", "nan")
    assert len(source.split("val")) == 16


@pytest.mark.parametrize("folder", [".", "data"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "PARQUET"])
def test_all_parts_of_a_split_are_read(tmp_path, kind, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    for i in range(3):
        table = datasets.Dataset.from_dict({"text": [f"a {i}", f"b {i}"], "label": ["x", "y"]})
        file = tmp_path / folder / f"train-0000{i}-of-00003.{kind}"
        {"csv": table.to_csv, "jsonl": table.to_json, "PARQUET": table.to_parquet}[kind](str(file))
    source = HuggingFaceTexts(root=tmp_path, tokenizer="bytes", val=None)
    assert [row.texts[0] for row in source.rows("train")] == [f"{word} {i}" for i in range(3) for word in "ab"]
    assert "train is read from 3 files" in source.notes[0]


def test_missing_labels_of_a_table_are_named_left_out_or_the_split_is(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})

    def saved(**labels):
        tables = {
            split: datasets.Dataset.from_dict({"text": [f"t {i}" for i in range(len(given))], "label": given}, features)
            for split, given in labels.items()
        }
        datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "saved"))
        return tmp_path / "saved"

    root = saved(train=[0, 1] * 6, validation=[0, 1], test=[-1, -1])
    source = HuggingFaceTexts(root=root, tokenizer="bytes")
    assert source.split("test") is None
    assert source.notes == ("test has no labels and is not used; stage=predict answers it",)
    root = saved(train=[*[0, 1] * 6, -1], validation=[0, 1])
    with pytest.raises(DataError, match=r"train row 12: has no label.*dataset\.on_error=skip leaves such lines out"):
        HuggingFaceTexts(root=root, tokenizer="bytes")
    assert len(HuggingFaceTexts(root=root, tokenizer="bytes", on_error="skip").split("train")) == 12
    with pytest.raises(DataError, match=r"has no label, nor has any other row; dataset\.label=null trains without"):
        HuggingFaceTexts(root=saved(train=[-1, -1], validation=[0, 1]), tokenizer="bytes")


def numbered(count, names, first=0):
    """A table whose labels are numbers of `names`, with a text that says which name it is."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    labels = [i % 2 for i in range(first, first + count)]
    texts = [f"{names[label]} {i}" for i, label in enumerate(labels, first)]
    return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=features)


def test_every_parquet_file_has_its_own_order_of_classes(tmp_path):
    numbered(4, ["no", "yes"]).to_parquet(str(tmp_path / "train-00000-of-00002.parquet"))
    numbered(4, ["yes", "no"], 4).to_parquet(str(tmp_path / "train-00001-of-00002.parquet"))
    numbered(4, ["yes", "no"]).to_parquet(str(tmp_path / "validation.parquet"))
    source = HuggingFaceTexts(root=tmp_path, tokenizer="bytes")
    assert source.spec.classes == ("no", "yes")
    for split in ("train", "val"):
        assert [row.texts[0].split()[0] for row in source.rows(split)] == [row.label for row in source.rows(split)]
    assert source.rows("train")[-1].where.endswith("train row 7")


def test_parquet_files_that_are_damaged_empty_or_called_all_are_named(tmp_path):
    numbered(4, ["no", "yes"]).to_parquet(str(tmp_path / "train.parquet"))
    (tmp_path / "validation.parquet").write_bytes((tmp_path / "train.parquet").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"validation\.parquet: can't be read"):
        HuggingFaceTexts(root=tmp_path, tokenizer="bytes")
    numbered(0, ["no", "yes"]).to_parquet(str(tmp_path / "validation.parquet"))
    with pytest.raises(DataError, match=r"val split \(val\) holds no texts; dataset\.val=null trains without one"):
        HuggingFaceTexts(root=tmp_path, tokenizer="bytes").split("val")
    (tmp_path / "train.parquet").rename(tmp_path / "all.parquet")
    with pytest.raises(ConfigError, match=r"there is no 'train' \(choices: all, val\)"):
        HuggingFaceTexts(root=tmp_path, tokenizer="bytes")


def test_what_is_not_used_for_want_of_labels_is_answered_by_predict_as_the_message_says(ptft):
    test = numbered(3, ["no", "yes"]).map(lambda row: {"label": -1})
    tables = {"train": numbered(8, ["no", "yes"]), "validation": numbered(2, ["no", "yes"]), "test": test}
    datasets.DatasetDict(tables).save_to_disk("saved")
    test.to_parquet("test.parquet")
    net = ("model=bert_tiny", "model.width=16", "model.depth=1", "dataset.tokenizer=bytes")
    run = ("stage=pretrain", *net, "dataset=huggingface", "dataset.root=saved", "train.steps=1", "hydra.run.dir=run")
    done = ptft(*run)
    assert done.code == 0, done.text
    assert "test has no labels and is not used; stage=predict answers it" in done.out
    for path, where in (("saved/test", "saved/test"), ("test.parquet", "test.parquet")):
        done = ptft("stage=predict", "ckpt=run", f"input={path}", f"output={path}.csv", f"hydra.run.dir={path}-out")
        assert done.code == 0, done.text
        rows = list(csv.DictReader(Path(f"{path}.csv").read_text().splitlines()))
        assert [row["path"] for row in rows] == [f"{where} row {i}" for i in range(3)]
        assert all(row["class"] in ("no", "yes") for row in rows)
    datasets.Dataset.from_dict({"words": ["a"]}).to_parquet("other.parquet")
    done = ptft("stage=predict", "ckpt=run", "input=other.parquet")
    refused(done, 3, "other.parquet has no column 'text' (words)")


@pytest.mark.parametrize("form", ["csv", "parquet", "saved"])
def test_columns_are_found_as_those_of_tables(form, tmp_path):
    rows = {"review": [f"it is number {i}" for i in range(20)], "mood": ["no", "yes"] * 10, "words": [["a"]] * 20}
    root = tmp_path / "data"
    root.mkdir()
    if form == "csv":
        lines = [f"{text},{mood}" for text, mood in zip(rows["review"], rows["mood"], strict=True)]
        (root / "train.csv").write_text("\n".join(["review,mood", *lines]))
    elif form == "parquet":
        datasets.Dataset.from_dict(rows).to_parquet(str(root / "train.parquet"))
    else:
        datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(str(root))
    source = HuggingFaceTexts(root=root, text="auto", label="auto", tokenizer="bytes")
    assert source.spec.classes == ("no", "yes")
    assert any("found by what is in them: dataset.text=review dataset.label=mood" in note for note in source.notes)
    assert source.settled == {"text": "review", "label": "mood"}
    assert HuggingFaceTexts(root=root, text="auto", label=None, tokenizer="bytes").spec.target == "none"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_of_splits_in_the_only_file_is_said(tmp_path, suffix):
    rows = {"text": [f"a day {i}" for i in range(12)], "label": ["a", "b"] * 6, "split": ["train", "test", "dev"] * 4}
    table = datasets.Dataset.from_dict(rows)
    table.to_csv(tmp_path / "train.csv") if suffix == "csv" else table.to_parquet(tmp_path / "train.parquet")
    remedy = "dataset=table divides by it" if suffix == "csv" else "a file for each split divides them"
    said = f"the column split (train, test, dev) is not read, and all rows are train; {remedy}"
    assert said in HuggingFaceTexts(root=tmp_path, tokenizer="bytes").notes
