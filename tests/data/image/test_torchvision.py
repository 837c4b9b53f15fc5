"""torchvision's files, read where they are, and one line where they are not."""

import gzip
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ptft.data.image import cifar, idx
from ptft.data.image import torchvision as sets
from ptft.data.image.torchvision import DATASETS, Torchvision
from ptft.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_sample_of_each_is_read(tmp_path, name):
    sets.sample(tmp_path)
    source = Torchvision(name=name, root=tmp_path, download=False)
    assert [len(source.split(split)) for split in ("train", "val", "test")] == [36, 4, 40]
    batch = source.split("test").take(torch.tensor([3, 1]))
    assert batch["input"].shape == (2, DATASETS[name].channels, DATASETS[name].size, DATASETS[name].size)
    assert batch["label"].tolist() == [3, 1]
    assert len(source.spec.classes) == len(DATASETS[name].classes) == (100 if name == "cifar100" else 10)


def test_our_files_are_torchvisions(tmp_path):
    from torchvision import datasets

    sets.sample(tmp_path)
    for file in (tmp_path / "MNIST/raw").glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    theirs = datasets.MNIST(tmp_path, train=False)
    ours = Torchvision(name="mnist", root=tmp_path, download=False).split("test")
    assert torch.equal(ours.base.squeeze(1), theirs.data)
    assert torch.equal(ours.labels, theirs.targets)


def test_another_name_gets_the_choices():
    with pytest.raises(ConfigError, match=r"dataset\.name.*'cifar', nearest: cifar10"):
        Torchvision(name="cifar")


def test_download_off_names_files_and_place(tmp_path):
    with pytest.raises(DataError) as error:
        Torchvision(name="mnist", root=tmp_path / "none", download=False).split("train")
    for part in ("train-images-idx3-ubyte", str(tmp_path / "none/MNIST/raw"), "dataset.download", "dataset.root"):
        assert part in str(error.value)


def test_one_process_downloads_and_the_other_waits(tmp_path, monkeypatch):
    """The second finds the files when it gets the lock."""
    from concurrent.futures import ThreadPoolExecutor

    fetched = []

    def slowly(dataset, root):
        time.sleep(0.3)
        fetched.append(dataset)
        sets.sample(root)

    monkeypatch.setattr(sets, "_download", slowly)
    sources = [Torchvision(name="mnist", root=tmp_path) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        lengths = list(threads.map(lambda source: len(source.split("test")), sources))
    assert lengths == [40, 40]
    assert fetched == ["MNIST"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02abc"])
def test_broken_idx_files_are_named(tmp_path, content):
    sets.sample(tmp_path)
    broken = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    broken.write_bytes(content)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte"):
        Torchvision(name="mnist", root=tmp_path).split("test")
    broken.unlink()
    whole = broken.with_suffix(".gz").read_bytes()
    broken.with_suffix(".gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz"):
        Torchvision(name="mnist", root=tmp_path).split("test")


class Touch:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_a_malicious_batch_is_refused_before_it_runs(tmp_path):
    sets.sample(tmp_path)
    marker, file = tmp_path / "marker", tmp_path / cifar.TEN.folder / "test_batch"
    for content in (Touch(marker), {"data": Touch(marker), "labels": [0]}):
        file.write_bytes(pickle.dumps(content))
        with pytest.raises(DataError, match="test_batch"):
            Torchvision(name="cifar10", root=tmp_path).split("test")
    assert not marker.exists()


def test_broken_batches_are_named(tmp_path):
    sets.sample(tmp_path)
    file = tmp_path / cifar.TEN.folder / "test_batch"
    whole = file.read_bytes()
    cut = (b"", whole[: len(whole) // 2], b"<html>", b"\x80\x02}K\x01a.", b"\x80\x02K\x01K\x02b.")
    odd = ({"data": [1]}, [], {"data": {}, "labels": [0]}, {"data": np.zeros((1, 3072)), "labels": [2**80]})
    for content in (*cut, *map(pickle.dumps, odd)):
        file.write_bytes(content)
        with pytest.raises(DataError, match="test_batch"):
            Torchvision(name="cifar10", root=tmp_path).split("test")


def test_labels_out_of_range_and_uneven_files_are_found(tmp_path):
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    folder = tmp_path / "MNIST/raw"
    idx.write("mnist", folder, "test", images, torch.tensor([0, 10, 1]))
    with pytest.raises(DataError, match="sample 1 of test has label 10, but there are 10 classes"):
        Torchvision(name="mnist", root=tmp_path).split("test")
    idx.write("mnist", folder, "test", images, torch.tensor([0, 1]))
    with pytest.raises(DataError, match="3 images and 2 labels"):
        Torchvision(name="mnist", root=tmp_path).split("test")


def test_the_surveys_finetuning_trains_on_the_test_split(tmp_path):
    sets.sample(tmp_path)
    source = Torchvision(name="mnist", root=tmp_path, train="test", val=None)
    assert len(source.split("train")) == 40
    assert source.split("val") is source.split("test") is None
