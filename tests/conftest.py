"""What the tests share: ptft called in this process or as a real one, and a small pretrained run."""

import gc
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers import processes

ROOT = Path(__file__).resolve().parents[1]
for name, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if signal.getsignal(number := getattr(signal, name)) is signal.SIG_IGN:
        signal.signal(number, usual)  # nohup and a shell's background have it ignored, and processes inherit that

gc.disable()  # while modules are imported and tests collected: many objects, no garbage, and looking takes a fifth


def pytest_collection_finish():
    processes.begin()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config, items):
    """Where processes share the tests, those that take long begin first: none is left alone with one at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """Every test stands in a folder of its own, with its own caches, and leaves the process as it was.

    What Python code it writes there is forgotten after it: another test's module may have the same name.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PTFT_CACHE", str(tmp_path.with_name(f"{tmp_path.name}-cache")))
    monkeypatch.setenv("PTFT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path.with_name(f"{tmp_path.name}-datasets")))
    if "datasets" in sys.modules:  # which has read it
        monkeypatch.setattr(sys.modules["datasets"].config, "HF_DATASETS_CACHE", os.environ["HF_DATASETS_CACHE"])
    usual, path, modules = dict(os.environ), [*sys.path], set(sys.modules)
    yield
    sys.path[:] = path  # ptft itself looks in the folder that one stands in
    for name in sys.modules.keys() - modules:
        if _below(tmp_path, sys.modules[name]):
            del sys.modules[name]
    if os.environ != usual:  # by a library that was imported, say: processes would no longer be forked
        os.environ.clear()
        os.environ.update(usual)


def _below(folder: Path, module: ModuleType | None) -> bool:
    spec = getattr(module, "__spec__", None)
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    return any(place and Path(place).is_relative_to(folder) for place in places)


@pytest.fixture
def no_network(monkeypatch):
    """Nobody answers, at once."""

    def refuse(*_):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def ptft(capfd, monkeypatch):
    """`ptft(*arguments)` runs the command in this process: exit code and what was printed."""
    from ptft.cli.main import main

    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["ptft", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        out, err = capfd.readouterr()
        return Result(int(exit.value.code or 0), out, err)

    yield call
    signal.signal(signal.SIGTERM, before)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ptft", *arguments]


@pytest.fixture
def process():
    """`process(*arguments)` runs the command as a process of its own."""

    def call(*arguments: str, **options) -> Result:
        done = processes.run(command(*arguments), **options)
        return Result(done.returncode, done.stdout, done.stderr)

    return call


FEW = ("dataset.images=60", "dataset.held_out=20")
GLYPHS = ("dataset.images=300", "dataset.held_out=100")
NET = ("model.width=16", "model.channels=[4,8]")
SMALL = (*GLYPHS, "train.steps=20", "train.every.evaluate=10", *NET)
"""Overrides that make a run of the default model on glyphs take a fraction of a second."""


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """The folder of a finished small pretraining on glyphs, in float32 on every machine; read it, don't change it.

    Its rate is one at which 20 steps teach something, whatever fonts the glyphs are rendered from: 40 % are right.
    """
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    typed = ("stage=pretrain", "precision=fp32", "optimizer.lr=1e-2", *SMALL, f"hydra.run.dir={folder}")
    done = processes.run(command(*typed), cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder


def refused(result: Result, code: int, *said: str) -> None:
    """The command ended with `code` and said all of `said`, without a trace of Python."""
    assert result.code == code, result.text
    assert not [part for part in said if part not in result.text], result.text
    assert "Traceback" not in result.text


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, to compare before and after."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> list[dict]:
    """The objects of a run's metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def transfer(folder: Path) -> dict:
    """Every tensor that a run took from its checkpoint, or did not."""
    return json.loads((folder / "transfer.json").read_text())


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())
