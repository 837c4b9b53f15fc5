"""`train.processes`: real processes that ptft starts, told of signals, and their end."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from ptft.launch import ranks as launched
from tests.conftest import GLYPHS, NET, command, refused, rows, summary
from tests.helpers.processes import Process, python, run

RUN = (
    *("stage=pretrain", "device=cpu", "precision=fp32", "train.layout=contiguous", *GLYPHS, *NET),
    *("train.every.log=1", "train.every.save=1000", "objective.dropout=0.2", "train.processes=2"),
)
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["weights"]


def ranks():
    """Processes of runs that were started where the test stands; others may run tests too."""
    listed = [line.split(None, 1) for line in subprocess.run(["ps", "-wweo", "pid,args"], **PIPES).stdout.splitlines()]
    return [args for pid, args in listed if "launch.rank" in args and _stands_here(pid)]


def _stands_here(pid):
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", os.getcwd())
    except OSError:  # it has just ended, or there is no such folder on this system
        return not os.path.isdir("/proc/self")


def begun(folder, lines, process):
    metrics = folder / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text().count("\n") >= lines, process)


def until(there, process):
    while not there():
        time.sleep(0.01)
        assert process.poll() is None, process.communicate()


def test_files_that_can_not_be_read_count_once_and_leave_the_run_of_one_process(tmp_path):
    """Also where one of the processes can read none of its rows of a batch, and of the test split at the end."""
    pictures, noise = tmp_path / "pictures", random.Random(0)
    for split, count in (("train", 10), ("val", 2), ("test", 4)):
        for name, base in (("cat", 40), ("dog", 120)):
            (pictures / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = bytes(base + noise.randrange(90) for _ in range(16 * 16))
                Image.frombytes("L", (16, 16), pixels).save(pictures / split / name / f"{i}.png")
    for broken in ("train/cat/0.png", "train/cat/1.png", "train/dog/3.png", "test/dog/2.png"):
        (pictures / broken).write_text("no")
    typed = (
        "stage=pretrain",
        "dataset=image_folder",
        f"dataset.root={pictures}",
        "dataset.size=16",
        "dataset.cache=off",
    )
    typed = (*typed, *NET, "device=cpu", "train.batch_size=2", "train.epochs=2", "train.workers=1")
    found = []
    for count in (1, 2):
        said = run(command(*typed, f"train.processes={count}", f"hydra.run.dir=of{count}")).stdout
        assert said.count("unreadable and left out") == 2
        assert f"test: 1 of 8 files is unreadable and left out, {pictures / 'test' / 'dog' / '2.png'} the first" in said
        found.append(summary(tmp_path / f"of{count}"))
    for one in found:
        assert one["unreadable"] == {"train": 3, "test": 1}
        assert one["metrics"]["train"] == pytest.approx(found[0]["metrics"]["train"], rel=1e-5)
        assert one["metrics"]["test"] == pytest.approx(found[0]["metrics"]["test"], rel=1e-5)


def test_two_launches_at_once_and_a_stop_that_all_agree_on(tmp_path):
    """Each finds a port of its own; the one that is stopped goes on as if nothing was, the other with one process."""
    whole = Process(command(*RUN, "train.steps=30", "hydra.run.dir=whole", "--json"), **PIPES)
    cut = Process(command(*RUN, "train.steps=5000", "hydra.run.dir=cut"), **PIPES)
    begun(tmp_path / "cut", 4, cut)
    cut.send_signal(signal.SIGTERM)
    out, err = cut.communicate(timeout=60)
    assert cut.returncode == 143
    assert "ptft resume=cut" in err
    assert "Traceback" not in out + err
    step = rows(tmp_path / "cut")[-1]["step"]
    assert f"SIGTERM at step {step}" in err

    out, err = whole.communicate(timeout=60)
    assert whole.returncode == 0, err
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert (kinds[0], kinds[-1], kinds.count("row")) == ("plan", "result", len(rows(tmp_path / "whole")))
    status = json.loads((tmp_path / "whole" / "status.json").read_text())
    assert (status["status"], status["pid"]) == ("finished", whole.pid)
    assert not ranks()


def test_what_two_began_one_goes_on_with_and_what_one_began_two(tmp_path):
    common = (*RUN, "objective.dropout=0", "schedule=constant", "train.steps=12", "train.every.evaluate=6")
    assert run(command(*common, "train.processes=1", "hydra.run.dir=one")).returncode == 0
    for folder, processes in (("began_with_two", 2), ("began_with_one", 1)):
        done = run(command(*common, "train.steps=6", f"train.processes={processes}", f"hydra.run.dir={folder}"))
        assert done.returncode == 0, done.stderr
        resumed = run(command(f"resume={folder}", "train.steps=12", f"train.processes={3 - processes}"))
        assert resumed.returncode == 0, resumed.stderr
        assert f"goes on with {3 - processes}: the batches are the same" in resumed.stdout
        for name, value in weights(tmp_path / "one").items():
            torch.testing.assert_close(weights(tmp_path / folder)[name], value, rtol=1e-3, atol=1e-5)


LATE = """
import sys
from ptft.launch import ranks
from ptft.cli.main import main

ranks.START = '''
import os, time
from pathlib import Path
if os.environ["RANK"] in "LATE":
    Path("here").touch()
    while not Path("go").exists():
        time.sleep(0.01)
else:
    from ptft.distributed.group import Group
    join = Group.join
    Group.join = lambda: Path("joins").touch() or join()
''' + ranks.START
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("late", "begun"), [("0", "joins"), ("01", "here")])
def test_a_stop_before_all_processes_are_there(late, begun, tmp_path):
    """One of them waits in torch for the other; none is there yet."""
    code = LATE.replace("LATE", late)
    with Process([sys.executable, "-c", code, *RUN, "train.steps=5000", "hydra.run.dir=run"], **PIPES) as process:
        until((tmp_path / begun).exists, process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)  # told ten times a second
        (tmp_path / "go").touch()
        try:
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130, out + err
    assert out == ""
    assert err.startswith("ptft: interrupted outside of training (SIGINT)")
    assert err.count("\n") == 2, "and where the log is"
    assert not ranks()


ALONE = """
import sys
from ptft.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code
ours = [name for name in sys.modules if name.startswith("ptft.distributed.")]
torchs = ("elastic", "launcher", "run", "fsdp", "checkpoint", "tensor.parallel")
print([*ours, *(name for name in torchs if f"torch.distributed.{name}" in sys.modules)])
"""


def test_one_process_imports_nothing_of_several():
    done = python(ALONE, *RUN, "train.processes=1", "train.steps=2", "hydra.run.dir=alone")
    assert done.stdout.splitlines()[-1] == "[]", done


def test_what_several_processes_can_not_be_asked_for(ptft, tmp_path):
    (tmp_path / "conf" / "stage").mkdir(parents=True)
    own = "# @package _global_\nstage:\n  _target_: ptft.stages.train.run\nckpt: null\n"
    (tmp_path / "conf" / "stage" / "mine.yaml").write_text(own)
    refused(ptft(*RUN[1:], "stage=mine"), 2, "train.processes=2: stage=mine is done by one process")
    refused(ptft(*RUN, "train.batch_size=1"), 2, "train.processes=2", "train.batch_size=1")
    refused(ptft(*RUN, "train.cuda_graph=true"), 2, "train.cuda_graph", "train.processes=2")
    refused(ptft(*RUN, "device=cuda:1"), 2, "device=cuda:1", "train.processes=2")
    refused(ptft("stage=explain", "ckpt=x", "train.processes=2"), 2, "train.processes", "stage=explain")


@pytest.mark.parametrize(("codes", "named"), [((-15, -9), "1 of 2 was killed (SIGKILL)"), ((-9, -15), "0 of 2 was")])
def test_the_process_that_was_killed_is_named_and_not_one_that_the_launcher_ended(codes, named, tmp_path):
    found = launched._outcome(tmp_path, 2, dict(enumerate(codes)))
    assert found["message"].startswith(f"process {named}")
