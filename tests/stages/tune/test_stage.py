"""`ptft stage=tune`: whole searches of tiny runs, cut, continued, refused, and what comes of them."""

import csv
import html
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.stages.tune import closing, messages, trials
from ptft.stages.tune.confirm import judged
from tests.conftest import NET, command, contents, refused, status, summary
from tests.helpers.meanwhile import after
from tests.helpers.processes import Process

DATA = ("dataset=glyphs", "dataset.images=120", "dataset.held_out=40", "train.batch_size=32")
SPACE = ("tune=light", "tune.space.schedule.warmup={low: 0.0, high: 0.3}")
STEPS = ("train.steps=10", "train.every.evaluate=1", "precision=fp32", "train.layout=contiguous")
FEW = (*DATA, *SPACE, *STEPS, "tune.trials=5", "tune.confirm=1")


def tune(ptft, start, *more, into="tuned"):
    return ptft("stage=tune", f"ckpt={start}", *FEW, f"hydra.run.dir={into}", *more)


def found(folder) -> dict:
    return json.loads((Path(folder) / "tune.json").read_text())


def trials_of(folder) -> list[dict]:
    """What the trials came to, without what a clock or the folder's name says."""
    return [{k: v for k, v in each.items() if k not in ("seconds", "folder")} for each in found(folder)["trials"]]


def seeds_of(folder) -> list[dict]:
    return [{k: v for k, v in each.items() if k not in ("seconds", "folder")} for each in found(folder)["confirmation"]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def whole(kept, ptft, pretrained):
    """A search of 5 trials, made by the first test that needs it; what it said lies beside it."""
    if not (kept / "tuned").exists():
        done = tune(ptft, pretrained, into=kept / "tuned")
        assert done.code == 0, done.text
        (kept / "said").write_text(done.out)
    return kept / "tuned"


def test_a_search_leaves_its_answer_in_every_form(whole, kept):
    said, result = (kept / "said").read_text(), found(whole)
    assert result["answer"] in said
    assert status(whole)["status"] == summary(whole)["status"] == result["status"] == "finished"
    assert summary(whole)["stage"] == "tune"
    with (whole / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == [each["status"] for each in result["trials"]]
    assert [float(row["value"]) for row in table] == [each["value"] for each in result["trials"]]
    assert {"optimizer.lr", "finetune.layer_decay", "schedule.warmup"} < table[0].keys()
    with Image.open(whole / "tune.png") as image:
        assert image.width > 500
    page = (whole / "report.html").read_text()
    assert html.escape(result["answer"]).replace("&#x27;", "&#39;") in page
    assert "stopped at 10 %" in page


def test_the_first_trial_is_the_defaults_and_few_come_to_their_end(whole):
    first, *others = found(whole)["trials"]
    assert (first["settings"], first["status"], first["steps"]) == ({}, "finished", 10)
    assert [rung["step"] for rung in first["rungs"]] == [1, 3, 10], "the evaluations nearest to 10 and 30 %"
    assert all(each["settings"] for each in others)
    stopped = [each for each in others if each["status"] == "stopped"]
    assert stopped
    for each in stopped:
        assert each["steps"] == each["rungs"][-1]["step"] < each["of"] == 10
        assert summary(Path(each["folder"]))["steps"] == each["steps"], "nothing was trained beyond it"
    cost, steps = found(whole)["cost"], sum(each["steps"] for each in found(whole)["trials"])
    assert (cost["steps"], cost["whole"]) == (steps, 50)
    assert cost["saved"] == pytest.approx(1 - steps / 50)


def test_what_a_trial_had_at_a_rung_is_what_its_run_had_there(whole):
    for each in found(whole)["trials"]:
        rows = [json.loads(line) for line in (Path(each["folder"]) / "metrics.jsonl").read_text().splitlines()]
        val = {row["step"]: row["accuracy"] for row in rows if row["split"] == "val"}
        for rung in each["rungs"]:
            assert rung["value"] == max(value for step, value in val.items() if step <= rung["step"])


def test_a_trial_that_paused_twice_is_the_run_that_nobody_stopped(whole, ptft, pretrained):
    best = found(whole)["best"]
    trial = found(whole)["trials"][best["number"]]
    words = [*DATA, *STEPS, *trials.typed(trial["settings"])]
    done = ptft("stage=finetune", f"ckpt={pretrained}", *words, "hydra.run.dir=alone")
    assert done.code == 0, done.text
    ours, alone = (checkpoint_file.read(place / "checkpoints" / "best.pt")[0] for place in (whole, Path("alone")))
    assert all(torch.equal(value, alone["weights"][name]) for name, value in ours["weights"].items())


def test_the_best_and_the_defaults_are_trained_with_the_same_other_seeds(whole):
    pairs = [(each["who"], each["seed"]) for each in found(whole)["confirmation"]]
    best = found(whole)["best"]
    assert pairs == ([("defaults", 1), ("found", 1)] if best["number"] else [])
    for each in found(whole)["confirmation"]:
        assert summary(Path(each["folder"]))["best"]["value"] == each["value"]
    assert found(whole)["verdict"]["word"] == "unknown", "one seed is not enough for a claim"


def test_only_the_best_checkpoint_is_kept_and_the_folder_is_a_run_s(whole, ptft):
    best = Path(found(whole)["best"]["folder"])
    kept = {path.parents[1] for path in whole.rglob("best.pt")}
    assert kept == {best, Path(first_folder(whole)), whole}, "and the defaults', which more trials may choose"
    done = ptft("stage=evaluate", f"ckpt={whole}", "hydra.run.dir=evaluated")
    assert done.code == 0, done.text
    trial = found(whole)["trials"][found(whole)["best"]["number"]]
    assert summary(Path("evaluated"))["metrics"]["test"]["accuracy"] == trial["metrics"]["test"]["accuracy"]


def test_what_was_found_is_shown_and_are_the_settings_of_its_weights(whole, ptft):
    result = found(whole)
    number, settings = result["best"]["number"], result["best"]["settings"] or result["defaults"]
    shown = ptft("show", str(whole)).out
    assert result["answer"] in " ".join(shown.split())
    cost = result["cost"]
    trials_line = f"5, the best is {number}; {cost['steps']} of 50 steps trained, {cost['saved']:.0%} saved"
    assert trials_line in " ".join(shown.split())
    assert "best.pt" in shown
    table = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    for key, value in settings.items():
        assert table[key] == [trials.typed({key: each})[0].split("=")[1] for each in (value, result["defaults"][key])]
    facts = json.loads(ptft("show", str(whole), "--json").out)
    assert facts["found"]["settings"]["schedule.warmup"]["value"] == settings["schedule.warmup"]
    apart = json.loads(ptft("diff", str(whole), result["best"]["folder"], "--json").out)["configuration"]
    assert not [key for key in apart if key.split(".")[0] not in ("stage", "tune", "train", "report")]


def test_an_option_that_was_found_is_shown_with_its_own_keys(ptft):
    space = ("tune=light", "tune.space.finetune.layer_decay=null", "tune.space.optimizer.lr=[0.01,0.02]")
    few = ("tune.space.optimizer=[sgd,muon]", "train.steps=1", "tune.rungs=null", "tune.trials=2", "tune.confirm=0")
    few += ("train.accumulate=auto",)
    done = ptft("stage=tune", "ckpt=null", *DATA, *NET, *STEPS[2:], *space, *few, "hydra.run.dir=tuned")
    assert done.code == 0, done.text
    assert "train.accumulate=auto" in found("tuned")["pins"], "optimizers keep more or less of each weight"
    result, number = found("tuned"), 1
    best = {key: result["trials"][number][key] for key in ("number", "settings", "folder")}
    Path("tuned/tune.json").write_text(json.dumps({**result, "best": best}))
    apart = json.loads(ptft("diff", "tuned", best["folder"], "--json").out)["configuration"]
    assert not [key for key in apart if key.split(".")[0] == "optimizer"]
    shown = json.loads(ptft("show", "tuned", "--json").out)
    assert shown["chosen"]["optimizer"] == best["settings"]["optimizer"] != "adamw"
    assert shown["found"]["settings"]["optimizer"] == {"value": best["settings"]["optimizer"], "default": "adamw"}


def test_the_command_and_the_experiment_that_it_proposes_ask_for_what_was_found(whole, kept, ptft, pretrained):
    best = found(whole)["best"]["settings"]
    next_line = (kept / "said").read_text().splitlines()[-1]
    assert next_line.startswith("next    ptft stage=finetune ")
    assert all(word in next_line for word in trials.typed(best))
    Path("conf/experiment").mkdir(parents=True)
    shutil.copy(whole / "best.yaml", "conf/experiment/mine.yaml")
    from ptft.config.resolve import resolve

    config = resolve(["stage=finetune", f"ckpt={pretrained}", "experiment=mine"]).config
    assert {key: config[key.split(".")[0]][key.split(".")[1]] for key in best} == best


def test_a_search_that_was_cut_anywhere_ends_with_the_same_answer(whole, ptft, pretrained, monkeypatch):
    usual, runs = trials.run_or_continue, []

    def cut_at_the_third(*arguments):
        runs.append(arguments)
        if len(runs) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(*arguments)

    monkeypatch.setattr(trials, "run_or_continue", cut_at_the_third)
    for _ in range(9):
        runs.clear()
        done = tune(ptft, pretrained, into="cut") if not Path("cut").exists() else ptft("resume=cut")
        if done.code == 0:
            break
        refused(done, 130, "continue with: ptft resume=cut")
    assert done.code == 0, done.text
    assert trials_of("cut") == trials_of(whole)
    assert seeds_of("cut") == seeds_of(whole)
    assert found("cut")["answer"] == found(whole)["answer"]


def test_one_that_was_killed_goes_on_too(whole, ptft, pretrained):
    typed = command("stage=tune", f"ckpt={pretrained}", *FEW, "hydra.run.dir=killed")
    running = Process(typed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in running.stdout:
        if line.startswith("trial 2 "):
            running.kill()
            break
    running.wait()
    running.stdout.close()
    assert status(Path("killed"))["status"] == "running"
    kept = {path.parent.name for path in Path("killed/cells").glob("trial-00[12]/checkpoints")}
    assert len(kept) < 2, "one of 5 can go on, so the worse of both can't"
    refused(ptft("stage=evaluate", "ckpt=killed"), 4, "ckpt=killed: is a search without a result yet", "ptft resume=")
    done = ptft("resume=killed")
    assert done.code == 0, done.text
    assert trials_of("killed") == trials_of(whole)


def test_once_more_trains_nothing_and_more_trials_go_on_from_there(whole, ptft, pretrained):
    shutil.copytree(whole, "more")
    runs = contents(Path("more/cells"))
    before = found("more")
    Path("more/tune.json").write_text(json.dumps({**before, "versions": {**before["versions"], "torch": "1.0"}}))
    done = tune(ptft, pretrained, into="more")
    assert done.code == 0, done.text
    assert "began with torch 1.0, now " in done.out
    assert "\ntrial " not in done.out.partition("trials, those")[0]
    assert contents(Path("more/cells")) == runs
    done = ptft("resume=more", "tune.trials=6", "tune.confirm=0")
    assert done.code == 0, done.text
    assert [each["settings"] for each in trials_of("more")[:5]] == [each["settings"] for each in trials_of(whole)]
    assert len(trials_of("more")) == 6


def test_another_search_is_refused_in_its_folder(whole, ptft, pretrained):
    for word, said in (
        ("tune.space.optimizer.lr=[0.1,0.2]", "the space"),
        ("train.steps=12", "what was typed"),
        ("seed=3", "the seed"),
        ("tune.factor=2", "tune.factor"),
    ):
        before = found(whole)
        refused(tune(ptft, pretrained, word, into=whole), 2, "holds a search that differs in ", said)
        assert found(whole) == before


def test_a_trial_that_fails_is_said_and_ends_nothing(ptft, pretrained):
    wild = ("tune.space.optimizer.lr={low: 1e20, high: 1e30, log: true}", "tune.trials=3")
    done = tune(ptft, pretrained, *wild)
    assert done.code == 0, done.text
    assert [each["status"] for each in trials_of("tuned")] == ["finished", "failed", "failed"]
    assert "not finite" in done.out
    assert "The defaults are the best of 3 trials" in done.out
    assert found("tuned")["best"]["number"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune.space.optimizer.lrr=[0.1,0.2]"], "tune.space.optimizer.lrr: optimizer.lrr: there is no such key"),
        (["tune.space.optimizer.lr={low: -1, high: 1}"], "tune.space.optimizer.lr: optimizer.lr=-1: must be a number"),
        (["tune.space.optimizer=[adamw,sdg]"], "did you mean sgd"),
        (["dataset=digits", "dataset.val=null"], "dataset.val: settings are chosen on a validation split"),
        (["finetune.train=head"], "without effect, as a head is fitted to convergence"),
        (["tune.rungs=[0.5,0.1]"], "must be parts of a budget that rise"),
        (["train.pause=3"], "train.pause: for stage=finetune or pretrain"),
    ],
)
def test_what_can_not_be_is_one_line_and_nothing_is_written(ptft, pretrained, words, said):
    data = [] if "dataset=digits" in words else DATA
    done = ptft("stage=tune", f"ckpt={pretrained}", *data, *STEPS, *SPACE[:1], *words, "hydra.run.dir=none")
    refused(done, 2, said)
    assert len(done.err.splitlines()) == 1
    assert not Path("none").exists()


def test_a_space_is_for_a_search_alone(ptft):
    refused(ptft("stage=finetune", "ckpt=null", "tune=light"), 2, "tune: for stage=tune, not for stage=finetune")


def test_a_dry_run_says_what_it_costs_and_writes_nothing(ptft, pretrained):
    done = tune(ptft, pretrained, "dry_run=true")
    assert done.code == 0, done.text
    assert "5 of 10 steps with seed 0, the first with the defaults" in done.out
    assert "where 5 would be without stopping; 2 to confirm" in done.out
    assert not Path("tuned").exists()


def test_a_pretraining_is_searched_as_well(ptft):
    net = ("tune.stage=pretrain", "ckpt=null", "tune=pretrain", "objective=simclr", *NET)
    done = ptft("stage=tune", *net, *DATA, *STEPS, "tune.trials=2", "tune.confirm=0", "hydra.run.dir=outputs/ssl")
    assert done.code == 0, done.text
    assert found("outputs/ssl")["monitor"]["metric"] == "val/knn"
    assert "next    ptft stage=pretrain" in done.out
    done = ptft("stage=finetune", "ckpt=latest", *DATA, "train.steps=1", "hydra.run.dir=finetuned")
    assert done.code == 0, done.text
    assert "ckpt=latest is outputs/ssl" in done.out
    parent = summary(Path("finetuned"))["parent"]
    assert parent["run"] == str(Path("outputs/ssl").absolute())


def test_a_finetune_that_was_searched_is_the_latest_for_what_asks_it_alone(whole, ptft):
    shutil.copytree(whole, "outputs/tuned")
    refused(ptft("stage=finetune", "ckpt=latest"), 4, "no finished pretrain or zero_shot run")
    done = ptft("stage=evaluate", "ckpt=latest")
    assert "ckpt=latest is outputs/tuned" in done.out


def test_a_checkpoint_that_changes_meanwhile_ends_the_search(ptft, pretrained, monkeypatch):
    start = shutil.copytree(pretrained, Path("start"))
    made = ("stage=pretrain", f"ckpt={start}", *DATA, "train.steps=1", "hydra.run.dir=later")
    assert ptft(*made).code == 0
    after(monkeypatch, messages, 4, lambda: shutil.copy("later/checkpoints/best.pt", start / "checkpoints/best.pt"))
    refused(tune(ptft, start, "tune.confirm=0"), 4, "changed while the search ran", "a copy")
    begun = [summary(path)["parent"]["sha256"] for path in sorted(Path("tuned/cells").iterdir())]
    assert len(set(begun)) == 2
    shutil.copy(pretrained / "checkpoints/best.pt", start / "checkpoints/best.pt")
    assert tune(ptft, start, "tune.confirm=0").code == 0
    assert {summary(Path(each["folder"]))["parent"]["sha256"] for each in found("tuned")["trials"]} == {begun[0]}


def test_data_that_change_meanwhile_are_said(ptft, pretrained, monkeypatch):
    draws = np.random.default_rng(0)
    for i in range(80):
        path = Path("data", "ab"[i % 2], f"{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (28, 28), np.uint8)).save(path)
    own = ("dataset=image_folder", "dataset.root=data", "dataset.channels=1")
    after(monkeypatch, messages, 3, lambda: shutil.copy("data/a/0.png", "data/a/more.png"))
    words = [word for word in FEW if not word.startswith("dataset")]
    done = ptft("stage=tune", f"ckpt={pretrained}", *own, *words, "tune.confirm=0", "hydra.run.dir=tuned")
    assert done.code == 0, done.text
    assert "the data changed while the search ran: trial-001" in done.out
    assert done.out.count("the data changed while the search ran") == 1


def test_seeds_that_draw_other_data_are_no_change_and_whole_numbers_are_choices(ptft):
    typed = ("dataset=digits", "dataset.limit=60", *NET, "train.steps=2", "precision=fp32", "train.layout=contiguous")
    space = ("tune.space.optimizer.lr=null", "tune.space.finetune.layer_decay=null")
    space += ("tune=light", "tune.space.objective.label_smoothing=[0,0.3]", "tune.space.train.batch_size=[64,8]")
    done = ptft("stage=tune", "ckpt=null", *typed, *space, "tune.trials=4", "tune.confirm=1", "hydra.run.dir=tuned")
    assert done.code == 0, done.text
    assert "the data changed" not in done.text


def test_a_space_that_holds_few_settings_ends_where_all_were_tried(ptft):
    steps = ("train.steps=2", *STEPS[1:], "tune.rungs=null", "tune.confirm=0")
    space = ("tune=light", "tune.space.optimizer.lr=null", "tune.space.finetune.layer_decay=null")
    space += ("tune.space.schedule.warmup=[0.05,0.1]", "tune.space.train.batch_size=[32,16]")
    done = ptft("stage=tune", "ckpt=null", *DATA, *NET, *steps, *space, "hydra.run.dir=tuned")
    assert done.code == 0, done.text
    tried = [each["settings"] or found("tuned")["defaults"] for each in found("tuned")["trials"]]
    assert len({str(each) for each in tried}) == len(tried) == 4, "the defaults are one of them"
    assert "there are 4 different trials in this space, so no more than these (tune.trials=24)" in done.out


def test_the_defaults_can_become_the_answer_later(ptft, monkeypatch):
    """Where more seeds say that what was found is worse, the result is theirs, weights and all."""
    typed = ("dataset=glyphs", *DATA[1:], *NET, *STEPS, "tune.rungs=null")
    space = ("tune=light", "tune.space.finetune.layer_decay=null", "tune.space.optimizer.lr=[0.02,0.001]")
    search = ("stage=tune", "ckpt=null", *typed, *space, "tune.trials=4", "hydra.run.dir=tuned")
    search += ("train.accumulate=auto",)
    assert ptft(*search, "tune.confirm=0").code == 0
    assert "train.accumulate=1" in found("tuned")["pins"]
    first = found("tuned")["best"]["number"]
    assert first != 0
    monkeypatch.setattr(closing.confirm, "judged", lambda *given: replace(judged(*given), word="worse"))
    done = ptft(*search, "tune.confirm=3")
    assert done.code == 0, done.text
    assert found("tuned")["best"]["number"] == 0
    kept, alone = (checkpoint_file.read(Path(at, "checkpoints/best.pt"))[0] for at in ("tuned", first_folder("tuned")))
    assert all(torch.equal(value, alone["weights"][name]) for name, value in kept["weights"].items())


def first_folder(folder) -> str:
    return str(found(folder)["trials"][0]["folder"])
