"""Files of questions: what counts as no answer, and that a file which is wrong inside is refused in one line."""

import json
from types import SimpleNamespace

import pytest
import torch

from ptft.builders import membership
from ptft.data import readers
from ptft.data.text import questions
from ptft.data.text.source import numbers_of
from ptft.data.text.squad import Squad
from ptft.errors import ConfigError, DataError
from tests.conftest import refused


def write(folder, questions) -> None:
    """Train and dev with a paragraph for each (id, answers, more of the question)."""
    folder.mkdir(exist_ok=True)
    paragraphs = [
        {
            "context": f"The fair of {1900 + i} was in Leiden.",
            "qas": [{"id": name, "question": "Where?", "answers": answers, **more}],
        }
        for i, (name, answers, more) in enumerate(questions)
    ]
    for split in ("train", "dev"):
        (folder / f"{split}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


LEIDEN = {"text": "Leiden", "answer_start": 24}
NONE = {
    "no list": None,
    "an empty list": [],
    "an empty text at the start": [{"text": "", "answer_start": 0}],
    "an empty text nowhere": [{"text": "", "answer_start": -1}],
    "blanks": [{"text": "  ", "answer_start": 3}],
    "no text": [{"text": None, "answer_start": None}],
    "empty columns": {"text": [], "answer_start": []},
}


@pytest.mark.parametrize("none", NONE)
def test_whatever_says_that_there_is_no_answer_is_no_answer(tmp_path, none):
    write(tmp_path, [("a", [LEIDEN], {}), ("b", NONE[none], {}), ("c", {"text": ["Leiden"], "answer_start": [24]}, {})])
    source = Squad(root=tmp_path, tokenizer="bytes")
    assert source.spec.shape["impossible"] is True
    examples = source.split("train")
    spans = examples.take(torch.arange(3))["span"]
    assert spans[1].tolist() == [0, 0]
    assert [examples.windows[i].text_of(*spans[i].tolist()) for i in (0, 2)] == ["Leiden", "Leiden"]


def test_of_answers_that_are_partly_empty_the_others_count(tmp_path):
    write(tmp_path, [("a", [{"text": "", "answer_start": 0}, LEIDEN], {})])
    source = Squad(root=tmp_path, tokenizer="bytes")
    assert source.spec.shape["impossible"] is False
    assert source.questions["train"][0].answers == (("Leiden", 24),)


def test_a_question_that_is_said_to_be_impossible_is(tmp_path):
    write(tmp_path, [("a", [LEIDEN], {"is_impossible": True}), ("b", [LEIDEN], {"is_impossible": False})])
    found = Squad(root=tmp_path, tokenizer="bytes").questions["train"]
    assert [question.answers for question in found] == [(), (("Leiden", 24),)]


GOOD = {"data": [{"paragraphs": [{"context": "x Leiden", "qas": [
    {"id": "1", "question": "Where?", "answers": [{"text": "Leiden", "answer_start": 2}]}]}]}]}  # fmt: skip


def damaged(plain):
    """Every version of a plain structure in which one value is of another kind."""
    yield from (None, "what?", -7, 2.5, [], {}, ["x"], True)
    for key in plain if isinstance(plain, dict) else range(len(plain)) if isinstance(plain, list) else ():
        for inner in damaged(plain[key]):
            copy = plain.copy()
            copy[key] = inner
            yield copy
        if isinstance(plain, dict):
            yield {other: value for other, value in plain.items() if other != key}


def test_any_damage_is_one_line_that_names_the_file(tmp_path):
    refusals = 0
    for plain in damaged(GOOD):
        for split in ("train", "dev"):
            (tmp_path / f"{split}.json").write_text(json.dumps(plain))
        try:
            Squad(root=tmp_path, tokenizer="bytes").split("train")
        except DataError as error:
            refusals += 1
            said = str(error)
            assert said.startswith((f"{tmp_path}", f"dataset.root={tmp_path}"))
            assert "\n" not in said
    assert refusals > 40


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "1", "question": null}]}]}]}',
         "data[0].paragraphs[0].qas[0].question is not a text"),
        ('{"data": [{"paragraphs": [{"context": "x", "qas": ["what?"]}]}]}',
         "data[0].paragraphs[0].qas[0] is not an object"),
        ("[" * 100_000, "is not in SQuAD's layout"),
        ('{"data": [\n{"paragraphs": }]}', "line 2"),
        ('{"version": 2}', "data is not a list"),
        ("[]", "the file is not an object"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_inside_ends_with_the_place(ptft, tmp_path, content, said):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text(content)
    options = ("model=bert_tiny", "dataset=squad", "objective=span", "dataset.tokenizer=bytes", "train.steps=1")
    refused(ptft("stage=pretrain", *options, f"dataset.root={tmp_path}"), 3, f"{tmp_path}", "dev.json", said)


def test_a_split_whose_answers_are_kept_back_is_no_split_of_questions_without_one(tmp_path):
    write(tmp_path, [("a", [LEIDEN], {}), ("b", [LEIDEN], {})])
    questions = [{"id": "c", "question": "Where?"}, {"id": "d", "question": "Where?", "answers": []}]
    kept_back = {"data": [{"paragraphs": [{"context": "In Leiden.", "qas": questions}]}]}
    (tmp_path / "test.json").write_text(json.dumps(kept_back))
    source = Squad(root=tmp_path, tokenizer="bytes")
    assert source.split("test") is None
    assert source.notes == ("test has no answers and is not used; stage=predict answers it",)
    assert len(Squad(root=tmp_path, tokenizer="bytes", test=None).split("val")) == 2
    (tmp_path / "dev.json").write_text(json.dumps(kept_back))
    with pytest.raises(DataError, match=r"dataset\.val=val: val has no answers; a fraction of train .* or null works"):
        Squad(root=tmp_path, tokenizer="bytes")
    assert len(Squad(root=tmp_path, tokenizer="bytes", val=None).split("train")) == 2
    with pytest.raises(DataError, match="no question of test has an answer; stage=predict answers them"):
        Squad(root=tmp_path / "test.json", tokenizer="bytes", whole=True)
    for question in questions:
        question |= {"is_impossible": True}
    (tmp_path / "dev.json").write_text(json.dumps(kept_back))
    assert len(Squad(root=tmp_path, tokenizer="bytes").split("val")) == 2


@pytest.mark.parametrize("none", [[], None, [{"text": "", "answer_start": 0}]])
def test_a_flag_that_contradicts_the_answers_is_said(tmp_path, none):
    said = {"is_impossible": True}
    possible = {"is_impossible": False}
    questions = [("a", [LEIDEN], said), ("b", [LEIDEN], said), ("c", none, possible), ("d", [LEIDEN], possible)]
    write(tmp_path, [*questions, ("e", none, said), ("f", none, {})])
    source = Squad(root=tmp_path, tokenizer="bytes")
    assert source.notes[2:4] == (
        "train: 2 questions have answers and is_impossible=true; this counts as no answer, the first: a",
        "train: 1 question has no answer and is_impossible=false; this counts as no answer, the first: c",
    )
    spans = source.split("train").take(torch.arange(6))["span"]
    assert (spans.sum(1) > 0).tolist() == [False, False, False, True, False, False]


def counted(root, splits) -> None:
    """Files whose questions are numbered from 0 each, as nobody numbers texts: split -> where its ten fairs were."""
    root.mkdir()
    for split, (town, first) in splits.items():
        paragraphs = []
        for i in range(10):
            answer = {"text": town, "answer_start": len("The fair of 1900 was in ")}
            question = {"id": first + i, "question": f"Where was number {i}?", "answers": [answer]}
            paragraphs.append({"context": f"The fair of {1900 + i} was in {town}.", "qas": [question]})
        (root / f"{split}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


def test_questions_are_copies_by_what_they_ask_of_which_text_and_not_by_their_ids(ptft, tmp_path):
    counted(tmp_path / "towns", {"train": ("Leiden", 0), "dev": ("Delft", 0)})
    counted(tmp_path / "same", {"train": ("Leiden", 0), "dev": ("Leiden", 70)})
    counted(tmp_path / "new", {"test": ("Gouda", 0)})
    tiny = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset.tokenizer=bytes")
    task = ("stage=pretrain", *tiny, "dataset=squad", "objective=span", "device=cpu", "train.steps=1", "report=false")
    done = ptft(*task, "dataset.root=same", "dry_run=true")
    assert "10 of 10 val questions are in train too, e.g. 70 and 0" in done.out, done.text
    done = ptft(*task, "dataset.root=towns", "hydra.run.dir=run", "train.every.evaluate=1", "dataset.length=120")
    assert done.code == 0, done.text
    assert "in train too" not in done.out
    measure = ("stage=evaluate", "ckpt=run/checkpoints/best.pt", "dataset=squad", "device=cpu", "report=false")
    done = ptft(*measure, "dataset.root=new")
    assert done.code == 0, done.text
    trained = "10 of 10 val questions were trained on"
    refused(ptft(*measure, "dataset.root=same", "split=val"), 3, trained, "split_overlap=allow")


def test_a_checkpoint_of_before_knows_questions_by_their_ids(tmp_path):
    counted(tmp_path / "new", {"train": ("Leiden", 0), "test": ("Gouda", 5)})
    source = Squad(root=tmp_path / "new", tokenizer="bytes", val=None)
    before = SimpleNamespace(path="best.pt", config={}, trained_on=numbers_of(map(str, range(10))))
    assert (membership.check(source, "test", before, allowed=True) or "").startswith("5 of 10 test questions")
    with pytest.raises(DataError, match="5 of 10 test questions were trained on"):
        membership.check(source, "test", before, allowed=False)


def test_a_question_that_is_cut_is_said(tmp_path):
    write(tmp_path / "few", [("a", [LEIDEN], {}), ("b", [], {})])
    spec = Squad(root=tmp_path / "few", tokenizer="bytes", length=200).spec
    for question, said in (("x" * 64, None), ("x" * 65, "only the first 64 tokens of the question are read")):
        (window,) = questions.of_values([{"question": question, "context": "here"}], spec)
        assert readers.remark(spec, window, readers.read(spec, window)) == said


def test_a_long_question_leaves_half_of_an_example_to_the_text(tmp_path):
    """Else its windows were longer than an example, with one token of the text in each."""
    write(tmp_path / "long", [("a", [LEIDEN], {"question": "Where?"}), ("b", [LEIDEN], {"question": "x" * 50})])
    source = Squad(root=tmp_path / "long", tokenizer="bytes", length=43, stride=8, val=None)
    short, long = ([each for each in source.loaded("train").windows if each.number == i] for i in (0, 1))
    assert max(len(window.ids) for window in (*short, *long)) == 43
    assert max(len(window.offsets) for window in long) == 20
    assert (short[0].asked, long[0].asked) == (None, 20)
    said = "train: of 1 of 2 questions only the first 20 tokens are read, the first: b; dataset.length takes more"
    assert said in source.notes
    asked = questions.of_values([{"question": "x" * 50, "context": long[0].question.context}], source.spec)
    assert [window.ids for window in asked] == [window.ids for window in long]
    assert readers.remark(source.spec, asked[0], readers.read(source.spec, asked[0])) == (
        "only the first 20 tokens of the question are read"
    )
    with pytest.raises(ConfigError, match=r"^dataset\.length=4: has no room for a question and a text; at least 5$"):
        Squad(root=tmp_path / "long", tokenizer="bytes", length=4, val=None).split("train")
