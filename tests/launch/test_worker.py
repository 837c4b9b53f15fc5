"""A process that does jobs for another one, which may be gone when it answers."""

import json
import subprocess
import sys
import time

from ptft.launch.pool import START
from tests.conftest import status
from tests.helpers.processes import Process

TINY = ["stage=pretrain", "dataset.images=60", "dataset.held_out=20", "model.width=4", "model.channels=[2,2]"]


def test_a_worker_whose_owner_was_killed_saves_and_ends_without_a_word(tmp_path):
    """Its output has no reader and its input ends, as after `kill -9` of a comparison."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    worker = [sys.executable, "-c", START]
    with Process(worker, cwd=tmp_path, text=True, **pipes) as running:
        overrides = [*TINY, "train.steps=1000000", "train.every.log=1"]
        task = {"overrides": overrides, "description": {"identity": "1"}, "folder": str(tmp_path / "run")}
        running.stdin.write(json.dumps(task) + "\n")
        running.stdin.flush()
        while not (tmp_path / "run" / "metrics.jsonl").exists():
            time.sleep(0.05)
            assert running.poll() is None, running.stderr.read()
        running.stdout.close()
        running.stdin.close()
        assert running.wait(60) == 0
        assert running.stderr.read() == ""
    assert status(tmp_path / "run")["status"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()
