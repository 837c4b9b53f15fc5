"""Tables, words with tags, and questions as sources: what their examples hold."""

import json

import pytest
import torch

from ptft.core import Spec
from ptft.data import subwords
from ptft.data.text import conll, squad, table
from ptft.data.text.conll import Conll
from ptft.data.text.examples import NO_LABEL, encoded, fitted, joined
from ptft.data.text.questions import Question, best_answers, windows
from ptft.data.text.reader import tokenizer_of
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts
from ptft.data.tokenizer import Tokenizer
from ptft.errors import DataError
from ptft.export.huggingface import preprocessing
from ptft.metrics.squad import exact_match, f1, normalised

BYTES = Tokenizer()


def spelled(ids: torch.Tensor, mask: torch.Tensor) -> str:
    """The bytes of an example, with | for [CLS] and / for [SEP]."""
    names = {BYTES.cls: "|", BYTES.sep: "/"}
    return "".join(names.get(i, chr(i) if i < 256 else "?") for i in ids[mask].tolist())


@pytest.mark.parametrize(
    ("pair", "budget", "kept"),
    [(("abc", "de"), 5, "|abc/de/"), (("abcdefgh", "de"), 6, "|abcd/de/"), (("ab", "cdefgh"), 5, "|ab/cde/"),
     (("abcdef", "ghijkl"), 6, "|abc/ghi/"), (("", "ghijkl"), 3, "|/ghi/")],
)  # fmt: skip
def test_of_a_pair_the_longer_text_is_cut_first(pair, budget, kept):
    columns = fitted([encoded(BYTES, [text, "zz"]) for text in pair], budget)
    rows = joined(columns, BYTES)
    found = rows.take(torch.tensor([0]), BYTES.pad)
    assert spelled(found["input"][0], found["mask"][0]) == kept


def test_a_pair_has_the_marks_between_its_texts_that_the_tokenizer_says(tmp_path):
    transformers = pytest.importorskip("transformers")
    processors = pytest.importorskip("tokenizers").processors
    rows = [("a fine day", "what a joy"), ("a", "a dull day of no end")]
    inner = subwords.parsed(Tokenizer.train("bpe", [text for row in rows for text in row], 280).text)
    once = tmp_path / "once.json"
    inner.save(str(once))
    inner.post_processor = processors.RobertaProcessing(
        ("[SEP]", inner.token_to_id("[SEP]")), ("[CLS]", inner.token_to_id("[CLS]")), add_prefix_space=False
    )
    (tmp_path / "twice").mkdir()
    inner.save(str(tmp_path / "twice" / "tokenizer.json"))
    (tmp_path / "train.csv").write_text("\n".join(["one,two,label", *(f"{a},{b},{a}" for a, b in rows)]))
    options = {"root": tmp_path, "text": ["one", "two"], "val": None}
    source = TableTexts(tokenizer=str(tmp_path / "twice"), length=40, **options)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "twice" / "tokenizer.json"))
    assert [row.tolist() for row in _rows(source)] == theirs(*zip(*rows, strict=True))["input_ids"]
    (tmp_path / "out").mkdir()
    preprocessing._tokenizer(tmp_path / "out", source.spec, False, False)
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert exported(*zip(*rows, strict=True))["input_ids"] == [row.tolist() for row in _rows(source)]
    again = Tokenizer.from_dict(json.loads(json.dumps(source.tokenizer.to_dict())))
    asked = Question("q", "a fine day", "what a joy", (), "here")
    one = windows(again, [asked], 40, 8)[0].ids
    assert one == theirs("a fine day", "what a joy")["input_ids"]
    cut = TableTexts(tokenizer=str(tmp_path / "twice"), length=9, **options)
    assert max(map(len, _rows(cut))) == 9
    before = source.spec.to_dict()  # as a version before says it
    del before["shape"]["tokenizer"]["between"]
    like = TableTexts(tokenizer=str(tmp_path / "twice"), length=40, like=Spec.from_dict(before), **options)
    single = TableTexts(tokenizer=str(once), length=40, **options)
    assert [row.tolist() for row in _rows(like)] == [row.tolist() for row in _rows(single)]
    assert len(_rows(like)[0]) + 1 == len(_rows(source)[0])
    assert "between" not in single.tokenizer.to_dict()
    assert [tokenizer_of(spec).between for spec in (source.spec, Spec.from_dict(before), source.spec)] == [2, 1, 2]


def _rows(source):
    batch = source.split("train").take(torch.arange(2))
    return [ids[mask] for ids, mask in zip(batch["input"], batch["mask"], strict=True)]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def texts(examples) -> list[str]:
    batch = examples.take(torch.arange(len(examples)))
    return [spelled(ids, mask) for ids, mask in zip(batch["input"], batch["mask"], strict=True)]


def test_tables_of_all_three_formats_say_the_same(root):
    rows = [("a, b", "x"), ('say "hi"', "y")]
    (root / "train.csv").write_text('label,text\nx,"a, b"\ny,"say ""hi"""\n')
    (root / "dev.tsv").write_text('text\tlabel\na, b\tx\nsay "hi"\ty\n')
    (root / "test.jsonl").write_text("".join(json.dumps({"text": t, "label": k}) + "\n\n" for t, k in rows))
    source = TableTexts(root=root, tokenizer="bytes")
    assert source.spec.classes == ("x", "y")
    for split in ("train", "val", "test"):
        assert texts(source.split(split)) == ["|a, b/", '|say "hi"/']
        assert source.split(split).labels.tolist() == [0, 1]


def test_sst2_is_read_with_and_without_its_header(root):
    (root / "train.tsv").write_text("fine\t1\nbad\t0\n")
    (root / "dev.tsv").write_text("sentence\tlabel\nfine\t1\nbad\t0\n")
    source = TableTexts(root=root, layout="sst2", tokenizer="bytes")
    assert source.spec.classes == ("0", "1")
    assert source.split("train").labels.tolist() == source.split("val").labels.tolist() == [1, 0]


def test_a_test_file_without_labels_is_left_for_predict(root):
    (root / "train.tsv").write_text("index\tsentence1\tsentence2\tscore\n0\ta\tb\t2.5\n1\tc\td\t4\n")
    (root / "dev.tsv").write_text("index\tsentence1\tsentence2\tscore\n0\ta\tb\t1\n")
    (root / "test.tsv").write_text("index\tsentence1\tsentence2\n0\ta\tb\n")
    source = TableTexts(root=root, layout="stsb", tokenizer="bytes")
    assert source.split("test") is None
    assert any("test.tsv has no labels" in note for note in source.notes)
    assert source.split("train").labels.tolist() == [2.5, 4]
    assert texts(source.split("train")) == ["|a/b/", "|c/d/"]


def test_one_file_is_divided_and_reduced_by_class(root):
    file = root / "all.csv"
    file.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(100)))
    source = TableTexts(root=file, tokenizer="bytes", per_class=5)
    parts = [set(texts(source.split(name))) for name in ("train", "val", "test")]
    assert [len(part) for part in parts] == [10, 10, 10]
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]
    assert source.split("train").labels.bincount().tolist() == [5, 5]
    again = TableTexts(root=file, tokenizer="bytes", per_class=5, seed=1)
    assert again.split("test").digest() == source.split("test").digest()
    assert again.split("train").digest() != source.split("train").digest()
    assert again.fingerprint() != source.fingerprint()


def test_lines_that_cannot_be_used_are_skipped_where_asked(root):
    good = "".join(f"text {i}\t{'ab'[i % 2]}\n" for i in range(20))
    (root / "train.tsv").write_text("text\tlabel\n" + good + "broken\n")
    (root / "dev.tsv").write_text("text\tlabel\n" + good)
    source = TableTexts(root=root, tokenizer="bytes", on_error="skip")
    assert len(source.split("train")) == 20
    assert any("1 line is left out" in note and "train.tsv:22" in note for note in source.notes)
    (root / "train.tsv").write_text("text\tlabel\n" + good + "broken\n" * 11)
    with pytest.raises(DataError, match="too many"):
        TableTexts(root=root, tokenizer="bytes", on_error="skip")


def test_a_word_has_its_tag_at_its_first_token_and_long_sentences_become_pieces(root):
    (root / "x.train.conll").write_text("-DOCSTART- O\n\nAda B-PER\nLovelace I-PER\nsaw O\nus O\n\n")
    (root / "x.dev.conll").write_text("saw O\nAda I-PER\n")
    source = Conll(root=root, tokenizer="bytes", length=12)
    assert source.spec.classes == ("B-PER", "I-PER", "O")
    examples = source.split("train")
    assert texts(examples) == ["|Ada/", "| Lovelace/", "| saw us/"]
    labels = examples.take(torch.arange(3))["label"]
    assert [row[row != NO_LABEL].tolist() for row in labels] == [[0], [1], [2, 2]]
    assert labels[2].tolist()[:8] == [NO_LABEL, 2, NO_LABEL, NO_LABEL, NO_LABEL, 2, NO_LABEL, NO_LABEL]
    assert source.notes == ("train: sentences of more than 12 tokens are cut, into 2 pieces more",)
    assert len(source.split("val")) == 1


def test_other_tags_than_iob_are_taken_where_asked(root):
    (root / "all.txt").write_text("dogs NOUN\nbark VERB\n\n" * 20)
    assert Conll(root=root / "all.txt", scheme="any", tokenizer="bytes").spec.classes == ("NOUN", "VERB")


def test_windows_overlap_and_hold_the_answer_that_is_in_them(root):
    context = "".join(f"w{i:02} " for i in range(40)).strip()
    answer = {"text": "w20 w21", "answer_start": context.index("w20")}
    asked = [{"id": "q", "question": "which?", "answers": [answer]}]
    for split in ("train", "dev"):
        content = {"data": [{"paragraphs": [{"context": context, "qas": asked}]}]}
        (root / f"{split}.json").write_text(json.dumps(content))
    source = Squad(root=root, tokenizer="bytes", length=60, stride=20)
    examples = source.split("train")
    batch = examples.take(torch.arange(len(examples)))
    assert len(examples) > 4
    assert batch["input"].shape[1] == 60
    answers = []
    for window, span, ids, inside in zip(
        examples.windows, batch["span"].tolist(), batch["input"], batch["context"], strict=True
    ):
        assert bytes(ids[inside].tolist()).decode() == window.text_of(
            window.begin, window.begin + int(inside.sum()) - 1
        )
        if span != [0, 0]:
            answers.append(window.text_of(*span))
    assert answers
    assert set(answers) == {"w20 w21"}
    covered = {pair for window in examples.windows for pair in window.offsets}
    assert len(covered) == len(context)


def test_the_best_window_answers_and_no_answer_must_win_everywhere(root):
    squad.sample(root)
    source = Squad(root=root, tokenizer="bytes", length=45, stride=10)
    first = [window for window in windows(BYTES, source.questions["train"], 45, 10) if window.number == 0]
    assert len(first) > 1
    begin = first[0].begin
    rows = [{"start": begin, "end": begin + 2, "score": float(-i), "margin": 5.0 - i} for i in range(len(first))]
    pairs = list(zip(first, rows, strict=True))
    assert best_answers(pairs, impossible=False)[0][1] == "The"
    rows[0]["score"] = 5.5 - len(first)
    assert best_answers(pairs, impossible=True)[0][1] == ("The" if 5.5 - len(first) >= 6.0 - len(first) else "")
    rows[0]["score"] = 6.5
    assert best_answers(pairs, impossible=True)[0][1] == "The"


def test_answers_are_compared_as_squad_publishes_it():
    assert normalised("  The  Cat's, an (old) A-frame! ") == "cats old aframe"
    assert exact_match("the Eiffel Tower.", ["Eiffel tower", "tower"]) == 1
    assert exact_match("tower of Eiffel", ["Eiffel tower"]) == 0
    assert f1("in the city of Paris", ["Paris", "city of light"]) == pytest.approx(2 * 2 / (4 + 3))
    assert f1("red red blue", ["red blue blue"]) == pytest.approx(2 / 3)
    assert (exact_match("", []), f1("", []), f1("x", []), f1("", ["x"])) == (1, 1, 0, 0)
    assert f1("the", ["a", "x"]) == 0


def test_the_tokenizer_of_a_checkpoint_is_kept(root):
    table.sample(root)
    old = TableTexts(root=root, vocabulary=300).spec
    conll.sample(root / "tagged")
    new = Conll(root=root / "tagged", like=old).spec
    assert tokenizer_of(new).to_dict() == tokenizer_of(old).to_dict()
    assert new.shape["length"] == old.shape["length"] == 128
