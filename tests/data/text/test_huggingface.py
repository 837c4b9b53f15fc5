"""Datasets of the library `datasets`, from folders, without a network."""

import datasets
import pytest

from ptft.data.text import huggingface
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.errors import ConfigError, DataError


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
