"""Rows 17 and 50 of the table of faults: too little memory, too few handles, little shared memory."""

import gc
import multiprocessing
import os
import resource
import shutil
import subprocess

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.data.examples import OnDemandExamples
from ptft.data.image import folder as image_folder
from ptft.data.workers import from_workers
from ptft.errors import DataError, ResourceError, StorageError
from ptft.objectives.supervised.classify import Classify
from ptft.runtime.system import understood
from tests.conftest import ROOT, command, refused, status
from tests.helpers import processes

TINY = ("stage=pretrain", "dataset.images=60", "dataset.held_out=20", "model.width=4", "model.channels=[2,2]")
SECOND = ("train.steps=2", "train.every.save=1", "device=cpu", "hydra.run.dir=run")


class Ones(OnDemandExamples):
    """Many examples of some size, made as they are asked for."""

    def __init__(self, count, size, error=None):
        self.labels, self.size, self.error = torch.arange(count), size, error

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        if self.error:
            raise self.error
        return {"input": torch.ones(len(indices), *self.shape, dtype=torch.uint8), "index": indices, "label": indices}

    @property
    def shape(self):
        return 3, self.size, self.size

    def name(self, index):
        return str(index)

    def digest(self):
        return b""


class Hungry(Classify):
    """An objective that wants 2^60 bytes in its second step."""

    done = 0

    def advance(self, step, steps):
        super().advance(step, steps)
        self.done = step

    def forward(self, batch):
        if self.training and self.done == 1:
            torch.empty(2**60, dtype=torch.uint8)
        return super().forward(batch)


@pytest.fixture
def limited():
    """`limited(count)` lets this process and its children open so many files, until the test ends."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def batches(examples, workers=2):
    return sum(1 for _ in from_workers(examples, list(torch.arange(len(examples)).split(4)), workers))


@pytest.mark.parametrize("spare", [1, 5, 10, 15, 16, 17, 18, 19, 20])
def test_row_50_few_handles_are_named_at_once_and_nobody_is_left(limited, capfd, spare):
    """Wherever they run out: here, in a worker, or in its thread that hands out shared memory."""
    gc.collect()
    limited(len(os.listdir("/proc/self/fd")) - 1 + spare)
    try:
        assert batches(Ones(64, 4)) == 16
    except (ResourceError, RuntimeError) as error:  # the latter where the death of a worker interrupts this process
        known = understood(error)
        assert isinstance(known, ResourceError)
        assert "open files" in str(known)
        assert "train.workers=0" in str(known)
    assert not multiprocessing.active_children()
    assert capfd.readouterr() == ("", "")


def test_row_50_a_run_with_few_handles(ptft, limited, tmp_path):
    image_folder.sample(tmp_path / "images")
    data = ("stage=pretrain", "dataset=image_folder", "dataset.root=images", "dataset.size=8", "dataset.cache=off")
    gc.collect()
    limited(len(os.listdir("/proc/self/fd")) + 6)
    result = ptft(*data, "train.workers=4", *SECOND)
    refused(result, 7, "too many open files", "ulimit -n", "train.workers")
    assert status(tmp_path / "run")["exit_code"] == 7
    checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")


SMALL = """
import ctypes, os, sys
libc, private = ctypes.CDLL(None, use_errno=True), 0x44000  # MS_REC and MS_PRIVATE
mounted = libc.unshare(0x20000) == 0 and libc.mount(b"none", b"/", None, private, None) == 0  # CLONE_NEWNS
if not mounted or libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=64k"):
    sys.exit(f"nothing can be mounted here: {os.strerror(ctypes.get_errno())}")
import torch, warnings
warnings.simplefilter("ignore")  # two workers are many for a machine of one core
from tests.faults.test_machine import Ones, batches
from ptft.errors import DataError, ResourceError, StorageError
try:
    batches(Ones(64, 256))
except ResourceError as error:
    print(error)
"""


@pytest.mark.parametrize("reason", ["No space left on device (28)", "Resource temporarily unavailable (11)"])
def test_row_50_shared_memory_that_can_not_be_had_is_told_from_other_limits(reason):
    """As torch words it: what the system gives as the reason depends on the container."""
    text = f"Caught RuntimeError in DataLoader worker process 0.\nunable to allocate shared memory(shm): {reason}"
    assert "too little shared memory (/dev/shm)" in str(understood(RuntimeError(text)))


def test_row_50_little_shared_memory_is_named_at_once():
    """A mount of its own, as a container has one."""
    done = processes.python(SMALL, cwd=ROOT, timeout=60)
    if "nothing can be mounted here" in done.stderr:
        pytest.skip(done.stderr)
    assert "too little shared memory (/dev/shm)" in done.stdout, done.stderr
    assert "train.workers" in done.stdout
    assert done.stderr == ""


def test_an_error_that_no_process_can_send_arrives_all_the_same():
    class Local(Exception):
        pass

    with pytest.raises(RuntimeError, match="Local: this is it"):
        batches(Ones(8, 4, Local("this is it")))


def test_what_the_system_refuses_a_worker_is_told_as_it_is_here():
    with pytest.raises(ResourceError, match="too many open files"):
        batches(Ones(8, 4, OSError(24, "Too many open files", "a.png")))
    with pytest.raises(ResourceError, match=r"out of memory; lower train\.batch_size"):
        batches(Ones(8, 4, MemoryError()))


def test_row_17_out_of_memory_names_the_keys_and_keeps_the_checkpoint(ptft, tmp_path, monkeypatch):
    """The step that asks for more than there is comes after one that was saved."""
    monkeypatch.syspath_prepend(ROOT)
    hungry = ("objective._target_=tests.faults.test_machine.Hungry", "trusted=[tests.faults.test_machine]")
    result = ptft(*TINY, *SECOND, *hungry)
    refused(result, 7, "out of memory", "train.batch_size", "train.accumulate")
    assert status(tmp_path / "run")["status"] == "failed"
    assert checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")[0]["progress"]["step"] == 1


def test_row_17_a_process_that_may_take_little_memory(process, tmp_path):
    limit = ["prlimit", f"--as={1200 * 2**20}"]
    if not shutil.which("prlimit"):
        pytest.skip("prlimit is missing")
    typed = [*limit, *command(*TINY, *SECOND, "dataset.images=60000", "dataset.size=128")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stdout + done.stderr
    assert "out of memory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("can't start new thread"),
        BlockingIOError(11, "Resource temporarily unavailable"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
    ],
)
def test_limits_of_the_machine_are_no_bugs(error):
    known = understood(error)
    assert known is not None
    assert known.exit_code == 7


def test_a_good_file_is_not_blamed_for_a_limit_and_a_held_folder_is_none():
    """Readers and locks say in their own words what the system refused; only the former may be wrong about it."""
    unread, held = DataError("a.png: can't be read"), StorageError("run: in use by process 7")
    unread.__cause__ = OSError(24, "Too many open files", "a.png")
    held.__cause__ = BlockingIOError(11, "Resource temporarily unavailable")
    assert isinstance(understood(unread), ResourceError)
    assert understood(held) is held
