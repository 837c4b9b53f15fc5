"""Transcripts as tokens: pieces of words cut and put together again, counted, kept in the Spec, and refused."""

import json
import sys

import pytest
import torch

from ptft.core import Spec
from ptft.data.audio import folder as audio_folder
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.examples import PAD
from ptft.data.audio.manifest import AudioManifest
from ptft.data.audio.strings import AudioStrings
from ptft.data.audio.transcripts import encode, join, vocabulary
from ptft.errors import ConfigError, DataError
from ptft.models.audio.cnn import AudioCNN
from ptft.objectives.supervised.ctc import CTC, _totals

TEXTS = [
    "the cat sat on the mat",
    "that cat, the  fat one, sat",
    "où est l'été ▁ <0xzz> [PAD]",
    "a",
    "so it's 1 o'clock",
]
SPACED = [" ".join(text.split()) for text in TEXTS]


def spec_of(units, texts=TEXTS, size=90, like=None):
    """As a checkpoint brings it back."""
    classes, tokenizer = vocabulary(texts, units, like, size=size)
    cut = {} if tokenizer is None else {"tokenizer": tokenizer}
    spec = Spec("audio", {**audio_reader.shape(8000, None), "units": units, **cut}, "transcript", classes)
    return Spec.from_dict(json.loads(json.dumps(spec.to_dict())))


def rows_of(texts, spec):
    tokens = encode(texts, [f"text {i}" for i in range(len(texts))], spec).tokens
    return [[token for token in row if token != PAD] for row in tokens.tolist()]


@pytest.mark.parametrize("units", ["characters", "words", "bpe"])
def test_a_text_is_its_tokens_put_together(units):
    spec = spec_of(units)
    assert [join(row, spec) for row in rows_of(TEXTS, spec)] == SPACED


def test_texts_that_training_had_not_are_cut_into_its_pieces():
    spec = spec_of("bpe", ["the cat sat", "on the mat"])
    new = ["ten men sat at home", "nosecat the"]
    assert [join(row, spec) for row in rows_of(new, spec)] == new
    assert " the" in [spec.classes[token] for token in rows_of(new, spec)[1]]


def test_pieces_are_fewer_than_characters_and_as_many_as_asked():
    counts = {}
    for size in (40, 60):
        spec = spec_of("bpe", size=size)
        assert len(set(spec.classes)) == len(spec.classes) == spec.shape["tokenizer"]["size"] == size
        counts[size] = sum(map(len, rows_of(TEXTS, spec)))
    characters = sum(map(len, rows_of(TEXTS, spec_of("characters"))))
    assert counts[60] < counts[40] < characters
    assert spec_of("bpe") == spec_of("bpe")
    with pytest.raises(ConfigError, match=r"dataset\.vocabulary=20.*at least 3\d"):
        spec_of("bpe", size=20)


def metrics(spec, heard, texts=TEXTS):
    """Of texts, where `heard` are the decoded ones: every token takes a frame, and a blank stands after each."""
    objective = CTC(AudioCNN(spec, channels=(2, 2), width=4), spec).eval()
    targets = [torch.tensor(row) for row in rows_of(texts, spec)]
    paths = [[frame for token in row for frame in (token, objective.blank)] for row in rows_of(heard, spec)]
    best = torch.nn.utils.rnn.pad_sequence([torch.tensor(path) for path in paths], True, objective.blank)
    scores = torch.nn.functional.one_hot(best, objective.blank + 1).float().log()
    frames, count = torch.tensor([len(path) for path in paths]), torch.tensor([len(row) for row in targets])
    target = torch.nn.utils.rnn.pad_sequence(targets, True, PAD)
    sums = _totals(objective._compared(scores, frames, target, count))
    return objective.metrics({**sums, "too_short": torch.tensor(0)})


def test_error_rates_of_pieces_are_those_of_characters():
    heard = ["the cats at on the mat", "that cat, the fat one, sat", "où est été ▁ <0xzz> [PAD]", "the", "so it's 1"]
    pieces, characters = (metrics(spec_of(units), heard) for units in ("bpe", "characters"))
    assert pieces == pytest.approx(characters)
    assert pieces["wer"] == pytest.approx(5 / 23)  # cats, at; été; the; o'clock missing
    for units in ("bpe", "characters"):
        assert metrics(spec_of(units), TEXTS) == {"wer": 0, "cer": 0, "exact": 1}


def test_the_checkpoint_s_pieces_are_kept_while_its_characters_are_enough():
    first = spec_of("bpe", size=60)
    assert spec_of("bpe", ["the hat"], 300, like=first) == first
    assert spec_of("bpe", ["the ß"], 300, like=first).classes != first.classes
    assert spec_of("bpe", ["the hat"], 300, like=spec_of("characters")).shape["units"] == "bpe"


def manifest(tmp_path, *rows):
    audio_reader.write(tmp_path / "a.wav", torch.ones(800, dtype=torch.int16), 8000)
    lines = ["path,text,split", *(f"a.wav,{text},{split}" for text, split in rows)]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "list.csv"


@pytest.mark.parametrize("units", ["characters", "bpe"])
def test_what_can_not_be_cut_is_named_with_its_line(units, tmp_path):
    source = AudioManifest(root=manifest(tmp_path, ("ab ba", "train"), ("ab", "val"), ("abx", "val")), units=units)
    assert len(source.split("train")) == 1
    with pytest.raises(DataError, match=rf"list\.csv:4 \(a\.wav\): 'x' is not in the vocabulary.*units={units}"):
        source.split("val")
    with pytest.raises(DataError, match=r"dataset\.val=val: val has no text; .*dataset\.val=0\.1.* or null works"):
        AudioManifest(root=manifest(tmp_path, ("ab ba", "train"), ("  ", "val")), units=units)
    some = manifest(tmp_path, ("ab ba", "train"), ("  ", "val"), ("ab", "val"))
    with pytest.raises(DataError, match=r"list\.csv:3: has no text; dataset\.on_error=skip leaves such lines out"):
        AudioManifest(root=some, units=units)


def test_keys_that_can_not_be(tmp_path, monkeypatch):
    file = manifest(tmp_path, ("ab", "train"))
    with pytest.raises(ConfigError, match=r"dataset\.symbols=.*finds its own"):
        AudioManifest(root=file, units="bpe", symbols=["a", "b"], val=None)
    with pytest.raises(ConfigError, match=r"dataset\.units=letters: one of characters, words, bpe"):
        AudioManifest(root=file, units="letters", val=None)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"dataset\.units=bpe.*pip install 'ptft\[text\]'"):
        AudioManifest(root=file, units="bpe", val=None)
    assert len(AudioManifest(root=file, val=None).split("train")) == 1


def test_strings_of_words_in_pieces(tmp_path):
    audio_folder.sample(tmp_path)
    source = AudioStrings(root=tmp_path, units="bpe", vocabulary=12, strings=8, held_out=4)
    assert len(source.spec.classes) == 12
    batch = source.split("train").take(torch.arange(8))
    pairs = zip(batch["target"].tolist(), batch["target_length"].tolist(), strict=True)
    texts = [join(row[:length], source.spec) for row, length in pairs]
    assert {word for text in texts for word in text.split(" ")} == {"high", "low"}
    assert (
        source.fingerprint()
        == AudioStrings(root=tmp_path, units="bpe", vocabulary=12, strings=8, held_out=4).fingerprint()
    )
