"""The rate of a finetune where none is typed follows what the weights are and what of them moves."""

import json

import pytest
import torch

from ptft.config.resolve import resolve
from ptft.finetune.rates import TRANSFORMER, USUAL, default_rate
from tests.conftest import SMALL


def weights(**sizes):
    return {name.replace("__", "."): torch.empty(size, device="meta") for name, size in sizes.items()}


BERT = weights(embeddings__word=23_000_000, layer__0__attention__query=7_000_000, layer__0__output=14_000_000)
GPT = weights(wte__weight=38_000_000, h__0__attn__c_attn=21_000_000, h__0__mlp=42_000_000)
WAV2VEC = weights(encoder__layers__0__attention__k_proj=28_000_000, feature_extractor__conv=4_000_000)
VIT = weights(blocks__0__attn__qkv__weight=28_000_000, blocks__0__mlp=50_000_000)
CONV = weights(layer1__0__conv1__weight=25_000_000)
SMALL_ONE = weights(blocks__0__attn__qkv__weight=1_000_000, blocks__0__mlp=2_000_000, embed__weight=8_000_000)


@pytest.mark.parametrize("known", [BERT, GPT, WAV2VEC, VIT], ids=["bert", "gpt", "wav2vec2", "vit"])
def test_a_large_pretrained_transformer_moves_slowly_as_a_whole(known):
    assert default_rate(known, {"train": "all"}, "AdamW")[0] == TRANSFORMER
    assert default_rate(known, {"train": "last:2"}, "Adam")[0] == TRANSFORMER
    for rests in ({"train": "head"}, {"train": "bias"}, {"lora": {"rank": 8}}, {"weights": "fresh"}):
        assert default_rate(known, rests, "AdamW")[0] == USUAL
    assert default_rate(known, {"train": "all"}, "SGD")[0] == USUAL


@pytest.mark.parametrize("known", [CONV, SMALL_ONE, None], ids=["convolutions", "small", "none"])
def test_everything_else_keeps_its_rate(known):
    assert default_rate(known, {"train": "all"}, "AdamW")[0] == USUAL


def test_it_is_a_number_in_the_configuration_said_in_the_plan_and_typed_rates_win(ptft, pretrained, tmp_path):
    config = resolve(["stage=finetune", f"ckpt={pretrained}"]).config
    assert config.optimizer.lr == USUAL
    said = "lr 0.0005, the default for finetuning cnn (a whole network); optimizer.lr changes it"
    typed = ("stage=finetune", f"ckpt={pretrained}", "train.steps=2")
    assert said in ptft(*typed, "dry_run=true").out
    done = ptft(*typed, "optimizer.lr=3e-3", "dry_run=true")
    assert "adamw at 0.003" in done.out
    assert "the default for" not in done.out
    assert "the default for" not in ptft(*typed, "finetune.train=head", "finetune.probe=exact", "dry_run=true").out


def test_a_transformer_of_ptfts_own_that_is_large_is_said_to_be_one(ptft, monkeypatch):
    """By its own names of tensors: a small one, taken for large."""
    monkeypatch.setattr("ptft.finetune.rates.LARGE", 1000)
    for model in ("vit_tiny", "cnn"):
        typed = ["stage=pretrain", f"model={model}", *SMALL[:2], "train.steps=1", f"hydra.run.dir={model}"]
        small = ["model.width=24", "model.depth=1"] if model == "vit_tiny" else SMALL[-2:]
        assert ptft(*typed, *small).code == 0
    done = ptft("--json", "stage=finetune", "ckpt=vit_tiny", "dry_run=true", "train.steps=1")
    plan = json.loads(done.out.splitlines()[0])
    assert plan["config"]["optimizer"]["lr"] == TRANSFORMER
    assert plan["notes"][0].startswith("lr 5e-05, the default for finetuning vit_tiny (a pretrained transformer)")
    assert resolve(["stage=finetune", "ckpt=cnn"]).config.optimizer.lr == USUAL


@pytest.mark.parametrize("option", [["optimizer=sgd"], ["finetune.weights=fresh"], ["optimizer.lr=auto"]])
def test_what_is_open_is_settled_before_it_is_checked(pretrained, option):
    assert resolve(["stage=finetune", f"ckpt={pretrained}", *option]).config.optimizer.lr == USUAL
    assert resolve(["stage=finetune", "ckpt=null", "dataset=digits", *option]).config.optimizer.lr == USUAL


def test_mistakes_beside_it_are_named_without_it(ptft):
    done = ptft("stage=finetune", "ckpt=nowhere", "seed=x")
    assert (done.code, "optimizer" in done.err) == (2, False)
    assert "optimizer.lr=auto" in ptft("stage=pretrain", "optimizer.lr=auto").err
