"""timm's networks by name, against timm itself; its public weights from caches, offline."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from ptft.checkpoint.load import open_checkpoint
from ptft.checkpoint.transfer import load_pretrained
from ptft.core import Spec
from ptft.errors import CheckpointError, ConfigError
from ptft.finetune.phases import Phase, Phases
from ptft.models.hub.timm import TimmBackbone, public_weights
from ptft.models.layers.positions import resize_positions
from ptft.objectives.supervised.classify import Classify
from ptft.optim.param_groups import parameter_groups
from tests.conftest import refused, transfer

SMALLEST = ["test_vit", "test_vit2", "test_resnet", "test_convnext", "test_efficientnet", "test_mambaout"]
FAMILIES = [*SMALLEST, "mobilenetv3_small_050", "swin_tiny_patch4_window7_224", "deit_tiny_distilled_patch16_224"]
FAMILIES += ["mixer_s32_224", "pit_ti_224", "vgg11", "levit_128s", "hiera_tiny_224"]
"""Grids with channels first and last, tokens with none, one and two before them, and heads with layers of their own."""


def spec(side: int = 224, channels: int = 3, classes: tuple[str, ...] = ()) -> Spec:
    return Spec("image", {"size": [side, side], "channels": channels, "fit": "crop"}, classes=classes)


@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_and_layers_of_every_kind(name: str) -> None:
    side = timm.get_pretrained_cfg(name).input_size[-1]
    with torch.device("meta"):
        model = TimmBackbone(spec(side), name)
        features = model(torch.empty(2, 3, side, side))
        assert features.tokens.ndim == 3
        assert model.pool(features).shape == (2, model.width)
    groups = [[id(p) for module in group for p in module.parameters()] for group in model.layers()]
    held = [parameter for group in groups for parameter in group]
    assert len(groups) > 2 or name == "levit_128s"  # of which timm before 1.0.31 tells no layers apart
    assert len(held) == len(set(held))
    assert len(held) > 0.8 * len(list(model.parameters()))
    first = next(p for p in model.parameters() if p.ndim == 4)
    assert id(first) in groups[0] or id(first) not in held, "the stem is the first layer"


@pytest.mark.parametrize("name", [*FAMILIES, "resnet18"])
def test_a_smaller_view_is_taken_where_timm_can_compute_it(name: str) -> None:
    side = timm.get_pretrained_cfg(name).input_size[-1]
    with torch.device("meta"):
        model = TimmBackbone(spec(side), name)
        assert model.takes((side, side))
        for smaller in (side // 2, 3 * side // 4):
            if model.takes((smaller, smaller)):
                assert model.pool(model(torch.empty(2, 3, smaller, smaller))).shape == (2, model.width)
            else:
                with pytest.raises((RuntimeError, AssertionError)):
                    model.pool(model(torch.empty(2, 3, smaller, smaller)))


@pytest.mark.parametrize("name", [*SMALLEST, "mobilenetv3_small_050"])
def test_backbone_and_classifier_are_timms_network(name: str) -> None:
    torch.manual_seed(0)
    side = timm.get_pretrained_cfg(name).input_size[-1] if name.startswith("test_vit") else 64
    theirs = timm.create_model(name, num_classes=7).eval()
    with torch.device("meta"):
        ours = TimmBackbone(spec(side), name, stem="original").eval()
    state = {f"net.{key}": value for key, value in theirs.state_dict().items()}
    ours.load_state_dict({key: state[key] for key in ours.state_dict()}, assign=True)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(theirs.get_classifier()(ours.pool(ours(x))), theirs(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "cells"),
    [("test_vit", (65, 5)), ("test_convnext", (4, 1)), ("test_resnet", (16, 1))],
)
def test_a_small_stem_keeps_more_of_a_small_image(name: str, cells: tuple[int, int]) -> None:
    for stem, count in (("small", cells[0]), ("original", cells[1]), ("auto", cells[0])):
        with torch.no_grad():
            found = TimmBackbone(spec(32, 1), name, stem)(torch.zeros(2, 1, 32, 32))
        assert found.tokens.shape[1] == count, stem


def test_a_small_stem_of_convolutions_takes_the_published_weights() -> None:
    small, original = (TimmBackbone(spec(32), "test_resnet", stem) for stem in ("small", "original"))
    small.load_state_dict(original.state_dict())


def test_rates_of_the_layers_and_parameters_without_decay() -> None:
    task = Classify(TimmBackbone(spec(32, classes=("a", "b")), "test_vit"), spec(classes=("a", "b")))
    groups = parameter_groups(task, Phases(task, [Phase(layer_decay=0.5)]).scales, lr=1.0, weight_decay=0.1)
    rates = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}
    depth = len(task.backbone.layers())
    assert rates["head.weight"] == (1.0, 0.1)
    assert rates["backbone.net.blocks.5.attn.qkv.weight"] == (0.5, 0.1)
    assert rates["backbone.net.pos_embed"] == (0.5**depth, 0.0)
    assert rates["backbone.net.patch_embed.proj.weight"] == (0.5**depth, 0.1)


def test_stochastic_depth_grows_with_the_depth_and_is_random_in_training_only() -> None:
    model = TimmBackbone(spec(32), "test_vit", drop_path=0.5, dropout=0.3)
    rates = [module.drop_prob for module in model.modules() if type(module).__name__ == "DropPath"]
    assert rates == sorted(rates)
    assert rates[-1] == 0.5
    assert any(isinstance(module, nn.Dropout) and module.p == 0.3 for module in model.modules())
    x = torch.randn(4, 3, 32, 32)
    assert not torch.equal(model.train()(x).tokens, model(x).tokens)
    assert torch.equal(model.eval()(x).tokens, model(x).tokens)


@pytest.mark.parametrize(
    ("name", "side", "options", "named"),
    [
        ("resnt18", 32, {}, "model.name=resnt18.*nearest: .*resnet18"),
        ("hf-hub:some/one", 32, {}, "model.name=hf-hub:some/one is no network"),
        ("resnet18.none", 32, {}, "model.name=resnet18.none.*nearest: .*resnet18.a1_in1k"),
        ("crossvit_9_240", 240, {}, "model.name=crossvit_9_240: it gives no single grid"),
        ("test_vit", 30, {}, r"dataset.size=\[30, 30\]: test_vit cuts images into patches of 4"),
        ("levit_128s", 30, {}, "model.name=levit_128s: timm can't make it for images of 30×30×3.*dataset.size"),
        ("resnet18", 32, {"stem": "tiny"}, "model.stem=tiny"),
        ("vgg11", 32, {"drop_path": 0.1}, "model.drop_path=0.1: timm's vgg11 has no such option"),
    ],
)
def test_what_can_not_be_built_is_refused_by_name(name: str, side: int, options: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        TimmBackbone(spec(side), name, **options)
    assert "\n" not in str(caught.value)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'ptft\[timm\]'"):
        TimmBackbone(spec(), "resnet18")


def handed_over(old: TimmBackbone, new: TimmBackbone) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """What a new backbone holds after it starts from an old one, and what was resized."""
    classes = spec(classes=("a", "b"))
    weights = {f"backbone.{name}": value for name, value in old.state_dict().items()}
    report = load_pretrained(Classify(new, classes), weights, head=False, why="", source="some.pt")
    return new.state_dict(), report.resized


def test_positions_follow_the_size_and_the_convolution_the_channels() -> None:
    old, new = TimmBackbone(spec(32, 3), "test_vit"), TimmBackbone(spec(48, 1), "test_vit")
    nn.init.normal_(old.net.pos_embed)
    own, resized = handed_over(old, new)
    assert set(resized) == {"backbone.net.pos_embed", "backbone.net.patch_embed.proj.weight"}
    prefix = old.net.num_prefix_tokens
    assert own["net.pos_embed"].shape[1] == prefix + 12 * 12
    assert torch.equal(own["net.pos_embed"][:, :prefix], old.net.pos_embed[:, :prefix])
    torch.testing.assert_close(own["net.pos_embed"].mean(), old.net.pos_embed.mean(), atol=0.02, rtol=0)
    torch.testing.assert_close(
        own["net.patch_embed.proj.weight"], old.net.patch_embed.proj.weight.detach().sum(1, keepdim=True)
    )


def test_positions_in_windows_follow_the_size() -> None:
    name = "swin_tiny_patch4_window7_224"
    with torch.device("meta"):
        old, new = TimmBackbone(spec(224), name), TimmBackbone(spec(128), name)
    tables = {
        key: torch.randn(value.shape)
        for key, value in old.state_dict().items()
        if key.endswith("0.attn.relative_position_bias_table")
    }
    own, resized = new.adapt(tables)
    assert resized
    assert all(key.endswith("relative_position_bias_table") for key in resized)
    assert {key: own[key].shape for key in tables} == {key: new.state_dict()[key].shape for key in tables}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's and the hub's caches, empty, on a machine without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
        monkeypatch.setenv(variable.upper(), "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def in_the_hubs_cache(folder: Path, repository: str, file: str, weights: dict[str, torch.Tensor]) -> None:
    """Write weights where huggingface_hub keeps what it has fetched."""
    base = folder / f"models--{repository.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text("abc")
    (base / "snapshots" / "abc").mkdir(parents=True)
    save_file(weights, base / "snapshots" / "abc" / file)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("test_vit.r160_in1k", "hub"),
        ("test_resnet.r160_in1k", "beside torch's"),
        ("test_resnet.r160_in1k", "hub"),
        ("test_convnext.r160_in1k", "a state dict there"),
    ],
)
def test_public_weights_load_to_the_bit(offline: Path, tmp_path: Path, name: str, where: str) -> None:
    theirs = timm.create_model(name).state_dict()
    if where == "hub":
        in_the_hubs_cache(tmp_path / "hub", f"timm/{name}", "model.safetensors", theirs)
    elif where == "beside torch's":
        save_file(theirs, offline / f"{name}.safetensors")
    else:
        torch.save({"state_dict": theirs}, offline / f"{name}.pth")
    state, public = public_weights(name.split(".")[0] if where == "hub" else name)
    model = TimmBackbone(public, name, stem="original")
    model.load_state_dict(state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, theirs[key.removeprefix("net.")]), key
    about = timm.get_pretrained_cfg(name)
    cut = {"crop_pct": about.crop_pct, **({"interpolation": "bicubic"} if about.interpolation == "bicubic" else {})}
    assert public.shape == {"size": [160, 160], "channels": 3, "fit": "crop", **cut}
    assert (public.mean, public.std) == (about.mean, about.std)
    assert (len(public.classes), public.classes[0]) == (1000, "tench, Tinca tinca")


def test_offline_it_says_in_seconds_what_to_put_where(ptft, offline: Path) -> None:
    began = time.perf_counter()
    result = ptft("stage=finetune", "ckpt=timm:test_vit")
    assert time.perf_counter() - began < 15
    place = offline / "test_vit.r160_in1k.safetensors"
    refused(
        result,
        4,
        "the weights test_vit.r160_in1k are not in",
        "model.safetensors of timm/test_vit.r160_in1k",
        str(place),
    )
    assert len(result.err.strip().splitlines()) == 1
    refused(ptft("stage=finetune", "ckpt=timm:test_vitt"), 2, "ckpt=timm:test_vitt", "test_vit")


def test_other_weights_under_the_name_are_refused(offline: Path) -> None:
    save_file({"a": torch.zeros(2)}, offline / "test_vit.r160_in1k.safetensors")
    with pytest.raises(CheckpointError, match=r"test_vit\.r160_in1k\.safetensors holds other weights"):
        public_weights("test_vit")


TINY = (
    "dataset.limit=4",
    "train.batch_size=2",
    "train.steps=1",
    "dataset.val=null",
    "dataset.test=null",
    "device=cpu",
)


def test_a_finetune_from_timms_weights_at_its_own_size_and_at_another(ptft, offline: Path, tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), offline / "test_vit.r160_in1k.safetensors")
    start = ("stage=finetune", "ckpt=timm:test_vit", *TINY)
    whole = ptft(*start, "finetune.layer_decay=0.75", "model.drop_path=0.1", "hydra.run.dir=whole")
    assert whole.code == 0, whole.text
    moved = transfer(tmp_path / "whole")
    assert set(moved["reinitialised"]["tensors"]) == {"head.weight", "head.bias"}
    assert moved["resized"]["tensors"] == moved["ignored"]["tensors"] == {}
    grey = ptft(*start, "dataset.size=32", "dataset.channels=1", "finetune.train=last:2", "hydra.run.dir=grey")
    assert grey.code == 0, grey.text
    resized = transfer(tmp_path / "grey")["resized"]["tensors"]
    assert set(resized) == {"backbone.net.pos_embed", "backbone.net.patch_embed.proj.weight"}
    again = ptft("stage=evaluate", "ckpt=grey", "split=train")
    assert again.code == 0, again.text


def test_a_file_of_timms_names_starts_a_finetune(ptft, tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=5)
    torch.save({"state_dict_ema": {f"module.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "own.pth")
    model = ("model=timm", "model.name=test_resnet", "dataset.channels=3")
    result = ptft("stage=finetune", "ckpt=own.pth", *model, *TINY, "hydra.run.dir=run")
    assert result.code == 0, result.text
    assert set(transfer(tmp_path / "run")["ignored"]["tensors"]) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(("size", "grid"), [((64, 64), (4, 4)), ((64, 256), (4, 16)), ((32, 128), (2, 8))])
def test_positions_follow_from_the_grid_that_the_spec_says_whatever_its_shape(size: tuple[int, int], grid) -> None:
    def sized(high: int, wide: int) -> Spec:
        return Spec("image", {"size": [high, wide], "channels": 3, "fit": "crop"}, classes=("a", "b"))

    before = sized(32, 128)
    old, new = (TimmBackbone(each, "test_vit", stem="original") for each in (before, sized(*size)))
    nn.init.normal_(old.net.pos_embed)
    prefix = old.net.num_prefix_tokens
    cells = old.net.pos_embed.detach()[0, prefix:].view(2, 8, -1)
    weights = {f"backbone.{name}": value for name, value in old.state_dict().items()}
    task = Classify(new, sized(*size))
    report = load_pretrained(task, weights, head=False, why="", source="some.pt", spec=before)
    wanted = resize_positions(cells, grid).flatten(0, 1)
    torch.testing.assert_close(new.net.pos_embed.detach()[0, prefix:], wanted)
    assert torch.equal(new.net.pos_embed[:, :prefix], old.net.pos_embed[:, :prefix])
    assert set(report.resized) == (set() if grid == (2, 8) else {"backbone.net.pos_embed"})


def test_a_finetune_knows_the_grid_of_the_run_before(ptft, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for k, name in enumerate("ab"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (128, 32), (99 * k, 9 * i, 9)).save(folder / f"{i}.png")
    common = ("model=timm", "model.name=test_vit", "model.stem=original", "dataset=image_folder", "train.steps=1")
    common += (f"dataset.root={tmp_path / 'data'}", "train.batch_size=2", "optimizer.lr=1e-12")
    done = ptft("stage=pretrain", *common, "dataset.size=[32,128]", "hydra.run.dir=wide")
    assert done.code == 0, done.text
    done = ptft("stage=finetune", "ckpt=wide", *common[3:], "dataset.size=[64,64]", "hydra.run.dir=square")
    assert done.code == 0, done.text
    assert set(transfer(Path("square"))["resized"]["tensors"]) == {"backbone.net.pos_embed"}
    old, new = (open_checkpoint(run, "ckpt").weights["backbone.net.pos_embed"] for run in ("wide", "square"))
    wanted = resize_positions(old[0, 1:].view(2, 8, -1), (4, 4)).flatten(0, 1)
    torch.testing.assert_close(new[0, 1:], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("where", ["a name", "a file"])
def test_public_weights_embed_photos_as_timm_does_without_a_task(
    ptft, offline: Path, tmp_path: Path, where: str
) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_convnext", num_classes=0).eval()
    place = offline / "test_convnext.r160_in1k.pth" if where == "a name" else tmp_path / "weights.pth"
    torch.save(timm.create_model("test_convnext").state_dict() | theirs.state_dict(), place)
    typed = (
        ["ckpt=timm:test_convnext"]
        if where == "a name"
        else [f"ckpt={place}", "model=timm", "model.name=test_convnext"]
    )
    about = timm.get_pretrained_cfg("test_convnext")
    side = round(160 / about.crop_pct)  # so that its middle is taken and nothing scaled
    pixels = torch.randint(256, (2, side, side, 3), dtype=torch.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image.numpy()).save(tmp_path / f"{i}.png")
    done = ptft("stage=embed", *typed, "input=*.png", "output=out.npz")
    assert done.code == 0, done.text
    begin = (side - 160) // 2
    middle = pixels[:, begin : begin + 160, begin : begin + 160].permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (about.mean, about.std))
    with np.load("out.npz") as file, torch.no_grad():
        wanted = theirs((middle - mean) / std)
        torch.testing.assert_close(torch.from_numpy(file["features"]), wanted, rtol=1e-3, atol=1e-4)
