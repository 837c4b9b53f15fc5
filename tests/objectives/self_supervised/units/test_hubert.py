"""Hidden units of speech: what their prediction teaches, that they stay, and that a later run needs no other."""

import shutil

import torch

from ptft.builders.run import build
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from ptft.loggers.console import Console
from tests.conftest import refused
from tests.helpers.self_supervised import FEW, metrics, train

NET = ("model=audio_transformer", "model.width=16", "model.depth=2", "model.heads=2", "model.channels=4")
TONES = ("dataset=tones", "model.dropout=0", "model.subsample=2", *FEW, "objective.clusters=32")
RUN = ("stage=pretrain", "objective=hubert", *NET, *TONES, "dataset.count=60", "dataset.held_out=20")
MORE = ("dataset.count=120", "dataset.held_out=60", "train.steps=60", "train.every.evaluate=60", "optimizer.lr=5e-3")


def built(*typed):
    return build(resolve([*RUN, *typed]), Console())


def weights(folder, which="last"):
    return checkpoint_file.read(folder / "checkpoints" / f"{which}.pt")[0]["weights"]


def test_units_teach_what_random_features_do_not_hold():
    run = built(*MORE)
    before = metrics(run)
    units = {name: value.clone() for name, value in run.objective.clusters.named_buffers()}
    train(run)
    after = metrics(run)
    assert after["knn"] > before["knn"] + 0.15
    assert after["accuracy"] > 3 / after["code_perplexity"]
    assert after["code_perplexity"] > 16  # of 32
    assert all(torch.equal(value, units[name]) for name, value in run.objective.clusters.named_buffers())


def test_scores_are_cosines_of_what_is_hidden_alone():
    objective = built().objective.eval()
    batch = objective.reference.take(torch.arange(4))
    x = objective.backbone.inputs(batch)
    real = objective.backbone.token_mask(x)
    hidden = (torch.arange(real.shape[1]) % 4 == 1) & real
    step = objective.ask(x, real, hidden)
    tokens = objective.encoded(objective.backbone.embed(x), real, hidden)
    codes, total = objective.codes(x, real.shape[1]), 0.0
    for row, token in hidden.nonzero().tolist():
        projected = objective.project(tokens[row, token])
        scores = torch.cosine_similarity(projected, objective.embeddings) / 0.1
        total -= scores.log_softmax(0)[codes[row, token]]
    torch.testing.assert_close(step.total, total)
    assert step.count == hidden.sum()
    step.total.backward()
    assert objective.hidden_token.grad.any()


def test_units_of_an_earlier_model_are_kept_so_a_run_goes_on_without_it(ptft, tmp_path):
    """Bit for bit; what the earlier model weighs moves in neither."""
    assert ptft(*RUN, "train.steps=2", "hydra.run.dir=first").code == 0
    second = (*RUN, "objective.units=first", "objective.clusters=20", "model.subsample=4", "train.ema=0.5")
    second += ("train.every.save=3", "train.every.evaluate=2", "schedule=constant")
    whole = ptft(*second, "train.steps=5", "hydra.run.dir=whole")
    assert whole.code == 0, whole.text
    assert "20 units, clusters of 16 values behind block 1 of " in whole.out
    assert ptft(*second, "train.steps=3", "hydra.run.dir=part").code == 0
    earlier = weights(tmp_path / "first", "best")
    shutil.rmtree("first")
    rest = ptft("resume=part", "train.steps=5")
    assert rest.code == 0, rest.text
    one, other = (weights(tmp_path / folder) for folder in ("whole", "part"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    kept = {name.removeprefix("heard.net."): value for name, value in one.items() if name.startswith("heard.net.")}
    assert {name.split(".")[0] for name in kept} == {"stem", "project", "blocks", "norm"}
    assert all(torch.equal(value, earlier[f"backbone.{name}"]) for name, value in kept.items())
    assert ptft("stage=evaluate", "ckpt=part").code == 0
    keep = ("objective=from_ckpt", "finetune.head=keep", "dataset=tones", "dataset.count=60", "dataset.held_out=20")
    assert ptft("stage=finetune", "ckpt=part", *keep, *FEW, "train.steps=1", "hydra.run.dir=on").code == 0
    then = weights(tmp_path / "on")
    assert all(torch.equal(then[key], other[key]) for key in other if key.startswith(("clusters.", "heard.")))


def test_what_can_not_be_is_refused_by_its_key(ptft):
    refused(ptft(*RUN, "objective.layer=2"), 2, "objective.layer=2", "objective.units")
    refused(ptft(*RUN, "objective.clusters=900"), 2, "objective.clusters=900", "fewer different tokens")
    refused(ptft(*RUN, "objective.sample=20"), 2, "objective.sample=20")
    refused(ptft(*RUN, "objective.units=nowhere"), 4, "objective.units=", "nowhere")
    assert ptft(*RUN, "train.steps=1", "hydra.run.dir=run").code == 0
    asked = (*RUN, "objective.units=run")
    refused(ptft(*asked, "objective.layer=3"), 2, "objective.layer=3", "has 2 layers")
    refused(ptft(*asked, "model.mels=30"), 2, "objective.units=", "40 bands", "30 bands", "model.mels")
    cnn = ("stage=pretrain", "dataset=tones", "dataset.count=12", "dataset.held_out=8", "model=audio_cnn")
    assert ptft(*cnn, "model.width=8", "model.channels=[4,4]", "train.steps=1", "hydra.run.dir=cnn").code == 0
    refused(ptft(*RUN, "objective.units=cnn"), 2, "objective.units=", "AudioCNN", "model=audio_transformer")
