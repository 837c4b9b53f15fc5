"""`ptft.run`: a stage from Python, with its summary or its error."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import ptft as package
from ptft.config import yaml_files
from ptft.errors import CheckpointError, ConfigError, Interrupted
from tests.conftest import ROOT, SMALL, status, summary

NESTED = """
import ptft


def run(job, out, folder):
    typed = ("stage=evaluate", f"ckpt={job.config.ckpt}", "hydra.run.dir=inner", "quiet=true")
    return {"inside": ptft.run(*typed)["metrics"]["test"]["accuracy"]}
"""


def test_it_returns_the_summary_of_the_run(tmp_path):
    result = package.run("stage=pretrain", *SMALL, "hydra.run.dir=run", "quiet=true")
    assert result.pop("folder") == str(tmp_path / "run")
    assert result == summary(tmp_path / "run")
    again = package.run("resume=run")
    assert again["steps"] == 20
    measured = package.run("stage=evaluate", "ckpt=run", "hydra.run.dir=measured", "quiet=true")
    assert measured["metrics"]["test"]["accuracy"] == pytest.approx(result["metrics"]["test"]["accuracy"])


def test_a_dry_run_has_no_folder(tmp_path):
    assert package.run("stage=pretrain", *SMALL, "dry_run=true")["folder"] is None
    assert not list(tmp_path.iterdir())


def test_errors_are_raised_as_they_are_and_not_printed(monkeypatch, capfd):
    with pytest.raises(ConfigError, match=r"train\.stesp"):
        package.run("stage=pretrain", "train.stesp=3")
    with pytest.raises(CheckpointError, match="nowhere"):
        package.run("stage=finetune", "ckpt=nowhere")
    with pytest.raises(ConfigError, match="seed: a sweep is run by the command"):
        package.run("stage=pretrain", "seed=0,1")
    with pytest.raises(ConfigError, match="at least 2 are needed"):
        package.run("stage=pretrain", *SMALL, "dataset.classes=[0]")
    assert "ptft:" not in "".join(capfd.readouterr())
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("KILL_AT", "SIGTERM step 5")
    cut = ("objective._target_=tests.helpers.self_killing.SelfKilling", "trusted=[tests.helpers.self_killing]")
    with pytest.raises(Interrupted) as ended:
        package.run("stage=pretrain", *SMALL, *cut, "hydra.run.dir=cut")
    assert ended.value.exit_code == 143


def test_runs_of_several_threads_are_done_one_after_the_other_and_learn_what_they_learn_alone(capfd):
    def trained(folder):
        typed = ("precision=fp32", "dataset.views.rotate=10", "train.steps=3", f"hydra.run.dir={folder}")
        package.run("stage=pretrain", *SMALL, "train.every.evaluate=3", *typed, "quiet=true")
        return torch.load(f"{folder}/checkpoints/last.pt", weights_only=True)["weights"]

    alone = trained("alone")
    with ThreadPoolExecutor(2) as threads:
        beside = list(threads.map(trained, ("first", "second")))
    for weights in beside:
        assert all(torch.equal(weights[name], value) for name, value in alone.items())
    assert capfd.readouterr().err.count("waits for another one of this process") == 1


def test_models_are_loaded_by_several_threads_and_beside_a_run_that_draws(pretrained):
    before = torch.get_rng_state()
    answers = package.load(pretrained).features(torch.zeros(1, 28, 28))
    assert torch.equal(before, torch.get_rng_state())
    with ThreadPoolExecutor(4) as threads:
        models = list(threads.map(package.load, [pretrained] * 6))
    assert all(torch.equal(model.features(torch.zeros(1, 28, 28)), answers) for model in models)
    assert yaml_files._seen.get() is None


def test_a_stage_of_ones_own_runs_another(tmp_path, pretrained, monkeypatch):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "twice.py").write_text(NESTED)
    monkeypatch.syspath_prepend(tmp_path)
    typed = ("stage=evaluate", "stage._target_=stages.twice.run", "trusted=[stages]", f"ckpt={pretrained}")
    assert package.run(*typed, "hydra.run.dir=outer", "quiet=true")["folder"] == str(tmp_path / "outer")
    assert status(tmp_path / "outer")["inside"] == summary(tmp_path / "inner")["metrics"]["test"]["accuracy"]
