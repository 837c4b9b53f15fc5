"""`ptft show` and `ptft diff`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import refused, summary
from tests.runs.test_lineage import run as made


@pytest.fixture(scope="module")
def finetuned(pretrained, tmp_path_factory):
    """The folder of a run that started from `pretrained`, with another batch size."""
    from tests.conftest import command
    from tests.helpers import processes

    folder = tmp_path_factory.mktemp("finetuned") / "run"
    typed = ("stage=finetune", f"ckpt={pretrained}", "train.steps=2", "train.batch_size=32", "dataset.limit=100")
    done = processes.run(command(*typed, f"hydra.run.dir={folder}"), cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_is_shown_with_its_settings_metrics_origin_size_and_digest(ptft, pretrained, finetuned):
    shown = json.loads(ptft("show", str(finetuned), "--json").out)
    assert (shown["status"], shown["chosen"]["stage"], shown["chosen"]["dataset"]) == ("finished", "finetune", "digits")
    assert shown["configuration"]["train.batch_size"] == {"value": 32, "default": 64}
    assert shown["configuration"]["dataset.limit"] == {"value": 100, "default": None}
    assert not {"train.clip", "train.every.evaluate", "precision", "train.layout"} & shown["configuration"].keys()
    assert shown["spec"]["shape"]["size"] == [28, 28]
    assert shown["metrics"]["test/accuracy"] == summary(finetuned)["metrics"]["test"]["accuracy"]
    assert shown["ancestors"] == [str(pretrained)]
    best, last = shown["checkpoints"]
    assert (Path(best["path"]).name, best["step"], len(best["sha256"])) == ("best.pt", 2, 64)
    assert best["values"] == summary(finetuned)["parameters"] == 18954
    assert last["bytes"] == (finetuned / "checkpoints" / "last.pt").stat().st_size
    text = ptft("show", str(finetuned)).out
    assert re.search(r"^train.batch_size +32 +64$", text, re.MULTILINE)
    assert f"from       {pretrained}" in text
    assert f"sha256 {best['sha256'][:12]}…, step 2, 18,954 values" in text


def test_a_checkpoint_is_shown_wherever_it_lies(ptft, finetuned, tmp_path):
    shutil.copy(finetuned / "checkpoints" / "last.pt", tmp_path / "copy.pt")
    shown = json.loads(ptft("show", "copy.pt", "--json").out)
    assert (shown["folder"], shown["chosen"]["dataset"]) == (None, "digits")
    assert shown["configuration"]["train.batch_size"]["value"] == 32
    assert "lies in no run's folder" in ptft("show", "copy.pt").out
    inside = json.loads(ptft("show", str(finetuned / "checkpoints" / "last.pt"), "--json").out)
    assert inside["folder"] == str(finetuned)
    assert "step" in inside["checkpoints"][1]


def test_what_a_stage_does_not_read_is_not_shown(ptft, pretrained):
    """A configuration has an optimizer, and a model, also where neither played a part."""
    few = ("dataset.images=60", "dataset.held_out=30", "report=false")
    assert ptft("stage=evaluate", f"ckpt={pretrained}", "hydra.run.dir=measured").code == 0
    assert ptft("stage=inspect", *few, "hydra.run.dir=inspected").code == 0
    groups = {run: json.loads(ptft("show", run, "--json").out)["chosen"] for run in ("measured", "inspected")}
    assert {"model", "dataset", "objective"} < groups["measured"].keys()
    assert not {"optimizer", "schedule"} & groups["measured"].keys()
    assert groups["inspected"] == {"dataset": "glyphs", "stage": "inspect"}


def test_states_in_parts_are_shown_with_what_they_take(ptft, finetuned, tmp_path):
    shutil.copytree(finetuned, "run")
    (tmp_path / "run/checkpoints/last-2.parts").mkdir()
    for name in ("__0_0.distcp", "__1_0.distcp", ".metadata"):
        (tmp_path / "run/checkpoints/last-2.parts" / name).write_bytes(bytes(2**20))
    *_, parts = json.loads(ptft("show", "run", "--json").out)["checkpoints"]
    assert (Path(parts["path"]).name, parts["bytes"], parts["files"]) == ("last-2.parts", 3 * 2**20, 3)
    assert "last-2.parts  3.0 MiB in 3 files" in ptft("show", "run").out


def test_latest_is_the_newest_of_all(ptft, finetuned, tmp_path):
    for number, name in enumerate(("a", "b")):
        shutil.copytree(finetuned, tmp_path / "outputs" / name)
        os.utime(tmp_path / "outputs" / name / "status.json", (number, number))
    for word in ("show", "lineage"):
        assert "outputs/b" in ptft(word, "latest").out
    refused(ptft("rm", "latest"), 4, "latest: there is no such folder")


def test_a_run_with_a_damaged_checkpoint_is_shown_and_says_so(ptft, finetuned, tmp_path):
    shutil.copytree(finetuned, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:-30])
    done = ptft("show", "run")
    assert done.code == 0
    assert "broken" in done.out
    assert "its end is missing" in done.out
    refused(ptft("show", str(best)), 4, "its end is missing")


def test_what_was_typed_on_a_resume_is_shown(ptft, finetuned, tmp_path):
    shutil.copytree(finetuned, tmp_path / "run")
    assert ptft("resume=run", "train.steps=3", "logger=tensorboard").code == 0
    shown = json.loads(ptft("show", "run", "--json").out)
    assert (shown["configuration"]["train.steps"]["value"], shown["checkpoints"][1]["bytes"] > 0) == (3, True)
    found = json.loads(ptft("diff", str(finetuned), "run", "--json").out)
    assert found["configuration"]["train.steps"] == {"a": 2, "b": 3}
    assert found["configuration"]["logger"] == {"a": None, "b": ["tensorboard"]}


def test_mistakes_are_named(ptft, tmp_path):
    refused(ptft("show"), 2, "ptft show RUN|CKPT")
    refused(ptft("show", "nowhere"), 4, "nowhere: there is no such folder")
    refused(ptft("show", str(tmp_path)), 4, "is no run's folder")
    refused(ptft("show", "a", "--jsn"), 2, "--jsn", "did you mean --json")
    refused(ptft("diff", "a"), 2, "ptft diff A B")


def test_two_runs_differ_in_settings_data_metrics_and_weights(ptft, pretrained, finetuned):
    found = json.loads(ptft("diff", str(pretrained), str(finetuned), "--json").out)
    assert found["configuration"]["stage"] == {"a": "pretrain", "b": "finetune"}
    assert found["configuration"]["train.batch_size"] == {"a": 64, "b": 32}
    assert "seed" not in found["configuration"]
    assert found["data"]["examples.train"] == {"a": 300, "b": 100}
    assert found["metrics"]["val/loss"]["b"] == summary(finetuned)["metrics"]["val"]["loss"]
    distances = {each["layer"]: each["relative"] for each in found["weights"]}
    assert list(distances) == ["backbone.conv1", "backbone.conv2", "backbone.dense", "head"]
    assert 0 < distances["backbone.conv1"] < distances["head"]
    text = ptft("diff", str(pretrained), str(finetuned)).out
    assert "train.batch_size" in text
    assert "backbone.conv1  40      0.0" in text
    same = ptft("diff", str(finetuned), str(finetuned)).out
    assert "configuration: the same" in same
    assert "data: the same" in same
    assert "weights: the same" in same


def test_a_long_line_of_descendants_is_followed(ptft, tmp_path):
    parent = None
    for number in range(40):
        folder, parent = made(f"run{number:02}", parent)
    shown = json.loads(ptft("show", "outputs/2026-01-01/run20", "--json").out)
    assert [Path(name).name for name in shown["ancestors"]] == [f"run{n:02}" for n in range(19, -1, -1)]
    assert [Path(name).name for name in shown["descendants"]] == [f"run{n:02}" for n in range(21, 40)]
    assert folder.name == "run39"


def test_neither_imports_torch(pretrained):
    code = (
        "import sys; from ptft.cli.commands import diff, show; "
        f"show([{str(pretrained)!r}]); diff([{str(pretrained)!r}] * 2); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, timeout=60).returncode == 0


def test_a_last_checkpoint_has_the_metrics_of_its_own_step(ptft, finetuned, tmp_path):
    shutil.copytree(finetuned, "run")
    known, files = summary(tmp_path / "run"), [f"run/checkpoints/{name}.pt" for name in ("best", "last")]
    known["best"]["step"] = 1  # as if the last step had been a worse one
    (tmp_path / "run/summary.json").write_text(json.dumps(known))
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (own,) = [row for row in rows if (row["step"], row["split"]) == (2, "val")]
    own |= {"loss": 7.5, "accuracy": 0.125}
    (tmp_path / "run/metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows if row is own))
    best, last = (json.loads(ptft("show", file, "--json").out)["metrics"] for file in files)
    assert best["test/accuracy"] == known["metrics"]["test"]["accuracy"]
    assert (last["val/loss"], last["val/accuracy"]) == (7.5, 0.125)
    assert last.keys() <= {name for name in best if name.startswith("val/")}
    found = json.loads(ptft("diff", *files, "--json").out)["metrics"]
    assert found["val/loss"] == {"a": best["val/loss"], "b": 7.5}
    assert found["test/accuracy"]["b"] is None
    (tmp_path / "run/metrics.jsonl").write_text("")
    assert json.loads(ptft("show", files[1], "--json").out)["metrics"] == {}
