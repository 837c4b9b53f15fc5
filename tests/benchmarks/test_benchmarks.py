"""The benchmarks run; what they measure is for people to read."""

import sys

import pytest

from tests.benchmarks import unlabelled
from tests.benchmarks.common import Options
from tests.conftest import ROOT
from tests.helpers import processes


@pytest.mark.slow
def test_each_side_runs_and_the_table_says_how_they_compare(tmp_path):
    arguments = [sys.executable, "-m", "tests.benchmarks", "loop", "inputs", "--rounds", "1", "--images", "200"]
    done = processes.run(arguments, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "| bare loop |" in done.stdout
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| cache=memory |")]
    assert len(rows) == 1
    assert float(rows[0][-2]) > 1, "decoded images come faster than files"


def test_an_unknown_name_is_refused():
    arguments = [sys.executable, "-m", "tests.benchmarks", "lop"]
    done = processes.run(arguments, cwd=ROOT)
    assert done.returncode == 2
    assert "choose from survey" in done.stderr


def test_what_lightly_is_compared_in_says_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightly", None)
    said = unlabelled.run(Options(tmp_path, tmp_path, rounds=1, images=1, seeds=1))
    assert said.count("\n") == 1
    assert "pip install lightly" in said
