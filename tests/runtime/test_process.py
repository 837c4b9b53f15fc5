"""The process: what it imports before it can say something, what it keeps, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptft.data.image import torchvision
from ptft.runtime import process
from tests.conftest import FEW, NET, ROOT, summary
from tests.helpers import processes

FAULTS = """
import resource
from ptft.runtime import process
process.start()
import torch
from torch import nn
net, x = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()), torch.randn(8, 1, 28, 28)
def faults():
    for step in range(10):
        if step == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        net(x).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), process.keep_freed_memory(), faults())
"""


def started(code: str, *arguments: str) -> str:
    """What a process says that nobody imported anything for."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_a_block_that_every_step_frees_is_not_fetched_from_the_system_again():
    usual, kept, faults = started(FAULTS).split()
    assert kept == "True"
    assert 2 * int(faults) < int(usual)


QUICK = [
    [],
    ["--help"],
    ["--version"],
    ["--info"],
    ["ls"],
    ["-sc", "query=bash"],
    ["stage=finetune"],
    ["stage=pretrain", "optimzer.lr=1"],
    ["stage=pretrain", "--cfg", "job"],
]
EACH = """
import json, sys
from ptft.cli.main import main
imported = []
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit:
        pass
    imported.append(sorted(sys.modules))
print("", json.dumps(imported), sep=chr(10))
"""


def test_what_runs_nothing_imports_nothing_heavy(monkeypatch):
    """That is what makes quick answers quick; one process gives them all, so that each shows what it adds."""
    monkeypatch.setenv("COMP_LINE", "ptft mo")
    monkeypatch.setenv("COMP_POINT", "7")
    imported = json.loads(started(EACH, json.dumps(QUICK)).splitlines()[-1])
    heavy = {"torch", "torchvision", "numpy", "rich", "sklearn", "matplotlib", "PIL", "scipy"}
    for arguments, modules in zip(QUICK, imported, strict=True):
        assert "ptft.cli.main" in modules
        assert not heavy & {name.split(".")[0] for name in modules}, arguments
        assert len(modules) < 700, arguments


STEP = """
import sys
from pathlib import Path
for name in [name for name in sys.modules if name.split(".")[0] in ("ptft", "matplotlib")]:
    del sys.modules[name]
from ptft.train import loop
from ptft.cli.main import run
step, modules = loop.train_step, set()
def spied(*arguments):
    step(*arguments)
    modules.update(sys.modules)
loop.train_step = spied
assert run(["stage=pretrain", *sys.argv[1:]]) == 0
print(*sorted(modules), sep=chr(10))
"""


@pytest.mark.parametrize("objective", ["classify", "rotation"])
def test_a_first_step_imports_neither_the_compiler_nor_what_it_has_no_use_for(tmp_path, objective):
    """A fork has torch; ptft, and what it imports, are imported anew."""
    torchvision.sample(tmp_path)
    data = ("dataset=mnist", f"dataset.root={tmp_path}", f"objective={objective}")
    done = processes.python(STEP, *data, *NET, "train.steps=2")
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split("\n"))
    assert "torch" in modules
    assert not {"torch._dynamo", "torchvision", "sklearn", "matplotlib", "sympy"} & modules


def test_the_end_flushes_and_runs_what_is_registered(tmp_path):
    code = "import atexit\nfrom pathlib import Path\nfrom ptft.runtime import process\n"
    code += f"atexit.register(lambda: Path({str(tmp_path / 'ran')!r}).touch())\nprint('said', end='')\n"
    code += "process.leave(0)"
    assert processes.python(code).stdout == "said"
    assert (tmp_path / "ran").exists()


def forgets_a_peak() -> bool:
    """Whether the system does as Linux documents: some take what is written and do nothing."""
    held = bytearray(b"1") * (64 * 2**20)
    del held
    before = process.peak()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return process.peak() < before


def test_a_job_takes_at_the_most_what_it_takes_itself(ptft, tmp_path):
    if not forgets_a_peak():
        pytest.skip("the system can't forget a peak")
    much = 300 * 2**20
    held = bytearray(b"1") * much
    del held
    before = process.peak()
    typed = (*FEW, *NET, "train.steps=1", "report=false", "predictions=none", "device=cpu")
    done = ptft("stage=pretrain", *typed, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert 2**20 < summary(tmp_path / "run")["peak_memory_bytes"] < before - much / 2
