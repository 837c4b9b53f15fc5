"""Text in columns, running text and questions: lines, blanks, parts of a split and empty files as everywhere."""

import json

import pytest

from ptft.data.text.conll import Conll
from ptft.data.text.corpus import Text
from ptft.data.text.questions import parse
from ptft.data.text.squad import Squad
from ptft.data.text.words import items
from ptft.errors import ConfigError, DataError

WORDS = "Ada\u00a0B. B-PER\nsaw\u2028it \t O\n\u3000 O\n\nLeiden\tB-LOC\n"
"""A word with a no-break space, one with a line separator, and one that is a wide space."""


def test_blanks_and_lines_of_columns_are_those_of_the_format(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / f"{split}.conll").write_text(WORDS.replace("\n", "\r\n"), encoding="utf-8", newline="")
    source = Conll(root=tmp_path, tokenizer="bytes")
    assert [sentence.words for sentence in source.sentences["val"]] == [
        ["Ada\u00a0B.", "saw\u2028it", "\u3000"],
        ["Leiden"],
    ]
    found = items(str(tmp_path / "dev.conll"), source.spec)
    assert [item.words for item in found] == [("Ada\u00a0B.", "saw\u2028it", "\u3000"), ("Leiden",)]


def test_parts_of_a_split_of_columns_and_of_questions_are_read(tmp_path):
    for i in range(2):
        (tmp_path / f"train-0000{i}-of-00002.conll").write_text(WORDS, encoding="utf-8")
        answers = [{"text": "a", "answer_start": 0}]
        paragraph = {"context": "a b", "qas": [{"id": str(i), "question": "what?", "answers": answers}]}
        (tmp_path / f"train_{i}.JSON").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    for file in tmp_path.glob("*.JSON"):
        (tmp_path / "q").mkdir(exist_ok=True)
        file.rename(tmp_path / "q" / file.name)
    assert len(Conll(root=tmp_path, tokenizer="bytes", val=None).split("train")) == 4
    assert len(Squad(root=tmp_path / "q", tokenizer="bytes", val=None).split("train")) == 2


def test_an_empty_split_of_columns_says_what_to_do(tmp_path):
    (tmp_path / "train.conll").write_text(WORDS, encoding="utf-8")
    (tmp_path / "dev.conll").write_text("\n")
    with pytest.raises(DataError, match=r"holds no sentences; dataset\.val=null trains without one"):
        Conll(root=tmp_path, tokenizer="bytes").split("val")
    assert Conll(root=tmp_path, tokenizer="bytes", val=None).split("val") is None
    (tmp_path / "train.conll").write_text("")
    with pytest.raises(DataError, match="holds no sentences"):
        Conll(root=tmp_path, tokenizer="bytes", val=None)


def test_questions_that_are_nested_too_deeply_are_named(tmp_path):
    (tmp_path / "train.json").write_text('{"data":' * 100_000)
    with pytest.raises(DataError, match=r"train\.json: .*nested too deeply"):
        parse(tmp_path / "train.json")


def test_on_error_is_refused_where_it_can_not_be_heeded(tmp_path):
    for source in (Conll, Squad):
        with pytest.raises(ConfigError, match=r"dataset\.on_error=skip: .* can leave nothing out"):
            source(root=tmp_path, on_error="skip")


def corpus(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".").replace("_of_", "-of-")).write_text(content, encoding="utf-8")
    return folder


def test_a_line_of_running_text_ends_where_lines_end(tmp_path):
    root = corpus(tmp_path, train__txt="one\u2028still\rtwo\r\nthree\x0cstill\n")
    text = Text(root=root, documents="line", tokenizer="bytes", length=2, val=None)
    assert text.documents("train") == ["one\u2028still", "two", "three\x0cstill"]


def test_the_splits_of_running_text_are_known_by_other_names_and_never_trained_on(tmp_path):
    root = corpus(tmp_path, train__TXT="train " * 9, valid__Txt="val " * 9, notes__txt="notes")
    text = Text(root=root, tokenizer="bytes", length=2, val="val", test="test")
    assert text.documents("train") == ["train " * 9]
    assert text.documents("val") == ["val " * 9]
    (root / "train.TXT").rename(root / "book.TXT")
    assert Text(root=root, tokenizer="bytes", length=2, val="val").documents("train") == ["train " * 9, "notes"]
    shards = corpus(tmp_path / "more", **{"train-2__txt": "b", "train-10__txt": "c", "train-1__txt": "a " * 9})
    text = Text(root=shards, tokenizer="bytes", length=2, val=None)
    assert text.documents("train") == ["a " * 9, "b", "c"]
