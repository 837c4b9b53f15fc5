"""`--json`: standard output is objects, a line each, in every stage, and people's lines stay away from it."""

import json
import subprocess

import pytest
from PIL import Image

from tests.conftest import FEW, NET, command, refused, rows, summary
from tests.helpers import processes

RUN = ("stage=pretrain", *FEW, *NET, "train.steps=4", "train.every.evaluate=2")
BERT = ("model.width=16", "model.depth=1", "model.heads=2", "dataset.vocabulary=300")


def objects(result):
    return [json.loads(line, parse_constant=pytest.fail) for line in result.out.splitlines()]


def kinds(found):
    return [each["kind"] for each in found]


def test_a_training_says_its_plan_its_rows_and_its_result(ptft, tmp_path):
    done = ptft("--json", *RUN, "hydra.run.dir=run")
    plan, *measured, result = objects(done)
    assert done.code == 0
    assert not done.err
    assert (plan["kind"], plan["stage"], plan["config"]["train"]["steps"]) == ("plan", "pretrain", 4)
    assert "60 train" in plan["data"]
    assert measured == [{"kind": "row", **row} for row in rows(tmp_path / "run")]
    assert result == {"kind": "result", **summary(tmp_path / "run"), "folder": str(tmp_path / "run")}
    assert "plan" not in ptft(*RUN, "hydra.run.dir=other").out.split("\n")[0]


def test_a_run_is_the_same_with_it_and_does_not_know_of_it(ptft, tmp_path):
    ptft("--json", *RUN, "hydra.run.dir=run")
    done = ptft(*RUN, "hydra.run.dir=other")
    assert "pretrain done" in done.out
    assert summary(tmp_path / "run")["metrics"] == summary(tmp_path / "other")["metrics"]
    assert "json" not in (tmp_path / "run" / ".hydra" / "config.yaml").read_text()


def test_what_is_measured_and_what_is_planned_of_a_checkpoint(ptft, pretrained, tmp_path):
    plan, result = objects(ptft("--json", "stage=evaluate", f"ckpt={pretrained}"))
    assert plan["start"] == str(pretrained / "checkpoints" / "best.pt")
    assert 0 <= result["metrics"]["test"]["accuracy"] <= 1
    plan, result = objects(ptft("stage=finetune", f"ckpt={pretrained}", "--json", "dry_run=true", "train.steps=9"))
    assert (plan["folder"], result["status"], result["folder"]) == (None, "planned", None)
    assert result["bytes"] > 0
    assert result["seconds"] > 0


def test_answers_are_objects(ptft, tmp_path):
    typed = ("stage=pretrain", "dataset=table", "objective=classify", "model=bert_tiny", *BERT, "train.steps=2")
    text = "text,label\n" + "".join(f"{word} it number {n},{word}\n" for n in range(20) for word in ("love", "hate"))
    (tmp_path / "mine.csv").write_text(text)
    assert ptft(*typed, "dataset.root=mine.csv", "hydra.run.dir=run").code == 0
    plan, answer, result = objects(ptft("--json", "stage=predict", "ckpt=run", "text=I love it"))
    assert answer["row"]["class"] in ("love", "hate")
    assert (plan["stage"], result["files"]) == ("predict", 1)


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["stage=pretrain", "lr=3"], 2, "optimizer.lr"),
        (["stage=pretrain", "dataset=image_folder", "dataset.root=nowhere"], 3, "nowhere"),
        (["stage=evaluate", "ckpt=nowhere"], 4, "nowhere"),
        (["stage=pretrain", "lr"], 2, "what is it"),
        (["--help"], 2, "runs nothing"),
        (["runs"], 2, "ptft runs"),
        ([], 2, "which stage"),
    ],
)
def test_an_error_is_an_object_with_its_code_and_a_line_for_people(ptft, typed, code, said):
    done = ptft("--json", *typed)
    (error,) = objects(done)
    assert (done.code, error["kind"], error["code"]) == (code, "error", code)
    assert said in error["message"]
    assert error["message"].splitlines()[0] in done.err


def test_a_loss_that_is_not_finite_is_null(ptft):
    done = ptft("--json", *RUN, "optimizer.lr=1e30", "train.clip=null", "optimizer=sgd", "schedule=constant")
    *_, error = objects(done)
    assert (done.code, error["code"], error["status"]) == (6, 6, "failed")


def test_a_sweep_labels_the_objects_of_its_jobs_and_ends_with_all(ptft, tmp_path):
    typed = ("-m", "--json", *RUN, "seed=0,1", "train.clip=1,-1", "hydra.sweep.dir=sweep")
    refused(ptft(*typed), 2, "train.clip=-1")
    typed = ("-m", *RUN, "seed=0,1", "hydra.sweep.dir=sweep")
    done = ptft("--json", *typed)
    *jobs, result = objects(done)
    assert done.code == 0
    for number in (0, 1):
        own = [each for each in jobs if each["job"] == number]
        assert (own[0]["kind"], own[-1]["kind"], own[-1]["seed"]) == ("plan", "result", number)
        assert own[-1]["folder"] == str(tmp_path / "sweep" / str(number))
    assert [job["keys"] for job in result["jobs"]] == [{"seed": "0"}, {"seed": "1"}]
    assert "job" not in result
    again = objects(ptft(*typed, "--json"))
    assert [(each["kind"], each.get("before")) for each in again] == [("result", True)] * 2 + [("result", None)]
    assert kinds(objects(ptft("--json", *typed, "dry_run=true"))) == ["plan", "plan", "result"]


def test_a_job_that_fails_is_an_error_and_the_sweep_a_result(ptft):
    diverges = ("optimizer=sgd", "schedule=constant", "train.clip=null", "optimizer.lr=1e-3,1e30")
    done = ptft("-m", "--json", *RUN, *diverges)
    *_, good, _, error, result = (each for each in objects(done) if each["kind"] != "row")
    assert (done.code, good["kind"], good["job"], error["code"], error["job"]) == (1, "result", 0, 6, 1)
    assert (result["status"], [job["status"] for job in result["jobs"]]) == ("failed", ["finished", "failed"])


def test_a_comparison_says_each_run_and_its_answer(ptft, pretrained):
    typed = ("stage=compare", f"ckpt={pretrained}", "compare.per_class=[2]", "compare.seeds=1", "train.steps=3")
    done = ptft("--json", *typed, "compare.only=[finetune]", "compare.tune=null")
    found = objects(done)
    assert done.code == 0, done.text
    assert kinds(found) == ["plan", "run", "run", "result"]
    assert {each["arm"] for each in found[1:3]} == {"scratch", "finetune"}
    assert found[-1]["answer"]


def test_a_finished_run_that_is_resumed_says_its_result(ptft, pretrained):
    (result,) = objects(ptft("--json", f"resume={pretrained}"))
    assert (result["kind"], result["status"], result["folder"]) == ("result", "finished", str(pretrained))


def test_what_is_written_to_standard_output_itself_goes_to_standard_error(tmp_path):
    (tmp_path / "loud.py").write_text(
        "import os\nimport ptft.models.image.cnn as cnn\nos.write(1, b'raw\\n')\nprint('printed')\n"
        "class Net(cnn.CNN):\n    pass\n"
    )
    own = ("model=cnn", *NET, "model._target_=loud.Net", "trusted=[loud]")
    typed = command("--json", "stage=pretrain", *FEW, "train.steps=1", *own)
    done = processes.run(typed, timeout=100)  # Python looks for modules in the folder it is called in
    assert done.returncode == 0, done.stderr
    assert {"raw", "printed"} <= set(done.stderr.split())
    assert all(json.loads(line)["kind"] for line in done.stdout.splitlines())


def test_warnings_stay_lines_on_standard_error(ptft, pretrained, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "photos" / "good.png")
    (tmp_path / "photos" / "bad.png").write_bytes(b"no image")
    done = ptft("--json", "stage=predict", f"ckpt={pretrained}", "input=photos")
    assert kinds(objects(done)) == ["plan", "prediction", "prediction", "result"]
    assert next(each["row"]["class"] for each in objects(done) if each["kind"] == "prediction") is None
    assert "left out, its row is empty" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_reader_that_goes_away_ends_no_run(tmp_path):
    """As `ptft --json … | head -1`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with processes.Process(command("--json", *RUN, "hydra.run.dir=run"), **pipes) as running:
        assert running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
        assert running.wait(100) == 0, said
    assert summary(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ptft --js", ["--json"]),
        ("ptft --json model=vit_t", ["model=vit_tiny"]),
        ("ptft stage=pretrain -", ["--json", "-m"]),
    ],
)
def test_completion_knows_the_flag(process, line, offered):
    done = process("-sc", "query=bash", env={"COMP_LINE": line, "COMP_POINT": str(len(line))})
    assert done.code == 0, done.text
    assert set(offered) <= set(done.out.split())


def test_the_help_names_it(ptft):
    assert "--json" in ptft("--help").out
