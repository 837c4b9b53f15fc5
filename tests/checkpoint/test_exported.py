"""Exported weights and the JSON beside them: what is broken or was never written by ptft is one line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptft.checkpoint import exported
from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint.load import open_checkpoint
from ptft.errors import CheckpointError


def content(**more):
    shared = torch.arange(12.0).view(3, 4)
    weights = {"a": shared, "b": shared[1:], "c": shared.T, "d": torch.tensor(2, dtype=torch.int64)}
    config = {"names": {"model": "cnn", "objective": "classify"}, "model": {}, "objective": {}}
    spec = {"modality": "image", "shape": {"size": [8, 8], "channels": 1, "fit": "none"}}
    return {"weights": weights, "config": config, "spec": spec, "progress": {"step": 3}, **more}


def written(folder: Path, **more) -> Path:
    found = content(**more)
    says = exported.described(found, "0" * 64, "run/checkpoints/best.pt", "run")
    exported.write(folder / "model.safetensors", folder / "config.json", found, says, "")
    return folder


def test_tensors_that_share_memory_or_lie_otherwise_come_back_as_they_were(tmp_path):
    ids = torch.tensor([-5, 2**62, 0])
    checkpoint = open_checkpoint(str(written(tmp_path, trained_on=ids)))
    for name, value in content()["weights"].items():
        assert torch.equal(checkpoint.weights[name], value)
        assert checkpoint.weights[name].dtype == value.dtype
    assert torch.equal(checkpoint.trained_on, ids)
    assert (checkpoint.sha256, checkpoint.run, checkpoint.progress) == ("0" * 64, "run", {"step": 3})
    assert load_file(tmp_path / "model.safetensors").keys() == checkpoint.weights.keys()
    assert not len(open_checkpoint(str(written(tmp_path, trained_on=ids[:0]))).trained_on)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 2}, "exported in format 2"),
        ({"checkpoint": None}, "which checkpoint it was made of"),
        ({"weights_sha256": "0"}, "the digest differs"),
        ({"spec": None}, "no spec of its inputs"),
        ({"config": []}, "no configuration"),
        ({"progress": [1]}, "where its run stood"),
    ],
)
def test_a_description_that_can_not_be_used_is_one_line(changed, said, tmp_path):
    file = written(tmp_path) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(str(tmp_path))


def test_identities_that_are_none(tmp_path):
    file = written(tmp_path) / "model.safetensors"
    save_file({"a": torch.zeros(2)}, file, {"trained_on": "no base64"})
    says = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**says, "weights_sha256": checkpoint_file.file_digest(file)}))
    with pytest.raises(CheckpointError, match="what it was trained on can't be read"):
        open_checkpoint(str(tmp_path))


def test_a_stranger_beside_safetensors_is_no_description(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert open_checkpoint(str(tmp_path / "model.safetensors")).config is None
