"""SigLIP: its loss beside a loop over pairs, what it teaches, how it is measured, and that it goes on exactly."""

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ptft.builders.run import build
from ptft.config.resolve import resolve
from ptft.loggers.console import Console
from ptft.objectives.pairs.retrieval import retrieval
from tests.conftest import refused, summary, transfer
from tests.helpers.self_supervised import FEW, in_two, metrics, state, train
from tests.stages.test_resume import same

MODEL = ("model=convnet", "model.channels=[8,16,32]")
VIT = ("model=vit_tiny", "model.patch=8", "model.width=16", "model.depth=1", "model.heads=2", "model.dropout=0")
TEXT = ("objective.text_width=32", "objective.text_depth=1", "objective.text_heads=2")
SCENES = ("dataset=scenes", "dataset.size=32", "dataset.images=600", "dataset.held_out=100", "dataset.vocabulary=300")
PAIRS = ("stage=pretrain", "objective=siglip", *SCENES, *TEXT, *FEW)
RUN = (*PAIRS, *MODEL)


def built(*typed):
    return build(resolve([*RUN, *typed]), Console())


def test_pictures_and_captions_find_each_other():
    run = built("train.batch_size=64", "train.steps=100", "train.every.evaluate=100", "optimizer.lr=5e-3")
    before = metrics(run)
    train(run)
    after = metrics(run)
    assert before["recall"] < 0.05  # 1 of 100 by chance
    assert min(after["image_to_text"], after["text_to_image"]) > 0.09
    assert after["loss"] < 0.7 * before["loss"]


def test_the_loss_is_that_of_a_loop_over_pairs():
    torch.manual_seed(0)
    objective, embedded = built().objective, torch.randn(5, 2, 128)
    pictures = [3, 8, 2, 8, 1]  # two captions are of one
    objective.log_temperature.data.fill_(1.5), objective.bias.data.fill_(-2.0)
    expected = 0.0
    for i in range(5):
        for j in range(5):
            cosine = F.cosine_similarity(embedded[i, 0], embedded[j, 1], dim=0)
            z = 1 if pictures[i] == pictures[j] else -1
            expected -= F.logsigmoid(z * (torch.tensor(1.5).exp() * cosine - 2.0))
    step = objective.compare(embedded, {"picture": torch.tensor(pictures)})
    torch.testing.assert_close(step.total, torch.as_tensor(expected))
    assert int(step.count) == 5
    step.total.backward()
    assert objective.log_temperature.grad.abs() > 0 < objective.bias.grad.abs()


def test_captions_that_are_read_alike_are_no_less_apart(ptft, tmp_path):
    """Of words that a tokenizer does not know, or cut to one beginning: the model can't tell them, recall must."""
    rows = ["path,text,split"]
    for i in range(24):
        Image.new("RGB", (32, 32), (10 * i, 255 - 10 * i, 40)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,the picture that shows number {i},{('train', 'val', 'test')[i % 3]}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    data = (
        "dataset=captions",
        "dataset.root=list.csv",
        "dataset.size=32",
        "dataset.tokenizer=bytes",
        "dataset.length=9",
    )
    done = ptft("stage=pretrain", "objective=siglip", *data, *TEXT, *MODEL, *FEW, "train.steps=1", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "captions that are longer than what is read of them: train 8, val 8, test 8" in done.out
    found = summary(tmp_path / "run")["metrics"]["test"]
    assert found["image_to_text"] <= found["image_to_text_r5"] <= 5 / 8
    pairs, said = (torch.eye(4), torch.eye(4)[[1, 0, 2, 3]]), torch.arange(4)
    assert retrieval(*pairs, said, torch.arange(4))["recall"] == 0.5
    assert retrieval(*pairs, torch.tensor([4, 4, 5, 6]), torch.arange(4))["recall"] == 1


def test_a_continued_run_is_the_whole_one():
    typed = ("train.steps=4", "train.every.evaluate=2", "dataset.images=64", "dataset.held_out=16")
    whole = built(*typed, "dataset.views.shift=2")
    expected = train(whole).rows
    found, resumed = in_two(lambda: built(*typed, "dataset.views.shift=2"), last=3)
    assert found == expected
    assert same(state(resumed), state(whole))


def test_later_stages_read_the_same_captions_and_take_the_model_of_pictures(ptft, tmp_path):
    small = ("dataset.images=64", "dataset.held_out=16", "train.steps=2", "hydra.run.dir=run")
    done = ptft(*RUN, *small)
    assert done.code == 0, done.text
    assert "captions: bpe (300 ids), up to 48 tokens" in done.out
    assert "as the first among the 16 of val and the 16 of test" in done.out
    measured = ptft("stage=evaluate", "ckpt=run", "device=cpu", "hydra.run.dir=measured")
    assert measured.code == 0, measured.text
    assert summary(tmp_path / "measured")["metrics"] == {"test": summary(tmp_path / "run")["metrics"]["test"]}
    labelled = ("dataset=digits", "dataset.limit=40", "train.steps=1", "device=cpu", "hydra.run.dir=fine")
    assert ptft("stage=finetune", "ckpt=run", *labelled).code == 0
    assert all(name.startswith("backbone.") for name in transfer(tmp_path / "fine")["loaded"]["tensors"])


def test_what_can_not_be_is_refused_by_its_key(ptft):
    refused(ptft(*RUN, "objective.text_heads=3"), 2, "objective.text_width=32", "objective.text_heads=3")
    pictures = ("stage=pretrain", "objective=siglip", "dataset=digits", "dataset.limit=20", *MODEL)
    refused(ptft(*pictures), 2, "objective=siglip: needs images with captions")


def test_a_batch_in_parts_has_the_gradients_of_the_whole():
    """Views and all, with a model that normalises each picture alone."""
    typed = (*PAIRS, *VIT, "train.steps=2", "dataset.images=64", "dataset.held_out=16", "dataset.views.shift=2")
    typed = (*typed, "objective.bias=-9")  # a whole number is one, too
    losses = [
        train(build(resolve([*typed, f"train.accumulate={parts}"]), Console())).rows[-1]["loss"] for parts in (1, 3)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
