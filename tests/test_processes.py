"""A forked process is what `python -m ptft` is: code, output, files, weights, signals."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from tests.conftest import FEW, NET, ROOT, command
from tests.helpers import processes
from tests.helpers.processes import Process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every process starts as ever")


def both(tmp_path, *arguments, **environment):
    """What a command says and leaves, started and forked, each in a folder of its own."""
    found = []
    for way, run in (("started", subprocess.run), ("forked", processes.run)):
        (tmp_path / way).mkdir()
        options = {"capture_output": True, "text": True} if way == "started" else {}
        more = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        done = run(command(*arguments), cwd=tmp_path / way, env=more, **options)
        said = [text.replace(str(tmp_path / way), "FOLDER") for text in (done.stdout, done.stderr)]
        said = [re.sub(r"^  training .*$", "", text, flags=re.MULTILINE) for text in said]  # time and memory
        files = sorted(str(path.relative_to(tmp_path / way)) for path in (tmp_path / way).rglob("*"))
        found.append((done.returncode, *said, files))
    return found


def test_a_run_is_the_same(tmp_path):
    started, forked = both(tmp_path, "stage=pretrain", *FEW, *NET, "train.steps=4", "hydra.run.dir=run", "quiet=true")
    assert started[0] == 0, started
    assert started == forked
    last = [checkpoint_file.read(tmp_path / way / "run/checkpoints/last.pt")[0] for way in ("started", "forked")]
    assert last[0]["weights"].keys() == last[1]["weights"].keys()
    assert all(torch.equal(value, last[1]["weights"][name]) for name, value in last[0]["weights"].items())
    assert last[0]["config"] == last[1]["config"]


def test_a_mistake_is_the_same(tmp_path):
    started, forked = both(tmp_path, "modle=1")
    assert started == forked
    assert started[0] == 2


SHOWS = """
import os, random, sys
print(os.getpid(), os.getppid(), os.getpgrp(), sys.argv, sys.path[0] == "", __name__, os.getcwd(), sys.stdin.read())
print(random.random(), os.environ.get("KILL_AT"), os.environ.get("COLUMNS"), file=sys.stderr)
"""


def test_it_is_a_child_with_its_own_handles_folder_environment_and_randomness(tmp_path):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    said = []
    for _ in range(2):
        with Process(
            [sys.executable, "-c", SHOWS, "a", "b"], cwd=tmp_path, env={"KILL_AT": "x"}, text=True, **pipes
        ) as process:
            out, err = process.communicate("typed\n")
        shown = f"{process.pid} {os.getpid()} {os.getpgrp()} ['-c', 'a', 'b'] True __main__ {tmp_path} typed\n\n"
        assert (process.returncode, out) == (0, shown), err
        said.append(err)
        assert err.endswith(f" x {os.environ.get('COLUMNS')}\n")
    assert said[0] != said[1]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_it_ends_by_a_signal(name):
    code = "import time; print('here', flush=True); time.sleep(60)"
    with Process([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"here\n"
        process.send_signal(number := getattr(signal, name))
        assert process.wait(20) == -number


def test_what_a_fork_can_not_have_is_started():
    plain = "import os; print(os.getpid() == os.getsid(0), open('/proc/self/cmdline').read().count('fork_server'))"
    assert processes.python(plain).stdout == "False 1\n"
    shows = "import os; print(os.environ.get('PYTHONUTF8'), os.getsid(0) == os.getpid())"
    assert processes.python(shows, env={"PYTHONUTF8": "1"}).stdout == "1 False\n"
    with Process([sys.executable, "-c", shows], start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.communicate()[0] == b"None True\n"
