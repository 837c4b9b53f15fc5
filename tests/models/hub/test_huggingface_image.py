"""Image transformers of transformers, from folders made here: fed what the processor beside them says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from ptft.data.image import reader
from ptft.models.hub.huggingface import HuggingFace, public_options, public_weights
from ptft.objectives.detection.pyramid import maps_of
from ptft.objectives.self_supervised.dino import local_view_size
from tests.conftest import refused
from tests.helpers.digits import SHORT

pytestmark = pytest.mark.usefixtures("no_network")

ODD = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}
CUT = {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
SOUND = ("dataset=tones", "dataset.count=12", "dataset.held_out=8")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def made(root: Path, kind: str = "vit", **processor) -> Path:
    """What save_pretrained writes of a tiny model, and its processor's configuration unless there is none."""
    torch.manual_seed(0)
    if kind == "swin":
        config = transformers.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2],
                                         window_size=2)  # fmt: skip
    else:
        config = transformers.AutoConfig.for_model(kind, image_size=32, patch_size=8, **SMALL)
    transformers.AutoModel.from_config(config).save_pretrained(root)
    if processor:
        (root / "preprocessor_config.json").write_text(json.dumps(processor))
    return root


@pytest.mark.parametrize("kind", ["vit", "deit", "beit", "dinov2", "swin"])
@pytest.mark.parametrize("processor", [ODD, {**ODD, "image_processor_type": "CLIPImageProcessor", **CUT}])
def test_an_image_gives_the_features_that_transformers_gives(tmp_path: Path, kind: str, processor: dict) -> None:
    folder = str(made(tmp_path / "model", kind, **processor))
    weights, spec = public_weights(folder)
    model = HuggingFace(spec, **public_options(folder)).eval()
    model.load_state_dict(weights)
    y, x = np.mgrid[:80, :101]
    pixels = np.stack([128 + 100 * np.sin(x / 23), 128 + 90 * np.cos(y / 17), 255 - y], 2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    ours = model.prepare(reader.read(tmp_path / "one.png", spec).unsqueeze(0))
    theirs = transformers.AutoImageProcessor.from_pretrained(folder)(Image.fromarray(pixels), return_tensors="pt")
    assert ours.shape == theirs["pixel_values"].shape
    assert (ours - theirs["pixel_values"]).abs().mean() < 0.03
    own = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted, found = own(**theirs).last_hidden_state, model(theirs["pixel_values"])
    torch.testing.assert_close(found.tokens, wanted, rtol=1e-4, atol=1e-5)
    pooled = wanted.mean(1) if kind == "swin" else wanted[:, 0]
    torch.testing.assert_close(model.pool(found), pooled, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        maps = model.maps(theirs["pixel_values"])
    strides = [32 // each.shape[2] for each in maps]
    assert strides == ([4, 8] if kind == "swin" else [8])
    if kind != "swin":
        assert torch.equal(maps[0].flatten(2).transpose(1, 2), found.tokens[:, -16:])
    else:  # the last stage's, before the norm at the end
        torch.testing.assert_close(model.net.layernorm(maps[1].flatten(2).transpose(1, 2)), found.tokens)
    assert maps_of(model, spec).strides == strides
    grouped = {id(p) for group in model.layers() for module in group for p in module.parameters()}
    assert len(model.layers()) > 2
    assert len(grouped) > 0.8 * len(list(model.parameters()))


@pytest.mark.parametrize("kind", ["vit", "deit", "beit", "dinov2", "swin"])
def test_a_smaller_view_is_seen_as_transformers_sees_it(tmp_path: Path, kind: str) -> None:
    folder = str(made(tmp_path / "model", kind, **ODD))
    weights, spec = public_weights(folder)
    model = HuggingFace(spec, **public_options(folder)).eval()
    model.load_state_dict(weights)
    assert model.takes((16, 16))
    assert not model.takes((18, 16))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    own = transformers.AutoModel.from_pretrained(folder).eval()
    moved = {} if kind == "dinov2" else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        torch.testing.assert_close(model(x).tokens, own(pixel_values=x, **moved).last_hidden_state)
        assert model.maps(x)[-1].shape[2:] == ((2, 2))
    assert local_view_size(model, (32, 32), None) == (16, 16)


def test_a_finetune_and_one_from_it_keep_what_the_processor_says(ptft, tmp_path: Path) -> None:
    folder = made(tmp_path / "vit", **ODD)
    done = ptft("stage=finetune", f"ckpt=huggingface:{folder}", *SHORT, "hydra.run.dir=one")
    assert done.code == 0, done.text
    assert "32×32×3, bicubic, mean 0.1/0.2/0.3, std 0.4/0.5/0.6 (huggingface)" in done.out
    folder.rename(tmp_path / "gone")
    again = ptft("stage=finetune", "ckpt=one", *SHORT, "dry_run=true")
    assert "32×32×3, bicubic, mean 0.1/0.2/0.3, std 0.4/0.5/0.6 (as in the checkpoint)" in again.out
    assert ptft("stage=evaluate", "ckpt=one").code == 0


def test_plain_weights_ask_the_processor_beside_the_model_and_typed_keys_win(ptft, tmp_path: Path) -> None:
    folder = made(tmp_path / "vit", **ODD)
    held = transformers.AutoModel.from_pretrained(folder).state_dict()
    torch.save(held, tmp_path / "plain.pt")
    save_file({f"module.{key}": value for key, value in held.items()}, tmp_path / "wrapped.safetensors")
    for file in (tmp_path / "plain.pt", tmp_path / "wrapped.safetensors"):
        plain = ("stage=finetune", f"ckpt={file}", "model=huggingface", f"model.name={folder}", *SHORT)
        done = ptft(*plain, "dry_run=true")
        assert "32×32×3, bicubic, mean 0.1/0.2/0.3, std 0.4/0.5/0.6 (huggingface)" in done.out, done.text
    typed = ptft(*plain, "dataset.size=48", "dataset.mean=0.5", "dataset.interpolation=bilinear", "dry_run=true")
    assert "48×48×3, mean 0.5, std 0.4/0.5/0.6 (typed)" in typed.out, typed.text


def test_values_that_a_processor_does_not_bring_to_0_to_1_are_counted_back(tmp_path: Path) -> None:
    plus_minus_1 = {**ODD, "rescale_factor": 2 / 255, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}
    spec = public_weights(str(made(tmp_path / "one", **plus_minus_1)))[1]
    assert (spec.mean, spec.std) == ((0.5,) * 3, (0.5,) * 3)
    spec = public_weights(str(made(tmp_path / "two", **{**ODD, "do_normalize": False})))[1]
    assert (spec.mean, spec.std) == ((0.0,) * 3, (1.0,) * 3)


def test_a_folder_without_a_processor_has_a_size_and_no_mean(ptft, tmp_path: Path) -> None:
    folder = made(tmp_path / "vit")
    done = ptft("stage=finetune", f"ckpt=huggingface:{folder}", *SHORT, "dry_run=true")
    assert "32×32×3, mean 0.305, std 0.325 (the dataset's own)" in done.out, done.text


def test_what_does_not_fit_is_refused_by_name(ptft, tmp_path: Path) -> None:
    folder = made(tmp_path / "vit", **ODD)
    start = ("stage=finetune", f"ckpt=huggingface:{folder}")
    refused(ptft(*start, *SHORT, "dataset.size=30"), 2, "dataset.size=[30, 30]", "patches of 8")
    refused(ptft(*start, *SHORT, "dataset.channels=1"), 2, "dataset.channels=1", "dataset.channels=3")
    refused(ptft("stage=pretrain", "model=huggingface", f"model.name={folder}", *SOUND), 2, "sees images")
    (folder / "preprocessor_config.json").write_text("{")
    refused(ptft(*start, *SHORT), 4, "can't be read")
