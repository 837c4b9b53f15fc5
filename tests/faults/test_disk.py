"""Rows 30 to 32 of the table of faults, at every file operation: a full disk costs what could not be written."""

import errno
import io
import os
import resource
import shutil
import sys

import pytest

from ptft.checkpoint import file as checkpoint_file
from ptft.cli.main import main
from ptft.loggers.console import Console
from ptft.loggers.jsonl import JsonlLogger
from tests.conftest import Result, refused, rows, status

TINY = ("dataset.images=60", "dataset.held_out=20", "model.width=4", "model.channels=[2,2]", "device=cpu")
RUN = ("stage=pretrain", *TINY, "train.steps=2", "train.every.save=1", "train.every.evaluate=1", "train.every.log=1")


class Disk:
    """Counts the file operations below a folder, and is full at one of them, or from it on (`stays`).

    An audit hook sees every one of them that takes room, whoever asks for it. It sees no writing to an open file: where
    the disk stays full, no file may grow beyond a page from then on.
    """

    def __init__(self):
        self.folder, self.at, self.stays, self.count = None, 0, False, 0
        self.seen = []

    def watch(self, folder, at=0, *, stays=False):
        self.folder, self.at, self.stays, self.count, self.seen = str(folder), at, stays, 0, []

    def hook(self, event, arguments):
        if self.folder is None or not self._changes(event, arguments):
            return
        path = next((str(a) for a in arguments if isinstance(a, str | os.PathLike)), "")
        if not path.startswith(self.folder):
            return
        self.count += 1
        self.seen.append((event, os.path.basename(path)))
        if self.at and (self.count == self.at or (self.stays and self.count > self.at)):
            if self.stays:
                limit(4096)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    @staticmethod
    def _changes(event, arguments):
        if event == "open":
            mode, flags = arguments[1], arguments[2]
            return bool({"w", "a", "x"} & set(mode)) if isinstance(mode, str) else bool((flags or 0) & os.O_CREAT)
        return event in ("os.rename", "os.link") or (event == "os.mkdir" and not os.path.exists(arguments[0]))


DISK = Disk()
sys.addaudithook(DISK.hook)
HARD = resource.getrlimit(resource.RLIMIT_FSIZE)


def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, HARD[1]))


@pytest.fixture
def on_disk(monkeypatch):
    """`on_disk(folder, *arguments, at=…, stays=…)` runs the command; what it prints takes no disk."""

    def call(folder, *arguments, at=0, stays=False, size=None):
        said = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", said[0])
            patched.setattr(sys, "stderr", said[1])
            DISK.watch(folder, at, stays=stays)
            if size is not None:
                limit(size)
            try:
                main(list(arguments))
            except SystemExit as ended:
                return Result(int(ended.code or 0), *(stream.getvalue() for stream in said))
            finally:
                DISK.folder = None
                resource.setrlimit(resource.RLIMIT_FSIZE, HARD)
        raise AssertionError("the command did not end")

    yield call
    DISK.folder = None
    resource.setrlimit(resource.RLIMIT_FSIZE, HARD)


def unharmed(folder, result):
    """A code and a line for what happened, a status that is true, checkpoints and rows that are whole."""
    assert "Traceback" not in result.text
    assert result.code in (0, 5), result.text
    if result.code:
        assert "can't be" in result.err, result.text
    if not (folder / "status.json").exists():
        assert result.code == 5
        return
    assert status(folder)["status"] == ("failed" if result.code else "finished"), result.text
    for path in folder.glob("checkpoints/*.pt"):
        checkpoint_file.read(path)
    if (folder / "metrics.jsonl").exists():
        rows(folder)


def sweep(on_disk, tmp_path, *, stays):
    assert on_disk(tmp_path, *RUN, f"hydra.run.dir={tmp_path / 'whole'}").code == 0
    seen, folder = DISK.seen, tmp_path / "run"
    assert {name for _, name in seen} > {".hydra", "run.log", "metrics.jsonl", "checkpoints", ".last.pt.part"}
    for at, (event, _) in enumerate(seen, 1):
        if stays and event == "os.rename":
            continue  # from there on it is full as from the next operation on
        unharmed(folder, on_disk(folder, *RUN, f"hydra.run.dir={folder}", at=at, stays=stays))
        if stays and at % 5 == 0 and (folder / "checkpoints" / "last.pt").exists():
            resumed = on_disk(folder, f"resume={folder}")
            assert resumed.code == 0, resumed.text
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_operation_of_a_run(on_disk, tmp_path):
    """Each in turn, for a moment."""
    sweep(on_disk, tmp_path, stays=False)


@pytest.mark.slow
def test_a_disk_that_is_full_from_any_operation_of_a_run_on(on_disk, tmp_path):
    """What it leaves goes on where there is room again."""
    sweep(on_disk, tmp_path, stays=True)


@pytest.mark.parametrize("size", [0, 300, 1500, 3500, 20_000, 60_000])
def test_row_32_a_limit_on_the_size_of_files(on_disk, tmp_path, size):
    """As `prlimit --fsize`; the logs of a small run are smaller than the last of these."""
    result = on_disk(tmp_path / "run", *RUN, f"hydra.run.dir={tmp_path / 'run'}", size=size)
    unharmed(tmp_path / "run", result)
    assert result.code == (0 if size == 60_000 else 5)


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.log"])
def test_row_31_a_full_disk_under_the_logs_costs_them_alone(ptft, tmp_path, name):
    folder = tmp_path / "run"
    assert ptft(*RUN, f"hydra.run.dir={folder}").code == 0
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/full")
    result = ptft(f"resume={folder}", "train.steps=4")
    refused(result, 0, f"{folder / name}: can't be written (No space left on device); the run goes on without it")
    assert result.text.count("goes on without it") == 1
    assert checkpoint_file.read(folder / "checkpoints" / "last.pt")[0]["progress"]["step"] == 4
    assert status(folder)["status"] == "finished"


def test_row_31_a_full_disk_under_tensorboard_costs_its_curves_alone(ptft, tmp_path, monkeypatch):
    """It is written by a process of its own, in which no file may grow from some point on."""
    pytest.importorskip("tensorboard")
    limited = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (9000, r.RLIM_INFINITY))"
    (tmp_path / "sitecustomize.py").write_text(limited)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    folder = tmp_path / "run"
    result = ptft(*RUN, "logger=tensorboard", f"hydra.run.dir={folder}")
    refused(result, 0, "logger.tensorboard: File too large; the run goes on")
    assert result.text.count("logger.tensorboard") == 1
    assert result.out.splitlines()[-1].startswith("next ")
    assert (status(folder)["status"], len(rows(folder))) == ("finished", 5)


def test_row_31_a_row_that_did_not_fit_is_not_there_in_part(tmp_path):
    console = Console()
    logger = JsonlLogger(tmp_path, console)
    logger.log({"step": 1, "loss": 0.5})
    try:
        limit((tmp_path / "metrics.jsonl").stat().st_size + 5)
        logger.log({"step": 2, "loss": 0.25})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, HARD)
    logger.log({"step": 3, "loss": 0.125})
    logger.close()
    assert [row["step"] for row in rows(tmp_path)] == [1, 3]


def test_a_full_disk_in_other_stages(on_disk, pretrained, tmp_path):
    folder = tmp_path / "run"
    for at in (1, 3, 6, 8, 13, 15):
        arguments = ("stage=evaluate", f"ckpt={pretrained}", f"hydra.run.dir={folder}")
        unharmed(folder, on_disk(folder, *arguments, at=at, stays=True))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([*RUN, "hydra.run.dir={long}"], 5),
        (["-m", *RUN, "seed=0,1", "hydra.sweep.dir={long}"], 5),
        (["stage=finetune", "ckpt={long}"], 4),
        (["resume={long}"], 4),
        (["stage=pretrain", "dataset=image_folder", "dataset.root={long}"], 3),
        (["cp", "model/cnn", "{long}"], 5),
    ],
)
def test_names_that_are_too_long_are_named(ptft, tmp_path, arguments, code):
    refused(ptft(*(text.format(long="x" * 300) for text in arguments)), code, "x" * 300)
    assert not list(tmp_path.glob("x*"))
