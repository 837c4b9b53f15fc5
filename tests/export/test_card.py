"""The card of an export: what was trained, what was measured and on which data, and how sure that is."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

import ptft as package
from ptft.loggers.console import duration
from tests.conftest import summary

NET = ("model=bert_tiny", "model.width=8", "model.depth=1", "model.heads=1", "dataset.tokenizer=bytes")
RUN = ("stage=pretrain", "dataset=table", "objective=classify", *NET, "dataset.length=16", "train.steps=3")


def table(path, count, shift=0, writers=10):
    kinds = [(i, kind) for i in range(shift, shift + count) for kind in ("good", "bad")]
    rows = [f"{kind} {i},{kind},w{(3 * i + len(kind)) % writers}" for i, kind in kinds]
    Path(path).write_text("\n".join(["text,label,writer", *rows]))


@pytest.fixture
def card(ptft):
    """`card(ckpt)` exports it: the front matter, and each section by its title."""

    def call(ckpt, name="weights"):
        done = ptft("stage=export", f"ckpt={ckpt}", "format=safetensors", f"output={name}")
        assert done.code == 0, done.text
        text = Path(name, "README.md").read_text()
        front = yaml.safe_load(text.split("---")[1])
        return front, dict(re.findall(r"^## (.+?)\n\n(.+?)(?=\n\n##|\Z)", text, re.S | re.M))

    return call


def listed(front):
    (result,) = front["model-index"][0]["results"]
    return result["dataset"], {each["type"]: each["value"] for each in result["metrics"]}


def test_what_a_calibration_wrote_cost_what_its_training_did(ptft, pretrained, card):
    shutil.copytree(pretrained, "run")
    assert ptft("stage=evaluate", "ckpt=run", "evaluate.calibrate=true", "hydra.run.dir=kept").code == 0
    trained, sections = summary(Path("run")), card("kept")[1]
    cost = f"- {trained['steps']} steps, {trained['samples']:,} examples, {duration(trained['seconds'])} of training"
    assert sections["What it cost"].startswith(f"{cost}, on {trained['device']} in {trained['precision']}\n")
    assert "train: 300 examples" in sections["What it was trained on"]
    assert ptft("stage=evaluate", "ckpt=kept", "evaluate.calibrate=true", "hydra.run.dir=twice").code == 0
    assert card("twice", "again")[1]["What it cost"] == sections["What it cost"]
    Path("run/checkpoints/best.pt").write_bytes(b"of another run")
    alone = card("kept", "alone")[1]["What it cost"]
    assert "on cpu" not in alone, "another run lies there by now"
    assert alone.startswith(f"- {trained['best']['step']} steps, ")


def test_metrics_are_told_with_the_data_that_they_are_of(ptft, card):
    table("own.csv", 60)
    table("other.csv", 60, shift=100)
    assert ptft(*RUN, "dataset.root=own.csv", "device=cpu", "hydra.run.dir=run").code == 0
    typed = ("dataset.root=other.csv", "split=test", "evaluate.calibrate=true", "evaluate.resamples=100")
    done = ptft("stage=evaluate", "ckpt=run", *typed, "hydra.run.dir=kept")
    assert done.code == 0, done.text
    dataset, metrics = listed(card("run", "first")[0])
    assert dataset == {"name": "table", "type": "table", "split": "test"}
    assert metrics == summary(Path("run"))["metrics"]["test"]
    front, sections = card("kept")
    dataset, metrics = listed(front)
    assert dataset == {"name": "other.csv (table)", "type": "table", "split": "test"}
    assert metrics == {k: v for k, v in summary(Path("kept"))["metrics"]["test"].items() if k != "temperature"}
    told = sections["How good it is"]
    assert f"measured by `stage=evaluate` on the dataset `table` from `{Path('other.csv').absolute()}`" in told
    assert "temperature" not in told
    assert "validation split of the data it was measured on (temperature" in sections["Limits"]
    own = Path("own.csv").absolute()
    assert sections["What it was trained on"].startswith(f"- dataset: `table` from `{own}`\n- train: ")
    assert card("weights", "again")[1]["How good it is"].splitlines()[0] == told.splitlines()[0]
    assert package.load("kept", device="cpu").card["measured_on"]["root"] == str(Path("other.csv").absolute())


def test_intervals_are_those_of_the_summary(ptft, card):
    table("own.csv", 100, writers=40)
    typed = ("dataset.root=own.csv", "dataset.text=text", "dataset.label=label", "dataset.group=writer")
    assert ptft(*RUN, *typed, "device=cpu", "hydra.run.dir=run").code == 0
    found = summary(Path("run"))
    low, high = found["intervals"]["test"]["accuracy"]
    lines = card("run")[1]["How good it is"].splitlines()
    test = next(line for line in lines if line.startswith("- test: "))
    assert f" ({100 * low:.2f} % to {100 * high:.2f} %), macro_f1" in test
    assert test.endswith(f"; in brackets 95 % intervals, by resampling {found['resampling']['units']} groups of writer")
    (val,) = [line for line in lines if line.startswith("- val: ")]
    assert "interval" not in val, "rows of one writer are no independent ones"
    content = json.loads(Path("run/summary.json").read_text())
    del content["intervals"]["test"]["accuracy"]
    Path("run/summary.json").write_text(json.dumps(content))
    assert f"accuracy {100 * found['metrics']['test']['accuracy']:.2f} %, " in card("run", "b")[1]["How good it is"]


def test_an_accuracy_without_resamples_has_the_interval_of_so_many_examples(ptft, pretrained, card):
    told = card(pretrained)[1]["How good it is"]
    assert re.search(r"- val: .*accuracy \S+ % \(95 % interval over 100: \S+ % to \S+ %\)", told)
    assert ptft("stage=evaluate", f"ckpt={pretrained}", "evaluate.intervals=null", "evaluate.calibrate=true",
                "hydra.run.dir=kept").code == 0  # fmt: skip
    assert re.search(r"- test: .*accuracy \S+ % \(95 % interval over 100: ", card("kept", "b")[1]["How good it is"])
