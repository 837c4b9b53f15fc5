"""The command as users meet it: help, hints, words, their own configs, an installed wheel, a terminal."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from ptft import __version__
from ptft.checkpoint import file as checkpoint_file
from ptft.stages import train
from tests.conftest import NET, command, refused
from tests.helpers import processes
from tests.helpers.processes import Process

ROOT = Path(__file__).resolve().parents[2]
WIDE = ["stage=pretrain", "dataset.images=100", "dataset.held_out=20", "train.steps=4", "train.every.log=2"]
QUICK = [*WIDE, *NET]


def test_alone_it_prints_the_help(ptft):
    done = ptft()
    assert done.code == 0
    assert done.out == ptft("--help").out
    for word in (
        "stage=pretrain",
        "stage=finetune",
        "stage=evaluate",
        "stage=predict",
        "resume=",
        "vit_tiny",
        "mnist_survey",
    ):
        assert word in done.out


def test_the_version_is_ptfts_own(ptft):
    done = ptft("--version")
    assert done.code == 0
    assert done.out == f"ptft {__version__}\n"


def test_completion_offers_groups_and_options(process):
    done = process("-sc", "query=bash", env={"COMP_LINE": "ptft model=vit", "COMP_POINT": "14"})
    assert "model=vit_tiny" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pretrain"], "ptft stage=pretrain"),
        (["finetun"], "did you mean finetune"),
        (
            ["model=cnn"],
            "stage=NAME, one of compare, embed, evaluate, explain, export, finetune, inspect, predict, pretrain, "
            "tune, zero_shot",
        ),
        (["--hlep"], "did you mean --help"),
        (["stage=pretrain", "seed=1,2"], "several values need -m"),
        (["stage=pretrain", "seed=1,2", "ckpt=a b"], "e.g. ptft -m stage=pretrain seed=1,2 'ckpt=a b'"),
        (["stage=compare", "compare.per_class=5,20"], "typed in brackets: 'compare.per_class=[5,20]'"),
        (["stage=pretrain", "model.channels=8,16"], "'model.channels=[8,16]'"),
        (["stage=pretrain", "dataset.classes=a,b"], "'dataset.classes=[a,b]'"),
        (["stage=pretrain", "logger=tensorboard,mine"], "'logger=[tensorboard,mine]'"),
        (["stage=pretrain", "dataset.size=32,64"], "several values need -m"),
        (["stage=pretrain", "dataset.size=32,64"], "; one list is 'dataset.size=[32,64]'"),
        (["stage=pretrain", "--lr", "0.1"], "type optimizer.lr=0.1"),
        (["stage=pretrain", "--batch-size=8"], "type train.batch_size=8"),
        (["stage=pretrain", "--epochs", "3"], "type train.epochs=3"),
        (["stage=pretrain", "--model", "resnet18"], "type model=resnet18"),
        (["stage=pretrain", "--quiet"], "type quiet=true"),
        (["stage=pretrain", "--dry-run", "seed=1"], "type dry_run=true"),
        (["stage=pretrain", "--gpus", "2"], "device=cuda:0"),
        (["stage=pretrain", "train.steps=1e3"], "type train.steps=1000"),
        (["stage=pretrain", "seed=2.0"], "type seed=2"),
        (["ls", "runs"], "type ptft runs"),
        (["-sc", "query=bash"], "ptft -sc install=bash"),
        (["stage=finetune"], "ckpt=null to train from scratch"),
        (["stage=evaluate", "ckpt=null"], "stage=evaluate: needs a checkpoint"),
        (["ls", "modle"], "did you mean model"),
        (["--cfg", "job", "modle=1"], "did you mean model"),
    ],
)
def test_what_is_meant_is_said_in_one_line(ptft, tmp_path, arguments, said):
    done = ptft(*arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_ls_lists_what_there_is(ptft):
    names = {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    assert {line.split()[0] for line in ptft("ls", "model").out.splitlines() if line[0] != " "} == names
    assert {line.split()[0] for line in ptft("ls").out.splitlines() if line[0] != " "} == {
        p.name for p in (ROOT / "conf").iterdir() if p.is_dir()
    }


def test_a_copied_config_wins_and_the_header_says_so(ptft, tmp_path):
    assert ptft("cp", "optimizer/adamw").code == 0
    copy = tmp_path / "conf" / "optimizer" / "adamw.yaml"
    copy.write_text(re.sub(r"(?m)^lr: .*", "lr: 0.0123", copy.read_text()))
    done = ptft(*QUICK, "dry_run=true")
    assert done.code == 0, done.text
    assert "adamw at 0.0123" in done.out
    assert f"{tmp_path / 'conf'} win over ptft's own" in done.out
    again = ptft("cp", "optimizer/adamw")
    assert again.code == 2
    assert "is there already" in again.err
    assert "did you mean" in ptft("cp", "optimizer/adamww").err


def test_cfg_job_shows_the_composed_configuration(ptft):
    shown = yaml.safe_load(ptft("--cfg", "job", "stage=pretrain", "optimizer.lr=0.5").out)
    assert shown["optimizer"]["lr"] == 0.5
    assert "hydra" not in shown


def test_a_dry_run_shows_the_plan_and_writes_nothing(ptft, tmp_path):
    done = ptft(*WIDE, "dry_run=true", "optimizer.weight_decay=0.25")
    assert done.code == 0, done.text
    assert "1,199,882 parameters" in done.out
    assert re.search(r"head +1,199,648 +0.001 +0.25 +throughout$", done.out, re.MULTILINE), "weights decay"
    assert re.search(r"head +234 +0.001 +0 +throughout$", done.out, re.MULTILINE), "biases do not"
    assert not list(tmp_path.iterdir())


def test_off_a_terminal_there_are_plain_lines_only(process, tmp_path):
    done = process(*QUICK, cwd=tmp_path)
    assert done.code == 0, done.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", done.out)
    assert len(re.findall(r"^step \d+/4 .* train loss", done.out, re.M)) == 2
    assert done.err == ""
    *_, folder, following = done.out.splitlines()
    assert folder.split()[0] == "folder"
    assert (Path(folder.split(maxsplit=1)[1]) / "summary.json").exists()
    assert following.startswith("next    ptft stage=finetune ckpt=outputs/")


def on_a_terminal(tmp_path, *arguments, **environment):
    """What a command writes on a terminal, escapes included."""
    main, child = pty.openpty()
    environment = {"TERM": "xterm-256color", **environment}
    running = Process(command(*arguments), stdin=child, stdout=child, stderr=child, cwd=tmp_path, env=environment)
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert running.wait(60) == 0
    os.close(main)
    return shown.decode()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_there_are_a_header_a_table_and_a_panel(tmp_path, columns):
    shown = on_a_terminal(tmp_path, *QUICK, "train.every.evaluate=2", COLUMNS=str(columns), NO_COLOR="1")
    assert "\x1b[1m" not in shown
    assert "\x1b[2m" not in shown
    assert not re.search(r"\x1b\[[0-9;]+m", shown), "no styles at all"
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    table = [line for line in re.split(r"[\r\n]+", text) if re.match(r" +(step|\d+) ", line)]
    assert any(line.endswith("  best") for line in table)
    assert max(map(len, table)) <= columns
    written = [line for line in re.split(r"[\r\n]+", text) if not re.match("folder  |next    ", line)]
    assert max(map(len, written)) <= columns
    more = {40: (), 80: ("train loss",), 200: ("train loss", "train accuracy", "val macro_f1", "val mcc")}
    for piece in (
        "╭─ ptft pretrain",
        *more[columns],
        "val accuracy",
        "╭─ pretrain done",
        "next",
        "ptft stage=finetune ckpt=",
    ):
        assert piece in text
    log = next(tmp_path.glob("outputs/*/*/run.log")).read_text()
    assert "\x1b" not in log
    assert "pretrain done" in log


def test_quiet_says_the_result_and_the_log_has_the_rest(ptft, tmp_path):
    done = ptft(*QUICK, "quiet=true", "hydra.run.dir=run")
    assert done.code == 0
    assert done.err == ""
    first, *_, last = done.out.splitlines()
    assert (first, last) == ("pretrain done", f"folder  {tmp_path / 'run'}")
    assert "test" in done.out
    log = (tmp_path / "run" / "run.log").read_text()
    assert "ptft pretrain" in log
    assert "next    ptft stage=finetune" in log
    again = ptft("resume=run", "train.steps=6", "quiet=false")
    assert again.code == 0
    assert "ptft resumed pretrain" in again.out
    refused(ptft(*QUICK, "quiet=true", "seed=x"), 2, "seed=x")


def test_nobody_reading_does_not_harm_the_run(tmp_path):
    """As `ptft … | head -1`."""
    typed = command(*QUICK, "train.every.log=1")
    with Process(typed, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
        assert running.wait(120) == 0, said
    assert "Traceback" not in said
    assert next(tmp_path.glob("outputs/*/*/summary.json"))


INSTALLED = """
import sys
for name in [name for name in sys.modules if name.split(".")[0] == "ptft"]:
    del sys.modules[name]
site, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, site)
from ptft.cli import main
assert main.__file__.startswith(site)
main.entry()
"""


@pytest.mark.slow
def test_the_wheel_brings_the_configs_and_works_from_any_folder(tmp_path):
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    wheel = next(tmp_path.glob("ptft-*.whl"))
    inside = {name.removeprefix("ptft/") for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".yaml")}
    assert inside == {str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml")}
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [*pip, "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    script = [str(site / "bin" / "ptft"), "--cfg", "job", *QUICK]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(script, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["train"]["steps"] == 4
    done = processes.python(INSTALLED, str(site), *QUICK, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert next(elsewhere.glob("outputs/*/*/checkpoints/best.pt"))


def test_an_optimizer_without_a_rate_is_refused(ptft):
    done = ptft(*QUICK, "~optimizer.lr")
    assert done.code == 2
    assert "optimizer.lr: is missing" in done.err


def test_a_batch_of_one_under_batch_statistics_names_the_key(ptft):
    small = ("model=convnet", "model.channels=[4,4,8,8]", "dataset.size=8", *QUICK[1:3])
    done = ptft("stage=pretrain", *small, "train.batch_size=1", "train.steps=1")
    assert done.code == 2
    assert "raise train.batch_size" in done.err
    assert "Traceback" not in done.text


def test_a_refused_continuation_leaves_the_status_of_the_run(ptft, pretrained, tmp_path):
    shutil.copytree(pretrained, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    content, _ = checkpoint_file.read(path)
    checkpoint_file.write(path, {**content, "fingerprint": "another"})
    done = ptft("resume=run", "train.steps=30")
    assert done.code == 3
    assert "the dataset changed" in done.err
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "finished"


def test_a_run_that_fails_before_its_first_step_leaves_a_folder_only_where_it_was_typed(ptft, tmp_path):
    missing = ("stage=pretrain", "dataset=image_folder", "dataset.root=nowhere")
    refused(ptft(*missing), 3, "nowhere")
    assert not (tmp_path / "outputs").exists()
    refused(ptft(*missing, "hydra.run.dir=mine"), 3, "nowhere", "run.log")
    assert json.loads((tmp_path / "mine" / "status.json").read_text())["status"] == "failed"
    refused(ptft(*QUICK, "optimizer.lr=1e20", "train.steps=3"), 6, "run.log")
    (kept,) = tmp_path.glob("outputs/*/*")
    refused(ptft("stage=predict", f"ckpt={kept}", "input=nothing"), 3, "nothing")
    assert list(tmp_path.glob("outputs/*/*")) == [kept]


def test_a_run_that_a_signal_ends_before_its_first_step_leaves_no_folder(ptft, tmp_path, monkeypatch):
    build = train.build

    def interrupted(*given):
        os.kill(os.getpid(), signal.SIGINT)
        return build(*given)

    monkeypatch.setattr(train, "build", interrupted)
    refused(ptft(*QUICK), 130, "interrupted")
    assert not (tmp_path / "outputs").exists()


def test_a_signal_while_the_configuration_is_read_keeps_its_code(ptft, tmp_path, monkeypatch):
    """OmegaConf turns every error that is raised inside of it into one of its own."""
    read = DictConfig.__getitem__

    def interrupted(self, key):
        monkeypatch.setattr(DictConfig, "__getitem__", read)
        os.kill(os.getpid(), signal.SIGTERM)
        return read(self, key)

    monkeypatch.setattr(DictConfig, "__getitem__", interrupted)
    refused(ptft(*QUICK), 143, "terminated outside of training (SIGTERM)")
    assert not list(tmp_path.glob("outputs/*"))


def test_a_key_that_is_typed_twice_is_told(ptft):
    done = ptft("dataset.limit=3", "train.steps=5", "train.steps=5", "dataset.limit=4")
    assert done.err.splitlines()[0] == "ptft: dataset.limit: typed 2 times, of which the last counts: dataset.limit=4"
    assert "train.steps: typed" not in done.err
    quiet = ptft("dataset.limit=3", "dataset.limit=4", "train.steps=5", "quiet=true")
    assert "typed 2 times" not in quiet.err
