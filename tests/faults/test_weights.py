"""Damaged and odd files of weights, and files of the user's that nothing may write over."""

import argparse
import collections
import datetime
import decimal
import pathlib
import types

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint import state_dict
from ptft.errors import CheckpointError
from tests.conftest import SMALL, contents, refused

WEIGHTS = {"a.weight": torch.ones(3)}
RECORDS = {
    "numpy": [np.float64(1), np.int64(2), np.ones(3), np.random.default_rng(0).bytes(2)],
    "times": [datetime.datetime(2026, 1, 2), datetime.timedelta(1), datetime.datetime.now(datetime.timezone.utc)],
    "paths": [pathlib.Path("a/b"), pathlib.PurePosixPath("c")],
    "omegaconf": OmegaConf.create({"a": [1, "${b}", None], "b": 2.0, "c": {"d": True}}),
    "namespaces": [argparse.Namespace(a=pathlib.Path("x")), types.SimpleNamespace(a=1)],
    "collections": [collections.defaultdict(list, {"a": [1]}), collections.deque([1]), {1, 2}, frozenset([1])],
    "others": [decimal.Decimal("1.5"), 1j, range(3), collections.Counter("aab")],
}


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_records_beside_weights_are_read_over(tmp_path, kind, zipped):
    file = tmp_path / "theirs.pt"
    torch.save({"state_dict": WEIGHTS, "more": RECORDS[kind]}, file, _use_new_zipfile_serialization=zipped)
    assert state_dict.read(file)[0].keys() == WEIGHTS.keys()


@pytest.mark.parametrize("kind", ["paths", "omegaconf", "times"])
def test_a_record_takes_nothing_that_belongs_to_it(tmp_path, kind):
    torch.save(RECORDS[kind], tmp_path / "theirs.pt")
    loaded = checkpoint_file.load(tmp_path / "theirs.pt", state_dict.PLAIN)
    assert all(type(each) is state_dict.Record for each in (loaded if isinstance(loaded, list) else [loaded]))


class Net(torch.nn.Linear):
    """A module that is stored whole, as code."""


def test_what_is_refused_says_what_to_save_instead(tmp_path):
    torch.save(Net(2, 2), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"holds code.*torch.save\(model.state_dict\(\), \"weights.pt\"\)"):
        state_dict.read(tmp_path / "whole.pt")
    model = Net(2, 2)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    assert state_dict.read(tmp_path / "weights.pt")[0].keys() == {"weight", "bias"}


@pytest.mark.parametrize("data", [b"\x80\x02", b"PK", b"\x80", b"PK\x03\x04", b"\x80\x02.", b"\x80\x02}q\x00."])
def test_a_file_of_a_few_bytes(ptft, tmp_path, data):
    (tmp_path / "x.pt").write_bytes(data)
    refused(ptft("stage=finetune", "ckpt=x.pt", "model=cnn"), 4, str(tmp_path / "x.pt"))


def test_two_damaged_checkpoints_in_one_folder(ptft, tmp_path, pretrained):
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("best.pt", "last.pt", "third.pt"):
        data = (pretrained / "checkpoints" / ("best.pt" if name == "third.pt" else name)).read_bytes()
        (folder / name).write_bytes(data[:-1] if name != "third.pt" else data[: len(data) // 2])
    refused(ptft("stage=finetune", "ckpt=run"), 4, "best.pt", "incomplete")
    refused(ptft("resume=run"), 4, "last.pt", "incomplete")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["backbone.conv1.weight", "head.bias"])
def test_weights_that_are_not_finite_are_named(ptft, tmp_path, pretrained, name, value):
    content, _ = checkpoint_file.read(pretrained / "checkpoints" / "best.pt")
    content["weights"] = {key: tensor.clone() for key, tensor in content["weights"].items()}
    content["weights"][name].view(-1)[0] = value
    checkpoint_file.write(tmp_path / "bad.pt", content)
    refused(ptft("stage=evaluate", "ckpt=bad.pt"), 4, str(tmp_path / "bad.pt"), name, "not finite in 1 of")
    if name.startswith("backbone."):
        refused(ptft("stage=finetune", "ckpt=bad.pt", "train.steps=1"), 4, name)


@pytest.mark.parametrize(
    "name", ["checkpoints/best.pt", "metrics.jsonl", "run.log", "confusion_val.json", "summary.json"]
)
def test_a_run_claims_only_what_is_free(ptft, tmp_path, name):
    kept = tmp_path / "mine" / name
    kept.parent.mkdir(parents=True)
    kept.write_text("of mine")
    before = contents(tmp_path)
    refused(ptft("stage=pretrain", *SMALL, "hydra.run.dir=mine"), 5, name.split("/")[0], "hydra.run.dir")
    assert contents(tmp_path) == before


def test_a_file_that_is_read_is_not_written(ptft, tmp_path, pretrained):
    (tmp_path / "png").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "png" / "0.png")
    (tmp_path / "link.csv").symlink_to("png/0.png")
    (tmp_path / "mine.pt").write_bytes((pretrained / "checkpoints" / "best.pt").read_bytes())
    predict = ("stage=predict", "ckpt=mine.pt", "input=png")
    before = contents(tmp_path)
    for output in ("png/0.png", "link.csv", "mine.pt"):
        refused(ptft(*predict, f"output={output}"), 2, f"output={output}")
    assert {name: data for name, data in contents(tmp_path).items() if not name.startswith("outputs")} == before
    for again in ("false", "true"):
        assert ptft(*predict, "output=mine.csv", f"overwrite={again}").code == 0
    assert (tmp_path / "mine.csv").read_text().startswith("path,")
    assert not list(tmp_path.glob(".mine*"))
