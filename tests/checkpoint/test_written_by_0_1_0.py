"""Checkpoints written by ptft 0.1.0 are still used as that version used them.

`written_by_0_1_0/` holds runs that it made, finished ones and ones that SIGTERM ended, a `./conf` of `ptft cp`, inputs,
and in `expected*` what that same version then measured, predicted and ended in when it resumed them. Two things have
changed since: of evaluations whose metric is equal that with the least loss is the best (`speech`: step 20, not 16);
and what is hidden of recordings is drawn by each one's own key, so that several processes hide what one does
(`masked_audio`: goes on, with other masks).
"""

import hashlib
import json
import platform
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import refused, rows, status, summary, transfer

OLD = Path(__file__).parent / "written_by_0_1_0"
EXPECTED = json.loads((OLD / "expected.json").read_text())
FINISHED = ("entities", "image", "questions", "sentences", "voice")
CUT = sorted(EXPECTED["runs"].keys() - set(FINISHED))
DATA = {"entities": "conll", "questions": "squad", "sentences": "table"}
INPUTS = {
    "image": ("best", "digit_*.png"),
    "sentences": ("best", "lines.txt"),
    "entities": ("best", "lines.txt"),
    "questions": ("best", "questions.json"),
    "voice": ("best", "tone_*.wav"),
    "speech": ("last", "tone_*.wav"),
    "language": ("last", "lines.txt"),
}


@pytest.fixture(autouse=True)
def _as_many_threads_as_then():
    before = torch.get_num_threads()
    torch.set_num_threads(EXPECTED["machine"]["threads"])
    yield
    torch.set_num_threads(before)


def machine() -> dict[str, str | int]:
    """What decides the last bits of a result."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    kind = [line.split(":")[-1].strip() for line in lines if line.startswith(("vendor_id", "cpu family", "model\t"))]
    return {
        "cpu": " ".join([torch.backends.cpu.get_cpu_capability(), *kind[:3]]),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def digest(*values) -> str:
    """Of all tensors and plain values, but for the time it took and what that version did not note."""
    found = hashlib.sha256()

    def add(value):
        if isinstance(value, torch.Tensor):
            found.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value.keys() - {"seconds", "waited", "best_loss", "trained"}, key=str):
                found.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for inner in value:
                add(inner)
        else:
            found.update(repr(value).encode())

    for value in values:
        add(value)
    return found.hexdigest()


def close(found, expected):
    """Numbers up to the rounding of another machine, everything else as it is."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            close(found[key], expected[key])
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-2, abs=1e-3)
    else:
        assert found == expected


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Where the runs lie that were continued at once."""
    return tmp_path_factory.mktemp("ends")


@pytest.fixture
def continued(ptft, ends):
    """`continued(name)` is the folder of a run that was cut and continued at once; read it, don't change it."""

    def run(name):
        folder = ends / name
        if not folder.exists():
            shutil.copytree(OLD / name, folder)
            done = ptft(f"resume={folder}")
            assert done.code == 0, done.text
        return folder

    return run


@pytest.mark.parametrize("name", CUT)
def test_a_run_in_mid_training_is_continued_to_the_same_end(continued, name):
    run = continued(name)
    expected = EXPECTED["runs"][name]
    content = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    found = {key: content["progress"][key] for key in ("step", "best_step")}
    assert found == {key: expected[key] for key in found}
    if name == "masked_audio":
        loss, then = (measured["val"]["loss"] for measured in (summary(run)["metrics"], expected["metrics"]))
        assert loss == pytest.approx(then, rel=0.1)
        return
    close(summary(run)["metrics"], expected["metrics"])
    weights = load_file(OLD / "expected" / f"{name}.safetensors")
    assert content["weights"].keys() == weights.keys()
    for key, value in weights.items():
        apart = torch.linalg.vector_norm((content["weights"][key] - value).double()) / value.numel() ** 0.5
        assert apart < 1e-3 + 1e-2 * value.double().square().mean().sqrt(), key  # other processors, other last digits
    state = content["training"]
    if name == "language":
        assert state["progress"]["best"] == pytest.approx(expected["best"], rel=1e-6)
        state["progress"]["best"] = expected["best"]  # losses of an evaluation are added in another order since
        del state["average"]["total"]  # which that version did not note
    if machine() == EXPECTED["machine"]:
        assert digest(content["weights"], state) == expected["digest"]


@pytest.mark.parametrize("name", ["ema", "lora"])
def test_where_it_was_cut_makes_no_difference(ptft, continued, tmp_path, monkeypatch, name):
    """On every machine: continued at once or with one more stop, the end is equal to the bit."""
    once, twice = continued(name), shutil.copytree(OLD / name, tmp_path / name)
    half = status(twice)
    step = torch.load(twice / "checkpoints" / "last.pt", weights_only=True)["progress"]["step"] + 4
    assert half["status"] == "interrupted"
    stop_at(monkeypatch, step)
    assert ptft(f"resume={twice}").code == 143
    monkeypatch.undo()
    assert ptft(f"resume={twice}").code == 0
    ends = [torch.load(run / "checkpoints" / "last.pt", weights_only=True) for run in (once, twice)]
    assert digest(ends[0]["weights"], ends[0]["training"]) == digest(ends[1]["weights"], ends[1]["training"])
    assert len(rows(once)) == len(rows(twice))


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_measures_what_it_did(ptft, tmp_path, name):
    split = "test" if "test" in EXPECTED["runs"][name]["metrics"] else "val"
    where = [f"dataset.root={OLD / 'data' / DATA[name]}"] if name in DATA else []
    done = ptft("stage=evaluate", f"ckpt={OLD / name}", f"split={split}", *where, "hydra.run.dir=measured")
    assert done.code == 0, done.text
    close(summary(tmp_path / "measured")["metrics"][split], EXPECTED["runs"][name]["metrics"][split])


@pytest.mark.parametrize("name", INPUTS)
def test_its_answers_are_what_they_were(ptft, tmp_path, name):
    file, inputs = INPUTS[name]
    options = ["generate.temperature=0", "generate.length=12"] if name == "language" else []
    ckpt = OLD / name / "checkpoints" / f"{file}.pt"
    done = ptft("stage=predict", f"ckpt={ckpt}", f"input={OLD / 'inputs' / inputs}", *options, "output=answers.jsonl")
    assert done.code == 0, done.text
    found, expected = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (tmp_path / "answers.jsonl", OLD / "expected" / f"{name}.jsonl")
    )
    assert len(found) == len(expected)
    for row, old in zip(found, expected, strict=True):
        row["path"] = Path(row["path"]).name
        close({column: row[column] for column in old}, old)  # there may be more


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("image", ["dataset=digits", "dataset.limit=40"]),
        ("mae", ["dataset=digits", "dataset.limit=40", "finetune.train=last:1"]),
        ("lora/checkpoints/last.pt", ["dataset=digits", "dataset.limit=40", "finetune.lora.rank=2"]),
        ("text", ["dataset=table", f"dataset.root={OLD / 'data' / 'table'}"]),
        ("sentences", ["dataset=conll", f"dataset.root={OLD / 'data' / 'conll'}", "objective=tag"]),
        ("masked_audio/checkpoints/last.pt", ["dataset=tones", "dataset.count=40", "dataset.held_out=10"]),
        ("speech/checkpoints/last.pt", ["dataset=tones", "dataset.count=40", "dataset.held_out=10"]),
    ],
)
def test_a_new_task_starts_from_it(ptft, tmp_path, name, task):
    done = ptft("stage=finetune", f"ckpt={OLD / name}", *task, "train.steps=2", "hydra.run.dir=tuned")
    assert done.code == 0, done.text
    assert transfer(tmp_path / "tuned")["loaded"]["parameters"] > 0
    assert not transfer(tmp_path / "tuned")["resized"]["tensors"]


@pytest.mark.parametrize(
    "typed",
    [
        ["stage=pretrain", "model=cnn", "model.channels=[4,8]", "model.width=16", "dataset=digits", "optimizer=muon"],
        [
            "stage=finetune",
            "ckpt=null",
            "model=vit_tiny",
            "model.depth=1",
            "model.width=48",
            "objective=dino",
            "dataset=digits",
        ],
        [
            "stage=pretrain",
            "model=gpt_tiny",
            "model.depth=1",
            "model.width=32",
            "model.heads=2",
            "dataset=grammar",
            "dataset.sentences=100",
            "dataset.held_out=20",
            "objective=causal_lm",
        ],
        [
            "stage=pretrain",
            "model=conformer_small",
            "model.depth=1",
            "model.width=32",
            "dataset=tones",
            "dataset.count=20",
            "dataset.held_out=10",
            "dataset.words=[1,2]",
            "objective=ctc",
        ],
    ],
)
def test_configs_copied_then_are_read(ptft, tmp_path, typed):
    shutil.copytree(OLD / "conf", tmp_path / "conf")
    done = ptft(*typed, "train.batch_size=4", "dry_run=true")
    assert done.code == 0, done.text
    assert "win over ptft's own" in done.out


def test_the_files_are_small_and_name_no_machine():
    files = [path for path in OLD.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    for path in files:
        content = path.read_bytes()
        assert not [word for word in (b"/home/", b"/root/", b"/work/", b"/Users/") if word in content], path


def stop_at(monkeypatch, step: int) -> None:
    """Send this process SIGTERM after the optimizer step of that number."""
    import os
    import signal

    from ptft.loggers.console import ConsoleLogger

    told = ConsoleLogger.step

    def then_stop(self, number):
        told(self, number)
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ConsoleLogger, "step", then_stop)


def test_what_it_never_wrote_is_refused(ptft, tmp_path):
    """The names that moved are a table, not a way around the check of what a configuration may name."""
    run = shutil.copytree(OLD / "mae", tmp_path / "mae")
    content = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    content["config"]["model"]["_target_"] = "ptft.cli.main.os.system"
    from ptft.checkpoint import file as checkpoint_file

    checkpoint_file.write(
        run / "checkpoints" / "last.pt", {k: v for k, v in content.items() if k not in ("format", "version")}
    )
    refused(ptft("stage=evaluate", f"ckpt={run / 'checkpoints' / 'last.pt'}"), 2, "ptft.cli.main.os.system")
