"""`stage=evaluate` says how sure it is: intervals, against another checkpoint, calibration, slices, corruptions."""

import csv
import json
import random
from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.data.audio import reader as audio_reader
from tests.conftest import refused
from tests.helpers import tables, untrained

WORDS = {"good": ["fine", "great", "lovely", "bright"], "bad": ["dull", "poor", "awful", "grim"]}


def summary(folder):
    return json.loads((Path(folder) / "summary.json").read_text())


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A table of texts by a few writers, of whom one says the opposite of what they mean, and a run on it."""
    from tests.conftest import command
    from tests.helpers import processes

    folder, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    with (folder / "texts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "writer", "year"])
        for i in range(240):
            label, writer = draw.choice(["good", "bad"]), f"w{i % 12}"
            meant = label if i % 12 else {"good": "bad", "bad": "good"}[label]
            rows.writerow([f"a {draw.choice(WORDS[meant])} film {i}", label, writer, 1990 + i % 30])
    typed = [*tables.RUN, f"dataset.root={folder / 'texts.csv'}", "dataset.length=32", "train.steps=60", "device=cpu"]
    done = processes.run(
        command(
            *typed,
            "precision=fp32",
            "dataset.text=text",
            "dataset.label=label",
            "optimizer.lr=0.01",
            f"hydra.run.dir={folder / 'run'}",
        ),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_every_metric_has_an_interval_that_follows_from_the_seed(ptft, pretrained):
    told = [summary(pretrained)]
    for run in ("one", "two"):
        done = ptft("stage=evaluate", f"ckpt={pretrained}", f"hydra.run.dir={run}")
        assert done.code == 0, done.text
        told.append(summary(run))
    found = told[1]["intervals"]["test"]
    assert {*found} == {*told[1]["metrics"]["test"]} == {"loss", "accuracy", "macro_f1", "mcc"}
    assert all(low < told[1]["metrics"]["test"][name] < high for name, (low, high) in found.items())
    assert told[1]["intervals"] == told[2]["intervals"]
    assert told[0]["intervals"]["test"]["accuracy"] == pytest.approx(found["accuracy"])  # of the training's own end
    assert told[1]["resampling"] == {"level": 0.95, "resamples": 1000, "units": 100, "of": "images"}
    low, high = (f"{100 * end:.2f}" for end in found["accuracy"])
    assert f"({low} to {high} %)" in done.out
    wider = ptft("stage=evaluate", f"ckpt={pretrained}", "evaluate.intervals=0.99", "hydra.run.dir=wide")
    assert wider.code == 0, wider.text
    assert summary("wide")["intervals"]["test"]["accuracy"][0] < found["accuracy"][0]
    none = ptft("stage=evaluate", f"ckpt={pretrained}", "evaluate.intervals=null", "hydra.run.dir=none")
    assert none.code == 0, none.text
    assert "intervals" not in summary("none")


def test_a_checkpoint_against_itself_is_the_same_and_against_an_untrained_one_better(ptft, pretrained):
    torch.manual_seed(0)
    other = untrained.write(Path("other.pt"), "dataset.images=60", "model.width=12", "model.channels=[4,4]")
    for path, verdict in ((pretrained, "the same"), (other, "better")):
        folder = f"against {verdict}"
        done = ptft("stage=evaluate", f"ckpt={pretrained}", f"against={path}", f"hydra.run.dir={folder}")
        assert done.code == 0, done.text
        found = summary(folder)["against"]
        verdicts = {name: row["verdict"] for name, row in found["differences"].items()}
        assert verdicts["loss"] == verdict, found
        assert sum(found["right"][key] for key in ("both", "only_ckpt", "only_against", "none")) == 100
        gap = (found["right"]["only_ckpt"] - found["right"]["only_against"]) / 100
        assert found["differences"]["accuracy"]["difference"] == pytest.approx(gap)
        assert verdict in done.out
    low, high = found["differences"]["accuracy"]["interval"]
    assert low < gap < high
    assert verdicts["accuracy"] == ("better" if low > 0 else "can't tell")


def test_few_groups_have_no_verdict_that_they_can_t_bear(ptft):
    """Two writers, 60 % and 90 % of whose texts are good, and one who answers good beside one who answers bad."""
    rows = [["text", "label", "writer", "split"]]
    for i in range(90):
        label = "good" if i // 2 % 10 < (6, 9)[i % 2] else "bad"
        rows.append([f"a film {i}", label, f"w{i % 2}", "test" if i < 60 else "val" if i < 70 else "train"])
    with open("two.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    data = ("dataset=table", "dataset.root=two.csv", "dataset.text=text", "dataset.label=label", "dataset.length=24")
    untrained.write(Path("fresh.pt"), *tables.RUN[2:], *data, "objective=classify")
    content = checkpoint_file.read(Path("fresh.pt"))[0]
    for name, answer in (("one.pt", [0.0, 4.0]), ("two.pt", [4.0, 0.0])):
        head = {"head.weight": torch.zeros(2, 16), "head.bias": torch.tensor(answer)}
        checkpoint_file.write(Path(name), {**content, "weights": {**content["weights"], **head}})
    typed = ("stage=evaluate", "ckpt=one.pt", "against=two.pt")
    found = {}
    for group in ("writer", "null"):
        done = ptft(*typed, f"dataset.group={group}", "evaluate.by=label", f"hydra.run.dir=by_{group}")
        assert done.code == 0, done.text
        found[group] = summary(f"by_{group}")["against"]
        assert ("McNemar's test p = " in done.out) is (group == "null")
        assert ("2 groups of writer are few" in done.out) is (group == "writer")
        assert ("none is called the worst" in done.out) is (group == "writer")
        assert (summary(f"by_{group}")["slices"]["test"]["worst"] is None) is (group == "writer")
        assert ("McNemar" in Path(f"by_{group}", "report.html").read_text()) is (group == "null")
    assert (found["writer"]["units"], found["writer"]["of"]) == (2, "groups of writer")
    assert "p" in found["null"]["right"]
    assert "p" not in found["writer"]["right"]
    rows = {group: each["differences"]["accuracy"] for group, each in found.items()}
    assert rows["writer"]["difference"] == rows["null"]["difference"] == 0.5, "0.2 of one writer, 0.8 of the other"
    assert [rows[group]["verdict"] for group in ("writer", "null")] == ["can't tell", "better"]
    assert rows["writer"]["interval"] == [-1, 1]


def test_another_question_is_refused_by_name(ptft, pretrained, texts):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", f"against={texts}")
    refused(done, 3, "does not answer the same question: it reads text, ckpt reads image")
    letters = untrained.write(Path("letters.pt"), "dataset.images=60", "dataset.charset=letters", "model.width=12")
    done = ptft("stage=evaluate", f"ckpt={pretrained}", f"against={letters}")
    refused(done, 3, "classes")
    refused(ptft("stage=evaluate", f"ckpt={pretrained}", "against=nowhere.pt"), 4, "against=nowhere.pt")


def test_a_temperature_lowers_the_calibration_error_on_held_out_data_and_is_kept(ptft, pretrained):
    content = checkpoint_file.read(pretrained / "checkpoints" / "best.pt")[0]
    content["weights"] = {name: value.clone() for name, value in content["weights"].items()}
    for name in ("head.weight", "head.bias"):
        content["weights"][name] *= 20  # far too sure of its answers
    checkpoint_file.write(Path("sure.pt"), content)
    done = ptft("stage=evaluate", "ckpt=sure.pt", "evaluate.calibrate=true", "hydra.run.dir=run")
    assert done.code == 0, done.text
    found = summary("run")["calibration"]["test"]
    assert found["temperature"] > 2
    assert found["ece"] < 0.6 * found["before"]["ece"]
    assert found["nll"] < found["before"]["nll"]
    curve = json.loads(Path("run/calibration_test.json").read_text())
    assert sum(each["size"] for each in curve["bins"]) == 100
    kept, _ = checkpoint_file.read(Path("run/checkpoints/best.pt"))
    assert float(kept["weights"]["calibration"]) == pytest.approx(found["temperature"])
    assert kept["parent"]["path"].endswith("sure.pt")
    assert "calibration" not in checkpoint_file.read(Path("sure.pt"))[0]["weights"]
    again = ptft("stage=evaluate", "ckpt=run", "hydra.run.dir=again")
    assert again.code == 0, again.text
    assert summary("again")["calibration"]["test"]["ece"] == pytest.approx(found["ece"])
    assert "Calibration" in Path("run/report.html").read_text()


def test_a_temperature_is_refused_where_it_can_t_be_fitted_or_shown(ptft, pretrained):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "evaluate.calibrate=true", "split=val")
    refused(done, 2, "fitted on val")
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "evaluate.calibrate=true", "dataset.val=null")
    refused(done, 3, "no val split")


def test_slices_find_the_writer_who_is_understood_least(ptft, texts):
    for by, slices in (("writer", 12), ("year", 4), ("label", 2)):
        done = ptft("stage=evaluate", f"ckpt={texts}", f"evaluate.by={by}", "split=train", f"hydra.run.dir={by}")
        assert done.code == 0, done.text
        found = summary(by)["slices"]["train"]
        assert len(found["rows"]) == slices
        assert sum(row["n"] for row in found["rows"]) == summary(by)["samples"]
    rows = {row["slice"]: row["metrics"]["accuracy"] for row in summary("writer")["slices"]["train"]["rows"]}
    assert summary("writer")["slices"]["train"]["worst"] == "w0" == min(rows, key=rows.get)
    assert "worst: " in done.out
    done = ptft("stage=evaluate", f"ckpt={texts}", "evaluate.by=wirter")
    refused(done, 3, "evaluate.by", "text, label, writer, year")


def sliced_as_its_answers_are(run, split, cell_of):
    """Whether the slices of a run are those of its predictions, by what `cell_of` says of an item."""
    right = {}
    with (Path(run) / f"predictions_{split}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            right.setdefault(cell_of(row["item"]), []).append(row["true"] == row["predicted"])
    told = {row["slice"]: row["metrics"]["accuracy"] for row in summary(run)["slices"][split]["rows"]}
    return told == pytest.approx({name: sum(each) / len(each) for name, each in right.items()})


@pytest.mark.parametrize("by", ["topic", "doc"])
def test_slices_are_of_the_split_that_groups_are_divided_into(ptft, by):
    """300 rows of 100 documents: without `dataset.group` other rows are the test split."""
    draw, rows = random.Random(0), []
    for i in range(300):
        text = f"a {draw.choice(WORDS['good'] + WORDS['bad'])} film {i % 290}"  # some texts stand there twice
        rows.append([text, draw.choice(["good", "bad"]), f"d{i // 3}", f"t{draw.randrange(4)}"])
    with open("docs.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text", "label", "doc", "topic"], *rows])
    typed = ("dataset=table", "dataset.root=docs.csv", "dataset.text=text", "dataset.label=label", "dataset.group=doc")
    torch.manual_seed(0)
    untrained.write(Path("docs.pt"), *tables.RUN[2:], *typed, "dataset.length=32", "objective=classify")
    done = ptft("stage=evaluate", "ckpt=docs.pt", f"evaluate.by={by}", "hydra.run.dir=run")
    assert done.code == 0, done.text
    column = {"topic": 3, "doc": 2}[by]
    assert sliced_as_its_answers_are("run", "test", lambda item: rows[int(item.rpartition(":")[2]) - 2][column])
    assert summary("run")["resampling"]["of"] == "groups of doc"


@pytest.mark.parametrize("by", ["speaker", "take"])
def test_slices_of_files_that_are_divided_by_a_part_of_their_names(ptft, by):
    for i in range(60):
        wave = 3000 * torch.randn(800, generator=torch.Generator().manual_seed(i))
        audio_reader.write(Path(f"spoken/{'ab'[i % 2]}_s{i // 3}_{i % 3}.wav"), wave.to(torch.int16), 8000)
    typed = ("dataset=audio_folder", "dataset.root=spoken", "dataset.pattern='{label}_{speaker}_{take}'")
    net = ("model=audio_cnn", "model.width=8", "model.channels=[4,4]", "objective=classify", "dataset.rate=8000")
    torch.manual_seed(0)
    untrained.write(Path("said.pt"), *typed, *net, "dataset.group=speaker", "dataset.seconds=0.1")
    done = ptft("stage=evaluate", "ckpt=said.pt", f"evaluate.by={by}", "hydra.run.dir=run")
    assert done.code == 0, done.text
    place = {"speaker": 1, "take": 2}[by]
    assert sliced_as_its_answers_are("run", "test", lambda item: Path(item).stem.split("_")[place])


def test_a_file_that_is_listed_twice_with_two_values_is_in_no_slice(ptft):
    rows = [["path", "label", "patient", "site"]]
    for i in range(30):
        Path("seen").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 8 * i).save(f"seen/{i}.png")
        rows += [[f"seen/{i}.png", "ab"[i % 2], f"p{i // 2}", site] for site in ("north", "south")]
    with open("seen.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    typed = ("dataset=image_folder", "dataset.root=seen.csv", "dataset.group=patient", "objective=classify")
    untrained.write(Path("seen.pt"), *typed, "model=cnn", "model.width=8", "model.channels=[4,4]")
    done = ptft("stage=evaluate", "ckpt=seen.pt", "evaluate.by=site", "hydra.run.dir=run")
    refused(done, 3, "evaluate.by=site: seen/", "has several: north, south")


def test_groups_are_resampled_where_they_are_asked_for(ptft, texts):
    typed = ("stage=evaluate", f"ckpt={texts}", "split=train")
    done = ptft(*typed, "dataset.group=writer", "split_overlap=allow", "hydra.run.dir=groups")
    assert done.code == 0, done.text
    how = summary("groups")["resampling"]
    assert how["of"] == "groups of writer"
    assert how["units"] <= 12
    assert "are few" in done.out


def test_corruptions_are_measured_at_five_severities(ptft, pretrained, texts):
    typed = ("evaluate.corrupt=[contrast,jpeg]", "hydra.run.dir=run")
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "evaluate.resamples=100", *typed)
    assert done.code == 0, done.text
    rows = summary("run")["corruptions"]["test"]["rows"]
    assert [(row["corruption"], row["severity"]) for row in rows] == [
        (kind, severity) for kind in ("contrast", "jpeg") for severity in range(1, 6)
    ]
    assert rows[4]["metrics"]["accuracy"] < summary("run")["metrics"]["test"]["accuracy"]
    assert {*rows[0]["intervals"]} == {"loss", "accuracy", "macro_f1", "mcc"}
    done = ptft(
        "stage=evaluate", f"ckpt={texts}", "evaluate.corrupt=typos", "evaluate.resamples=50", "hydra.run.dir=typos"
    )
    assert done.code == 0, done.text
    assert len(summary("typos")["corruptions"]["test"]["rows"]) == 5
    refused(ptft("stage=evaluate", f"ckpt={pretrained}", "evaluate.corrupt=typos"), 2, "noise, blur, jpeg, contrast")


def test_groups_of_the_training_are_drawn_from_other_data_too_or_it_is_said(ptft):
    draw, rows = random.Random(0), []
    for i in range(120):
        text = f"a {draw.choice(WORDS['good'] + WORDS['bad'])} film {i}"
        rows.append([text, draw.choice(["good", "bad"]), f"d{i // 3}"])
    for name, width in (("docs", 3), ("other", 3), ("plain", 2)):
        with open(f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([row[:width] for row in [["text", "label", "doc"], *rows]])
    typed = ("dataset=table", "dataset.text=text", "dataset.label=label", "dataset.group=doc", "dataset.length=32")
    untrained.write(Path("docs.pt"), *tables.RUN[2:], *typed, "dataset.root=docs.csv", "objective=classify")
    measure = ("stage=evaluate", "ckpt=docs.pt", "predictions=none", "report=false")
    done = ptft(*measure, "dataset.root=other.csv", "evaluate.by=doc", "hydra.run.dir=other")
    assert done.code == 0, done.text
    assert summary("other")["samples"] == 120
    assert (summary("other")["resampling"]["units"], summary("other")["resampling"]["of"]) == (40, "groups of doc")
    assert "no groups" not in done.out
    done = ptft(*measure, "dataset.root=plain.csv", "hydra.run.dir=plain")
    assert done.code == 0, done.text
    assert (summary("plain")["resampling"]["units"], summary("plain")["resampling"]["of"]) == (120, "texts")
    assert "intervals draw texts and no groups, as if none belonged together: " in done.out
    assert "dataset.group" in done.out
    wide, narrow = (summary(name)["intervals"]["test"]["loss"] for name in ("other", "plain"))
    assert wide != narrow
