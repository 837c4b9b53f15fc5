"""Fresh text models whose embeddings begin as those of another model, by the text of their pieces."""

import shutil

import pytest
import torch

from ptft.checkpoint.load import open_checkpoint
from ptft.data.text.reader import tokenizer_of

TEXT = ("dataset=grammar", "dataset.sentences=80", "dataset.held_out=10", "dataset.length=16", "objective=masked_lm")
TINY = ("model=bert_tiny", "model.depth=1", "model.heads=2", "device=cpu", "precision=fp32", "report=false")
WORDS = ("dataset.tokenizer=wordpiece", "dataset.vocabulary=150")


def pretrain(ptft, folder, width, *typed):
    done = ptft("stage=pretrain", *TEXT, *TINY, f"model.width={width}", f"hydra.run.dir={folder}", *typed)
    assert done.code == 0, done.text
    return done.out


def embedding(folder):
    checkpoint = open_checkpoint(folder, "ckpt")
    return checkpoint, checkpoint.weights["backbone.embedding.weight"], tokenizer_of(checkpoint.spec).pieces


@pytest.fixture
def known(ptft):
    pretrain(ptft, "known", 16, *WORDS, "train.steps=1")
    return embedding("known")


STILL = ("model.embeddings=known", "train.steps=1", "optimizer.lr=1e-12")


def test_pieces_lie_as_they_do_in_the_other_model(ptft, known):
    """In 32 numbers all 16 directions have room: angles between centred rows are kept, whatever the ids."""
    out = pretrain(ptft, "new", 32, "dataset.tokenizer=wordpiece", "dataset.vocabulary=100", *STILL)
    checkpoint, mine, pieces = embedding("new")
    _, theirs, others = known
    assert checkpoint.config["model"]["embeddings"] is None
    shared = [piece for piece in pieces if piece.startswith(b" ") and piece in others]
    assert len(shared) > 20
    assert f"of {len(pieces)} pieces begin as those of" in out
    ours = mine[[pieces.index(piece) for piece in shared]]
    as_there = theirs[[others.index(piece) for piece in shared]]
    distances = torch.cdist(ours[:, :16], ours[:, :16]), torch.cdist(as_there, as_there)
    assert float(torch.corrcoef(torch.stack([each.flatten() for each in distances]))[0, 1]) > 0.9999
    assert 0.015 < float(ours.square().mean().sqrt()) < 0.025
    assert not ours[:, 16:].abs().max() < 1e-3  # what has no room there stays random


def test_fewer_numbers_keep_the_directions_in_which_pieces_differ_most(ptft, known):
    out = pretrain(ptft, "new", 8, *WORDS, *STILL)
    assert "8 principal directions of 16" in out
    _, mine, _ = embedding("new")
    _, theirs, _ = known
    values = torch.linalg.eigvalsh((theirs - theirs.mean(0)).T @ (theirs - theirs.mean(0)))[8:]
    kept = torch.linalg.eigvalsh((mine - mine.mean(0)).T @ (mine - mine.mean(0)))
    assert torch.allclose(kept / kept.sum(), values / values.sum(), atol=0.05)


def test_words_that_the_other_cuts_are_the_mean_of_their_pieces(ptft):
    pretrain(ptft, "known", 16, "dataset.tokenizer=wordpiece", "dataset.vocabulary=60", "train.steps=1")
    pretrain(ptft, "new", 16, *WORDS, *STILL)
    (checkpoint, theirs, others), (_, mine, pieces) = embedding("known"), embedding("new")
    cut = [piece for piece in pieces if piece.startswith(b" ") and piece not in others]
    ids = tokenizer_of(checkpoint.spec).encode([piece.decode().strip() for piece in cut])
    assert len(cut) > 10
    assert min(map(len, ids)) > 1
    means = torch.stack([theirs[row].mean(0) for row in ids])
    ours = mine[[pieces.index(piece) for piece in cut]]
    distances = torch.stack([torch.cdist(each, each).flatten() for each in (ours, means)])
    assert float(torch.corrcoef(distances)[0, 1]) > 0.9999


KNOWN = "model.embeddings=known"


@pytest.mark.parametrize(
    ("typed", "code", "what"),
    [
        (["ckpt=known", "objective=masked_lm", "dataset=grammar", KNOWN], 2, "brings embeddings of its own"),
        (["model=bert_tiny", "model.width=16", *TEXT, "model.embeddings=nowhere"], None, "nowhere: there is no file"),
    ],
)
def test_refusals_are_one_line(ptft, known, typed, code, what):
    done = ptft("stage=pretrain", *typed, "device=cpu", "train.steps=1")
    assert done.code == code or (code is None and done.code > 0), done.text
    assert what in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_checkpoint_of_images_is_refused(ptft):
    glyphs = ("dataset=glyphs", "dataset.images=12", "dataset.held_out=8", "train.steps=1", "device=cpu")
    assert ptft("stage=pretrain", "model=convnet", *glyphs, "report=false", "hydra.run.dir=seen").code == 0
    typed = ("model=bert_tiny", "model.width=16", *TEXT, "model.embeddings=seen")
    done = ptft("stage=pretrain", *typed, "device=cpu", "train.steps=1")
    assert done.code > 0
    assert "no model of texts" in done.err


def test_a_resume_needs_the_other_model_no_more(ptft, known):
    pretrain(ptft, "new", 16, *WORDS, "model.embeddings=known", "train.steps=2")
    shutil.rmtree("known")
    done = ptft("resume=new", "train.steps=3")
    assert done.code == 0, done.text


def test_a_key_of_that_name_of_a_class_of_ones_own_is_its_own(ptft, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, channels, embeddings=4):\n"
        "        super().__init__()\n        self.body = nn.Conv2d(channels, embeddings, 3, 2)\n\n"
        "    def forward(self, x):\n        return self.body(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    glyphs = ("dataset=glyphs", "dataset.images=12", "dataset.held_out=8", "train.steps=1", "device=cpu")
    own = ("model._target_=mine.Net", "trusted=[mine]", "model.embeddings=5")
    done = ptft("stage=pretrain", *own, *glyphs, "report=false", "hydra.run.dir=own")
    assert done.code == 0, done.text
    assert open_checkpoint("own", "ckpt").config["model"]["embeddings"] == 5
