"""Every model that conf/model offers, found by itself: shapes, gradients, determinism, layers."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from ptft.config.yaml_files import NOTES
from ptft.core import Backbone, Spec
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError
from ptft.finetune.phases import Phase, Phases
from ptft.objectives.supervised.classify import Classify
from ptft.optim.param_groups import parameter_groups
from tests.helpers import options

ALL = options.of("model")
NAMES = [name for name in ALL if options.modality(f"model/{name}") == "image"]
SMALL = [name for name in NAMES if not options.note(f"model/{name}").get("large")]


def image_spec(height: int, width: int, channels: int) -> Spec:
    shape = {"size": [height, width], "channels": channels, "fit": "crop"}
    return Spec("image", shape, "class", ("a", "b"), (0.5,) * channels, (0.25,) * channels)


def spec_of(name: str) -> Spec:
    """What the model is made for, with two classes."""
    modality = options.modality(f"model/{name}")
    if modality == "text":
        return Spec("text", {"tokenizer": Tokenizer("bytes").to_dict(), "length": 16}, classes=("a", "b"))
    if modality == "audio":
        return Spec("audio", {"rate": 8000, "seconds": 1.0}, classes=("a", "b"))
    return image_spec(32, 32, 3)


def build(name: str, spec: Spec, **changed: Any) -> Backbone:
    """What conf/model/NAME.yaml says, on `spec`; with what a step types for it."""
    node = {key: value for key, value in options.node(f"model/{name}").items() if key not in ("defaults", *NOTES)}
    module, _, cls = node.pop("_target_").rpartition(".")
    words = [word.removeprefix("model.").partition("=") for word in options.typed(f"model/{name}")]
    typed = {key: yaml.safe_load(value) for key, _, value in words if key in node}
    torch.manual_seed(0)
    return getattr(importlib.import_module(module), cls)(spec, **{**node, **typed, **changed})


def raw_images(spec: Spec, b: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (b, spec.shape["channels"], *spec.shape["size"]), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", [(28, 1), (224, 3)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", NAMES)
def test_shapes(name: str, size: tuple[int, int]) -> None:
    spec = image_spec(size[0], size[0], size[1])
    with torch.device("meta"):  # shapes alone: nothing is computed
        model = build(name, spec)
        features = model(model.prepare(raw_images_meta(spec)))
        pooled = model.pool(features)
    assert features.mask is None
    assert features.tokens.ndim == 3
    assert features.tokens.shape[0] == 2
    assert pooled.shape == (2, model.width)
    said = options.node(f"model/{name}")
    assert model.width == options.note(f"model/{name}").get("width", said.get("width", model.width))


def raw_images_meta(spec: Spec) -> Tensor:
    return torch.empty(2, spec.shape["channels"], *spec.shape["size"], dtype=torch.uint8, device="meta")


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    """Of large models where it would flow, without values."""
    spec = image_spec(28, 28, 1)
    with torch.device("cpu" if name in SMALL else "meta"):
        model = build(name, spec).train()
        pooled = model.pool(model(model.prepare(raw_images(spec) if name in SMALL else raw_images_meta(spec))))
        (pooled * torch.linspace(-1, 1, model.width, device=pooled.device)).square().sum().backward()
    learning = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning
    assert not [key for key, gradient in learning.items() if gradient is None]
    if name in SMALL:
        assert all(torch.isfinite(gradient).all() for gradient in learning.values() if gradient is not None)


@pytest.mark.parametrize("name", SMALL)
def test_evaluation_is_deterministic_and_rows_do_not_mix(name: str) -> None:
    spec = image_spec(32, 32, 3)
    model = build(name, spec).eval()
    x = model.prepare(raw_images(spec, 3))
    with torch.no_grad():
        whole = model.pool(model(x))
        assert torch.equal(whole, model.pool(model(x)))
        torch.testing.assert_close(whole[1:2], model.pool(model(x[1:2])), atol=1e-4, rtol=1e-4)
    assert not torch.equal(whole[0], whole[1])


@cache
def classifier(name: str) -> Classify:
    """The model under a head, without values; read it, don't change it."""
    spec = spec_of(name)
    with torch.device("cpu" if options.modality(f"model/{name}") == "audio" else "meta"):  # mel bands are checked
        return Classify(build(name, spec), spec)


@pytest.mark.parametrize("name", ALL)
def test_layers_hold_every_parameter_at_most_once_from_input_to_output(name: str) -> None:
    model = classifier(name).backbone
    groups = [[p for module in group for p in module.parameters()] for group in model.layers()]
    held = [id(parameter) for group in groups for parameter in group]
    assert len(held) == len(set(held))
    assert all(groups)
    left = {key for key, parameter in model.named_parameters() if id(parameter) not in set(held)}
    assert left <= model.no_weight_decay, "only positions and class tokens belong to no layer"
    assert groups
    assert next(p for p in model.parameters() if id(p) in set(held)) is groups[0][0]
    assert all(any(p.ndim > 1 for p in group) for group in groups), "no layer of norms alone"


@pytest.mark.parametrize("name", ALL)
def test_rates_rise_from_the_stem_to_the_head_with_layer_decay(name: str) -> None:
    objective = classifier(name)
    groups = parameter_groups(objective, Phases(objective, [Phase(layer_decay=0.9)]).scales, lr=1.0, weight_decay=0.1)
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    layers = [[p for module in layer for p in module.parameters()] for layer in objective.backbone.layers()]
    learning = [{rates[p] for p in layer if p.requires_grad} for layer in layers]
    assert all(len(found) <= 1 for found in learning)
    order = [rate for found in learning for rate in found]
    assert order == sorted(order)
    assert order[-1] == pytest.approx(0.9)
    assert min(rates.values()) == pytest.approx(0.9 ** len(layers))
    assert {rates[p] for p in objective.head.parameters()} == {1.0}
    assert rates.keys() == {p for p in objective.parameters() if p.requires_grad}
    assert len(set(rates.values())) == len(layers) + 1


@pytest.mark.parametrize("name", NAMES)
def test_other_modalities_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model=.*text"):
        build(name, Spec("text", {"length": 10}))


@pytest.mark.parametrize("name", ["cnn", "vit_tiny", "resnet18"])
def test_prepare_normalises_with_the_spec(name: str) -> None:
    spec = Spec("image", {"size": [28, 28], "channels": 3, "fit": "none"}, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    model = build(name, spec)
    raw = raw_images(spec)
    mean, std = torch.tensor(spec.mean).view(3, 1, 1), torch.tensor(spec.std).view(3, 1, 1)
    torch.testing.assert_close(model.prepare(raw), (raw / 255 - mean) / std, atol=1e-5, rtol=1e-5)
    assert not {"scale", "offset"} & set(model.state_dict()), "normalisation belongs to the Spec, not to the weights"


def test_prepare_of_a_constant_channel_is_finite() -> None:
    spec = Spec("image", {"size": [28, 28], "channels": 1, "fit": "none"}, mean=(0.0,), std=(0.0,))
    assert torch.isfinite(build("cnn", spec).prepare(raw_images(spec))).all()
