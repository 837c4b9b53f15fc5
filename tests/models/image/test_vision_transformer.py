"""Our own vision transformer: patches, masks, positions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.models.layers.drop_path import DropPath
from tests.conftest import refused


def spec(height: int, width: int, channels: int = 1) -> Spec:
    return Spec("image", {"size": [height, width], "channels": channels, "fit": "none"})


def tiny(height: int = 16, width: int = 16, **options: object) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(spec(height, width), **{"width": 32, "depth": 2, "heads": 2, **options})


@pytest.mark.parametrize(("side", "patch"), [(28, 4), (48, 4), (64, 8), (96, 8), (224, 16)])
def test_patches_grow_with_the_image(side: int, patch: int) -> None:
    model = tiny(side, side)
    assert model.patch == patch
    assert model.grid == (side // patch, side // patch)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_images_that_are_not_square(pool: str) -> None:
    model = tiny(8, 24, pool=pool)
    features = model(torch.randn(3, 1, 8, 24))
    assert features.tokens.shape == (3, model.prefix + 12, 32)
    assert model.pool(features).shape == (3, 32)


def test_published_sizes() -> None:
    counts = {}
    for name, width, heads in (("tiny", 192, 3), ("small", 384, 6)):
        with torch.device("meta"):
            model = VisionTransformer(spec(224, 224, 3), width=width, heads=heads, pool="cls")
        # The class token has no position of its own here.
        counts[name] = sum(p.numel() for p in model.parameters()) + width
    # Touvron et al. 2021 (DeiT), without the head.
    assert counts == {"tiny": 5_717_416 - 193_000, "small": 22_050_664 - 385_000}


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_tokens_that_are_not_real_change_nothing(pool: str) -> None:
    model = tiny(pool=pool).eval()
    tokens = model.embed(torch.randn(2, 1, 16, 16))
    mask = torch.ones(2, 16, dtype=torch.bool)
    mask[:, 10:] = False
    few = model.pool(model.encode(tokens[:, :10]))
    tokens[:, 10:] = 99.0
    torch.testing.assert_close(model.pool(model.encode(tokens, mask)), few, atol=1e-5, rtol=1e-5)


def test_forward_is_encode_of_embed() -> None:
    model, x = tiny().eval(), torch.randn(2, 1, 16, 16)
    assert torch.equal(model(x).tokens, model.encode(model.embed(x)).tokens)


def test_positions_tell_patches_apart() -> None:
    model = tiny().eval()
    x = torch.ones(1, 1, 16, 16)
    tokens = model.embed(x)[0]
    assert len(tokens.unique(dim=0)) == 16


def test_the_grid_of_positions_is_the_grid_of_patches() -> None:
    model = tiny(8, 16)
    with torch.no_grad():
        model.positions.zero_()
        model.positions[1, 2] = 1.0
    x = torch.randn(1, 1, 8, 16)
    moved = (model.embed(x) - model.patches(x).flatten(2).transpose(1, 2)).abs().amax(2)[0]
    assert moved.nonzero().flatten().tolist() == [1 * 4 + 2]
    other = x.clone()
    other[:, :, 4:8, 8:12] += 1.0
    changed = (model.embed(x) - model.embed(other)).abs().amax(2)[0]
    assert changed.nonzero().flatten().tolist() == [1 * 4 + 2]


def adapted(model: VisionTransformer, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    weights, names = model.adapt(weights)
    model.load_state_dict(weights)
    return weights, names


def test_the_same_grid_keeps_positions_to_the_bit() -> None:
    old, new = tiny(), tiny()
    weights, names = adapted(new, old.state_dict())
    assert names == []
    assert torch.equal(weights["positions"], old.positions)


def test_another_grid_interpolates_positions() -> None:
    old, new = tiny(16, 16), tiny(24, 32)
    with torch.no_grad():
        old.positions[..., 0] = 0.7
        old.positions[..., 1] = torch.linspace(0, 1, 4)[None, :]
    weights, names = adapted(new, old.state_dict())
    assert names == ["positions"]
    assert weights["positions"].shape == (6, 8, 32)
    torch.testing.assert_close(weights["positions"][..., 0], torch.full((6, 8), 0.7))
    across = weights["positions"][..., 1]
    assert (across.diff(dim=1) > 0).all(), "columns stay columns"
    torch.testing.assert_close(across, across[:1].expand(6, -1))
    assert torch.equal(weights["blocks.0.mlp.0.weight"], old.state_dict()["blocks.0.mlp.0.weight"])


def test_stochastic_depth_drops_whole_branches_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(2000, 3, 4)
    out = DropPath(0.25).train()(x)
    values = out.flatten(1)
    assert (values == values[:, :1]).all()
    assert values[:, 0].unique().tolist() == pytest.approx([0, 4 / 3])
    assert float(out.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(DropPath(0.25).eval()(x), x)


def test_dropout_and_stochastic_depth_work_in_training_only() -> None:
    model, x = tiny(dropout=0.2, drop_path=0.5), torch.randn(4, 1, 16, 16)
    assert not torch.equal(model.train()(x).tokens, model(x).tokens)
    assert torch.equal(model.eval()(x).tokens, model(x).tokens)
    assert [block.drop_path.rate for block in model.blocks] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"height": 30}, r"dataset\.size=\[30, 16\].*model\.patch=4"),
        ({"patch": 5}, r"dataset\.size.*model\.patch=5"),
        ({"patch": -4}, r"model\.patch=-4"),
        ({"heads": 5}, r"model\.heads=5"),
        ({"depth": 0}, r"model\.depth=0"),
        ({"pool": "max"}, r"model\.pool=max"),
        ({"dropout": 1.0}, r"model\.dropout=1\.0"),
    ],
)
def test_what_can_not_be_built_is_refused_by_name(options: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        tiny(**options)


def test_images_of_another_size_get_interpolated_positions() -> None:
    model = tiny(16, 16).eval()
    assert [model.takes(size) for size in ((16, 16), (8, 12), (24, 24), (10, 8), (0, 8))] == [
        True,
        True,
        True,
        False,
        False,
    ]
    small = torch.randn(2, 1, 8, 12)
    other = tiny(8, 12).eval()
    adapted(other, model.state_dict())
    assert torch.equal(model(small).tokens, other(small).tokens)


def test_each_token_is_of_its_own_patch_and_any_choice_of_them_can_be_encoded() -> None:
    model, x = tiny(pool="cls").eval(), torch.randn(2, 1, 16, 16)
    order = torch.randperm(16)
    tokens, mixed = model.encode(model.embed(x)).tokens, model.encode(model.embed(x)[:, order]).tokens
    torch.testing.assert_close(mixed[:, 1:], tokens[:, 1:][:, order], atol=1e-5, rtol=1e-5)
    assert model.encode(model.embed(x)[:, order[:3]]).tokens.shape == (2, 1 + 3, 32)


def test_neighbours_begin_with_positions_that_are_alike() -> None:
    positions = tiny(32, 32).positions.detach()
    near, far = (positions[0, 0] - positions[0, 1]).norm(), (positions[0, 0] - positions[0, 7]).norm()
    assert 0 < near < far
    torch.testing.assert_close((positions[0, 0] - positions[0, 1]).norm(), (positions[3, 4] - positions[3, 5]).norm())
    assert not VisionTransformer(spec(16, 16), width=6, depth=1, heads=1).positions[..., 4:].any()


def test_a_size_whose_own_patches_are_others_asks_for_those_of_the_checkpoint(ptft, tmp_path) -> None:
    small = ("dataset=digits", "dataset.limit=64", "train.steps=2", "device=cpu")
    model = ("model=vit_tiny", "model.width=16", "model.depth=1", "model.heads=1")
    assert ptft("stage=pretrain", *model, *small, "dataset.size=16", f"hydra.run.dir={tmp_path / 'run'}").code == 0
    refused(ptft("stage=finetune", "ckpt=run", *small, "dataset.size=64"), 4, "model.patch=8", "add model.patch=4")
    done = ptft("stage=finetune", "ckpt=run", *small, "dataset.size=64", "model.patch=4")
    assert done.code == 0, done.text
    assert "(backbone.positions)" in done.out
