"""Several loggers as one: a service that fails ends no training."""

import pytest

from ptft.loggers.logger import Logger, Loggers
from tests.conftest import ROOT, SMALL, refused, rows, status


class Remembers(Logger):
    def __init__(self):
        self.told = []

    def log(self, row):
        self.told.append(row["step"])

    def warn(self, text):
        self.told.append(text)


class Gone(Remembers):
    """A service that is there for one row."""

    def log(self, row):
        if self.told:
            raise ConnectionError("nobody\nanswers")
        super().log(row)


def test_a_chosen_logger_that_fails_is_told_no_more_and_it_is_said_once():
    ours, gone, other = Remembers(), Gone(), Remembers()
    loggers = Loggers(ours, others=[gone, other])
    for step in (1, 2, 3):
        loggers.log({"step": step})
    assert gone.told == [1]
    said = "Gone failed (ConnectionError: nobody); the run goes on without it"
    assert ours.told == [1, said, 2, 3] or ours.told == [1, 2, said, 3]
    assert sorted(map(str, other.told)) == sorted(map(str, ours.told))


def test_a_bug_of_ours_is_no_matter_of_a_service():
    loggers = Loggers(Gone(), others=[Remembers()])
    loggers.log({"step": 1})
    with pytest.raises(ConnectionError):
        loggers.log({"step": 2})


class Leaves(Gone):
    """The same, as a logger that a configuration names."""


def test_a_run_goes_on_without_a_service_that_is_gone(ptft, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    chosen = ("+logger.mine={_target_: tests.loggers.test_logger.Leaves}", "trusted=[tests.loggers.test_logger]")
    result = ptft("stage=pretrain", *SMALL, "train.every.log=5", *chosen, f"hydra.run.dir={tmp_path / 'run'}")
    assert result.code == 0, result.text
    assert result.out.count("Leaves failed (ConnectionError: nobody); the run goes on without it") == 1
    assert status(tmp_path / "run")["status"] == "finished"
    assert [row["step"] for row in rows(tmp_path / "run") if row["split"] == "train"] == [5, 10, 15, 20]


NOTES = """
from ptft.loggers.logger import Logger

class Notes(Logger):
    def __init__(self, folder, name="notes"):
        self.path = folder / name

    def log(self, row):
        self.path.touch()
"""


def test_options_of_a_logger_that_is_chosen_on_a_resume_are_heeded(ptft, tmp_path):
    (tmp_path / "notes_of_mine.py").write_text(NOTES)
    (tmp_path / "conf" / "logger").mkdir(parents=True)
    lines = ["# @package logger.notes", "_target_: notes_of_mine.Notes", "name: notes", ""]
    (tmp_path / "conf" / "logger" / "notes.yaml").write_text("\n".join(lines))
    assert ptft("stage=pretrain", *SMALL, "hydra.run.dir=run").code == 0
    chosen = ("resume=run", "train.steps=22", "trusted=[notes_of_mine]", "logger=notes")
    refused(ptft(*chosen, "logger.notes.nam=other"), 2, "logger.notes.nam: there is no such key")
    assert ptft(*chosen, "logger.notes.name=other").code == 0
    assert (tmp_path / "run" / "other").exists()
