"""Rows 55, 56 and 58: processes of a run that fail, are killed, leave or stand still; all are gone within seconds."""

import sys
import time

import pytest

from tests.conftest import FEW, NET, command
from tests.helpers.processes import Process, together
from tests.launch.test_ranks import PIPES, begun, ranks

RUN = (
    *("stage=pretrain", "device=cpu", "precision=fp32", *FEW, *NET, "train.steps=100000", "train.every.log=1"),
    *("train.every.evaluate=1000", "train.processes=2", "hydra.run.dir=run", "trusted=[failing]"),
)
CODE = """
import os
from ptft.errors import DataError
from ptft.objectives.supervised.classify import Classify

class Failing(Classify):
    def advance(self, step, steps):
        if step == 3 and os.environ["RANK"] == "1":
            END
"""
ENDS = {
    "raises": ("raise DataError('this one is broken')", 3, "ptft: process 1 of 2: this one is broken"),
    "leaves": ("os._exit(0)", 7, "ptft: process 1 of 2 left before the end (exit code 0)"),
    "is killed": ("os.kill(os.getpid(), 9)", 7, "ptft: process 1 of 2 was killed (SIGKILL)"),
}


@pytest.mark.parametrize("how", ENDS)
def test_row_55_a_process_that_ends_takes_the_others_with_it_and_its_cause_is_said(how, tmp_path):
    end, code, said = ENDS[how]
    (tmp_path / "failing.py").write_text(CODE.replace("END", end))
    with Process(command(*RUN, "objective._target_=failing.Failing"), **PIPES) as process:
        begun(tmp_path / "run", 2, process)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == code, out + err
    lines = [line for line in err.splitlines() if line.startswith("ptft: ")]
    assert lines[0].startswith(said)
    assert not ranks()
    assert said[6:] in (tmp_path / "run" / "run.log").read_text()


DOWNLOADS = """
import time
from pathlib import Path
from ptft.data.image import torchvision

def slow(dataset, root):
    with Path("downloads").open("a") as file:
        file.write("one\\n")
    time.sleep(0.3)
    torchvision.sample(root)

torchvision._download = slow
print(len(torchvision.Torchvision(name="mnist", root="data").split("train")))
"""


def test_row_57_of_two_processes_one_downloads_and_the_other_waits(tmp_path):
    ended = together([sys.executable, "-c", DOWNLOADS])
    assert [each.returncode for each in ended] == [0, 0], [each.stderr for each in ended]
    assert ended[0].stdout == ended[1].stdout
    assert (tmp_path / "downloads").read_text() == "one\n"


def test_row_56_a_process_that_loses_its_launcher_ends(tmp_path):
    (tmp_path / "failing.py").write_text(CODE.replace("END", "pass"))
    with Process(command(*RUN, "objective._target_=failing.Failing"), **PIPES) as process:
        begun(tmp_path / "run", 2, process)
        process.kill()
        process.communicate()
    began = time.monotonic()
    while ranks():
        assert time.monotonic() - began < 10
        time.sleep(0.05)


STARTS = """
import sys
from ptft.launch import ranks
from ptft.cli.main import main
ranks.STILL = 1.5
main(sys.argv[1:])
"""


def test_row_55_a_process_that_stands_still_is_ended_and_said(tmp_path):
    (tmp_path / "failing.py").write_text(CODE.replace("END", "os.kill(os.getpid(), 19)"))
    with Process([sys.executable, "-c", STARTS, *RUN, "objective._target_=failing.Failing"], **PIPES) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 7, out + err
    assert "ptft: process 1 of 2 gave no sign for" in err
    assert not ranks()
