"""`ptft.run`: a stage from Python, with its summary or its error."""

import pytest

import ptft as package
from ptft.errors import CheckpointError, ConfigError, Interrupted
from tests.conftest import ROOT, SMALL, summary


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
