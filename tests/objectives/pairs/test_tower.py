"""A tower of captions that begins with weights: a tiny BERT by folder and a text model of ptft's own; no network."""

import shutil

import numpy as np
import pytest
import torch
import transformers

from ptft.builders.restore import rebuilt
from ptft.builders.run import build
from ptft.config.resolve import resolve
from ptft.data.image.captions.examples import Captions
from ptft.loggers.console import Console
from ptft.models.hub.huggingface import public_weights
from tests.conftest import refused, summary, transfer
from tests.helpers.self_supervised import in_two, state, train
from tests.objectives.pairs.test_siglip import MODEL, RUN
from tests.stages.test_resume import same

pytestmark = pytest.mark.usefixtures("no_network")

COLOURS = ["red", "green", "blue", "yellow", "pink", "white"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "above", "below", "left", "right", "of", *COLOURS]
SMALL = ("dataset.images=64", "dataset.held_out=16", "train.steps=4", "train.every.evaluate=2")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "tiny-bert"
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32, hidden_dropout_prob=0.1,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(root)
    transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(root)
    return root


def text_weights(content):
    return {name: value for name, value in content["weights"].items() if name.startswith("text.net")}


def test_a_locked_tower_of_public_weights_stays_as_it_is_and_its_folder_is_needed_no_more(folder, ptft, tmp_path):
    begins = {f"text.{name}": value for name, value in public_weights(str(folder))[0].items()}
    tower = (f"objective.text_ckpt=huggingface:{folder}", "objective.text_train=none")
    done = ptft(*RUN, *SMALL, *tower, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "wordpiece (17 ids), up to 32 tokens; they are read by a tower" in done.out
    assert "which is locked" in done.out
    shutil.rmtree(folder)
    held = torch.load("run/checkpoints/last.pt", weights_only=True)
    assert same(text_weights(held), begins)
    measured = ptft("stage=evaluate", "ckpt=run", "device=cpu", "hydra.run.dir=measured")
    assert measured.code == 0, measured.text
    assert summary(tmp_path / "measured")["metrics"] == {"test": summary(tmp_path / "run")["metrics"]["test"]}
    done = ptft("resume=run", "train.steps=5")
    assert done.code == 0, done.text
    assert same(text_weights(torch.load("run/checkpoints/last.pt", weights_only=True)), begins)
    said = ("text=a red dog", "embed.compared=texts", "output=said.npz", "precision=fp32", "device=cpu")
    done = ptft("stage=embed", "ckpt=run", *said)
    assert done.code == 0, done.text
    objective = rebuilt("run", "ckpt")[0].eval()
    ids = torch.tensor([[2, WORDS.index("a"), WORDS.index("red"), 1, 3]])
    wanted = objective.compared({"input": ids, "mask": ids > 0}, texts=True)
    torch.testing.assert_close(torch.from_numpy(np.load("said.npz")["features"]), wanted, rtol=1e-4, atol=1e-5)
    labelled = ("dataset=digits", "dataset.limit=40", "train.steps=1", "device=cpu")
    assert ptft("stage=finetune", "ckpt=run", *labelled, "hydra.run.dir=fine").code == 0
    more = ("train.batch_size=32", "device=cpu", "dataset=scenes", *SMALL)
    done = ptft(
        "stage=pretrain", "ckpt=run", "objective=siglip", "objective.text_train=none", *more, "hydra.run.dir=on"
    )
    assert done.code == 0, done.text
    assert not transfer(tmp_path / "on")["reinitialised"]["tensors"]
    assert same(text_weights(torch.load("on/checkpoints/last.pt", weights_only=True)), begins)
    image = ("stage=pretrain", "objective=siglip", "ckpt=fine", "objective.text_ckpt=run", *more)
    done = ptft(*image, "hydra.run.dir=other")
    assert done.code == 0, done.text
    report = transfer(tmp_path / "other")
    assert begins.keys() <= report["loaded"]["tensors"].keys()
    assert not begins.keys() & report["reinitialised"]["tensors"].keys()


def test_a_tower_that_learns_at_its_own_rate_goes_on_as_the_whole_run(folder):
    typed = (*SMALL, f"objective.text_ckpt=huggingface:{folder}")

    def built():
        return build(resolve([*RUN, *typed]), Console())

    whole = built()
    begins = {name: value.clone() for name, value in whole.objective.text.state_dict().items()}
    rates = {name: group["lr_scale"] for group in whole.training.optimizer.param_groups for name in group["names"]}
    assert {name: rate for name, rate in rates.items() if rate != 1} == dict.fromkeys(
        (f"text.{name}" for name, _ in whole.objective.text.named_parameters()), 0.1
    )
    expected = train(whole).rows
    assert not same(whole.objective.text.state_dict(), begins)
    found, resumed = in_two(built, last=3)
    assert found == expected
    assert same(state(resumed), state(whole))


def test_captions_are_read_as_the_tower_reads_texts(folder):
    """Its pieces, with special tokens around them, and the mean of what it makes of them."""
    run = build(resolve([*RUN, *SMALL, f"objective.text_ckpt=huggingface:{folder}"]), Console())
    batch = run.inputs.splits["train"].take(torch.arange(8))
    library = transformers.BertTokenizerFast.from_pretrained(folder)
    long = " ".join(["red"] * 40)
    coded = Captions.of(["a red dog", long], run.objective.captions, torch.arange(2))
    for row, text in enumerate(("a red dog", long)):
        wanted = library(text, truncation=True, max_length=32).input_ids
        assert coded.tokens[row, : coded.lengths[row]].tolist() == wanted
    net = transformers.BertModel.from_pretrained(folder).eval()
    mask = torch.arange(batch["caption"].shape[1]) < batch["caption_length"][:, None]
    with torch.no_grad():
        hidden = net(batch["caption"], attention_mask=mask.long()).last_hidden_state
        expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        text = run.objective.eval().text
        torch.testing.assert_close(text.pool(text(batch["caption"], mask)), expected, rtol=1e-4, atol=1e-5)


def test_a_text_model_of_ptfts_own_reads_captions(ptft, tmp_path):
    small = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset.length=24")
    texts = ("dataset=grammar", "dataset.sentences=60", "dataset.held_out=10", "train.steps=2", "device=cpu")
    done = ptft("stage=pretrain", "objective=masked_lm", *texts, *small, "hydra.run.dir=texts")
    assert done.code == 0, done.text
    done = ptft(*RUN, *SMALL, "objective.text_ckpt=texts", "objective.text_train=none", "hydra.run.dir=run")
    assert done.code == 0, done.text
    read = torch.load("texts/checkpoints/best.pt", weights_only=True)["weights"]
    held = torch.load("run/checkpoints/last.pt", weights_only=True)["weights"]
    own = {name.removeprefix("backbone."): value for name, value in read.items() if name.startswith("backbone.")}
    assert same({name.removeprefix("text."): v for name, v in held.items() if name.startswith("text.")}, own)
    assert summary(tmp_path / "run")["refers"] == {"objective.text_ckpt": str(tmp_path / "texts")}


def test_what_can_be_no_tower_is_refused_by_its_key(folder, ptft, tmp_path):
    tower = f"objective.text_ckpt=huggingface:{folder}"
    refused(ptft(*RUN, tower, "dataset.tokenizer=bytes"), 2, "dataset.tokenizer=bytes: the tower's", "wordpiece")
    refused(ptft(*RUN, tower, "dataset.length=40"), 2, "dataset.length=40", "32 tokens at most")
    assert ptft("stage=pretrain", *MODEL, "dataset=digits", "dataset.limit=20", "train.steps=1",
                "objective=simclr", "device=cpu", "hydra.run.dir=image").code == 0  # fmt: skip
    refused(ptft(*RUN, "objective.text_ckpt=image"), 2, "objective.text_ckpt=", "reads image, not texts")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "plain.pt")
    refused(ptft(*RUN, "objective.text_ckpt=plain.pt"), 2, "objective.text_ckpt=", "plain weights")


def test_how_a_tower_pools_is_heeded_or_refused(folder, ptft):
    tower = (f"objective.text_ckpt=huggingface:{folder}", "train.steps=1")
    done = ptft(*RUN, *SMALL[:2], *tower, "optimizer.lr=1e-3", "schedule=constant", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "lr 0.001" in done.out, "and not what a tower learns at"
    done = ptft(
        *RUN, *SMALL[:2], "objective.text_ckpt=run", "objective.text_pooling=cls", "train.steps=1", "hydra.run.dir=on"
    )
    assert done.code == 0, done.text
    assert rebuilt("on", "ckpt")[0].text.pooling == "cls"
    refused(ptft(*RUN, "objective.text_pooling=cls"), 2, "objective.text_pooling=cls: is for a tower that begins as")
    refused(ptft(*RUN, "objective.text_train=none"), 2, "objective.text_train=none: locks a tower that has learned")
