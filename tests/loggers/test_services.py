"""`logger=mlflow`, `wandb` and `trackio`: the curves of metrics.jsonl, a resume too; services that are gone."""

import json
import sqlite3
import time

import pytest

from tests.conftest import SMALL, rows, status, summary

USUAL = ("stage=pretrain", *SMALL, "train.every.log=5", "hydra.run.dir=run")


def known(folder, name):
    """The id under which a service knows a run."""
    return json.loads((folder / "loggers" / f"{name}.json").read_text())["id"]


def curves(folder):
    """What metrics.jsonl holds of the splits that are drawn, by the curves' names."""
    found = {}
    for row in rows(folder):
        for name in ("loss", "accuracy"):
            found.setdefault(f"{row['split']}/{name}", []).append((row["step"], pytest.approx(row[name])))
    return found


def of_trackio(database, run):
    found = {}
    with sqlite3.connect(database) as connection:
        query = "select step, metrics from metrics where run_name = ? order by step, id"
        for step, metrics in connection.execute(query, (run,)).fetchall():
            for name, value in json.loads(metrics).items():
                found.setdefault(name, []).append((step, value))
    return found


def test_wandb_without_login_and_trackio_draw_what_a_run_says_and_trackio_goes_on_on_a_resume(
    ptft, tmp_path, monkeypatch
):
    for package in ("wandb", "trackio"):
        pytest.importorskip(package)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    done = ptft(*USUAL, "logger=[wandb,trackio]", "logger.trackio.project=mine")
    assert done.code == 0, done.text
    run = tmp_path / "run"
    assert done.text.count("logger.wandb: nobody is logged in (wandb login), so it is kept in") == 1
    assert "logger.trackio" not in done.text
    ours = known(run, "trackio")
    assert ptft("resume=run", "train.steps=25", "logger=trackio", "logger.trackio.project=mine").code == 0
    assert known(run, "trackio") == ours
    drawn, expected = of_trackio(tmp_path / "trackio" / "mine.db", ours), curves(run)
    assert drawn["val/loss"] == expected["val/loss"]
    assert drawn["train/accuracy"] == expected["train/accuracy"]
    assert [name for name in drawn if name.startswith("confusion")] == ["confusion/val", "confusion/test"]
    (kept,) = (run / "loggers" / "wandb").glob(f"offline-run-*-{known(run, 'wandb')}")
    assert b"val/accuracy" in (kept / f"run-{known(run, 'wandb')}.wandb").read_bytes()
    assert list((kept / "files" / "media" / "images" / "predictions").glob("test_*.png"))


def of_mlflow(folder, name):
    """Of the one run in a store of files: its id and the points of a curve."""
    (file,) = folder.glob(f"*/*/metrics/{name}")
    points = [line.split() for line in file.read_text().splitlines()]
    return file.parents[2].name, [(int(step), float(value)) for _, value, step in points]


def test_a_server_of_mlflow_that_is_gone_costs_nothing_but_its_curves_and_may_come_back(ptft, tmp_path):
    pytest.importorskip("mlflow")
    began = time.monotonic()
    done = ptft(*USUAL, "logger=mlflow", "logger.mlflow.uri=http://127.0.0.1:9")
    assert done.code == 0, done.text
    assert time.monotonic() - began < 25
    gone = (
        "logger.mlflow: http://127.0.0.1:9 does not answer (Connection refused), which is tried again; the run goes on"
    )
    assert done.text.count(gone) == done.text.count("logger.mlflow") == 1
    assert done.out.splitlines()[-1].startswith("next ")
    run = tmp_path / "run"
    assert status(run)["status"] == "finished"
    assert summary(run)["steps"] == 20
    assert ptft("resume=run", "train.steps=24", "logger=mlflow", "logger.mlflow.uri=store").code == 0
    id = known(run, "mlflow")
    assert ptft("resume=run", "train.steps=28", "logger=mlflow", "logger.mlflow.uri=store").code == 0
    assert known(run, "mlflow") == id
    point = of_mlflow(tmp_path / "store", "val/loss")
    assert point == (id, [pair for pair in curves(run)["val/loss"] if pair[0] > 20])
    (artifacts,) = (tmp_path / "store").glob("*/*/artifacts")
    assert {"confusion_test.png", "predictions_test.md", "predictions_test.png"} <= {
        f.name for f in artifacts.iterdir()
    }
