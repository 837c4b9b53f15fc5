"""`train.replay`: examples of an earlier run's dataset are among those of every batch."""

from pathlib import Path

import pytest
import torch

from ptft.builders.run import build
from ptft.config.resolve import resolve
from ptft.data.replay.examples import OLD
from ptft.loggers.console import Console
from tests.conftest import NET, contents, refused, summary
from tests.helpers.self_supervised import SETTLED, in_two, state, train

NEW = ("dataset=digits", "dataset.limit=80", "objective=simclr")
FEW = ("train.batch_size=16", "train.steps=8", "train.every.evaluate=4", *SETTLED)


@pytest.fixture
def ready(pretrained):
    def build_(*words):
        return build(resolve(["stage=pretrain", f"ckpt={pretrained}", *NEW, *FEW, *words]), Console())

    return build_


def test_batches_hold_examples_of_the_dataset_that_the_run_names(ready, pretrained):
    run = ready(f"train.replay={pretrained}", "train.replay_share=0.2")
    old = run.inputs.replay.source.split("train")
    for batch in run.training.loader.epoch(0):
        rows = (batch["index"] >= OLD).nonzero().flatten()
        assert len(rows) == 3 or len(batch["input"]) < 16
        assert torch.equal(batch["input"][rows], old.take(batch["index"][rows] - OLD)["input"])
        assert "label" not in batch
    assert [note for note in run.notes if "3 of the 16 examples of every batch are of glyphs (300 examples)" in note]
    assert run.cfg.train.replay == str(pretrained / "checkpoints" / "best.pt")


def test_a_run_that_goes_on_equals_the_uninterrupted_one(ready):
    whole = ready("train.replay=ckpt")
    rows = train(whole).rows
    parts, resumed = in_two(lambda: ready("train.replay=ckpt"), last=3)
    assert rows == parts
    one, other = state(whole), state(resumed)
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    without = ready()
    train(without)
    assert not all(torch.equal(one["weights"][name], value) for name, value in without.training.weights().items())


def test_a_resumed_run_finds_what_it_replayed_and_notices_other_data(ptft, pretrained, monkeypatch):
    run = ("stage=pretrain", f"ckpt={pretrained}", *NEW, *FEW, "train.replay=ckpt", "hydra.run.dir=run")
    assert ptft(*run, "train.steps=2").code == 0
    done = ptft("resume=run", "train.steps=3")
    assert (done.code, "of glyphs (300 examples)" in done.out) == (0, True), done.text
    assert summary(Path("run"))["refers"] == {"train.replay": str(pretrained / "checkpoints" / "best.pt")}
    other = ("stage=pretrain", "dataset.images=60", "dataset.held_out=20", *NET, "train.steps=1", "hydra.run.dir=other")
    assert ptft(*other).code == 0
    refused(ptft("resume=run", "train.steps=4", "train.replay=other"), 3, "the dataset changed since this was saved")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train.replay=nowhere",), 4, ("train.replay=nowhere", "there is no file")),
        (("train.replay=ckpt", "train.replay_share=0.01"), 2, ("train.replay_share=0.01", "that is none")),
        (("train.replay=ckpt", "train.tokens=99"), 2, ("train.replay and train.tokens=99",)),
        (("train.replay_share=0.2",), 2, ("train.replay=null: nothing is replayed",)),
        (("train.replay=ckpt", "ckpt=null"), 2, ("starts from no checkpoint",)),
        (("train.replay={ckpt}", "ckpt=null", "dataset.size=20"), 2, ("size [28, 28] there, [20, 20] here",)),
        (
            ("train.replay={ckpt}", "ckpt=null", "dataset=grammar"),
            2,
            ("its dataset yields image, dataset=grammar text",),
        ),
        (("train.replay=ckpt", "objective=classify", "dataset.classes=['1','2']"), 2, ("learns answers", "1, 2 here")),
        (("train.replay=ckpt", "stage=finetune", "finetune.train=head", "objective=classify"), 2, ("does not move",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_can_not_be_replayed_is_one_line(ptft, pretrained, tmp_path, words, code, said):
    before = contents(tmp_path)
    typed = {word.partition("=")[0]: word.replace("{ckpt}", str(pretrained)) for word in ("stage=pretrain", *NEW, *FEW)}
    typed |= {"ckpt": f"ckpt={pretrained}"}
    typed |= {word.partition("=")[0]: word.replace("{ckpt}", str(pretrained)) for word in words}
    if "dataset=grammar" in words:
        typed |= {"model": "model=bert_tiny", "objective": "objective=masked_lm"}
        del typed["dataset.limit"]
    done = ptft(*typed.values())
    refused(done, code, *said)
    assert len(done.err.splitlines()) == 1, done.err
    assert contents(tmp_path) == before


def test_equal_classes_may_be_replayed_with_their_labels(ready):
    run = ready("objective=classify", "train.replay=ckpt")
    batch = next(run.training.loader.epoch(0))
    old = run.inputs.replay.source.split("train")
    rows = (batch["index"] >= OLD).nonzero().flatten()
    assert torch.equal(batch["label"][rows], old.take(batch["index"][rows] - OLD)["label"])


def test_texts_are_replayed_where_their_tokenizer_is_the_same(ptft, tmp_path):
    small = ("model.width=16", "model.depth=1", "model.heads=2", *FEW, "objective=masked_lm", "train.steps=3")
    data = (
        "dataset=table",
        "dataset.text=text",
        "dataset.label=null",
        "dataset.length=32",
        "dataset.val=null",
        "dataset.test=null",
    )
    tokenizer = ("dataset.tokenizer=wordpiece", "dataset.vocabulary=300")
    for name, words in {"old": "a cat sat on the mat", "new": "every dog ran over hills, and barked"}.items():
        rows = [f"{i} {' '.join(words.split(' ')[: 1 + i % 6])} again" for i in range(60)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text", *(f'"{row}"' for row in rows)]))
    first = ("stage=pretrain", "model=bert_tiny", *small, *data, *tokenizer, "dataset.root=old.csv")
    assert (done := ptft(*first, "hydra.run.dir=old")).code == 0, done.text
    more = ("stage=pretrain", "ckpt=old", "train.replay=ckpt", *FEW, "objective=masked_lm", *data, "train.steps=3")
    done = ptft(*more, "dataset.root=new.csv", "hydra.run.dir=new")
    assert done.code == 0, done.text
    counts = [summary(tmp_path / name)["data"]["examples"]["train"] for name in ("old", "new")]
    assert f"2 of the 16 examples of every batch are of table ({counts[0]} examples)" in done.out
    known = [torch.load(f"{name}/checkpoints/best.pt", weights_only=True)["trained_on"] for name in ("old", "new")]
    assert [len(each) for each in known] == [counts[0], sum(counts)]
    other = ptft(*first, "dataset.root=new.csv", "train.replay=old")
    refused(other, 2, "train.replay=old", "another tokenizer")


def test_what_is_measured_is_not_replayed(ptft, tmp_path):
    rows = [f"text number {i} of all" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["text", *rows]))
    (tmp_path / "b.csv").write_text("\n".join(["text", *(f"other {i}" for i in range(20)), *rows[:20]]))
    small = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", *FEW, "objective=masked_lm")
    data = (
        "dataset=table",
        "dataset.text=text",
        "dataset.label=null",
        "dataset.length=32",
        "dataset.tokenizer=bytes",
        "train.steps=1",
    )
    run = ("stage=pretrain", *small, *data)
    assert ptft(*run, "dataset.root=a.csv", "dataset.val=null", "dataset.test=null", "hydra.run.dir=a").code == 0
    refused(ptft(*run, "dataset.root=b.csv", "dataset.test=0.5", "train.replay=a"), 3, "split_overlap=allow")
