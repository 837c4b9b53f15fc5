"""`make gpu` where there is no GPU: what it says, and that its checks, its file and its table work on a CPU."""

import json
from pathlib import Path

import pytest
import torch

from tests.gpu import __main__ as gpu
from tests.gpu import setting


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_it_says_what_it_would_do(capsys, no_gpu, tmp_path):
    assert gpu.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("no GPU here")
    assert not [name for name in gpu.ALL if f"  {name} " not in said]
    assert not (tmp_path / "gpu.json").exists()


def test_what_needs_no_gpu_runs_on_a_cpu(capsys, tmp_path):
    names = ["waits", "prefetch", "not_finite", "memory", "cut", "cifar10_fast", "speed"]
    assert gpu.main(["--device", "cpu", *names]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())["checks"]
    outcomes = {name: {case["outcome"] for case in found[name].values()} for name in names}
    assert outcomes == {
        "waits": {"skipped"},
        "prefetch": {"passed"},
        "not_finite": {"passed"},
        "memory": {"skipped"},
        "cut": {"passed"},
        "cifar10_fast": {"passed", "skipped"},
        "speed": {"passed"},
    }
    said = capsys.readouterr().out
    assert "| not_finite | cnn | infinite at step 15, last saved at 10 |" in said
    assert f"| {next(iter(gpu.speed.CASES))} | by hand | " in said


def test_losses_and_gradients_beside_float64():
    said = gpu.ALL["agreement"].of(setting.Setting(torch.device("cpu"), None), "audio_cnn")
    assert said.startswith("CPU loss ")


def test_a_task_is_trained_cut_and_measured_on_both():
    said = gpu.ALL["tasks"].of(setting.Setting(torch.device("cpu"), Path("work").absolute()), "regress")
    assert said.startswith("cut and continued bit-equal, twice the same 0e+00; loss ")


def test_every_objective_is_one_of_the_tasks():
    named = {path.stem for path in (setting.ROOT / "conf/objective").glob("[a-z]*.yaml")} - {"from_ckpt"}
    assert named <= set(gpu.ALL["tasks"].cases)


def test_what_is_wrong_is_said_and_ends_with_1(capsys, tmp_path):
    assert gpu.main(["--device", "cpu", "--root", str(tmp_path), "cifar10_fast"]) == 1
    said = capsys.readouterr().out
    assert "| cifar10_fast | false | **failed**: AssertionError: ptft stage=pretrain" in said


def test_tensors_that_differ_are_apart():
    one = [torch.ones(3), torch.zeros(2)]
    assert setting.distance(one, one) == 0
    assert setting.distance([torch.ones(3) * 1.5, torch.zeros(2)], one) == pytest.approx(0.5)
