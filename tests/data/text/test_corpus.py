"""Running text in blocks: from files, and from a grammar of known entropy."""

import math
from collections import Counter

import pytest
import torch

from ptft.data.loader import Loader
from ptft.data.text import corpus
from ptft.data.text.corpus import Text
from ptft.data.text.grammar import grammar, sentence, statistics
from ptft.data.text.reader import choose_tokenizer, find, find_whole, read
from ptft.errors import ConfigError, DataError
from ptft.runtime.together.splitmix import uniform
from tests.helpers.language import grammar as source


@pytest.fixture
def books(tmp_path):
    for name, content in {
        "a.txt": "0123456789" * 8,
        "b.md": "abcdefghij" * 12,
        ".hidden.txt": "no",
        "c.bin": "no",
    }.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_blocks_cover_every_token_once_as_target(books):
    found = Text(root=books, length=16, val=0.1)
    train, val = found.split("train"), found.split("val")
    values = train.values.tolist()
    assert bytes(v for v in values if v < 256).decode() == "0123456789" * 8 + "abcdefghij" * 10
    assert values[80] == found.tokenizer.sep, "between the documents"
    batch = val.take(torch.arange(len(val)))
    targets = batch["input"][:, 1:][batch["mask"][:, 1:]]
    assert sorted(targets.tolist()) == sorted(val.values[1:].tolist())
    assert bytes(val.values.tolist()).decode() == "abcdefghij" * 2, "the end of the text, never seen in training"
    assert found.split("test") is None


def test_an_epoch_begins_elsewhere_and_still_holds_everything(books):
    train = Text(root=books, length=16).split("train")
    assert train.take(torch.arange(len(train)))["mask"].all()
    epochs = []
    for epoch in range(3):
        loader = Loader(train, 4, shuffle=True, seed=1)
        batches = list(loader.epoch(epoch))
        assert len(batches) == len(loader)
        again = list(loader.epoch(epoch, start=1))
        assert torch.equal(again[0]["input"], batches[1]["input"])
        counts = Counter(torch.cat([b["input"][:, 1:].flatten() for b in batches]).tolist())
        assert all(counts[token] >= n for token, n in Counter(train.values.tolist()).items())
        epochs.append({tuple(row) for b in batches for row in b["input"].tolist()})
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_folder_of_splits_and_units_of_documents(tmp_path):
    for name, content in {"train.txt": "one\ntwo\n\nthree\n", "val.txt": "four", "test.md": "five"}.items():
        (tmp_path / name).write_text(content)
    found = Text(root=tmp_path, length=4, val="val", test="test")
    assert [bytes(found.split(name).values.tolist()) for name in ("val", "test")] == [b"four", b"five"]
    units = {
        unit: Text(root=tmp_path, length=4, documents=unit, val=None).documents("train")
        for unit in ("line", "paragraph")
    }
    assert units == {"line": ["one", "two", "three"], "paragraph": ["one\ntwo", "three"]}


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_a_tokenizer_learns_from_the_training_text_and_is_kept(tmp_path, kind):
    corpus.sample(tmp_path)
    first = Text(root=tmp_path, tokenizer=kind, vocabulary=290, length=8)
    assert 5 < first.tokenizer.size <= 290
    again = Text(root=tmp_path, length=None, like=first.spec)
    assert again.spec == first.spec
    assert (
        again.fingerprint() == first.fingerprint() == Text(root=tmp_path, tokenizer=kind, like=first.spec).fingerprint()
    )
    with pytest.raises(ConfigError, match=rf"tokenizer=bytes: the checkpoint's is {kind}"):
        Text(root=tmp_path, tokenizer="bytes", like=first.spec)


def test_what_is_wrong_is_said(books, tmp_path):
    with pytest.raises(ConfigError, match=r"dataset\.root"):
        Text()
    with pytest.raises(ConfigError, match=r"dataset\.val=0\.6, dataset\.test=0\.5"):
        Text(root=books, val=0.6, test=0.5)
    with pytest.raises(DataError, match="no text for the split val"):
        Text(root=books, val="val").split("val")
    with pytest.raises(DataError, match=r"train text has 181 tokens, a block has 999"):
        Text(root=books, length=999).split("train")
    (books / "bad.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match=r"bad\.txt:1: is not UTF-8"):
        Text(root=books).split("train")


def test_prompts_are_lines_or_files(books):
    (books / "p.txt").write_text("one\n\n  two \n")
    assert [(str(item), item.text) for item in find(books / "p.txt")] == [
        (f"{books / 'p.txt'}:1", "one"),
        (f"{books / 'p.txt'}:3", "  two "),
    ]
    assert [item.text[:3] for item in find_whole(books)] == ["012", "abc", "one"]
    spec = Text(root=books, length=4).spec
    assert bytes(read(find(books / "a.txt")[0], spec).tolist()) == b"6789", "the end counts"


def test_a_path_is_a_tokenizer_too(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.tokenizer=nowhere"):
        choose_tokenizer("nowhere", 10, list, None)


def test_the_grammars_entropy_is_that_of_its_sentences():
    """The mean of -log2 p over sentences tends to the entropy, as a sentence has one derivation."""
    rules = grammar()
    assert all(math.isclose(sum(p for p, _ in found), 1) for found in rules.values())
    chances = uniform(torch.arange(4000), 64).T.tolist()
    sentences = [sentence(rules, chance) for chance in chances]
    bits, size = statistics(rules)
    mean = sum(len(s) + 2 for s in sentences) / 4000
    assert math.isclose(mean, size, rel_tol=0.02)
    counts = Counter(sentences)
    commonest, count = counts.most_common(1)[0]
    probability = count / 4000
    assert 0.5 < probability / _probability(rules, commonest) < 2
    surprise = [-math.log2(_probability(rules, s)) for s in sentences[:1500]]
    assert math.isclose(sum(surprise) / 1500, bits, rel_tol=0.03)


def _probability(rules, text):
    """The sum over all derivations of the text, by recursive descent over its words."""
    words = text.replace("a certain", "a_certain").split()

    def parse(symbols, at):
        if not symbols:
            return {at: 1.0}
        first, rest = symbols[0], symbols[1:]
        found = {}
        if first not in rules:
            if at < len(words) and words[at] == first.replace(" ", "_"):
                return parse(rest, at + 1)
            return {}
        for share, expansion in rules[first]:
            for end, p in parse(expansion, at).items():
                for last, q in parse(rest, end).items():
                    found[last] = found.get(last, 0) + share * p * q
        return found

    return parse(("S",), 0)[len(words)]


def test_grammar_splits_are_drawn_by_themselves_and_the_same_everywhere():
    first, again, other = source(), source(), source(seed=1)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    texts = [first.documents(name)[0].splitlines() for name in ("train", "val", "test")]
    assert [len(found) for found in texts] == [60, 20, 20]
    assert texts[1] != texts[2]
    assert f"{first.bits_per_byte:.4f} bits per byte" in first.notes[0]
    with pytest.raises(ConfigError, match="no split dev"):
        source(val="dev").split("val")


@pytest.mark.parametrize("train", ["train.txt", "train/a.txt"])
def test_what_lies_beside_train_is_said(tmp_path, train):
    for name in (train, "more/b.txt", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name * 20)
    said = "more/b.txt and 1 file more (380 bytes) are beside what is called train and not trained on"
    found = Text(root=tmp_path, length=8)
    found.split("train")
    assert any(note.startswith(said) for note in found.notes)
    apart = Text(root=tmp_path / "more", length=8)
    apart.split("train")
    assert not any("beside" in note for note in apart.notes)


def test_two_folders_of_a_split_are_refused_however_deep_their_texts_lie(tmp_path):
    for name in ("train/a.txt", "val/x/a.txt", "valid/x/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name * 20)
    with pytest.raises(DataError, match="val and valid are both the val split; put"):
        Text(root=tmp_path, length=8, val="val").split("val")
    (tmp_path / "valid/x/b.txt").unlink()
    assert len(Text(root=tmp_path, length=8, val="val").split("val").values)


@pytest.mark.parametrize("train", ["corpus.txt", "training.txt", "train.txt", "train/a.txt"])
@pytest.mark.parametrize("held", ["validation.txt", "dev-00000-of-00001.TXT", "val/a.md"])
def test_what_is_called_validation_or_test_is_never_trained_on_and_that_is_said(tmp_path, train, held):
    for name, content in {train: "trained on ", held: "held out ", "test.txt": "tested "}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content * 20)
    found = Text(root=tmp_path, length=8)
    text = bytes(v for v in found.split("train").values.tolist() if v < 256).decode()
    assert set(text.split()) == {"trained", "on"}
    assert f"{held} is called val and not trained on; dataset.val=val measures it" in found.notes
    assert "test.txt is called test and not trained on; dataset.test=test measures it" in found.notes
    for typed in ("val", "valid"):
        found = Text(root=tmp_path, length=8, val=typed, test="test")
        assert b"held out" in bytes(found.split("val").values.tolist())
        assert b"tested" in bytes(found.split("test").values.tolist())
        assert not found.notes


def test_linked_folders_count_and_a_folder_called_as_a_text_is_none(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.txt").write_text("linked " * 20)
    (tmp_path / "near" / "odd.txt").mkdir(parents=True)
    (tmp_path / "near" / "link").symlink_to("../far")
    (tmp_path / "far" / "back").symlink_to("..")
    text = bytes(v for v in Text(root=tmp_path / "near", length=8, val=None).split("train").values.tolist() if v < 256)
    assert text.decode() == "linked " * 20


def test_an_empty_text_and_a_table_that_is_read_as_it_stands_are_said(tmp_path):
    (tmp_path / "train.txt").write_text("some text " * 20)
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(DataError, match=r"the val text is empty; dataset\.val=0\.1 takes a share of train"):
        Text(root=tmp_path, length=8, val="val").split("val")
    (tmp_path / "texts.jsonl").write_text('{"text": "some text"}\n' * 20)
    found = Text(root=tmp_path / "texts.jsonl", length=8, val=None)
    assert len(found.split("train"))
    assert found.notes[0].startswith("texts.jsonl is read as it stands, with its commas, quotes and braces")


def test_whole_files_are_val_and_test_and_others_that_come_or_go_move_none(tmp_path):
    def places(root, names):
        root.mkdir()
        for name in names:
            (root / f"{name}.txt").write_text(f"<{name}>" + "words and more " * 3)
        found = Text(root=root, length=8, val=0.1, test=0.1, divide_by="name")
        texts = {split: bytes(v for v in found.split(split).values.tolist() if v < 256) for split in corpus.SPLITS}
        assert any(f"{len(names)} files are divided whole" in note for note in found.notes)
        return {name: [s for s in texts if f"<{name}>".encode() in texts[s]] for name in names}

    names = [f"book {i}" for i in range(30)]
    before = places(tmp_path / "before", names)
    assert {split for found in before.values() for split in found} == {"train", "val", "test"}
    assert all(len(found) == 1 for found in before.values())
    after = places(tmp_path / "after", ["a new one", *names[5:-1], "renamed"])
    assert {name: after[name] for name in names[5:-1]} == {name: before[name] for name in names[5:-1]}
    assert len(set(map(tuple, places(tmp_path / "few", names[:3]).values()))) == 3


def test_the_end_of_a_single_file_is_val_and_that_is_said(tmp_path, ptft):
    corpus.sample(tmp_path / "one")
    found = Text(root=tmp_path / "one", length=8, divide_by="name")
    assert bytes(found.split("val").values.tolist()).endswith(b"1 bottles of water.")
    assert found.notes == ("val: the end of bottles.txt; of more files whole ones",)
    small = ("model=gpt_tiny", "model.width=16", "model.depth=1", "objective=causal_lm", "dataset.length=16")
    (tmp_path / "one" / "more.txt").write_text("no more bottles " * 40)
    typed = ("stage=pretrain", "dataset=text", "dataset.root=one", *small, "train.steps=2")
    done = ptft(*typed, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "2 files are divided whole, by their names" in " ".join(done.out.split())
    assert ptft("resume=run", "train.steps=3").code == 0
