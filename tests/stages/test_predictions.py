"""`predictions_SPLIT`: what a run answered to each example it was measured on, which agrees with its metrics."""

import csv
import sys
from pathlib import Path

import pytest
from PIL import Image

from ptft.data.text import conll, squad
from tests.conftest import refused, summary
from tests.stages.test_text_tasks import numbers

TEXT = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset.tokenizer=bytes")
QUICK = ("device=cpu", "precision=fp32", "train.batch_size=8", "train.steps=3")


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def mean(values) -> float:
    values = list(values)
    return sum(map(float, values)) / len(values)


def trained(ptft, *typed: str, run: str = "run"):
    done = ptft("stage=pretrain", *QUICK, *typed, f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    return done


def named(split: str, run: Path = Path("run")) -> list[str]:
    return [row["name"] for row in read(run / "split.csv") if row["split"] == split]


def test_a_training_and_an_evaluation_write_the_same_rows_which_add_up_to_the_metrics(ptft, pretrained):
    metrics = summary(pretrained)["metrics"]
    for split in ("val", "test"):
        rows = read(pretrained / f"predictions_{split}.csv")
        assert [row["item"] for row in rows] == named(split, pretrained)
        assert mean(row["loss"] for row in rows) == pytest.approx(metrics[split]["loss"], rel=1e-4)
        right = mean(row["true"] == row["predicted"] for row in rows)
        assert right == pytest.approx(metrics[split]["accuracy"])
    assert list(rows[0])[:5] == ["item", "true", "predicted", "probability", "loss"]
    assert list(rows[0])[5:] == [f"p_{k}" for k in range(10)]
    for row in rows[:50]:
        assert sum(float(row[f"p_{k}"]) for k in range(10)) == pytest.approx(1, abs=1e-5)
        assert row["probability"] == row[f"p_{row['predicted']}"]
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "precision=fp32", "hydra.run.dir=again")
    assert done.code == 0, done.text
    assert [row["item"] for row in read(Path("again/predictions_test.csv"))] == named("test", pretrained)
    worst = sorted(rows, key=lambda row: (row["true"] == row["predicted"], -float(row["loss"])))[:5]
    _, _, shown = done.out.partition("most wrong in test, all in predictions_test.csv")
    assert [line.split()[1] for line in shown.splitlines()[2:7]] == [row["item"].split()[1] for row in worst]
    assert "p_0" not in done.out


def test_rows_of_words_numbers_and_questions_agree_with_their_metrics(ptft):
    numbers(Path("numbers"))
    trained(ptft, *TEXT, "objective=regress", "dataset=table", "dataset.root=numbers", "dataset.target=number")
    rows, metrics = read(Path("run/predictions_val.csv")), summary(Path("run"))["metrics"]["val"]
    assert [row["item"] for row in rows] == named("val") == [f"dev.tsv:{i + 2}" for i in range(24)]
    assert [float(row["true"]) for row in rows[:5]] == [10.5, 11.5, 12.5, 13.5, 14.5]
    assert mean((float(row["true"]) - float(row["predicted"])) ** 2 for row in rows) ** 0.5 == pytest.approx(
        metrics["rmse"], rel=1e-4
    )
    assert mean(row["loss"] for row in rows) == pytest.approx(metrics["loss"], rel=1e-4)

    conll.sample(Path("words"))
    trained(ptft, *TEXT, "objective=tag", "dataset=conll", "dataset.root=words", run="tags")
    rows, metrics = read(Path("tags/predictions_val.csv")), summary(Path("tags"))["metrics"]["val"]
    assert rows[0]["item"] == "dev.conll:1"
    assert rows[0]["true"] == "B-PER I-PER O B-LOC O"
    assert 1 - sum(int(row["wrong"]) for row in rows) / (5 * len(rows)) == pytest.approx(metrics["accuracy"])
    assert mean(row["loss"] for row in rows) == pytest.approx(metrics["loss"], rel=1e-4)

    squad.sample(Path("questions"))
    typed = ("objective=span", "dataset=squad", "dataset.root=questions", "dataset.length=40", "dataset.stride=8")
    trained(ptft, *TEXT, *typed, run="spans")
    rows, metrics = read(Path("spans/predictions_val.csv")), summary(Path("spans"))["metrics"]["val"]
    assert sorted(row["item"] for row in rows) == sorted(named("val", Path("spans")))
    assert {row["item"]: (row["question"], row["true"]) for row in rows}["dev1"] == ("Where was the fair?", "Delft")
    assert 100 * mean(row["f1"] for row in rows) == pytest.approx(100 * metrics["f1"])


def test_rows_of_transcripts_count_the_edits_of_the_error_rates(ptft):
    net = ("model=audio_transformer", "model.width=12", "model.heads=2", "model.depth=1", "model.channels=4")
    data = ("dataset=tones", "dataset.count=24", "dataset.held_out=12", "dataset.words=[1,2]", "objective=ctc")
    trained(ptft, *net, *data)
    rows, metrics = read(Path("run/predictions_test.csv")), summary(Path("run"))["metrics"]["test"]
    words = sum(len(row["true"].split()) for row in rows)
    assert len(rows) == 12
    assert sum(int(row["word_edits"]) for row in rows) / words == pytest.approx(metrics["wer"])
    characters = sum(len(row["true"]) for row in rows)
    assert sum(int(row["character_edits"]) for row in rows) / characters == pytest.approx(metrics["cer"])


def test_what_could_not_be_read_has_no_row_and_moves_no_name(ptft):
    for name in "ab":
        Path("photos", name).mkdir(parents=True)
        for i in range(40):
            Image.new("L", (8, 8), 40 + 3 * i + 90 * (name == "b")).save(f"photos/{name}/{i}.png")
    trained(ptft, "model=cnn", "dataset=image_folder", "dataset.root=photos", "model.width=8", "model.channels=[4,4]")
    held = named("test")
    Path("photos", held[2]).write_text("no image")
    done = ptft("stage=evaluate", "ckpt=run", "dataset.on_error=skip", "dataset.cache=memory", "hydra.run.dir=ev")
    assert done.code == 0, done.text
    assert [row["item"] for row in read(Path("ev/predictions_test.csv"))] == [held[0], held[1], *held[3:]]


def test_of_many_classes_the_likeliest_have_columns(ptft):
    Path("data").mkdir()
    lines = [f"word{k} again,class {k}" for k in range(101)]
    for split in ("train", "dev"):
        Path(f"data/{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    trained(ptft, *TEXT, "dataset=table", "dataset.root=data", "dataset.target=class")
    (row, *_) = read(Path("run/predictions_val.csv"))
    likeliest = [f"{name}_{k}" for k in range(2, 6) for name in ("predicted", "probability")]
    assert list(row) == ["item", "true", "predicted", "probability", *likeliest, "loss", "text"]
    assert row["text"] == "word0 again"
    assert float(row["probability"]) >= float(row["probability_2"]) >= float(row["probability_5"])


def test_a_task_without_an_answer_for_each_example_writes_none(ptft):
    texts = ("model=gpt_tiny", "model.width=16", "model.depth=1", "objective=causal_lm", "dataset=grammar")
    trained(ptft, *texts, "dataset.sentences=40", "dataset.held_out=8", "dataset.tokenizer=bytes", "dataset.length=32")
    trained(
        ptft,
        "dataset.images=32",
        "dataset.held_out=16",
        "objective=rotation",
        "model.width=8",
        "model.channels=[4,4]",
        run="turned",
    )
    assert not [*Path("run").glob("predictions*"), *Path("turned").glob("predictions*")]


def test_the_format_is_a_key_and_a_missing_package_is_told_first(ptft, pretrained, monkeypatch):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "predictions=parquet", "hydra.run.dir=columns")
    assert done.code == 0, done.text
    parquet = pytest.importorskip("pyarrow.parquet")
    found = parquet.read_table("columns/predictions_test.parquet").to_pydict()
    assert found["true"] == [row["true"] for row in read(pretrained / "predictions_test.csv")]
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "predictions=none", "hydra.run.dir=none")
    assert not list(Path("none").glob("predictions*"))
    assert "most wrong" not in done.out
    refused(ptft("stage=evaluate", f"ckpt={pretrained}", "predictions=xlsx"), 2, "predictions=xlsx", "csv, parquet")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for stage in (f"stage=evaluate ckpt={pretrained}", "stage=pretrain"):
        refused(ptft(*stage.split(), "predictions=parquet"), 2, "predictions=parquet: needs the package pyarrow")


def test_a_continued_run_of_an_earlier_version_has_the_default(ptft):
    from ptft.checkpoint import file as checkpoint_file

    trained(ptft, "dataset.images=64", "dataset.held_out=20", "model.width=8", "model.channels=[4,4]", "dataset=glyphs")
    last = Path("run/checkpoints/last.pt")
    content = checkpoint_file.read(last)[0]
    del content["config"]["predictions"]
    checkpoint_file.write(last, content)
    Path("run/predictions_test.csv").unlink()
    done = ptft("resume=run", "train.steps=5")
    assert done.code == 0, done.text
    assert Path("run/predictions_test.csv").is_file()


def test_texts_are_shown_beside_their_answers_and_only_mistakes_are_called_wrong(ptft):
    lines = [f"good or {i} bad,{'ab'[i % 2]}" for i in range(20)]
    Path("data").mkdir()
    for split in ("train", "dev"):
        Path(f"data/{split}.csv").write_text("\n".join(["Kommentar (DE),label", *lines]) + "\n")
    typed = ("dataset=table", "dataset.root=data", "dataset.text=Kommentar (DE)", "dataset.label=label")
    trained(ptft, *TEXT, "objective=classify", *typed)
    rows = read(Path("run/predictions_val.csv"))
    assert list(rows[0]) == ["item", "true", "predicted", "probability", "loss", "text", "p_a", "p_b"]
    assert [row["text"] for row in rows] == [f"good or {i} bad" for i in range(20)]
    wrong = [row for row in rows if row["true"] != row["predicted"]]
    assert 0 < len(wrong) < 20
    right = [row["item"] for row in rows if row["true"] == row["predicted"]]
    for kept, said in ((wrong, True), (right, False)):
        names = {row["item"] for row in kept} if said else set(kept)
        chosen = ["Kommentar (DE),label", *(lines[int(name.split(":")[1]) - 2] for name in sorted(names))]
        Path("some.csv").write_text("\n".join(chosen) + "\n")
        done = ptft("stage=evaluate", "ckpt=run", "dataset.root=some.csv", "split_overlap=allow")
        assert done.code == 0, done.text
        assert ("most wrong in test" in done.out) == said
        assert ("no mistakes in test; all answers are in predictions_test.csv" in done.out) != said
        assert not said or "good or" in done.out.partition("most wrong")[2]


def test_pairs_and_tagged_words_are_shown_too(ptft):
    Path("pairs").mkdir()
    for split in ("train", "dev"):
        rows = [f"one {i},two {i},{'ab'[i % 2]}" for i in range(6)]
        Path(f"pairs/{split}.csv").write_text("\n".join(["s,t,label", *rows]) + "\n")
    typed = ("dataset=table", "dataset.root=pairs", "dataset.text=[s,t]", "dataset.label=label")
    trained(ptft, *TEXT, "objective=classify", *typed)
    (row, *_) = read(Path("run/predictions_val.csv"))
    assert (row["text"], row["text_2"]) == ("one 0", "two 0")
    conll.sample(Path("words"))
    trained(ptft, *TEXT, "objective=tag", "dataset=conll", "dataset.root=words", run="tags")
    (row, *_) = read(Path("tags/predictions_val.csv"))
    assert len(row["text"].split()) == len(row["true"].split())
