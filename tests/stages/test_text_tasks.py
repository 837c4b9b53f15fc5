"""Labelled texts from the shell: trained, continued, measured and predicted, and what is refused."""

import csv
import json
from pathlib import Path

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.data.text import conll, squad, table
from ptft.data.tokenizer import Tokenizer
from tests.conftest import refused, rows, summary

TINY = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "device=cpu", "precision=fp32")
SHORT = (*TINY, "train.batch_size=8", "dataset.vocabulary=300")
TASKS = {
    "classify": (table.sample, "table", []),
    "regress": (lambda root: numbers(root), "table", ["dataset.target=number"]),
    "tag": (conll.sample, "conll", []),
    "span": (squad.sample, "squad", ["dataset.length=40", "dataset.stride=8"]),
}
"""Objective -> what writes its data, the dataset, more to type."""


def numbers(root: Path, count: int = 24) -> None:
    """Sentences whose label is how often they say so, with ties."""
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        lines = [f"{'very ' * (i % 5)}good\t{10 + i % 5}.5" for i in range(count)]
        (root / f"{split}.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")


def task(objective: str, root: Path) -> list[str]:
    write, dataset, more = TASKS[objective]
    write(root)
    return [f"objective={objective}", f"dataset={dataset}", f"dataset.root={root}", *more]


@pytest.mark.parametrize("objective", TASKS)
def test_a_continued_run_equals_the_whole_one(objective, ptft, tmp_path):
    common = ("stage=pretrain", *SHORT, *task(objective, tmp_path / "data"), "schedule=constant", "model.dropout=0.1")
    steps = ("train.every.evaluate=2", "train.every.save=2", "train.accumulate=2", "train.ema=0.9")
    for name, count in (("whole", 6), ("cut", 3)):
        done = ptft(*common, *steps, f"train.steps={count}", f"hydra.run.dir={tmp_path / name}")
        assert done.code == 0, done.text
    assert ptft(f"resume={tmp_path / 'cut'}", "train.steps=6").code == 0
    whole, cut = (checkpoint_file.read(tmp_path / name / "checkpoints" / "last.pt")[0] for name in ("whole", "cut"))
    assert whole["weights"].keys() == cut["weights"].keys()
    assert all(torch.equal(value, cut["weights"][name]) for name, value in whole["weights"].items())
    whole, cut = (
        next(row for row in reversed(rows(tmp_path / name)) if row["split"] == "val") for name in ("whole", "cut")
    )
    assert {**whole, "seconds": 0} == {**cut, "seconds": 0}


def trained(ptft, objective: str, tmp_path: Path, *more: str) -> Path:
    run = tmp_path / "run"
    typed = ("train.epochs=20", "optimizer.lr=2e-2", "train.every.evaluate=600", *more)
    done = ptft("stage=pretrain", *SHORT, *task(objective, tmp_path / "data"), *typed, f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    return run


def predicted(ptft, run: Path, given: Path) -> list[dict[str, str]]:
    done = ptft("stage=predict", f"ckpt={run}", f"input={given}", "output=found.csv", "device=cpu", "overwrite=true")
    assert done.code == 0, done.text
    with Path("found.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_sentences_are_classified_and_new_lines_get_a_class(ptft, tmp_path):
    run = trained(ptft, "classify", tmp_path)
    metrics = summary(run)["metrics"]["val"]
    assert metrics["accuracy"] == metrics["macro_f1"] == metrics["mcc"] == 1
    new = tmp_path / "new.txt"
    new.write_text("what a joy\n\nbadly made\n")
    rows = predicted(ptft, run, new)
    assert [(row["path"], row["class"]) for row in rows] == [(f"{new}:1", "good"), (f"{new}:3", "bad")]
    (tmp_path / "new.jsonl").write_text('{"id": 7, "text": "well made"}\n')
    assert [row["class"] for row in predicted(ptft, run, tmp_path / "new.jsonl")] == ["good"]


def test_numbers_are_learned_in_their_own_unit(ptft, tmp_path):
    run = trained(ptft, "regress", tmp_path)
    metrics = summary(run)["metrics"]["val"]
    assert metrics["pearson"] > 0.9
    assert metrics["spearman"] > 0.9
    assert metrics["rmse"] < 1
    new = tmp_path / "new.txt"
    new.write_text("good\nvery very very very good\n")
    least, most = (float(row["value"]) for row in predicted(ptft, run, new))
    assert 9 < least < most < 16


def test_words_are_tagged_in_sentences_of_any_length(ptft, tmp_path):
    run = trained(ptft, "tag", tmp_path, "dataset.length=12")
    assert summary(run)["metrics"]["val"]["f1"] == 1
    new = tmp_path / "new.txt"
    new.write_text("Ada Lovelace saw Delft. Alan Turing saw Gouda. Ada Lovelace saw Leiden.\n")
    (row,) = predicted(ptft, run, new)
    assert row["text"].split()[:5] == ["Ada", "Lovelace", "saw", "Delft", "."]
    tags = row["tags"].split()
    assert len(tags) == 15
    assert tags[:5] == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    bare = tmp_path / "new.conll"
    bare.write_text("Alan\nTuring\nsaw\nGouda\n.\n\nAda\nLovelace\n")
    first, second = predicted(ptft, run, bare)
    assert first["path"] == f"{bare}:1"
    assert second["path"] == f"{bare}:7"
    assert first["tags"] == "B-PER I-PER O B-LOC O"
    done = ptft("stage=evaluate", f"ckpt={run}", "split=val", "device=cpu")
    assert done.code == 0, done.text
    assert "entities, val" in done.out


def test_questions_are_answered_with_a_part_of_the_text_or_not_at_all(ptft, tmp_path):
    run = trained(ptft, "span", tmp_path)
    metrics = summary(run)["metrics"]["val"]
    assert metrics["exact_match"] == metrics["f1"] == 1
    context = "The fair of 1901 was held in Delft, as ever."
    asked = [{"id": "a", "question": "Where was the fair?"}, {"id": "b", "question": "Who won?"}]
    new = tmp_path / "new.json"
    new.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": asked}]}]}))
    rows = predicted(ptft, run, new)
    assert {row["path"]: row["answer"] for row in rows} == {"a": "Delft", "b": ""}


def test_unlabelled_sentences_pretrain_what_labelled_ones_finetune(ptft, tmp_path):
    table.sample(tmp_path / "data")
    data = ("dataset=table", f"dataset.root={tmp_path / 'data'}")
    done = ptft("stage=pretrain", *SHORT, *data, "dataset.label=null", "objective=masked_lm", "train.steps=3",
                "hydra.run.dir=language")  # fmt: skip
    assert done.code == 0, done.text
    done = ptft("stage=finetune", "ckpt=language", *data, "train.steps=3", "device=cpu", "hydra.run.dir=labels")
    assert done.code == 0, done.text
    old, new = (checkpoint_file.read(Path(run) / "checkpoints" / "last.pt")[0] for run in ("language", "labels"))
    assert old["spec"]["shape"]["tokenizer"] == new["spec"]["shape"]["tokenizer"]
    assert summary(Path("labels"))["transfer"]["loaded"]["parameters"] > 0


@pytest.mark.parametrize(
    ("objective", "file", "text", "said"),
    [
        ("classify", "train.tsv", "text\tlabel\nfine\tgood\nno label here\n", "train.tsv:3: has 1 column,"),
        ("classify", "train.tsv", "text\tlabel\nfine\tgood\n\tbad\n", "train.tsv:3: column 'text' holds no text"),
        ("classify", "dev.tsv", "text\tlabel\nfine\tgood\nmeh\tso-so\n", "dev.tsv:3: val has the class 'so-so'"),
        ("classify", "train.tsv", "words\tlabel\nfine\tgood\n", "train.tsv:1: column: there is no 'text'"),
        ("regress", "train.tsv", "text\tlabel\nfine\t1.5\nbad\tlow\n", "train.tsv:3: the label 'low' is no number"),
        ("tag", "train.conll", "Ada\tB-PER\nsaw\tVERB\n", "train.conll:2: the tag 'VERB' is none of O, B-TYPE"),
        ("tag", "train.conll", "Ada\tB-PER\nsaw\n", "train.conll:2: has a word or a tag only"),
        ("tag", "dev.conll", "Ada\tB-PER\nsaw\tO\nbooks\tB-ART\n", "dev.conll:3: val has the tag 'B-ART'"),
        ("span", "train.json", '{"data": [{"paragraphs": [{"qas": []}]}]}', "train.json: is not in SQuAD's layout"),
        ("span", "train.json", "{\n{", "train.json: is not in SQuAD's layout, data/paragraphs/qas (line 2"),
    ],
)
def test_a_bad_line_is_named(objective, file, text, said, ptft, tmp_path):
    typed = task(objective, tmp_path / "data")
    (tmp_path / "data" / file).write_text(text)
    typed += ("dataset.on_error=raise", "dataset.text=text") if file == "train.tsv" else ()
    refused(ptft("stage=pretrain", *SHORT, *typed, "train.steps=1", "hydra.run.dir=run"), 3, said)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["objective=regress"], "objective=regress: needs a number per example, the dataset has a class"),
        (["objective=tag"], "objective=tag: needs a tag per word"),
        (["objective=span"], "objective=span: needs a dataset of questions"),
        (["objective=classify", "objective.mixup=0.2"], "objective.mixup=0.2: is for images"),
        (["objective=classify", "dataset.layout=sst"], "nearest: sst2"),
        (["objective=classify", "dataset.target=number", "dataset.per_class=3"], "dataset.per_class: is for datasets"),
    ],
)
def test_what_does_not_fit_together_is_refused(typed, said, ptft, tmp_path):
    numbers(tmp_path / "data")
    data = ("dataset=table", f"dataset.root={tmp_path / 'data'}")
    refused(ptft("stage=pretrain", *SHORT, *data, *typed, "train.steps=1", "hydra.run.dir=run"), 2, said)


def test_a_tokenizer_that_was_typed_is_needed_once(ptft, tmp_path):
    table.sample(tmp_path / "data")
    (tmp_path / "tokenizer.json").write_text(Tokenizer.train("bpe", ["a fine day"] * 5, 300).text)
    texts = ("dataset=table", f"dataset.root={tmp_path / 'data'}", "dataset.tokenizer=tokenizer.json")
    run = ptft("stage=pretrain", *SHORT, *texts, "train.steps=2", "hydra.run.dir=run")
    assert run.code == 0, run.text
    (tmp_path / "tokenizer.json").unlink()
    for again in (("stage=evaluate", "ckpt=run"), ("resume=run", "train.steps=3"), ("resume=run", "train.steps=4")):
        found = ptft(*again)
        assert found.code == 0, found.text


def test_a_number_each_is_said_and_no_task_for_classes(ptft, tmp_path):
    numbers(tmp_path)
    typed = (
        "stage=pretrain",
        *SHORT,
        "dataset=table",
        f"dataset.root={tmp_path}",
        "dataset.target=number",
        "dry_run=true",
    )
    refused(ptft(*typed), 2, "objective=classify: dataset.target=number", "objective=regress")
    done = ptft(*typed, "objective=regress")
    assert "24 train, 24 val; a number each" in done.out
    assert "are read in steps" not in done.out
    for numbers_of, said in (
        (lambda i: 1_700_000_000 + 8 * i, "numbers of up to 1.7e+09 are read in steps of 128"),
        (lambda i: 0.1, "every training example has the same number, 0.1: there is nothing to learn"),
    ):
        lines = "".join(f"it is number {i},{numbers_of(i)}\n" for i in range(24))
        (tmp_path / "others").mkdir(exist_ok=True)
        for split in ("train", "dev"):
            (tmp_path / "others" / f"{split}.csv").write_text(f"text,label\n{lines}")
        other = [f"dataset.root={tmp_path / 'others'}" if word.startswith("dataset.root=") else word for word in typed]
        done = ptft(*other, "objective=regress")
        assert said in " ".join(done.out.split()), done.text
