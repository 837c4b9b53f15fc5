"""What a user types wrong, and folders that can't be written: rows of the table of faults, each injected for real."""

import csv
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from tests.conftest import FEW, NET, ROOT, command, contents, refused, rows, status

TINY = (*FEW, *NET, "train.steps=4", "train.every.evaluate=2")


def nothing_written(folder):
    return not contents(folder) and not (folder / "outputs").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimzer.lr=1", ["optimzer.lr", "optimizer.lr"]),
        ("train.epoch=3", ["train.epoch", "train.epochs"]),
        ("modle=cnn", ["modle", "model"]),
        ("model=cnnn", ["model=cnnn", "did you mean cnn?", "resnet18"]),
        ("dataset=minst", ["dataset=minst", "mnist", "glyphs"]),
        ("stage=pretrian", ["stage=pretrian", "pretrain", "finetune"]),
        ("model.widht=3", ["model.widht", "model.width"]),
        ("pretrain", ["stage=pretrain"]),
        ("--multirn", ["--multirn", "--multirun"]),
    ],
)
def test_row_1_a_typo_is_named_with_the_nearest(ptft, tmp_path, typed, said):
    stage = [] if typed.startswith("stage=") else ["stage=pretrain"]
    refused(ptft(*stage, typed), 2, *said)
    assert nothing_written(tmp_path)


def test_row_1_a_typo_in_one_job_of_a_sweep_starts_none(ptft, tmp_path):
    refused(ptft("-m", "stage=pretrain", "model=cnn,cnnn"), 2, "model=cnnn", "did you mean cnn?")
    refused(ptft("-m", "stage=pretrain", "optimzer.lr=1,2"), 2, "optimzer.lr", "optimizer.lr")
    assert nothing_written(tmp_path)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("+model.widht=3", ["model.widht", "did you mean width?"]),
        ("+objective.views.rotat=3", ["views.rotat", "rotate"]),
        ("+optimizer.betta=1", ["optimizer.betta", "betas"]),
        ("+schedule.warm=1", ["schedule.warm", "warmup"]),
    ],
)
def test_row_1_an_option_that_was_added_by_force_is_named_too(ptft, tmp_path, typed, said):
    refused(ptft("stage=pretrain", *TINY, typed), 2, *said)
    assert nothing_written(tmp_path)


def test_row_1_a_yaml_of_aliases_of_aliases_is_not_unfolded(ptft, tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    (file := tmp_path / "conf/experiment/bomb.yaml").parent.mkdir(parents=True)
    file.write_text("# @package _global_\n" + "\n".join(lines))
    refused(ptft("stage=pretrain", "experiment=bomb"), 2, f"{file}: its aliases stand for 490,", "at most 100,000")
    file.write_text("# @package _global_\nseed: &n 3\ntrain: {steps: *n}\n")
    assert "3 steps" in ptft("stage=pretrain", "experiment=bomb", "dry_run=true").out


@pytest.mark.parametrize("header", ["# @package _global_[[", "# @package a..b", "# @package", "# @package a b"])
def test_row_1_a_yaml_that_is_put_nowhere_is_refused(ptft, tmp_path, header):
    (file := tmp_path / "conf/experiment/theirs.yaml").parent.mkdir(parents=True)
    file.write_text(f"{header}\ntrain:\n  steps: 3\n")
    refused(ptft("stage=pretrain", "experiment=theirs"), 2, str(file))


@pytest.mark.parametrize("value", ["${o9:x}", "${oc.env:HOME}", "${model}", "3"])
def test_row_1_a_group_that_is_no_keys_is_refused(ptft, tmp_path, value):
    (file := tmp_path / "conf/experiment/theirs.yaml").parent.mkdir(parents=True)
    for group in ("optimizer", "logger"):
        file.write_text(f"# @package _global_\n{group}: {value}\n")
        refused(ptft("stage=pretrain", "experiment=theirs"), 2, f"{group}: needs an option")


@pytest.mark.parametrize("rate", ["1e", "nan"])
def test_row_2_all_wrong_values_are_said_at_once_before_data_are_read(ptft, tmp_path, rate):
    wrong = [f"optimizer.lr={rate}", "train.epochs=-1", "train.batch_size=0", "precision=fp8", "dataset.val=1.5"]
    result = ptft("stage=pretrain", "dataset=image_folder", "dataset.root=missing", *wrong)
    refused(result, 2, *(f"ptft: {text}: must be " for text in wrong))
    refused(result, 2, "a number greater than 0", "a whole number of at least 1", "auto, fp32, bf16, fp16")
    assert nothing_written(tmp_path)


def test_row_3_a_class_count_against_the_data(ptft, tmp_path):
    refused(ptft("stage=pretrain", *TINY, "objective.num_classes=7"), 2, "num_classes=7", "the dataset has 10 classes")
    assert nothing_written(tmp_path)


def test_row_3_a_folder_that_was_there_stays_with_what_is_in_it(ptft, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    refused(ptft("stage=pretrain", *TINY, "objective.num_classes=7", "hydra.run.dir=mine"), 2, "10 classes")
    assert contents(tmp_path) == {"mine/notes.txt": b"keep"}
    assert ptft("stage=pretrain", *TINY, "hydra.run.dir=mine").code == 0


def test_row_14_a_loss_that_is_not_finite_stops_before_the_step(ptft, tmp_path):
    result = ptft(
        "stage=pretrain", *TINY, "optimizer.lr=1e20", "hydra.run.dir=run", "train.every.save=1", "train.every.log=1"
    )
    refused(result, 6, "not finite at step", "learning rate of", "optimizer.lr", str(tmp_path / "run" / "run.log"))
    assert status(tmp_path / "run")["status"] == "failed"
    assert status(tmp_path / "run")["exit_code"] == 6
    content, _ = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.pt")
    assert all(value.isfinite().all() for value in content["weights"].values())
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, content["progress"]["step"] + 1))


def test_row_33_a_folder_below_a_file(ptft, tmp_path):
    """Found before the data are: those are missing too."""
    (tmp_path / "file").write_text("mine")
    data = ["dataset=image_folder", "dataset.root=missing"]
    refused(ptft("stage=pretrain", *data, "hydra.run.dir=file/run"), 5, str(tmp_path / "file" / "run"), "hydra.run.dir")
    refused(ptft("-m", "stage=pretrain", "seed=0,1", "hydra.sweep.dir=file/all"), 5, "file/all", "hydra.sweep.dir")
    assert contents(tmp_path) == {"file": b"mine"}


def test_row_33_a_folder_that_may_not_be_written(tmp_path):
    """Root may write everywhere, so it gives that right up first."""
    (tmp_path / "closed").mkdir(mode=0o555)
    plain = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    if plain and not shutil.which("setpriv"):
        pytest.skip("root can't give up its rights here")
    if subprocess.run([*plain, "touch", "closed/probe"], cwd=tmp_path, capture_output=True).returncode == 0:
        pytest.skip("this file system lets everyone write")
    typed = command("stage=pretrain", "dataset=image_folder", "dataset.root=missing", "hydra.run.dir=closed/run")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*plain, *typed], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5, done.stderr
    assert str(tmp_path / "closed" / "run") in done.stderr
    assert "Permission denied" in done.stderr
    assert "hydra.run.dir" in done.stderr
    assert "Traceback" not in done.stderr


def test_row_34_a_folder_that_holds_a_run(ptft, tmp_path):
    assert ptft("stage=pretrain", *TINY, "hydra.run.dir=run").code == 0
    before = contents(tmp_path / "run")
    again = ptft("stage=pretrain", *TINY, "seed=1", "hydra.run.dir=run")
    refused(again, 5, str(tmp_path / "run"), "holds a run already", "resume=", "hydra.run.dir")
    assert contents(tmp_path / "run") == before


def test_row_51_a_failed_job_does_not_end_a_sweep(ptft, tmp_path):
    result = ptft("-m", "stage=pretrain", *TINY, "optimizer.lr=1e-3,1e20,1e-2", "hydra.sweep.dir=all")
    refused(result, 1, "3 jobs, best first", "job 1 failed: the loss or its gradient is not finite", "results.csv")
    with (tmp_path / "all" / "results.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["number"], row["status"]) for row in found] == [("0", "finished"), ("1", "failed"), ("2", "finished")]
    assert [row["folder"] for row in found] == [str(tmp_path / "all" / str(number)) for number in range(3)]
    rates = [float(row["overrides"].split("optimizer.lr=")[1].split()[0]) for row in found]
    assert rates == [1e-3, 1e20, 1e-2]
    assert [bool(row["val/accuracy"]) for row in found] == [True, False, True]
    table = result.out.split("best first")[1]
    ranked = [line.split() for line in table.splitlines() if line.split()[2:3] in (["finished"], ["failed"])]
    best = max(("0", "2"), key=lambda number: float(found[int(number)]["val/accuracy"]))
    assert [line[0] for line in ranked] == [best, "2" if best == "0" else "0", "1"]
    assert ranked[0][3] == f"{float(found[int(best)]['val/accuracy']):.4f}"
    assert status(tmp_path / "all" / "1")["exit_code"] == 6
    for number in (0, 2):
        checkpoint_file.read(tmp_path / "all" / str(number) / "checkpoints" / "best.pt")


@pytest.mark.slow
def test_row_54_three_runs_in_one_second(tmp_path, process):
    def start(_):
        return process("stage=pretrain", *TINY, env={"OMP_NUM_THREADS": "1"}, cwd=tmp_path)

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(start, range(3)))
    assert [result.code for result in results] == [0, 0, 0], [result.err for result in results]
    folders = [path.parent for path in tmp_path.glob("outputs/*/*/status.json")]
    assert len(folders) == 3
    weights = [checkpoint_file.read(folder / "checkpoints" / "best.pt")[0]["weights"] for folder in folders]
    assert all(torch.equal(weights[0][name], other[name]) for other in weights[1:] for name in weights[0])
