"""Weights are fed what they were trained on: size, cut, interpolation, mean and std as their library says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor
from torchvision import models

from ptft.core import Spec
from ptft.data.image import reader
from ptft.models.hub.timm import TimmBackbone
from ptft.models.hub.torchvision import TorchvisionBackbone
from tests.conftest import refused, summary
from tests.helpers.digits import SHORT

NAME = "test_resnet"
"""A network of timm whose mean and std, 0.5, are nobody's default."""
PLANNED = (*SHORT, "dataset.val=null", "dataset.test=null", "train.batch_size=1", "dry_run=true")
SMALL = (*SHORT, "dataset.val=null", "dataset.test=null", "dataset.size=32")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return timm.create_model(NAME).state_dict()


def write(weights: dict[str, Tensor], kind: str) -> Path:
    path = Path("weights.safetensors" if kind == "safetensors" else "weights.pt").absolute()
    if kind == "safetensors":
        save_file(weights, path)
    elif kind == "wrapped":
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}}, path)
    else:
        torch.save(weights, path)
    return path


def of_timm(path: Path, *more: str) -> tuple[str, ...]:
    return ("stage=finetune", f"ckpt={path}", "model=timm", f"model.name={NAME}", *more)


def kept(folder: str) -> Spec:
    """The Spec in the best checkpoint of a run."""
    return Spec.from_dict(torch.load(Path(folder, "checkpoints/best.pt"), weights_only=True)["spec"])


@pytest.mark.parametrize("kind", ["plain", "wrapped", "safetensors"])
def test_plain_weights_of_timm_are_fed_as_timm_does(ptft, weights, kind: str) -> None:
    path = write(weights, kind)
    done = ptft(*of_timm(path, *PLANNED))
    assert done.code == 0, done.text
    assert "160×160×3, crop 0.95, mean 0.5, std 0.5 (timm)" in done.out
    assert f"{path.name} does not say which images it was trained on: they are prepared as timm does" in done.out


def test_a_run_keeps_them_and_so_does_one_that_starts_from_it(ptft, weights, tmp_path: Path) -> None:
    path = write(weights, "safetensors")
    assert ptft(*of_timm(path, *SMALL), "hydra.run.dir=one").code == 0
    second = ptft("stage=finetune", "ckpt=one", *SMALL[:-1], "hydra.run.dir=two")
    assert second.code == 0, second.text
    assert "mean 0.5, std 0.5 (as in the checkpoint)" in second.out
    assert f"timm {NAME}, " in second.out
    assert summary(tmp_path / "two")["model"] == f"timm {NAME}"
    resumed = ptft("resume=one", "train.steps=2")
    assert resumed.code == 0, resumed.text
    Image.new("RGB", (40, 50)).save("new.png")
    predicted = ptft("stage=predict", "ckpt=one", "input=new.png")
    for done in (resumed, predicted):
        assert "32×32×3, crop 0.95, mean 0.5, std 0.5" in done.out, done.text
    for folder in ("one", "two"):
        assert (kept(folder).mean, kept(folder).std) == ((0.5,) * 3, (0.5,) * 3)
        told = summary(tmp_path / folder)["input"]
        assert (told["size"], told["mean"], told["std"], told["crop_pct"]) == ([32, 32], [0.5] * 3, [0.5] * 3, 0.95)


def test_typed_keys_win(ptft, weights) -> None:
    path = write(weights, "plain")
    typed = ("dataset.size=[48,64]", "dataset.mean=0.25", "dataset.std=[0.1,0.2,0.3]", "dataset.crop_pct=1")
    done = ptft(*of_timm(path, *PLANNED, *typed), "dataset.interpolation=lanczos")
    assert "48×64×3, lanczos, mean 0.25, std 0.1/0.2/0.3 (typed)" in done.out
    refused(ptft(*of_timm(path, *SHORT), "dataset.mean=[0.1,0.2]"), 2, "dataset.mean")
    refused(ptft(*of_timm(path, *SHORT), "dataset.std=0"), 2, "dataset.std")
    wrong = ptft(*of_timm(path, *SHORT), "dataset.channels=1", "dataset.mean=[0.1,0.2,0.3]", "dry_run=true")
    refused(wrong, 2, "dataset.mean=", "one number, or 1")


def test_an_evaluation_takes_what_is_typed_for_it(ptft, weights) -> None:
    path = write(weights, "plain")
    small = (*SHORT, "dataset.size=32", "dataset.val=null", "dataset.test=0.03")
    assert ptft(*of_timm(path, *small), "hydra.run.dir=one").code == 0
    as_trained, otherwise = (ptft("stage=evaluate", "ckpt=one", *typed) for typed in ((), ("dataset.mean=0.9",)))
    assert "mean 0.5, std 0.5" in as_trained.out
    assert "mean 0.9, std 0.5" in otherwise.out
    losses = [re.search(r"^ +loss +(\S+)", done.out, re.MULTILINE)[1] for done in (as_trained, otherwise)]
    assert losses[0] != losses[1]


def test_the_folder_of_a_run_is_named_after_the_network(ptft) -> None:
    typed = ("stage=pretrain", "model=timm", f"model.name={NAME}", *SMALL)
    assert ptft(*typed).code == 0
    assert len(list(Path("outputs").glob(f"*/*-pretrain-timm_{NAME}-digits-*"))) == 1, list(Path("outputs").glob("*/*"))


def test_fresh_weights_keep_the_datasets_own_statistics(ptft) -> None:
    done = ptft("stage=pretrain", "model=timm", f"model.name={NAME}", *PLANNED)
    assert done.code == 0, done.text
    assert "28×28×1, mean 0.305, std 0.325 (the dataset's own)" in done.out


def test_a_model_that_nobody_published_says_so(ptft, pretrained) -> None:
    held = torch.load(pretrained / "checkpoints/best.pt", weights_only=True)["weights"]
    torch.save(held, "mine.pt")
    model = ("model=cnn", "model.width=16", "model.channels=[4,8]")
    done = ptft("stage=finetune", "ckpt=mine.pt", *model, *SHORT, "dry_run=true")
    assert done.code == 0, done.text
    assert "mine.pt does not say which images it was trained on: mean and std are the dataset's own" in done.out


def test_a_configuration_beside_the_weights_wins_over_the_networks(ptft, weights) -> None:
    path = write(weights, "safetensors")
    about = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.4, 0.4], "input_size": [3, 64, 64], "crop_mode": "squash"}
    for architecture, said in ((NAME, "64×64×3, crop 0.95, mean 0.1/0.2/0.3, std 0.4"), ("another", "mean 0.5, std")):
        config = {"architecture": architecture, "num_classes": 1000, "pretrained_cfg": about}
        path.with_name("config.json").write_text(json.dumps(config))
        done = ptft(*of_timm(path, *PLANNED))
        assert said in done.out, done.text
    path.with_name("config.json").write_text("{")
    assert "mean 0.5, std 0.5 (timm)" in ptft(*of_timm(path, *PLANNED)).out


def test_plain_weights_of_torchvision_are_fed_as_torchvision_does(ptft) -> None:
    net, options = models.mobilenet_v3_small(), {"name": "resnet50"}
    torch.save(net.state_dict(), "weights.pth")
    model = ("model=torchvision", "model.name=mobilenet_v3_small")
    done = ptft("stage=finetune", "ckpt=weights.pth", *model, *PLANNED)
    assert "224×224×3, crop 0.875, mean 0.485/0.456/0.406, std 0.229/0.224/0.225 (torchvision)" in done.out, done.text
    first, best = models.ResNet50_Weights.IMAGENET1K_V1, models.ResNet50_Weights.DEFAULT
    for file, share in ((Path(first.url).name, 224 / 256), (Path(best.url).name, 224 / 232), ("any.pth", 224 / 232)):
        found = TorchvisionBackbone.published(options, {}, f"/some/{file}")
        assert found is not None
        assert found.shape["crop_pct"] == share


def test_weights_of_a_stem_for_small_images_are_not_of_large_ones() -> None:
    small = models.resnet18().state_dict()
    small["conv1.weight"] = torch.zeros(64, 1, 3, 3)
    found = TorchvisionBackbone.published({"name": "resnet18", "stem": "auto"}, small, "cifar.pth")
    assert found is not None
    assert "size" not in found.shape
    assert found.shape["channels"] == 1
    typed = TimmBackbone.published({"name": NAME, "stem": "small"}, timm.create_model(NAME).state_dict(), "w.pt")
    assert typed is not None
    assert "size" not in typed.shape
    assert typed.mean == (0.5,) * 3


def test_weights_of_a_small_stem_start_on_small_images(ptft) -> None:
    net = models.resnet18()
    net.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    torch.save(net.state_dict(), "cifar.pth")
    model = ("model=torchvision", "model.name=resnet18")
    done = ptft("stage=finetune", "ckpt=cifar.pth", *model, *PLANNED)
    assert done.code == 0, done.text
    assert "28×28×3, mean 0.485/0.456/0.406" in done.out


@pytest.mark.parametrize(
    ("name", "size"),
    [("test_vit", (300, 401)), ("test_resnet", (224, 224)), ("resnet18", (90, 61)), ("resnet18", (300, 401))],
)
def test_pixels_are_those_of_timms_own_transform(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([128 + 100 * np.sin(x / 23), 128 + 90 * np.cos(y / 17), (x + y) % 256], 2).astype(np.uint8)
    pixels[..., 2] = 128 + 100 * np.sin((x + y) / 31)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    with torch.device("meta"):
        config = resolve_model_data_config(timm.create_model(name))
    theirs = create_transform(**config, is_training=False)(Image.open(tmp_path / "one.png"))
    found = TimmBackbone.published({"name": name}, {}, "w.pt")
    assert found is not None
    raw = reader.read(tmp_path / "one.png", found)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (found.mean, found.std))
    ours = (raw / 255 - mean) / std
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().mean() < 0.02
    in_memory = reader.resize(torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0), found)
    assert (in_memory[0].float() - raw.float()).abs().mean() < 2


def test_without_timm_plain_weights_name_the_extra(ptft, weights, monkeypatch) -> None:
    path = write(weights, "plain")
    monkeypatch.setitem(sys.modules, "timm", None)
    refused(ptft(*of_timm(path, *SHORT)), 2, "pip install 'ptft[timm]'")
