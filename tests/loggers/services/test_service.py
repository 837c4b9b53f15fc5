"""A service that is slow, silent, broken or comes back, told by a process of its own: the run does not mind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptft.loggers.services.service import ServiceLogger
from ptft.loggers.services.teller import Refused
from tests.conftest import ROOT, SMALL, rows, status

HERE = "tests.loggers.services.test_service"


class Sink:
    """Writes what it takes into a file beside the run."""

    def __init__(self, warn):
        print("a library that prints")

    def open(self, run, known):
        self.file = Path(run["folder"]).with_name("taken.jsonl")
        self.write({"opened": known, "name": run["name"], "group": run["group"]})
        return known or "an id"

    def write(self, event):
        with self.file.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def take(self, events):
        for event in events:
            self.write(event)

    def end(self, status):
        self.write({"ended": status})


class Silent(Sink):
    def open(self, run, known):
        time.sleep(60)


class Dying(Sink):
    def open(self, run, known):
        os._exit(3)


class DyingLate(Sink):
    """Takes everything and dies of the end, when the run waits for it."""

    def end(self, status):
        os._exit(3)


class Back(Sink):
    """Refuses to be opened once, and takes nothing of a pair before it was tried again."""

    tries = 0

    def open(self, run, known):
        Back.tries += 1
        if Back.tries == 1:
            raise ConnectionError("nobody answers")
        return super().open(run, known)


class Picky(Sink):
    def take(self, events):
        raise Refused("no such project")


class Told(ServiceLogger):
    package, sink = "json", f"{HERE}:Sink"

    def __init__(self, **run):
        super().__init__({}, **run)


class ToldSilent(Told):
    sink = f"{HERE}:Silent"


class ToldDying(Told):
    sink = f"{HERE}:Dying"


class ToldDyingLate(Told):
    sink = f"{HERE}:DyingLate"


class ToldBack(Told):
    sink = f"{HERE}:Back"


class ToldPicky(Told):
    sink = f"{HERE}:Picky"


@pytest.fixture
def told(ptft, monkeypatch):
    """`told(NAME, *typed)`: a run with that logger, and how long it took."""
    monkeypatch.syspath_prepend(ROOT)

    def call(name, *typed, wait=10):
        chosen = f"+logger.mine={{_target_: {HERE}.{name}, wait: {wait}}}"
        began = time.monotonic()
        arguments = ("stage=pretrain", *SMALL, "train.every.log=5", f"trusted=[{HERE}]", chosen, "hydra.run.dir=run")
        done = ptft(*arguments, *typed)
        assert done.code == 0, done.text
        assert status(Path("run"))["status"] == "finished"
        return done, time.monotonic() - began

    return call


def taken():
    return [json.loads(line) for line in Path("taken.jsonl").read_text().splitlines()]


def steps(events):
    return [event["step"] for event in events if event.get("kind") == "row" and "train/loss" in event["metrics"]]


def test_every_row_is_taken_in_order_and_nothing_that_is_printed_is_seen(told):
    done, _ = told("Told")
    assert "prints" not in done.text
    assert "a library that prints" in Path("run/loggers/mine.log").read_text()
    events = taken()
    assert events[0] == {"opened": None, "name": "run", "group": None}
    assert steps(events) == [row["step"] for row in rows(Path("run")) if row["split"] == "train"]
    assert [event.get("kind") for event in events[-2:]] == ["summary", None]
    assert events[-1] == {"ended": "finished"}
    assert "logger.mine" not in done.text


def test_a_service_that_does_not_answer_at_all_is_waited_for_as_long_as_was_typed(told):
    done, seconds = told("ToldSilent", wait=1)
    assert done.text.count("logger.mine: not everything was taken 1 s after the end (logger.mine.wait); the run") == 1
    assert seconds < 20
    assert done.out.splitlines()[-1].startswith("next ")


def test_one_that_comes_back_misses_nothing_and_is_said_once(told):
    done, _ = told("ToldBack")
    assert done.text.count("logger.mine: nobody answers; the run goes on") == done.text.count("logger.mine") == 1
    assert steps(taken()) == [5, 10, 15, 20]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ToldDying", "its process ended"),
        ("ToldDyingLate", "its process ended"),
        ("ToldPicky", "refused (no such project)"),
    ],
)
def test_one_that_dies_or_refuses_is_said_once(told, name, said):
    done, _ = told(name)
    assert done.text.count(f"logger.mine: {said}") == done.text.count("logger.mine") == 1


def test_the_process_ends_when_its_run_was_killed_whatever_a_library_waits_for(tmp_path):
    begin = {"name": "mine", "sink": f"{HERE}:Silent", "options": {}, "run": {"folder": str(tmp_path)}}
    code = "from ptft.loggers.services import teller; teller.LAST = 0.2; teller.main()"
    (tmp_path / "loggers").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], input=json.dumps(begin), text=True, env=environment, timeout=30)
    assert run.returncode == 1


def test_jobs_of_a_sweep_share_a_group(told, ptft, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    chosen = f"+logger.mine={{_target_: {HERE}.Told}}"
    typed = ("stage=pretrain", *SMALL, f"trusted=[{HERE}]", chosen, "train.steps=2,3", "hydra.sweep.dir=sweep")
    assert ptft("-m", *typed).code == 0
    found = [json.loads(line) for line in Path("sweep/taken.jsonl").read_text().splitlines()]
    begun = [(event["name"], event["group"]) for event in found if "opened" in event]
    assert begun == [("sweep/0", "sweep"), ("sweep/1", "sweep")]
