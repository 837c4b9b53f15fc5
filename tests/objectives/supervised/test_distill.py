"""Distillation: its loss against the formula, a teacher that stays outside, and teachers that do not fit."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.builders.restore import rebuilt
from ptft.checkpoint import file as checkpoint_file
from ptft.data.ragged import padded
from ptft.data.text.reader import text_spec
from ptft.data.tokenizer import Tokenizer
from ptft.errors import CheckpointError, ConfigError
from ptft.models.text.transformer import Transformer
from ptft.objectives.supervised.classify import Classify
from ptft.objectives.supervised.distill import Distill
from tests.conftest import ROOT, refused, summary
from tests.helpers.self_supervised import FEW, SMALL, built, in_two, state, train
from tests.stages.test_resume import same

TEACHER = ("dataset=digits", "dataset.size=16", "model=convnet", "model.channels=[8,16,32]", "train.batch_size=32")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The folder of a teacher, which the first test that needs it trains."""
    return tmp_path_factory.mktemp("teacher") / "run"


@pytest.fixture
def teacher(taught, ptft):
    if not taught.exists():
        done = ptft(
            "stage=pretrain",
            *TEACHER,
            "train.steps=100",
            "train.every.evaluate=100",
            "optimizer.lr=5e-3",
            "precision=fp32",
            "train.layout=contiguous",
            f"hydra.run.dir={taught}",
        )
        assert done.code == 0, done.text
    return taught


@pytest.fixture
def flat_folder(tmp_path):
    """48 images in one folder, without classes."""
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "flat").mkdir()
    for i in range(48):
        pixels = torch.randint(256, (18, 18), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / "flat" / f"{i:02}.png")
    return tmp_path / "flat"


def student(teacher, *typed):
    return built("distill", f"objective.teacher={teacher}", "model.channels=[4,8]", *typed)


def log_softmax(values):
    values = values.detach().double().numpy()
    return values - np.log(np.exp(values).sum(1, keepdims=True))


def test_the_loss_is_the_formula(teacher):
    run = student(teacher, "objective.views=null", "objective.temperature=3", "objective.alpha=0.7")
    objective, batch = run.objective, next(run.training.loader.epoch())
    step = objective.train()(batch)
    theirs, _ = rebuilt(str(teacher), "objective.teacher")
    x = theirs.backbone.prepare(batch["input"])
    soft, own = (log_softmax(part.logits(x) / 3) for part in (theirs.eval(), objective))
    hard = log_softmax(objective.logits(x))[np.arange(32), batch["label"]]
    expected = 0.7 * 9 * (np.exp(soft) * (soft - own)).sum() - 0.3 * hard.sum()
    np.testing.assert_allclose(float(step.total.detach()), expected, rtol=1e-3)


def test_the_student_learns_from_answers_alone(teacher):
    wide = (
        "model.channels=[8,16,32]",
        "dataset.limit=null",
        "train.steps=45",
        "train.every.evaluate=45",
        "optimizer.lr=2e-2",
    )
    run = student(teacher, "objective.alpha=1", *wide)
    rows = train(run).rows
    assert rows[-1]["accuracy"] > 0.6


def test_the_teacher_is_in_no_checkpoint_and_not_trained(teacher):
    run = student(teacher, "dataset.limit=64", "train.steps=3", "train.ema=0.9")
    before = {name: value.clone() for name, value in run.objective.teacher[0].state_dict().items()}
    train(run)
    kept = {name for part in (run.training.weights(), run.training.ema.weights) for name in part}
    assert {name.split(".")[0] for name in kept} == {"backbone", "head"}
    optimised = [name for group in run.training.optimizer.param_groups for name in group["names"]]
    assert {name.split(".")[0] for name in optimised} == {"backbone", "head"}
    assert same(dict(run.objective.teacher[0].state_dict()), before)
    assert not run.objective.teacher[0].training


def test_a_run_that_goes_on_reads_its_teacher_again(teacher):
    typed = ("dataset.limit=64", "train.steps=6", "train.every.evaluate=2")
    whole = student(teacher, *typed)
    expected = train(whole).rows
    found, resumed = in_two(lambda: student(teacher, *typed), last=3)
    assert found == expected
    assert same(state(resumed), state(whole))


def test_images_of_another_normalisation_reach_the_teacher_as_its_own(teacher):
    run = student(teacher, "dataset=glyphs", "dataset.images=64", "dataset.held_out=32")
    objective, batch = run.objective.eval(), next(run.training.loader.epoch())
    theirs, spec = rebuilt(str(teacher), "objective.teacher")
    assert spec.mean != run.inputs.source.spec.mean
    expected = theirs.eval().logits(theirs.backbone.prepare(batch["input"]))
    torch.testing.assert_close(objective.teacher_logits(objective.backbone.prepare(batch["input"])), expected)


def test_a_folder_without_labels_is_answered_with_the_teachers_classes(teacher, ptft, flat_folder):
    done = ptft(
        *("stage=pretrain", "objective=distill", f"objective.teacher={teacher}", "model=convnet"),
        *("dataset=image_folder", f"dataset.root={flat_folder}", "dataset.size=16", "dataset.channels=1"),
        *("model.channels=[4,8]", "train.steps=4", "train.batch_size=8", "train.folds=2", "hydra.run.dir=folds"),
    )
    assert done.code == 0, done.text
    found = summary(Path("folds"))["folds"]["pooled"]
    Path("folds/cells/fold1").rename("student")
    assert summary(Path("student"))["metrics"]["val"].keys() == {"loss", "agreement"}
    assert summary(Path("student"))["intervals"]["test"].keys() == {"loss", "agreement"}
    assert found["metrics"].keys() == {"loss", "agreement"}, "of all folds at once"
    assert summary(Path("student"))["refers"] == {"objective.teacher": str(teacher)}
    done = ptft("stage=predict", "ckpt=student", f"input={flat_folder}", "output=out.csv")
    assert done.code == 0, done.text
    assert {line.split(",")[1] for line in Path("out.csv").read_text().splitlines()[1:]} <= set("0123456789")


def test_what_does_not_fit_is_refused_by_its_key(teacher, ptft, tmp_path):
    asked = ("stage=pretrain", "objective=distill", *SMALL, *FEW)
    refused(ptft(*asked), 2, "objective.teacher")
    refused(ptft(*asked, "objective.teacher=nowhere"), 4, "objective.teacher=", "nowhere")
    refused(ptft(*asked, f"objective.teacher={teacher}", "dataset.size=20"), 2, "objective.teacher=", "dataset.size")
    few = (f"objective.teacher={teacher}", "dataset.limit=null", "dataset.classes=[3,5]")
    refused(ptft(*asked, *few), 3, "objective.teacher=", "classes")
    assert ptft("stage=pretrain", "objective=simclr", *SMALL, *FEW, "train.steps=1", "hydra.run.dir=none").code == 0
    refused(ptft(*asked, "objective.teacher=none"), 2, "objective.teacher=", "no classifier")


def test_what_a_checkpoint_trusted_is_not_trusted_for_it(teacher, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    content, _ = checkpoint_file.read(teacher / "checkpoints" / "best.pt")
    content["config"]["model"] = {"_target_": "tests.helpers.self_killing.Net"}
    content["config"]["trusted"] = ["tests.helpers.self_killing"]
    checkpoint_file.write(tmp_path / "other.pt", content)
    with pytest.raises(ConfigError, match=r"tests\.helpers\.self_killing\.Net: refused"):
        rebuilt(str(tmp_path / "other.pt"), "objective.teacher")
    with pytest.raises(CheckpointError):
        rebuilt(str(tmp_path / "other.pt"), "objective.teacher", ("tests.helpers.self_killing",))


def test_weights_without_a_task_teach_nothing(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "plain.pt")
    with pytest.raises(CheckpointError, match=r"objective\.teacher=.*plain\.pt"):
        rebuilt(str(tmp_path / "plain.pt"), "objective.teacher")


def test_a_run_that_goes_on_with_another_teacher_at_its_path_is_refused(ptft, teacher, tmp_path):
    shutil.copytree(teacher, tmp_path / "teacher")
    file = tmp_path / "teacher" / "checkpoints" / "best.pt"
    typed = ("stage=pretrain", "objective=distill", "objective.teacher=teacher", *SMALL, "precision=fp32")
    assert ptft(*typed, "dataset.limit=32", "train.steps=1", "report=false", "hydra.run.dir=run").code == 0
    original = file.read_bytes()
    content = checkpoint_file.read(file)[0]
    content["weights"]["head.bias"] += 1
    checkpoint_file.write(file, content)
    refused(ptft("resume=run", "train.steps=2"), 4, "objective.teacher=", "is not the file that the run began with")
    file.write_bytes(original)
    (tmp_path / "teacher").rename(tmp_path / "moved")
    assert ptft("resume=run", "train.steps=2", "objective.teacher=moved").code == 0
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    content = checkpoint_file.read(last)[0]
    assert len(content["config"]["objective"].pop("teacher_sha256")) == 64
    checkpoint_file.write(last, content)  # as versions wrote it that did not keep the digest
    assert ptft("resume=run", "train.steps=3", "objective.teacher=moved").code == 0


def test_texts_are_taught_without_what_they_are_padded_with():
    spec = replace(text_spec(Tokenizer(), 64, "class"), classes=("a", "b", "c"))
    torch.manual_seed(0)
    nets = [Transformer(spec, width=16, depth=1, heads=2, dropout=0.0) for _ in range(2)]
    for parameter in (each for net in nets for each in net.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    knows = Classify(nets[0], spec)
    learns = Distill(nets[1], spec, teacher="x", classifier=lambda path: (knows, spec, None)).train()
    ids, mask = padded([torch.arange(3, 3 + count) for count in (3, 20, 60)])
    batch = {"input": ids, "mask": mask, "label": torch.tensor([0, 1, 2])}
    alone = [
        {"input": ids[i : i + 1, : mask[i].sum()], "mask": mask[i : i + 1, : mask[i].sum()], "label": torch.tensor([i])}
        for i in range(3)
    ]
    with torch.no_grad():
        assert float(learns(batch).total) == pytest.approx(sum(float(learns(each).total) for each in alone), rel=1e-5)


def test_a_teacher_that_would_read_something_else_is_refused(ptft, tmp_path):
    rows = [f"text number {i},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    texts = ("dataset=table", "dataset.root=texts.csv", "dataset.length=16", "model=bert_tiny", "model.width=8")
    texts = (*texts, "model.depth=1", "model.heads=1", "train.steps=1")
    assert ptft("stage=pretrain", *texts, "dataset.tokenizer=bytes", "hydra.run.dir=reads").code == 0
    asked = ("stage=pretrain", *texts, "objective=distill", "objective.teacher=reads")
    refused(ptft(*asked, "dataset.tokenizer=wordpiece"), 2, "objective.teacher=", "dataset.tokenizer")
    assert ptft(*asked, "dataset.tokenizer=bytes", "hydra.run.dir=student").code == 0
    tones = ("dataset=tones", "dataset.count=24", "dataset.held_out=8", "model=audio_cnn", "model.channels=[2,4]")
    tones = (*tones, "model.width=8", "train.steps=1")
    assert ptft("stage=pretrain", *tones, "model.mels=20", "hydra.run.dir=hears").code == 0
    asked = ("stage=pretrain", *tones, "objective=distill", "objective.teacher=hears")
    refused(ptft(*asked, "model.mels=24"), 2, "objective.teacher=", "model.mels")
    refused(ptft(*asked, "model.mels=20", "dataset.rate=4000"), 2, "objective.teacher=", "dataset.rate")
