"""`ptft new`: what it writes works as it is, as does the command that it prints, and nothing is written over."""

import shlex
import sys

import pytest

from tests.conftest import NET, refused, summary
from tests.helpers import processes

KINDS = ["model", "dataset", "objective"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_it_prints_trains(ptft, tmp_path, kind):
    done = ptft("new", kind, f"my_own_{kind}")
    assert done.code == 0, done.text
    written = {line.split(maxsplit=1)[1] for line in done.out.splitlines() if line.startswith("written")}
    assert written == {f"my_own_{kind}.py", f"conf/{kind}/my_own_{kind}.yaml", f"test_my_own_{kind}.py"}
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()} == written
    _, *command = shlex.split(next(line for line in done.out.splitlines() if line.startswith("try")))[1:]
    run = ptft(*command, *(NET if kind != "model" else ()), "train.every.evaluate=1000", "hydra.run.dir=run")
    assert run.code == 0, run.text
    chance = {"model": 0.1, "dataset": 0.5, "objective": 0.1}[kind]
    assert summary(tmp_path / "run")["metrics"]["val"]["accuracy"] > 1.5 * chance


def test_its_tests_pass(ptft):
    said = [ptft("new", kind, f"tested_{kind}").out.splitlines()[-1] for kind in KINDS]
    assert said == [f"test     python -m pytest test_tested_{kind}.py" for kind in KINDS]
    files = [line.split()[-1] for line in said]
    tested = processes.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files])
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "6 passed" in tested.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_its_keys_are_shown_and_checked_as_ptfts_own_are(ptft, kind):
    made = ptft("new", kind, "mine")
    assert made.code == 0, made.text
    assert "My own" in ptft("ls", kind).out
    key, wrong = {"model": ("width", 0), "dataset": ("val", 7.5), "objective": ("margin", -1)}[kind]
    assert key in ptft("help", f"{kind}/mine").out
    refused(
        ptft("stage=pretrain", f"{kind}=mine", "trusted=[mine]", f"{kind}.{key}={wrong}"),
        2,
        f"{kind}.{key}={wrong}",
    )
    refused(ptft("stage=pretrain", f"{kind}=mine", "dry_run=true"), 2, "trusted=[package]")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model", "my-net"], "must be a name in Python"),
        (["model", "class"], "must be a name in Python"),
        (["model", "../net"], "must be a name in Python"),
        (["model", "cnn"], "there is a model of that name"),
        (["model", "torch"], "Python has a module of that name"),
        (["dataset", "random"], "Python has a module of that name"),
        (["modle", "net"], "did you mean model?"),
        (["model"], "ptft new model|dataset|objective NAME"),
        ([], "ptft new model|dataset|objective NAME"),
    ],
)
def test_a_name_that_can_not_be_one_is_refused(ptft, tmp_path, words, said):
    refused(ptft("new", *words), 2, said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py", "conf/model/mine.yaml"])
def test_nothing_is_written_over(ptft, tmp_path, there):
    file = tmp_path / there
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# mine")
    refused(ptft("new", "model", "mine"), 2, "mine")
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["# mine"]
