"""torchvision's networks by name, against torchvision itself; its public weights from a cache, offline."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import StochasticDepth

from ptft.core import Spec
from ptft.errors import CheckpointError, ConfigError
from ptft.models.hub.torchvision import TorchvisionBackbone, names, public_weights

FAMILY = ["resnet18", "convnext_tiny", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small"]
FAMILY += ["regnet_y_400mf", "densenet121"]


def spec(side: int = 224, channels: int = 3) -> Spec:
    return Spec("image", {"size": [side, side], "channels": channels, "fit": "crop"})


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def unlike(name: str, device: str = "meta") -> None:
    with torch.device(device):
        ours, theirs = TorchvisionBackbone(spec(), name), models.get_model(name, weights=None)
    expected = {f"net.{key}": shape for key, shape in shapes(theirs).items()}
    left = {key: expected.pop(key) for key in set(expected) - set(shapes(ours))}
    assert shapes(ours) == expected, "torchvision's own names and shapes"
    assert sorted(left.values()) == sorted([(1000, ours.width), (1000,)]), "nothing is left out but the last Linear"


SHOWN = ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "convnext_tiny", "efficientnet_b0"]
SHOWN += ["efficientnet_v2_s", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "densenet121", "vit_b_32"]
"""The smallest network of each kind: of one kind all are made by the same function."""


@pytest.mark.parametrize("name", SHOWN)
def test_a_network_of_every_kind_has_torchvisions_parameters(name: str) -> None:
    unlike(name, "cpu" if name.startswith("regnet") else "meta")  # which computes its widths with tensors


def test_every_listed_network_is_of_a_kind_that_is_shown() -> None:
    def kind(name: str) -> str:
        return re.sub(r"\d.*|_(tiny|small|base|large|[bxy]_.*|b|h_.*|l_.*|v2_[sml])$", "", name)

    assert {kind(name) for name in names()} == {kind(name) for name in SHOWN}


@pytest.mark.parametrize("name", FAMILY)
def test_backbone_and_linear_are_torchvisions_network(name: str) -> None:
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None).eval()
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        ours = TorchvisionBackbone(spec(64), name, stem="original").eval()
    state = {f"net.{key}": value for key, value in theirs.state_dict().items()}
    ours.load_state_dict({key: state[key] for key in ours.state_dict()}, assign=True)
    last = [module for module in theirs.modules() if isinstance(module, nn.Linear)][-1]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(last(ours.pool(ours(x))), theirs(x), atol=1e-4, rtol=1e-4)


def test_vit_and_linear_are_torchvisions_network() -> None:
    torch.manual_seed(0)
    theirs = models.get_model("vit_b_32", weights=None, image_size=64).eval()
    nn.init.normal_(theirs.heads.head.weight)
    with torch.device("meta"):
        ours = TorchvisionBackbone(spec(64), "vit_b_32", stem="original").eval()
    state = {f"net.{key}": value for key, value in theirs.state_dict().items() if not key.startswith("heads")}
    ours.load_state_dict(state, assign=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs.heads.head(ours.pool(ours(x))), theirs(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("resnet18", (4, 1)),
        ("convnext_tiny", (2, 1)),
        ("efficientnet_b0", (2, 1)),
        ("mobilenet_v3_small", (2, 1)),
    ],
)
def test_a_small_stem_keeps_more_of_a_small_image(name: str, cells: tuple[int, int]) -> None:
    for stem, side in (("small", cells[0]), ("original", cells[1]), ("auto", cells[0])):
        with torch.no_grad(), torch.device("meta" if name.startswith("convnext") else "cpu"):  # which is large
            model = TorchvisionBackbone(spec(32), name, stem=stem)
            assert model(torch.zeros(2, 3, 32, 32)).tokens.shape[1] == side**2, stem
    with torch.device("meta"):
        assert shapes(TorchvisionBackbone(spec(65), name)) == shapes(TorchvisionBackbone(spec(), name))


def test_a_small_regnet() -> None:
    tokens = TorchvisionBackbone(spec(32, 1), "regnet_y_400mf")(torch.randn(2, 1, 32, 32)).tokens
    assert tokens.shape == (2, 4, 440)


@pytest.mark.parametrize(("stem", "side", "patches"), [("auto", 28, 49), ("auto", 64, 64), ("original", 64, 16)])
def test_a_vit_of_small_images_has_small_patches(stem: str, side: int, patches: int) -> None:
    with torch.device("meta"):
        model = TorchvisionBackbone(spec(side, 1), "vit_b_16", stem)
        assert model(torch.empty(2, 1, side, side)).tokens.shape == (2, 1 + patches, 768)


@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_layers_follow_the_depth(name: str) -> None:
    with torch.device("meta"):
        model = TorchvisionBackbone(spec(), name)
    expected = {"resnet50": 1 + 3 + 4 + 6 + 3, "densenet121": 1 + 6 + 12 + 24 + 16 + 3}
    assert len(model.layers()) == expected[name]
    order = [id(p) for group in model.layers() for module in group for p in module.parameters()]
    assert order == [id(p) for p in model.parameters()]


def test_positions_of_a_vit_are_interpolated_but_not_the_class_tokens() -> None:
    with torch.device("meta"):
        new = TorchvisionBackbone(spec(128), "vit_b_32")
    key = "net.encoder.pos_embedding"
    old = torch.randn(1, 1 + 49, 768)
    old[:, 1:, 0] = 0.3
    weights, resized = new.adapt({key: old, "net.class_token": torch.ones(1, 1, 768)})
    assert resized == [key]
    assert weights[key].shape == (1, 1 + 16, 768)
    assert torch.equal(weights[key][:, 0], old[:, 0])
    torch.testing.assert_close(weights[key][0, 1:, 0], torch.full((16,), 0.3))
    same = {key: torch.randn(1, 17, 768)}
    assert new.adapt(same) == (same, [])


@pytest.mark.parametrize(("name", "published"), [("convnext_tiny", 0.1), ("efficientnet_b0", 0.2)])
def test_stochastic_depth_grows_with_the_depth(name: str, published: float) -> None:
    for typed, last in ((None, published), (0.5, 0.5), (0.0, 0.0)):
        with torch.device("meta"):
            model = TorchvisionBackbone(spec(), name, drop_path=typed)
        rates = [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
        assert rates == sorted(rates)
        assert rates[0] == 0
        assert last * (1 - 2 / len(rates)) <= rates[-1] <= last


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small", "vit_b_16"])
def test_dropout_of_the_families_that_have_it(name: str) -> None:
    with torch.device("meta"):
        model = TorchvisionBackbone(spec(), name, dropout=0.35)
    assert any(isinstance(module, nn.Dropout) and module.p == 0.35 for module in model.modules())


@pytest.mark.parametrize(
    ("name", "key"), [("resnet18", "drop_path"), ("resnet18", "dropout"), ("vit_b_16", "drop_path")]
)
def test_a_rate_that_the_family_does_not_have_is_refused_by_name(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}=0\.1: torchvision's {name} has no such option"):
        TorchvisionBackbone(spec(), name, **{key: 0.1})


@pytest.mark.parametrize(
    ("name", "side", "stem", "named"),
    [
        ("resnt18", 32, "auto", "model.name=resnt18.*nearest: resnet18.*all: .*vit_b_16"),
        ("vgg16", 32, "auto", "model.name=vgg16"),
        ("resnet18", 32, "tiny", "model.stem=tiny"),
        ("densenet121", 16, "original", r"dataset.size=\[16, 16\].*32"),
        ("convnext_tiny", 15, "auto", r"dataset.size=\[15, 15\].*16"),
        ("vit_b_16", 30, "auto", r"dataset.size=\[30, 30\].*model.stem"),
    ],
)
def test_what_can_not_be_built_is_refused_by_name(name: str, side: int, stem: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        TorchvisionBackbone(spec(side), name, stem)
    assert "\n" not in str(caught.value)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's cache, empty, on a machine without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
        monkeypatch.setenv(variable.upper(), "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def cached(cache: Path, name: str) -> Path:
    return cache / os.path.basename(models.get_model_weights(name).DEFAULT.url)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_public_weights_load_to_the_bit(cache: Path, name: str) -> None:
    theirs = models.get_model(name, weights=None).state_dict()
    torch.save(theirs, cached(cache, name))
    state, public = public_weights(name)
    model = TorchvisionBackbone(public, name, stem="original")
    model.load_state_dict(state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, theirs[key.removeprefix("net.")]), key
    preset = models.get_model_weights(name).DEFAULT.transforms()
    share = {} if preset.crop_size == preset.resize_size else {"crop_pct": preset.crop_size[0] / preset.resize_size[0]}
    assert public.shape == {"size": preset.crop_size * 2, "channels": 3, "fit": "crop", **share}
    assert len(public.classes) == 1000
    assert public.classes[0] == "tench"
    assert public.mean == (0.485, 0.456, 0.406)
    assert public.std == (0.229, 0.224, 0.225)


def test_public_weights_of_the_days_of_old(cache: Path) -> None:
    def old_name(key: str) -> str:
        for part in ("norm1", "norm2", "conv1", "conv2"):
            key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.") if "denselayer" in key else key
        return key

    theirs = models.densenet121(weights=None).state_dict()
    old = {old_name(key): value for key, value in theirs.items() if "num_batches_tracked" not in key}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, cached(cache, "densenet121"), _use_new_zipfile_serialization=False)
    state, public = public_weights("densenet121")
    model = TorchvisionBackbone(public, "densenet121")
    assert set(state) == set(model.state_dict())
    model.load_state_dict(state)
    assert torch.equal(model.net.features.denseblock1.denselayer1.norm1.weight, old_weight(old))


def old_weight(state: dict[str, Tensor]) -> Tensor:
    return state["features.denseblock1.denselayer1.norm.1.weight"]


def test_public_spec_of_a_vit(cache: Path) -> None:
    """Its weights are of 518 pixels, and the head is all that is left out."""
    torch.save({"heads.head.weight": torch.zeros(1), "class_token": torch.ones(1)}, cached(cache, "vit_h_14"))
    state, public = public_weights("vit_h_14")
    assert set(state) == {"net.class_token"}
    assert public.shape["size"] == [518, 518]


def test_unknown_public_weights_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"ckpt=torchvision:resnet51.*resnet50"):
        public_weights("resnet51")


def test_without_file_or_network_it_says_what_to_put_where(cache: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        public_weights("resnet18")
    assert str(cached(cache, "resnet18")) in str(caught.value)
    assert models.ResNet18_Weights.DEFAULT.url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


class Marker:
    """Runs code when unpickled by a reader that lets it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("content", ["empty", "text", "cut", "list", "other", "code"])
def test_a_damaged_cache_is_named(cache: Path, tmp_path: Path, content: str) -> None:
    path = cached(cache, "resnet18")
    if content in ("cut", "list", "other", "code"):
        plain = {"list": [1, 2], "other": {"a": torch.ones(2)}, "code": {"a": Marker(tmp_path / "ran")}}
        torch.save(plain.get(content, {"fc.weight": torch.ones(1000)}), path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if content in ("empty", "text"):
        path.write_text("" if content == "empty" else "<html>not found</html>")
    with pytest.raises(CheckpointError, match=path.name):
        public_weights("resnet18")
    assert not (tmp_path / "ran").exists()
