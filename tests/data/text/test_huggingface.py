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
