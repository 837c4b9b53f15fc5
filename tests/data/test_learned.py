"""Vocabularies are learned from what is trained on: not from shares that are held out, nor from what is left out."""

import csv
import json
import re

import pytest
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.data.audio import reader as audio_reader
from ptft.data.audio import utterances
from ptft.data.audio.manifest import AudioManifest
from ptft.data.cleaning import learned
from ptft.data.image.captions.examples import spec_of_captions
from ptft.data.image.captions.folder import CaptionFolder
from ptft.data.text import row_source
from ptft.data.text.conll import Conll
from ptft.data.text.packed.chat import Chat
from ptft.data.text.reader import tokenizer_of
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts
from ptft.data.user_dataset.examples import SplitDatasets
from ptft.data.user_dataset.sources import OwnTexts
from ptft.errors import DataError

COUNT = 60
WORD = re.compile("zq[a-z]{2}zq")
WORDS = [f"zq{chr(97 + i // 26)}{chr(97 + i % 26)}zq" for i in range(COUNT)]
TEXTS = [f"common words and {word} and {word} here" for word in WORDS]


def table(root, **keys):
    rows = [f"{text},{'ab'[i % 2]}" for i, text in enumerate(TEXTS)]
    (root / "train.csv").write_text("\n".join(["text,label", *rows]))
    return TableTexts(root=root, **keys), lambda source: [row.texts[0] for row in source.rows("train")]


def tagged(root, **keys):
    lines = ["\n".join(f"{word} O" for word in text.split()) for text in TEXTS]
    (root / "train.conll").write_text("\n\n".join(lines))
    return Conll(root=root, **keys), lambda source: source.shown("train")["text"]


def chats(root, **keys):
    rows = [[{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in TEXTS]
    (root / "train.jsonl").write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    return Chat(root=root, **keys), lambda source: source.shown("train")["text"]


def questions(root, **keys):
    asked = [[{"id": f"id {i}", "question": "Where?", "answers": [], "is_impossible": True}] for i in range(COUNT)]
    paragraphs = [{"context": text, "qas": qas} for text, qas in zip(TEXTS, asked, strict=True)]
    (root / "train.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return Squad(root=root, **keys), lambda source: [question.context for question in source.questions["train"]]


class Items:
    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        return TEXTS[i], i % 2


def own(root, **keys):
    return OwnTexts(SplitDatasets("Items", {"train": Items()}), **keys), lambda source: source.items["train"].kept


def captions(root, **keys):
    rows = []
    for i, text in enumerate(TEXTS):
        Image.new("RGB", (8, 8), (4 * i, 0, 0)).save(root / f"{i}.png")
        rows.append((f"{i}.png", text, "train"))
    with (root / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "split"), *rows])
    keys["size"] = keys.pop("length") and 8
    return CaptionFolder(root=root, **keys), lambda source: source.listings["train"].names


KINDS = {each.__name__: each for each in (table, tagged, chats, questions, own, captions)}


def in_vocabulary(source):
    text = spec_of_captions(source.spec)
    pieces = tokenizer_of(source.spec if text is None else text).pieces
    return {word for piece in pieces for word in WORD.findall(piece.decode("utf-8", "replace"))}


def used(source, texts, split="train"):
    return {WORD.search(texts(source)[row]).group() for row in source.part(split).rows.tolist()}


SMALL = {"tokenizer": "wordpiece", "length": 120, "divide_by": "name"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_learns_from_what_is_trained_on(kind, tmp_path):
    """Shares are val and test, a list leaves some out, and of the rest a part is used."""
    whole, texts = KINDS[kind](tmp_path, **SMALL, val=None, test=None)
    assert in_vocabulary(whole) == used(whole, texts) == set(WORDS)
    with (tmp_path / "ignore.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name"], *([name] for name in whole.names("train")[:9])])
    source, texts = KINDS[kind](tmp_path, **SMALL, val=0.2, test=0.2, limit=20, ignore=tmp_path / "ignore.csv")
    known = in_vocabulary(source)
    assert len(known) == 20
    assert known == used(source, texts)
    assert known.isdisjoint(WORDS[:9])
    assert len(source.split("train")) == 20
    assert source.ignored("train").tolist() == list(range(9))  # what was found beforehand is found again
    assert sum(map(len, source.ignore.left_out.values())) == 9


def test_classes_that_are_left_out_teach_nothing(tmp_path):
    source, texts = table(tmp_path, **SMALL, val=None, test=None, classes=["b"])
    assert in_vocabulary(source) == used(source, texts) == set(WORDS[1::2])


def test_sentences_that_are_cut_are_held_out_as_a_whole(tmp_path):
    source, texts = tagged(tmp_path, **{**SMALL, "length": 6}, val=0.2, test=None)
    assert len(source.split("train")) > COUNT
    assert in_vocabulary(source) == used(source, texts)
    assert used(source, texts, "val").isdisjoint(used(source, texts))


@pytest.mark.parametrize("kind", ["tagged", "chats", "table"])
def test_a_division_that_only_tokens_decide_is_told(kind, tmp_path):
    source, texts = KINDS[kind](tmp_path, **{**SMALL, "divide_by": "order"}, val=0.2, test=None)
    said = [note for note in source.notes if note.startswith("the tokenizer learns from all")]
    if kind == "table":
        assert in_vocabulary(source) == used(source, texts)
        assert not said
    else:
        assert in_vocabulary(source) == set(WORDS)
        assert "dataset.divide_by=order" in said[0]
        given, _ = KINDS[kind](tmp_path, **{**SMALL, "divide_by": "order", "tokenizer": "bytes"}, val=0.2, test=None)
        assert not [note for note in given.notes if "tokenizer learns" in note]


@pytest.mark.parametrize("way", ["drawn", "share", "ignored"])
def test_pieces_of_transcripts_are_of_what_is_trained_on_and_characters_of_all(way, tmp_path, monkeypatch):
    keys: dict = {"units": "bpe", "vocabulary": 400, "divide_by": "name"}
    keys |= {"drawn": {"split_seed": 0}, "share": {"val": 0.2}, "ignored": {"val": None}}[way]
    for i in range(COUNT):
        audio_reader.write(tmp_path / f"{i}.wav", torch.zeros(80, dtype=torch.int16) + i, 8000)

    def written(texts):
        with (tmp_path / "list.csv").open("w", newline="") as file:
            rows = [(f"{i}.wav", text) for i, text in enumerate(texts)]
            csv.writer(file).writerows([("path", "text"), *rows])
        source = AudioManifest(root=tmp_path / "list.csv", **keys)
        names = source.names("train")
        part = source.part("train")
        return source, {names[row] for row in part.rows.tolist()}

    if way == "ignored":
        (tmp_path / "ignore.csv").write_text("\n".join(["name", *(f"{i}.wav" for i in range(9))]))
        keys["ignore"] = tmp_path / "ignore.csv"
    _, trained = written(["a few plain words"] * COUNT)
    assert 30 < len(trained) < COUNT
    texts = ["a few plain words" if f"{i}.wav" in trained else "vexed quick jumps" for i in range(COUNT)]
    source, again = written(texts)
    assert again == trained
    pieces = [piece for piece in source.spec.classes if len(piece.strip()) > 1]
    assert "words" in "".join(pieces)
    assert not [piece for piece in pieces if set("vxqj") & set(piece)]
    assert set("vexed quick jumps") <= set(source.spec.classes)
    assert len(source.split("train")) == len(trained)
    with monkeypatch.context() as before:
        before.setattr(utterances, "learned", lambda own, items: [row for rows in own.rows.values() for row in rows])
        earlier = written(texts)[0].spec
    assert earlier.classes != source.spec.classes
    keys["like"] = earlier  # a run that goes on keeps the pieces that it has
    assert written(texts)[0].spec == earlier


TINY = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset=table", "dataset.root=data")
RUN = ("objective=classify", "train.batch_size=8", "precision=fp32", "device=cpu", "report=false")


def test_runs_that_learned_from_more_go_on_with_the_tokenizer_they_hold(ptft, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    table(tmp_path / "data", **SMALL, val=None, test=None)
    typed = (*TINY, *RUN, "dataset.tokenizer=bpe", "dataset.vocabulary=330", "dataset.val=0.3")
    with monkeypatch.context() as before:
        before.setattr(row_source, "learned", lambda source, items: items(source))
        done = ptft("stage=pretrain", *typed, "train.steps=2", "train.every.evaluate=2", "hydra.run.dir=run")
        assert done.code == 0, done.text
    assert ptft("stage=pretrain", *typed, "train.steps=2", "hydra.run.dir=new").code == 0
    done = ptft("resume=run", "train.steps=3")
    assert done.code == 0, done.text
    assert "continues at step 2" in done.out
    done = ptft(
        "stage=finetune", "ckpt=run", *TINY[4:], "dataset.val=0.3", *RUN, "train.steps=1", "hydra.run.dir=tuned"
    )
    assert done.code == 0, done.text

    def kept(run):
        spec = checkpoint_file.read(tmp_path / run / "checkpoints" / "best.pt")[0]["spec"]
        return spec["shape"]["tokenizer"]["json"]

    assert kept("run") == kept("tuned") != kept("new")


def test_a_list_that_leaves_nothing_is_named(tmp_path):
    (tmp_path / "ignore.csv").write_text("\n".join(["name", *(f"train.csv:{i + 2}" for i in range(COUNT))]))
    with pytest.raises(DataError, match=r"holds no texts, or too few without those that dataset\.ignore names"):
        table(tmp_path, **SMALL, val=None, test=None, ignore=tmp_path / "ignore.csv")


def test_where_nothing_is_left_out_nothing_is_looked_for(tmp_path):
    source, _ = table(tmp_path, **SMALL, val=None, test=None)
    every = source.rows("train")
    assert learned.learned(source, lambda own: own.rows("train")) is every
    measured, _ = table(tmp_path, **SMALL, limit=3, whole=True)
    assert in_vocabulary(measured) == set(WORDS)
