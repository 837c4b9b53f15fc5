"""`train.panel`: linear probes of earlier tasks before and after a training."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ptft.builders.run import build
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from ptft.finetune.head_init import fit
from ptft.loggers.console import Console
from ptft.runs.lineage import stored_digest
from ptft.stages.measure.panel import Panel
from tests.conftest import contents, refused, summary
from tests.helpers.self_supervised import SETTLED

NEW = ("dataset=digits", "dataset.limit=80", "objective=simclr", "predictions=none", "report=false", *SETTLED)
STEPS = ("train.batch_size=16", "train.steps=4", "train.every.evaluate=4")
BERT = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2")


def ready(*words):
    return build(resolve(["stage=pretrain", *words, *STEPS, *SETTLED]), Console())


def kept(run, name):
    """A checkpoint of a run as it stands."""
    spec = run.objective.describe(run.inputs.source.spec).to_dict()
    content = {"config": run.cfg.plain(), "spec": spec, "weights": run.objective.state_dict()}
    checkpoint_file.write(Path(name).absolute(), content)


def signs(folder):
    (only,) = json.loads((Path(folder) / "panel.json").read_text())["right"].values()
    return torch.tensor([sign == "1" for sign in only])


def test_what_is_forgotten_is_said_with_its_interval(ptft, pretrained):
    run = ("stage=pretrain", f"ckpt={pretrained}", *NEW, *STEPS, f"train.panel=[{pretrained}]")
    done = ptft(*run, "optimizer.lr=10", "train.clip=null", "hydra.run.dir=run", "report=true")
    assert done.code == 0, done.text
    (row,) = summary(Path("run"))["panel"]
    assert summary(Path("run"))["refers"] == {"train.panel": [str(pretrained)]}
    digest = stored_digest(pretrained / "checkpoints" / "best.pt")
    assert summary(Path("run"))["refers_sha256"] == {str(pretrained): digest}
    assert (row["task"], row["path"], row["verdict"]) == ("glyphs", str(pretrained), "worse")
    assert (row["fitted_to"], row["measured_on"]) == (300, 100)
    assert row["before"] == pytest.approx(float(signs("run").double().mean()))
    assert row["difference"] == pytest.approx(row["after"] - row["before"])
    assert row["interval"][0] <= row["difference"] <= row["interval"][1] < 0
    warned = [line for line in done.text.splitlines() if line.startswith("glyphs: a linear probe falls from")]
    assert len(warned) == 1
    assert f"{100 * row['before']:.2f} %" in warned[0]
    assert "panel: probes fitted to at most 2,000 examples" in done.out
    assert "Earlier tasks" in Path("run/report.html").read_text()


def test_weights_that_stay_serve_as_before(ptft, pretrained):
    run = ("stage=pretrain", f"ckpt={pretrained}", *NEW, *STEPS, f"train.panel={pretrained}", "hydra.run.dir=run")
    done = ptft(*run, "optimizer.lr=1e-12", "optimizer.weight_decay=0")
    (row,) = summary(Path("run"))["panel"]
    assert (row["difference"], row["interval"], row["verdict"]) == (0, None, "the same")
    assert "falls from" not in done.text


def test_before_is_what_a_probe_of_the_checkpoints_features_answers(pretrained):
    run = ready(f"ckpt={pretrained}", *NEW, f"train.panel=[{pretrained}]")
    panel = Panel(run, Console())
    panel.begin(Path())
    backbone, source, features = run.objective.backbone.eval(), panel.tasks[0].source, {}
    with torch.no_grad():
        for split in ("train", "val"):
            batch = source.split(split).take(torch.arange(len(source.split(split))))
            features[split] = backbone.pool(backbone(backbone.prepare(batch["input"]))), batch["label"]
    weight, bias, _ = fit(*features["train"], len(source.spec.classes))
    answers = torch.nn.functional.linear(features["val"][0], weight, bias).argmax(1)
    same = (signs(".") == (answers == features["val"][1])).double().mean()
    assert same > 0.97  # of sums in another order


def test_a_run_that_goes_on_compares_with_its_start(ptft, pretrained):
    run = ("stage=pretrain", f"ckpt={pretrained}", *NEW, *STEPS, f"train.panel=[{pretrained}]", "hydra.run.dir=run")
    assert ptft(*run, "optimizer.lr=10", "train.clip=null").code == 0
    (first,) = summary(Path("run"))["panel"]
    done = ptft("resume=run", "train.steps=5")
    assert done.code == 0, done.text
    (again,) = summary(Path("run"))["panel"]
    assert again["before"] == first["before"] != first["after"]


def test_a_run_that_goes_on_compares_no_other_examples(ptft, pretrained):
    run = ("stage=pretrain", f"ckpt={pretrained}", *NEW, *STEPS, f"train.panel=[{pretrained}]", "hydra.run.dir=run")
    assert ptft(*run).code == 0
    file = Path("run/panel.json")
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "data": dict.fromkeys(stored["data"], "other")}))
    done = ptft("resume=run", "train.steps=5")
    assert "was not measured at the start, or on other examples" in done.text
    assert "panel" not in summary(Path("run"))
    file.write_text(json.dumps({"right": stored["right"]}))  # as earlier versions wrote it
    assert ptft("resume=run", "train.steps=6").code == 0
    assert summary(Path("run"))["panel"]


def test_of_a_comparison_the_run_with_most_labels_is_the_task(pretrained):
    for name, examples in (("a", 300), ("b", 20)):
        folder = Path("cmp/cells") / name / "0"
        shutil.copytree(pretrained, folder)
        says = summary(folder)
        says["data"]["examples"]["train"] = examples
        (folder / "summary.json").write_text(json.dumps(says))
    panel = Panel(ready(f"ckpt={pretrained}", *NEW, "train.panel=[cmp]"), Console())
    assert [task.path for task in panel.tasks] == [str(Path("cmp/cells/a/0").absolute())]


def table(name, labelled):
    label = "label" if labelled else "null"
    rows = [f"{'good' if i % 2 else 'bad'} thing {i % 7},{'yes' if i % 2 else 'no'}" for i in range(60)]
    Path(f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    data = ("dataset=table", f"dataset.root={name}.csv", "dataset.text=text", f"dataset.label={label}")
    return (*data, "dataset.length=16", "dataset.tokenizer=bytes")


@pytest.mark.parametrize("kind", ["texts", "recordings"])
def test_texts_and_recordings_have_a_panel_too(kind, tmp_path):
    if kind == "texts":
        task = (*BERT, "objective=classify", *table("task", True))
        new = ("objective=masked_lm", *table("new", False))
    else:
        tones = ("dataset=tones", "dataset.count=24", "dataset.held_out=12")
        task, new = (*tones, "model=audio_cnn", "objective=classify"), (*tones, "objective=simclr_audio")
    kept(ready(*task), "task.pt")
    run = ready("ckpt=task.pt", *new, "train.panel=[task.pt]")
    panel = Panel(run, Console())
    panel.begin(tmp_path)
    (row,) = panel.end()["panel"]
    assert row["verdict"] == "the same"
    assert row["measured_on"] == len(panel.tasks[0].source.split("val")) > 0
    assert 0 <= row["before"] == row["after"] <= 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train.panel=[nowhere]",), 4, ("train.panel=nowhere", "there is no file")),
        (("train.panel=[simclr.pt]",), 2, ("train.panel=simclr.pt", "objective=simclr asks for something else")),
        (("train.panel=[{ckpt}]", "ckpt=null"), 2, ("train.panel and ckpt=null",)),
        (("train.panel=[small.pt]",), 2, ("train.panel=small.pt", "size [20, 20] there, [28, 28] here")),
        (("train.panel=[text.pt]",), 2, ("train.panel=text.pt", "its dataset yields text, dataset=digits image")),
        (("train.panel=[noval.pt]",), 3, ("train.panel=noval.pt", "no validation split")),
        (("train.panel=3",), 2, ("train.panel=3: must be a name or a list of names",)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_what_has_no_probe_is_refused_before_anything_is_trained(ptft, pretrained, tmp_path, words, code, said):
    make = {
        "simclr": ("dataset=digits", "objective=simclr", "model.width=16"),
        "small": ("dataset=digits", "dataset.size=20", "model.width=16"),
        "text": (*BERT, "objective=classify", *table("task", True)),
        "noval": ("dataset=digits", "dataset.size=28", "dataset.val=null", "model.width=16"),
    }
    for name, typed in make.items():
        if f"{name}.pt" in words[0]:
            kept(ready(*typed), f"{name}.pt")
    before = contents(tmp_path)
    typed = [word.replace("{ckpt}", str(pretrained)) for word in words]
    start = [] if "ckpt=null" in typed else [f"ckpt={pretrained}"]
    done = ptft("stage=pretrain", *start, *NEW, *STEPS, *typed)
    refused(done, code, *said)
    assert len(done.err.splitlines()) == 1, done.err
    assert contents(tmp_path) == before
