"""Language models through the command: exact continuation, subwords, hand-over from one task to another, sizes."""

import json

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.data.text import corpus
from tests.conftest import refused, summary

GRAMMAR = ("dataset=grammar", "dataset.sentences=60", "dataset.held_out=10", "dataset.length=32")
TINY = ("model.width=32", "model.depth=2", "model.heads=2", "precision=fp32", "device=cpu")
CAUSAL = ("model=gpt_tiny", "objective=causal_lm", *TINY)
READING = ("model=bert_tiny", *TINY)


def weights(folder):
    return checkpoint_file.read(folder / "checkpoints" / "last.pt")[0]["weights"]


@pytest.mark.parametrize("objective", ["causal_lm", "masked_lm", "replaced_token"])
def test_a_run_in_two_halves_is_the_run_in_one(ptft, tmp_path, objective):
    model = "gpt_tiny" if objective == "causal_lm" else "bert_tiny"
    recipe = ["stage=pretrain", f"model={model}", f"objective={objective}", *TINY, *GRAMMAR, "model.dropout=0.1"]
    recipe += ["train.batch_size=16", "train.accumulate=2", "train.ema=0.9", "schedule=constant", "train.every.save=2"]
    for name, steps in (("whole", 6), ("half", 3)):
        done = ptft(*recipe, f"train.steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.text
    done = ptft("resume=half", "train.steps=6")
    assert done.code == 0, done.text
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "half")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_subwords_travel_to_the_next_task(ptft, tmp_path):
    """Pretrained on one text with a vocabulary of its own, finetuned on another: the ids stay the same."""
    corpus.sample(tmp_path / "text")
    own = ["dataset=text", f"dataset.root={tmp_path / 'text'}", "dataset.length=16"]
    pretrain = ["stage=pretrain", *READING, "objective=masked_lm", *own, "dataset.tokenizer=bpe"]
    done = ptft(*pretrain, "dataset.vocabulary=280", "train.steps=2", "hydra.run.dir=first")
    assert done.code == 0, done.text
    assert "bpe (280 ids), up to 16 tokens" in done.out
    second = ["stage=finetune", "ckpt=first", "objective=replaced_token", *GRAMMAR[:3], "train.steps=2"]
    done = ptft(*second, "hydra.run.dir=second", "precision=fp32")
    assert done.code == 0, done.text
    assert "bpe (280 ids), up to 16 tokens" in done.out
    found = json.loads((tmp_path / "second" / "summary.json").read_text())
    assert found["transfer"]["loaded"]["parameters"] > 0
    assert set(found["metrics"]["test"]) >= {"loss", "generator_loss", "discriminator_loss", "recall"}
    refused(ptft("stage=predict", "ckpt=first", "input=text"), 2, "objective=masked_lm", "no answer for new files")
    refused(ptft(*second, "dataset.tokenizer=bytes"), 2, "dataset.tokenizer=bytes", "the checkpoint's is bpe")


def test_a_batch_is_sized_in_tokens(ptft, tmp_path):
    done = ptft("stage=pretrain", *CAUSAL, *GRAMMAR, "train.tokens=128", "train.epochs=1", "hydra.run.dir=run")
    assert done.code == 0, done.text
    found = summary(tmp_path / "run")
    assert "of at most 128 tokens" in done.out
    assert found["steps"] == -(-found["samples"] // 4)
    assert found["flops"] > 0
    assert found["metrics"]["val"]["bits_per_byte"] < 8
    refused(ptft("stage=pretrain", "dataset=digits", "train.tokens=64"), 2, "train.tokens=64", "train.batch_size")


def test_what_only_the_backbone_owns_leaves_nothing_for_the_head(ptft, tmp_path):
    assert ptft("stage=pretrain", *CAUSAL, *GRAMMAR, "train.steps=1", "hydra.run.dir=run").code == 0
    head = ["stage=finetune", "ckpt=run", "objective=causal_lm", *GRAMMAR, "train.steps=1"]
    refused(ptft(*head, "finetune.train=head"), 2, "finetune.train=head")
    assert ptft(*head, "finetune.train=last:1", "train.checkpoint_activations=true").code == 0
