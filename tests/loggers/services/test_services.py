"""`logger=mlflow`, `wandb` and `trackio`: the curves of metrics.jsonl, a resume too; services that are gone."""

import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, SMALL, rows, status, summary

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


def test_wandb_without_login_and_trackio_draw_what_a_run_says(ptft, tmp_path, monkeypatch):
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
    drawn, expected = of_trackio(tmp_path / "trackio" / "mine.db", known(run, "trackio")), curves(run)
    assert drawn["val/loss"] == expected["val/loss"]
    assert drawn["train/accuracy"] == expected["train/accuracy"]
    assert [name for name in drawn if name.startswith("confusion")] == ["confusion/val", "confusion/test"]
    (kept,) = (run / "loggers" / "wandb").glob(f"offline-run-*-{known(run, 'wandb')}")
    assert b"val/accuracy" in (kept / f"run-{known(run, 'wandb')}.wandb").read_bytes()
    assert list((kept / "files" / "media" / "images" / "predictions").glob("test_*.png"))


def test_a_server_of_mlflow_that_is_gone_costs_nothing_but_its_curves(ptft, tmp_path):
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
    assert status(tmp_path / "run")["status"] == "finished"
    assert (summary(tmp_path / "run")["steps"], len(rows(tmp_path / "run"))) == (20, 7)


TWICE = """
import base64, sys
from ptft.loggers.mlflow import MlflowSink
from ptft.loggers.pictures import matrix
from ptft.loggers.wandb import TrackioSink

run = {"name": "a run", "group": "a sweep", "folder": ".", "config": {"optimizer": {"lr": 0.1}}, "step": 0}
for make in (lambda: MlflowSink("store", "mine", print), lambda: TrackioSink("mine", print, space=None)):
    known = None
    for begin in (1, 2):
        sink = make()
        known = sink.open(run, known)
        for step in (begin, begin + 1):
            metrics = {"lr": 0.1, "val/loss": step / 8, "epoch": 1}
            sink.take([{"kind": "row", "step": step, "metrics": metrics, "held_out": False}])
        png = base64.b64encode(matrix(["a"], ["a"], [[1]])).decode()
        sink.take([{"kind": "picture", "name": "confusion/val", "png": png, "step": 3}])
        sink.end("finished" if begin == 2 else "cut")
    print("known as", known, file=sys.stderr)
"""
"""Two parts of a run, the second of which begins before the first was cut, as one does that was killed."""


def test_mlflow_and_trackio_go_on_in_the_same_curves(tmp_path):
    for package in ("mlflow", "trackio"):
        pytest.importorskip(package)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRACKIO_DIR": str(tmp_path / "trackio")}
    done = subprocess.run([sys.executable, "-c", TWICE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ids = [line.split(maxsplit=2)[2] for line in done.stderr.splitlines() if line.startswith("known as")]
    (file,) = tmp_path.glob("store/*/*/metrics/val/loss")
    points = [tuple(map(float, line.split()[1:])) for line in file.read_text().splitlines()]
    assert (file.parents[2].name, sorted(set(points))) == (ids[0], [(0.125, 1), (0.25, 2), (0.375, 3)])
    assert (file.parents[2] / "params" / "optimizer.lr").read_text() == "0.1"
    assert (file.parents[2] / "tags" / "group").read_text() == "a sweep"
    assert (file.parents[2] / "artifacts" / "confusion_val.png").is_file()
    drawn = of_trackio(tmp_path / "trackio" / "mine.db", ids[1])
    assert sorted(set(drawn["val/loss"])) == [(1, 0.125), (2, 0.25), (3, 0.375)]
