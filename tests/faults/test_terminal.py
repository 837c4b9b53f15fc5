"""Row 64 of the table of faults, and its kin: whatever becomes of the terminal, a run and its exit code do not mind."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from ptft.runtime.terminal import Writer, visible
from tests.conftest import ROOT, command, refused, rows, status
from tests.helpers import processes
from tests.helpers.processes import Process

TINY = ("dataset.images=60", "dataset.held_out=20", "model.width=4", "model.channels=[2,2]", "device=cpu")
RUN = ("stage=pretrain", *TINY, "train.steps=3", "train.every.log=1", "hydra.run.dir=run")


def full():
    """On a disk without room."""
    return open("/dev/full", "w")


def unread():
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


def gone():
    """A terminal that was closed: of a lost connection, under nohup."""
    main, child = pty.openpty()
    os.close(main)
    return open(child, "w")


def closed():
    with open(os.devnull, "w") as stream:
        return stream


def nowhere():
    """As Python has it where the handle was closed before it began."""


def latin():
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


STREAMS = [full, unread, gone, closed, nowhere, latin]


@pytest.fixture
def said_on(ptft, monkeypatch):
    """`said_on(make, *arguments)` runs the command with both streams made by `make`; its exit code."""

    def call(make, *arguments):
        streams = make(), make()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", streams[0])
            patched.setattr(sys, "stderr", streams[1])
            code = ptft(*arguments).code
        for stream in streams:
            Writer(stream).close()
        return code

    return call


@pytest.mark.parametrize("make", STREAMS)
def test_row_64_a_training_goes_on_whatever_becomes_of_the_terminal(said_on, tmp_path, make):
    assert said_on(make, *RUN, f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert status(tmp_path / "run")["status"] == "finished"
    assert len([row for row in rows(tmp_path / "run") if row["split"] == "train"]) == 3
    assert "pretrain done" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.parametrize("make", STREAMS)
@pytest.mark.parametrize(("arguments", "code"), [(["optimizer.lr=1e20"], 6), (["modle=1"], 2), (["resume=nope"], 4)])
def test_a_failure_keeps_its_exit_code_whoever_reads_of_it(said_on, make, arguments, code):
    assert said_on(make, *RUN, *arguments) == code


@pytest.mark.parametrize("make", [full, unread])
def test_a_sweep_goes_on_whatever_becomes_of_the_terminal(said_on, tmp_path, make):
    sweep = ("-m", *RUN[:-1], "train.steps=1", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert said_on(make, *sweep) == 0
    assert [status(tmp_path / "sweep" / job)["status"] for job in "01"] == ["finished", "finished"]


@pytest.mark.parametrize("make", STREAMS)
@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["ls", "model"], ["--version"]])
def test_words_and_help_end_well_whoever_reads_them(said_on, make, arguments):
    assert said_on(make, *arguments) == 0


CLOSED = """
import atexit, os, sys
os.close(1)
sys.stdout = None  # as Python has it where the handle was closed before it began
atexit.register(lambda: print(os.path.samestat(os.fstat(1), os.stat(os.devnull)), end="", file=sys.stderr))
sys.argv = ["ptft", *sys.argv[1:]]
from ptft.cli.main import entry
entry()
"""


def test_a_standard_handle_that_is_closed_is_no_file_of_the_run():
    """The lowest free number goes to the next file that is opened, and into that everything would be printed."""
    done = processes.python(CLOSED, *RUN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "True")


def test_a_process_whose_standard_handles_are_closed_ends_with_its_code(tmp_path):
    line = " ".join(f"'{word}'" for word in command("modle=1"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", f"{line} >&- 2>&-"], env=environment, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_a_failed_run_whose_errors_nobody_reads_ends_with_its_code():
    with unread() as nobody, Process(command(*RUN, "optimizer.lr=1e20"), stdout=nobody, stderr=nobody) as running:
        assert running.wait(60) == 6


def test_a_name_commands_no_terminal(ptft, tmp_path):
    hostile = "a\x1b]0;title\x07\x9b31m\u202e:car:[red]"
    result = ptft(*RUN[:-1], f"hydra.run.dir={tmp_path / hostile}")
    assert result.code == 0, result.text
    shown = r"a\x1b]0;title\x07\x9b31m\u202e:car:[red]"
    assert shown in result.out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", result.text)
    assert shown in (tmp_path / hostile / "run.log").read_text()
    refused(ptft("stage=finetune", f"ckpt={hostile}x"), 4, shown)


def test_a_name_of_another_encoding_is_escaped_and_read_again(ptft, tmp_path):
    folder = os.fsdecode(bytes(tmp_path) + b"/caf\xe9")
    result = ptft(*RUN[:-1], f"hydra.run.dir={folder}")
    assert result.code == 0, result.text
    resumed = ptft(f"resume={folder}", "train.steps=4")
    assert resumed.code == 0, resumed.text
    assert r"caf\udce9" in resumed.out
    done = ptft("stage=finetune", f"ckpt={folder}", *TINY, "dataset=glyphs", "train.steps=1", "hydra.run.dir=tuned")
    assert done.code == 0, done.text
    assert folder in status(tmp_path / "tuned")["overrides"][1]


def test_control_characters_are_shown_and_lines_stay():
    assert visible("a\nb\tc\x1b\r\x85\u2028é данные") == "a\nb\tc" r"\x1b\r\x85\u2028" "é данные"
    assert visible("a\nb\tc", lines=False) == r"a\nb\tc"


@pytest.mark.parametrize(
    ("module", "typed", "extra"),
    [
        ("tensorboard", ["logger=tensorboard"], "pip install 'ptft[tensorboard]'"),
        ("wandb", ["logger=wandb"], "logger=wandb: needs the package wandb: pip install 'ptft[wandb]'"),
        ("trackio", ["logger=[trackio]"], "pip install 'ptft[trackio]'"),
        ("mlflow", ["logger=mlflow"], "pip install 'ptft[mlflow]'"),
        ("timm", ["model=timm", "model.name=resnet10t"], "pip install 'ptft[timm]'"),
    ],
)
def test_row_64_a_missing_extra_is_named_with_how_to_install_it(ptft, monkeypatch, module, typed, extra):
    monkeypatch.setitem(sys.modules, module, None)
    refused(ptft("stage=pretrain", *TINY[:2], "train.steps=1", "device=cpu", *typed), 2, extra)
