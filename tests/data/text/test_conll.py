"""Files with a word a line: which lines are words, tags of several schemes, and predictions that read them alike."""

import csv

import pytest
import torch

from ptft.data.inspected.subject import subject_of
from ptft.data.text import words
from ptft.data.text.conll import Conll
from ptft.data.text.examples import NO_LABEL, TextExamples
from ptft.errors import DataError
from ptft.metrics.chunk_tags import from_iob, scheme_of, to_iob
from ptft.stages.measure import intervals
from tests.conftest import refused, summary

SMALL = ("stage=pretrain", "model=bert_tiny", "model.width=16", "model.depth=1", "device=cpu", "precision=fp32",
         "dataset=conll", "objective=tag", "dataset.tokenizer=bytes", "train.batch_size=8")  # fmt: skip
UNIVERSAL = (
    "# sent_id = a1\n# text = He cannot go .\n1\tHe\t_\tPRON\n2-3\tcannot\t_\t_\n2\tcan\t_\tAUX\n3\tnot\t_\tPART\n"
    "3.1\tran\t_\tVERB\n4\tgo\t_\tVERB\n\n"
)


def write(folder, content: str, suffix: str = ".conll"):
    folder.mkdir(exist_ok=True)
    for split in ("train", "dev"):
        (folder / f"{split}{suffix}").write_text(content, encoding="utf-8")
    return folder


def read(source, split: str = "train") -> list[list[tuple[str, str]]]:
    """The words of every sentence with what the batch says of their tags."""
    batch = source.split(split).take(torch.arange(len(source.split(split))))
    numbers = [row[row != NO_LABEL].tolist() for row in batch["label"]]
    return [
        [(word, source.spec.classes[k]) for word, k in zip(sentence.words, row, strict=True)]
        for sentence, row in zip(source.sentences[split], numbers, strict=True)
    ]


def predicted(ptft, run, file, target) -> list[dict]:
    done = ptft("stage=predict", f"ckpt={run}", f"input={file}", f"output={target}", "device=cpu", "overwrite=true")
    assert done.code == 0, done.text
    with target.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_what_universal_dependencies_write_beside_words_is_no_word_and_prediction_takes_the_same_column(ptft, tmp_path):
    root = write(tmp_path / "data", UNIVERSAL * 10, ".conllu")
    source = Conll(root=root, token=1, tag=3, scheme="any", tokenizer="bytes")
    assert read(source)[0] == [("He", "PRON"), ("can", "AUX"), ("not", "PART"), ("go", "VERB")]
    assert source.spec.classes == ("AUX", "PART", "PRON", "VERB")
    assert source.notes == ()
    columns = ("dataset.scheme=any", "dataset.token=1", "dataset.tag=3")
    run = tmp_path / "run"
    done = ptft(*SMALL, *columns, f"dataset.root={root}", "train.steps=2", f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    rows = predicted(ptft, run, root / "dev.conllu", tmp_path / "out.csv")
    assert len(rows) == 10
    assert rows[1]["text"] == "He can not go"
    assert rows[1]["path"] == f"{root / 'dev.conllu'}:12"
    bare = tmp_path / "bare.conll"
    bare.write_text("They\ngo\n")
    assert predicted(ptft, run, bare, tmp_path / "out.csv")[0]["text"] == "They go"
    bare.write_text("1 They\n2\n")
    refused(ptft("stage=predict", f"ckpt={run}", f"input={bare}"), 3, f"{bare}:2: has 1 column;", "dataset.token=1")


def test_the_same_lines_count_for_nothing_under_another_suffix_where_the_first_column_counts_words(tmp_path):
    source = Conll(root=write(tmp_path, UNIVERSAL * 10), token=1, tag=3, scheme="any", tokenizer="bytes")
    assert [word for word, _ in read(source)[0]] == ["He", "can", "not", "go"]
    assert any("20 lines beginning with # are left out, as comments are, the first:" in note for note in source.notes)


def test_the_column_that_counts_words_is_not_trained_on(ptft, tmp_path):
    root = write(tmp_path / "data", UNIVERSAL * 10, ".conllu")
    common = (*SMALL, "dataset.scheme=any", "dataset.tag=3", f"dataset.root={root}", "train.steps=1")
    refused(ptft(*common), 3, "column 0 counts the words; dataset.token=1")
    assert ptft(*common, "dataset.token=1").code == 0


def test_prediction_finds_the_words_of_universal_dependencies_whatever_column_was_trained_on(ptft, tmp_path):
    root = write(tmp_path / "data", "Ada B-PER\nsaw O\n\n" * 4)
    assert ptft(*SMALL, f"dataset.root={root}", "train.steps=1", f"hydra.run.dir={tmp_path / 'run'}").code == 0
    (tmp_path / "new.conllu").write_text(UNIVERSAL)
    rows = predicted(ptft, tmp_path / "run", tmp_path / "new.conllu", tmp_path / "out.csv")
    assert [row["text"] for row in rows] == ["He can not go"]


@pytest.mark.parametrize("comment", ["# id 17 domain=en", "#\thttp://example.org [2009-10-17]", "# id 17\tdomain=en"])
def test_comments_before_a_sentence_are_no_words(tmp_path, comment):
    source = Conll(root=write(tmp_path, f"{comment}\nAda _ _ B-PER\nsaw _ _ O\n\n" * 4), tokenizer="bytes")
    assert [word for word, _ in read(source)[0]] == ["Ada", "saw"]
    assert source.split("train").lengths.tolist() == [9] * 4


def test_a_hash_may_be_a_word(tmp_path):
    source = Conll(root=write(tmp_path, "# NN O\n1 CD O\n\n#1 CD B-X\n2-3 CD O\n"), tokenizer="bytes")
    assert [[word for word, _ in sentence] for sentence in read(source)] == [["#", "1"], ["#1", "2-3"]]


def test_blanks_are_spaces_and_tabs_only(tmp_path):
    source = Conll(root=write(tmp_path, "10\u00a0000  CD\tO\nx\u2028y\tCD\tO\n\u3000 CD O\n"), tokenizer="bytes")
    assert [word for word, _ in read(source)[0]] == ["10\u00a0000  CD", "x\u2028y", "\u3000"]


def test_a_mark_of_a_document_is_no_word_with_and_without_an_empty_line(ptft, tmp_path):
    text = "-DOCSTART- -X- O\n\nAda NN B-PER\nsaw NN O\n\n-DOCSTART- -X- O\nAda NN B-PER\n\n" * 4
    root = write(tmp_path / "data", text, ".txt")
    run = tmp_path / "run"
    done = ptft(*SMALL, f"dataset.root={root}", "train.steps=2", f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    rows = predicted(ptft, run, root / "dev.txt", tmp_path / "out.csv")
    assert [row["text"] for row in rows] == ["Ada saw", "Ada"] * 4
    lines = tmp_path / "lines.txt"
    lines.write_text("Ada saw Leiden.\nOnce\u2028more .\n")
    assert [row["text"] for row in predicted(ptft, run, lines, tmp_path / "out.csv")] == [
        "Ada saw Leiden .",
        "Once more .",
    ]


SCHEMES = {
    "BIOES": "B-PER E-PER O S-LOC B-LOC I-LOC E-LOC",
    "BILOU": "B-PER L-PER O U-LOC B-LOC I-LOC L-LOC",
    "BMES": "B-PER E-PER O S-LOC B-LOC M-LOC E-LOC",
    "BMEOW": "B-PER E-PER O W-LOC B-LOC M-LOC E-LOC",
}
IOB2 = "B-PER I-PER O B-LOC B-LOC I-LOC I-LOC"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_that_say_the_same_are_told_by_their_tags_and_come_back(scheme):
    names = SCHEMES[scheme].split()
    assert " ".join(map(to_iob, names)) == IOB2
    assert from_iob(IOB2.split(), scheme_of(names, "")) == names


LEARNED = (
    "train.steps=60",
    "optimizer.lr=0.02",
    "schedule=constant",
    "train.every.evaluate=60",
    "train.layout=contiguous",
)


@pytest.mark.parametrize("scheme", ["BMEOW"])
def test_tags_of_a_scheme_count_entities_and_come_back_in_predictions(ptft, tmp_path, scheme):
    names = SCHEMES[scheme].split()
    sentence = "\n".join(f"{word} {tag}" for word, tag in zip(["a", "b", "c", "d", "e", "f", "g"], names, strict=True))
    root, run = write(tmp_path / "data", f"{sentence}\n\n" * 8), tmp_path / "run"
    done = ptft(*SMALL, f"dataset.root={root}", *LEARNED, f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    assert summary(run)["metrics"]["val"]["f1"] == 1
    assert "predicted as they are written" in done.out
    rows = predicted(ptft, run, root / "dev.conll", tmp_path / "out.csv")
    assert rows[0]["tags"] == SCHEMES[scheme]


def test_predictions_that_are_no_whole_chunks_become_whole_ones():
    assert from_iob(["I-A", "I-A", "O", "I-B", "B-B", "I-A"], "BIES") == ["B-A", "E-A", "O", "S-B", "S-B", "S-A"]
    assert from_iob(["I-A", "O"], scheme_of({"I-A", "B-A"}, "")) == ["I-A", "O"]


def test_two_schemes_in_one_dataset_and_a_tag_of_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="tags of several schemes"):
        Conll(root=write(tmp_path, "a S-X\nb U-X\n"), tokenizer="bytes")
    with pytest.raises(DataError, match=r"dev\.conll:2: the tag 'Z-X' .*counts no entities"):
        Conll(root=write(tmp_path, "a B-X\nb Z-X\n"), tokenizer="bytes")


def test_what_is_read_by_default_leaves_the_spec_as_it_was(tmp_path):
    source = Conll(root=write(tmp_path, "Ada B-PER\nsaw O\n"), tokenizer="bytes")
    assert set(source.spec.shape) == {"tokenizer", "length", "reader"}
    assert words.describe(source.spec).startswith("bytes")


def test_a_column_that_is_empty_and_a_table_in_the_place_of_columns_are_named(tmp_path):
    with pytest.raises(
        DataError, match=r"dev\.conll:1: column -1 \(dataset\.tag\) is empty, of 3 \(Ada \| B-PER \| \)"
    ):
        Conll(root=write(tmp_path / "tab", "Ada\tB-PER\t\n"), tokenizer="bytes")
    assert Conll(root=tmp_path / "tab", tokenizer="bytes", tag=1).own_classes == ("B-PER", "I-PER", "O")
    for name, line in (("csv", "Sentence: 1,Ada,NNP,B-PER"), ("jsonl", '{"tokens": ["Ada"], "tags": ["B-PER"]}')):
        (tmp_path / f"train.{name}").write_text(f"{line}\n" * 4)
        with pytest.raises(DataError, match=rf"train\.{name}: is a table with commas or JSON; write a word a line"):
            Conll(root=tmp_path / f"train.{name}", tokenizer="bytes", scheme="any")


def test_prediction_reads_columns_with_new_tags_and_the_texts_of_tables(ptft, tmp_path):
    root, run = write(tmp_path / "data", "Ada NNP B-PER\nsaw VBD O\n\n" * 4), tmp_path / "run"
    done = ptft(*SMALL, f"dataset.root={root}", "train.steps=1", f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    new = {
        "new.txt": "Ada\tNNP\tB-PER\nsaw\tVBD\tO\n\nDelft\tNNP\tB-LOC\nis\tVBZ\tO\n",
        "texts.jsonl": '{"text": "Ada saw"}\n{"text": "Delft is"}\n',
        "texts.csv": "id,text\n1,Ada saw\n2,Delft is\n",
        "alone.csv": "text\nAda saw\nDelft is\n",
    }
    for name, content in new.items():
        (tmp_path / name).write_text(content)
        rows = predicted(ptft, run, tmp_path / name, tmp_path / "out.csv")
        assert [row["text"] for row in rows] == ["Ada saw", "Delft is"], name
    (tmp_path / "words.jsonl").write_text('{"tokens": ["Ada", "saw"]}\n')
    done = ptft("stage=predict", f"ckpt={run}", f"input={tmp_path / 'words.jsonl'}")
    refused(done, 3, "words.jsonl:1: has no column 'text' (tokens)")
    (tmp_path / "empty.conll").write_text("\n")
    refused(ptft("stage=predict", f"ckpt={run}", f"input={tmp_path / 'empty.conll'}"), 3, "holds nothing to answer")


PLAIN = {"IOB": "B I O B B I O", "BIOES": "B E O S B E O", "BILOU": "B L O U B L O"}


def plain(folder, scheme):
    lines = zip("abcdefg", PLAIN[scheme].split(), strict=True)
    return write(folder, ("\n".join(f"{word} {tag}" for word, tag in lines) + "\n\n") * 8)


@pytest.mark.parametrize("scheme", PLAIN)
def test_tags_without_a_type_are_chunks_of_one_kind(tmp_path, scheme):
    assert Conll(root=plain(tmp_path, scheme), tokenizer="bytes").spec.classes == ("B", "I", "O")
    assert [to_iob(name) for name in PLAIN[scheme].split()] == PLAIN["IOB"].split()


@pytest.mark.parametrize("scheme", ["IOB", "BIOES"])
def test_tags_without_a_type_count_chunks_and_come_back(ptft, tmp_path, scheme):
    root, run = plain(tmp_path / "data", scheme), tmp_path / "run"
    done = ptft(*SMALL, f"dataset.root={root}", *LEARNED, f"hydra.run.dir={run}")
    assert done.code == 0, done.text
    assert summary(run)["metrics"]["val"]["f1"] == 1
    assert predicted(ptft, run, root / "dev.conll", tmp_path / "out.csv")[0]["tags"] == PLAIN[scheme]


def test_tags_without_a_type_are_any_names_where_they_are_said_to_be(tmp_path):
    root = write(tmp_path, "a B\nb I\nc O\n\n" * 4)
    assert "scheme" not in Conll(root=root, tokenizer="bytes", scheme="any").spec.shape
    with pytest.raises(DataError, match=r"the tag 'X' is none of O, B-TYPE, I-TYPE, B, I"):
        Conll(root=write(tmp_path / "x", "a B\nb X\n\n"), tokenizer="bytes")
    with pytest.raises(DataError, match=r"the tag 'B-' is none of"):
        Conll(root=write(tmp_path / "y", "a B-\nb O\n\n"), tokenizer="bytes")


def test_a_file_without_empty_lines_is_noticed(tmp_path):
    words = "\n".join(f"{word} O" for word in ["Ada", "saw", "it", ".", "She", "left", "."])
    for split in ("train", "dev"):
        (tmp_path / f"{split}.conll").write_text(words)
    notes = Conll(root=tmp_path, tokenizer="bytes").notes
    said = "dev.conll holds one sentence of 7 words, though some of them end one; an empty line stands behind each"
    assert notes[0].startswith(f"{tmp_path}/{said}")
    for split in ("train", "dev"):
        (tmp_path / f"{split}.conll").write_text(words.replace(". O\nShe", ". O\n\nShe"))
    assert not Conll(root=tmp_path, tokenizer="bytes").notes


def test_the_pieces_of_a_sentence_are_one_example_of_an_inspection_and_drawn_together(tmp_path):
    """Words of four letters, of which three fit beside the special tokens: sentences of 2, 7 and 3 words."""
    sentences = [[f"w{i}{j}x" for j in range(count)] for i, count in enumerate((2, 7, 3))]
    text = "\n\n".join("\n".join(f"{word} O" for word in each) for each in [*sentences, sentences[1]])
    keys = {"root": write(tmp_path / "data", text + "\n"), "tokenizer": "bytes", "length": 16}
    source = Conll(**keys)
    train = source.split("train")
    assert [len(train), train.units.tolist()] == [8, [0, 1, 1, 1, 4, 5, 5, 5]]
    subject = subject_of(source)
    assert subject.sizes == {"train": 4, "val": 4}
    assert subject.texts[:4] == [" ".join(words) for words in (*sentences, sentences[1])]
    assert len(set(subject.names)) == 8
    drawn = intervals.units(source, "train", train.at(torch.tensor([0, 2, 3, 4, 7])))
    assert (drawn.owner.tolist(), drawn.total, drawn.noun) == ([0, 1, 1, 2, 3], 4, "sentences")
    assert train.digest() == TextExamples(train.ids, train.pad, tags=train.tags).digest()  # as runs of before have it
