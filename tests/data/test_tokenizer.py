"""Text to ids and back, by bytes and by subwords."""

import json
import sys

import pytest
import torch

from ptft.data import subwords
from ptft.data.tokenizer import KINDS, ROLES, Tokenizer
from ptft.errors import CheckpointError, ConfigError, DataError

TEXTS = [
    "The cat sat on the mat, and the dog sat too.",
    "A cat! The dog's mat…",
    "na\u00efve caf\u00e9 \u2014 cats & dogs",
] * 20


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return Tokenizer.train(request.param, TEXTS, 300)


def test_plain_data_makes_the_same_tokenizer(tokenizer):
    plain = json.loads(json.dumps(tokenizer.to_dict()))
    again = Tokenizer.from_dict(plain)
    assert again.encode(TEXTS) == tokenizer.encode(TEXTS)
    assert (again.size, again.to_dict()) == (tokenizer.size, plain)
    special = [getattr(tokenizer, role) for role in ROLES]
    assert len(set(special)) == 5
    assert all(0 <= index < tokenizer.size for index in special)


def test_text_comes_back(tokenizer):
    unseen = "the mat sat\n\n  on \u00e9lan \U0001f600"
    for text in (TEXTS[0], unseen):
        ids = tokenizer.encode([text])[0]
        back = tokenizer.decode([tokenizer.cls, *ids, tokenizer.sep, tokenizer.pad])
        if tokenizer.kind != "wordpiece":
            assert back == text
            assert int(tokenizer.byte_lengths[ids].sum()) == len(text.encode())
        elif text == TEXTS[0]:
            assert back == text.lower()
    assert max(max(row) for row in tokenizer.encode(TEXTS)) < tokenizer.size


def test_offsets_are_characters_of_the_text(tokenizer):
    text = TEXTS[2]
    ids, offsets = tokenizer.encode_with_offsets([text])
    assert len(ids[0]) == len(offsets[0])
    assert "".join(text[i] for i in range(len(text)) if any(s <= i < e for s, e in offsets[0])).replace(" ", "") == (
        text.replace(" ", "")
    )
    assert tokenizer.encode([text]) == ids


def test_every_word_has_its_tokens_in_order(tokenizer):
    sentences = [["The", "dog's", "caf\u00e9", ",", "mat"], ["cats"], ["a", "\u200b", "b"]]
    ids, index = tokenizer.encode_words(sentences)
    for sentence, row, words in zip(sentences, ids, index, strict=True):
        assert len(row) == len(words)
        assert words == sorted(words)
        assert set(words) == set(range(len(sentence)))
    first = [token for token, word in zip(ids[0], index[0], strict=True) if word == 1]
    assert tokenizer.decode(first).replace(" ", "").lower() == "dog's"


def test_words_begin_where_letters_do(tokenizer):
    ids = torch.tensor(tokenizer.encode(["the cats"])[0])
    starts = tokenizer.starts_word(ids.unsqueeze(0))[0]
    assert starts[0]
    words = torch.tensor_split(ids, starts.nonzero().flatten()[1:])
    assert [tokenizer.decode(word.tolist()).strip() for word in words if tokenizer.decode(word.tolist()).strip()] == [
        "the",
        "cats",
    ]


def test_flat_ids_are_those_of_the_texts(tokenizer):
    flat, lengths = tokenizer.encode_flat([*TEXTS[:3], ""])
    assert [part.tolist() for part in flat.split(lengths.tolist())] == tokenizer.encode([*TEXTS[:3], ""])


def test_a_tokenizer_is_loaded_from_files(tokenizer, tmp_path):
    if tokenizer.kind == "bytes":
        return
    (tmp_path / "tokenizer.json").write_text(tokenizer.text, encoding="utf-8")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert (loaded.kind, loaded.to_dict()) == (tokenizer.kind, tokenizer.to_dict())


def test_files_that_pad_and_cut_are_loaded_without(tmp_path):
    tokenizer = Tokenizer.train("bpe", TEXTS, 300)
    plain = json.loads(tokenizer.text)
    plain["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    plain["padding"] = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None}
    plain["padding"] |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(plain), encoding="utf-8")
    assert Tokenizer.load(tmp_path).encode(TEXTS[:3]) == tokenizer.encode(TEXTS[:3])


def test_berts_vocabulary_is_a_folder_too(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nThe\ncat\n##s\n!\n")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    found = Tokenizer.load(tmp_path)
    assert found.encode(["The cats!", "the"]) == [[5, 6, 7, 8], [1]]
    assert (found.size, found.pad, found.mask) == (9, 0, 4)
    assert found.starts_word(torch.tensor([[5, 6, 7, 8]])).tolist() == [[True, True, False, True]]


def test_what_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"no tokenizer\.json"):
            Tokenizer.load(path)
    with pytest.raises(ConfigError, match="one of bytes, bpe"):
        Tokenizer.train("words", TEXTS, 10)


def test_without_the_package_bytes_work_and_others_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert Tokenizer().encode(["a"]) == [[97]]
    with pytest.raises(ConfigError, match=r"pip install 'ptft\[text\]'"):
        Tokenizer.train("bpe", TEXTS, 300)


def test_names_of_special_tokens_in_a_text_are_text(tokenizer):
    texts = ["a [SEP] b", "[MASK]", "x[PAD]y", "[CLS] [SEP]"]
    reserved = {tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask}
    found = [
        *tokenizer.encode(texts),
        *tokenizer.encode_with_offsets(texts)[0],
        tokenizer.encode_flat(texts)[0].tolist(),
    ]
    assert not [ids for ids in found if reserved & set(ids)]
    if tokenizer.kind != "wordpiece":
        assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts)] == texts


@pytest.mark.parametrize("model", ["Unigram", "WordPiece", "BPE"])
def test_a_loaded_vocabulary_that_holds_its_special_tokens_as_pieces_does_not_find_them_in_a_text(tmp_path, model):
    names, letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], [" ", "a", "b", "s", "/", "<", ">"]
    plain = {
        "Unigram": {"unk_id": 3, "vocab": [[piece, -2.0 * (i > 4)] for i, piece in enumerate(names + letters)]},
        "WordPiece": {
            "unk_token": "<unk>",
            "continuing_subword_prefix": "",
            "max_input_chars_per_word": 99,
            "vocab": {piece: i for i, piece in enumerate(names + letters)},
        },
        "BPE": {
            "merges": ["/ s", "< /s", "</s >"],
            "vocab": {piece: i for i, piece in enumerate([*names, *letters, "/s", "</s"])},
        },
    }[model]
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": {"type": model, **plain}}))
    loaded = Tokenizer.load(file)
    assert (loaded.cls, loaded.sep) == (0, 2)
    again = Tokenizer.from_dict(loaded.to_dict())
    for made in (loaded, again):
        ids = made.encode(["a</s>b"])[0]
        assert 2 not in ids
        assert made.encode(["ab"]) == [[6, 7]]
        assert made.decode(ids).replace(" ", "") == "a</s>b"


def damaged(plain, path=()):
    """Every version of a plain structure in which one value is gone, or is of another kind."""
    for key in list(plain) if isinstance(plain, dict) else range(min(len(plain), 2)):
        for value in (None, "x", -1, 1.5, [], {}, 2**31, "gone"):
            copy = plain.copy()
            if value == "gone":
                del copy[key]
            else:
                copy[key] = value
            yield copy
        if isinstance(plain[key], dict | list):
            for inner in damaged(plain[key]):
                copy = plain.copy()
                copy[key] = inner
                yield copy


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_damaged_tokenizer_is_refused_in_one_line_or_works(tmp_path, kind):
    made = Tokenizer.train(kind, ["a fine day"], 262)
    file, typed = tmp_path / "tokenizer.json", []
    for plain in list(damaged(json.loads(made.text)))[::16]:
        text = json.dumps(plain)
        file.write_text(text)
        typed.append(complaint(lambda: Tokenizer.load(file)))
        kept = {**made.to_dict(), "json": text}
        assert "\n" not in complaint(lambda kept=kept: Tokenizer.from_dict(kept))
    assert sum(map(bool, typed)) > 10
    assert all("dataset.tokenizer" in said and "\n" not in said for said in typed if said)
    for plain in damaged(made.to_dict()):
        assert "\n" not in complaint(lambda plain=plain: Tokenizer.from_dict(plain))


def complaint(make) -> str:
    """What is said of a tokenizer that can't be made or used, nothing of one that can."""
    try:
        make().encode(["a \u4e2d [SEP] day"])
    except (CheckpointError, DataError) as error:
        return str(error)
    return ""


def test_a_number_in_a_tokenizer_costs_no_memory(tmp_path):
    plain = json.loads(Tokenizer.train("bpe", TEXTS, 300).text)
    plain["model"]["vocab"]["odd"] = 2**31
    (tmp_path / "tokenizer.json").write_text(json.dumps(plain))
    with pytest.raises(DataError, match=r"301 tokens and ids up to 2,147,483,648"):
        Tokenizer.load(tmp_path)


LONG = {
    "equal letters": "a" * 60_000,
    "a genome": "acgtgca" * 9_000,
    "without spaces": "\u6c34\u706b\u6728" * 5_000,
    "dots": "." * 30_000,
    "blanks": " \n" * 20_000 + "x",
    "an address": "http://a.b/" + "x1%_" * 10_000,
    "symbols": "\u2192a" * 20_000,
}


@pytest.mark.parametrize("kind", [*KINDS[1:], "spoken"])
@pytest.mark.parametrize("name", LONG)
def test_no_word_that_is_learned_from_is_longer_than_a_thousand_characters(kind, name):
    """The library takes time with the square of a word's length: 36 s for 40,000 equal letters."""
    text = f"a good day {LONG[name]} a bad day"
    made = (subwords.untrained_spoken(300) if kind == "spoken" else subwords.untrained(kind, 300))[0]
    parts = list(subwords.bounded(kind, [text]))
    assert "".join(parts) == text
    words = [word for part in parts for word, _ in made.pre_tokenizer.pre_tokenize_str(_normal(made, part))]
    most = 3 if kind in ("bpe", "unigram") else 1  # bytes of a character, each shown as one
    assert max(map(len, words)) <= most * subwords.LONGEST_WORD + 1  # and the space before it


def _normal(made, text: str) -> str:
    return made.normalizer.normalize_str(text) if made.normalizer else text


@pytest.mark.parametrize("kind", [*KINDS[1:], "spoken"])
def test_texts_of_ordinary_words_are_learned_from_whole(kind):
    texts = [" ".join(TEXTS), "x" * 1000, f"{'y' * 999}! " * 20, "\n\n  a\tb" * 2000]
    assert list(subwords.bounded(kind, texts)) == texts


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_word_of_any_length_is_learned_from_and_comes_back(kind):
    word = "acgt" * 10_000
    tokenizer = Tokenizer.train(kind, ["a good day", word], 400)
    ids = tokenizer.encode([f"a {word} day"])[0]
    assert tokenizer.decode(ids) == f"a {word} day"
    assert len(ids) < len(word) / 4  # it was learned from
