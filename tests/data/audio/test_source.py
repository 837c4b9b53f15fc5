"""Sources of recordings: which file is which class or transcript in which split, and batches of them."""

import json

import pytest
import soundfile
import torch

from ptft.core import Spec
from ptft.data.audio import folder as audio_folder
from ptft.data.audio import manifest as audio_manifest
from ptft.data.audio import reader as audio_reader
from ptft.data.audio import speech_commands
from ptft.data.audio.examples import PAD
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.audio.speech_commands import SpeechCommands
from ptft.data.audio.strings import AudioStrings
from ptft.data.audio.tones import Tones
from ptft.data.audio.transcripts import join
from ptft.data.cache.policy import choose, keep
from ptft.errors import ConfigError, DataError

QUIET = {"progress": lambda done, total: None}
PATTERN = "{label}_{speaker}_{index}"


@pytest.fixture
def digits(tmp_path):
    """Two words of two speakers, ten times each; every recording is constant, and tells which one it is."""
    for label in ("one", "two"):
        for speaker in ("ann", "bob"):
            for index in range(10):
                value = 1000 * (label == "two") + 100 * (speaker == "bob") + index + 1
                samples = torch.full((400 + 10 * index,), value, dtype=torch.int16)
                audio_reader.write(tmp_path / f"{label}_{speaker}_{index}.wav", samples, 8000)
    return tmp_path


def values(examples):
    """The one value of each recording of a split."""
    return examples.take(torch.arange(len(examples)))["input"][:, 0].tolist()


def test_rules_on_names_divide_recordings(digits):
    source = AudioFolder(root=digits, pattern=PATTERN, test_rule="index:0-1", val_rule="index:2+3", val="val")
    assert sorted(v % 100 for v in values(source.split("test"))) == [1] * 4 + [2] * 4
    assert sorted(v % 100 for v in values(source.split("val"))) == [3] * 4 + [4] * 4
    assert len(source.split("train")) == 24
    heard = AudioFolder(root=digits, pattern=PATTERN, test_rule="speaker:bob", val=0.25)
    assert all(v % 1000 > 100 for v in values(heard.split("test")))
    assert all(v % 1000 < 100 for v in values(heard.split("train")) + values(heard.split("val")))
    assert heard.split("val").labels.tolist().count(0) in (2, 3)


def test_rules_and_patterns_that_can_not_be(digits):
    with pytest.raises(ConfigError, match=r"test_rule=mood:happy.*label, speaker, index"):
        AudioFolder(root=digits, pattern=PATTERN, test_rule="mood:happy")
    with pytest.raises(ConfigError, match=r"needs dataset\.pattern"):
        AudioFolder(root=digits, test_rule="index:0-4")
    with pytest.raises(DataError, match="its name is not of the form"):
        AudioFolder(root=digits, pattern="{label}-{index}")


def test_a_batch_is_padded_and_says_how_long_each_is(digits):
    examples = AudioFolder(root=digits, pattern=PATTERN, val=None, test=None, split_seed=1).split("train")
    kept = keep(examples, "memory", **QUIET)
    assert kept.in_memory
    indices = torch.tensor([5, 0, 17])
    read, held = examples.take(indices), kept.take(indices)
    assert all(torch.equal(read[name], held[name]) for name in read)
    assert held["length"].tolist() == kept.lengths[indices].tolist() == examples.lengths[indices].tolist()
    real = torch.arange(held["input"].shape[1]) < held["length"].unsqueeze(1)
    assert bool((held["input"] != 0).eq(real).all())


def test_the_cache_knows_uneven_examples(digits):
    parts = [AudioFolder(root=digits, pattern=PATTERN, val=None, test=None).split("train")]
    assert choose("auto", parts, memory=2**30)[0] == "memory"
    assert choose("auto", parts, memory=1)[0] == "off"
    with pytest.raises(ConfigError, match=r"dataset\.cache=disk"):
        choose("disk", parts)


def test_unreadable_recordings_are_named_or_left_out(digits):
    (digits / "one_ann_3.wav").write_text("no sound")
    source = AudioFolder(root=digits, pattern=PATTERN, val=None, test_rule="index:0-0")
    with pytest.raises(DataError, match=r"one_ann_3.wav.*on_error=skip"):
        keep(source.split("train"), "memory", **QUIET)
    skipping = AudioFolder(root=digits, pattern=PATTERN, val=None, test_rule="index:0-0", on_error="skip")
    kept = keep(skipping.split("train"), "memory", **QUIET)
    assert len(kept.take(torch.arange(36))["label"]) == 35
    assert kept.lengths.equal(skipping.split("train").lengths), "so that batches by length are the same"
    assert "1 of 36 files is unreadable" in kept.notes[0]
    assert len(skipping.split("train").take(torch.arange(36))["label"]) == 35


def test_folders_are_classes(tmp_path):
    audio_folder.sample(tmp_path)
    source = AudioFolder(root=tmp_path)
    assert source.spec.classes == ("high", "low")
    assert source.spec.shape == {"rate": 8000, "seconds": None}
    assert source.split("train").labels.bincount().tolist() == [6, 6]
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="no recordings"):
        AudioFolder(root=tmp_path / "empty")


def test_speech_commands_keep_their_lists(tmp_path):
    speech_commands.sample(tmp_path)
    audio_reader.write(tmp_path / "_background_noise_" / "hum.wav", torch.ones(1000, dtype=torch.int16), 16_000)
    source = SpeechCommands(root=tmp_path)
    assert source.spec.classes == ("no", "yes")
    assert [len(source.split(name)) for name in ("train", "val", "test")] == [8, 2, 2]
    assert [path.name for path in source.split("test").paths] == ["1_nohash_0.wav"] * 2
    kept = SpeechCommands(root=tmp_path, classes=["yes"])
    assert len(kept.split("train")) == 4


def test_speech_commands_tell_of_other_files(tmp_path):
    speech_commands.sample(tmp_path)
    (tmp_path / "LICENSE").touch()
    (tmp_path / "_background_noise_").mkdir()
    (tmp_path / "_background_noise_" / "README.md").touch()
    (tmp_path / "yes" / "mine.m4a").touch()
    first, second = SpeechCommands(root=tmp_path).notes
    assert first.startswith("1 file is no recording by its suffix (.m4a 1) and is left out, the first:")
    assert second.startswith("1 recording of a kind that can't be read (.m4a 1) is left out")


def test_a_checkpoint_decides_rate_and_length(digits):
    like = Spec("audio", audio_reader.shape(16_000, 0.02), "class", ("x", "y"))
    source = AudioFolder(root=digits, pattern=PATTERN, val=None, like=like)
    assert source.spec.shape == like.shape
    assert source.split("train").take(torch.tensor([0]))["input"].shape == (1, 320)
    assert any("resampled to 16,000 Hz" in note for note in source.notes)
    with pytest.raises(ConfigError, match="trained on image"):
        AudioFolder(root=digits, pattern=PATTERN, like=Spec("image", {}))


def test_strings_hold_recordings_of_their_own_split_and_speaker(digits):
    source = AudioStrings(
        root=digits, pattern=PATTERN, test_rule="index:0-1", val_rule="index:2-3", strings=40, gap=0.01
    )
    assert source.spec.target == "transcript"
    assert source.spec.classes == ("one", "two")
    for split, indices in (("train", range(5, 11)), ("val", (3, 4)), ("test", (1, 2))):
        batch = source.split(split).take(torch.arange(40))
        for row, target, size in zip(batch["input"], batch["target"], batch["target_length"], strict=True):
            heard = row[row != 0].unique_consecutive().tolist()
            assert all(v % 100 in indices for v in heard)
            assert len({v % 1000 >= 100 for v in heard}) == 1
            assert 2 <= size <= 5
            assert target[size:].eq(PAD).all()
            assert changes([v >= 1000 for v in heard]) == changes((target[:size] == 1).tolist())
    with pytest.raises(ConfigError, match="val_rule"):
        AudioStrings(root=digits, pattern=PATTERN, test_rule="index:0-1", val=0.1)


def speakers(examples):
    """How many speakers each string of `digits` has."""
    batch = examples.take(torch.arange(len(examples)))
    return {len({v % 1000 >= 100 for v in row[row != 0].unique().tolist()}) for row in batch["input"]}


def test_strings_of_the_recordings_that_can_be_read(digits):
    (digits / "one_ann_7.wav").write_bytes(b"RIFFbroken")
    rules = {"test_rule": "index:0-1", "val_rule": "index:2-3", "strings": 40, "gap": 0.01, "on_error": "skip"}
    source = AudioStrings(root=digits, pattern=PATTERN, **rules)
    assert speakers(source.split("train")) == {1}
    assert source.unusable == [("one_ann_7.wav", "can't be read")]
    (listed := digits / "ignore.csv").write_text("name,reason\none_ann_7.wav,cut off\ntwo_bob_9.wav,\n")
    without = AudioStrings(root=digits, pattern=PATTERN, ignore=listed, **rules)
    examples = without.split("train")
    assert speakers(examples) == {1}
    assert 1110 not in examples.take(torch.arange(40))["input"]
    assert not examples.notes
    assert without.unusable == [("one_ann_7.wav", "dataset.ignore: cut off"), ("two_bob_9.wav", "dataset.ignore")]
    assert "2 of the recordings of train are left out (dataset.ignore=ignore.csv)" in without.ignore_notes()


def test_an_inspection_of_strings_hears_of_every_recording_that_cannot_be_read(digits):
    broken = sorted(digits.rglob("*.wav"))[3]
    broken.write_bytes(b"no sound")
    source = AudioStrings(root=digits, pattern=PATTERN, test_rule="index:0-1", val=None, strings=20, every=True)
    for split in ("train", "test"):
        source.split(split)
    assert [each.name for each in source.unread] == [broken.relative_to(digits).as_posix()]


def test_a_remark_on_recordings_leaves_strings_to_a_speaker(digits):
    left = 9000 * torch.sin(torch.arange(400) / 5).round().to(torch.int16)
    soundfile.write(digits / "two_ann_7.wav", torch.stack([left, -left], 1).numpy(), 8000)
    source = AudioStrings(root=digits, pattern=PATTERN, test_rule="index:0-1", val=None, strings=40)
    examples = source.split("train")
    assert "the channels cancel each other" in "".join(examples.notes)
    assert {len({row // 8 % 2 for row in parts if row != PAD}) for parts in examples.parts.tolist()} == {1}


def changes(kinds):
    """Equal neighbours once: a word that follows itself may be the same recording."""
    return [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before]


def test_strings_are_what_their_parts_are(digits):
    source = AudioStrings(root=digits, pattern=PATTERN, test_rule="index:0-1", val=None, strings=20, gap=0.02)
    examples = source.split("train")
    batch, ragged = examples.take(torch.tensor([7, 3, 11])), examples.recordings.ragged
    for row, number in enumerate((7, 3, 11)):
        pieces = []
        for part, gap in zip(examples.parts[number].tolist(), examples.gaps[number].tolist(), strict=True):
            if part != PAD:
                start, length = ragged.starts[part], ragged.lengths[part]
                pieces += [torch.zeros(gap, dtype=torch.int16), ragged.values[start : start + length]]
        whole = torch.cat(pieces)
        assert batch["length"][row] == len(whole)
        assert torch.equal(batch["input"][row, : len(whole)], whole)
        assert not batch["input"][row, len(whole) :].any()


def test_a_manifest_of_parts_of_recordings(tmp_path):
    audio_reader.write(tmp_path / "long.wav", torch.arange(8000, dtype=torch.int16), 8000)
    lines = [
        {"path": "long.wav", "text": "Ab c", "start": 0.0, "end": 0.5},
        {"path": "long.wav", "text": "cab", "start": 0.5, "end": 0.75, "split": "val"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = AudioManifest(root=tmp_path / "list.jsonl")
    assert source.spec.classes == (" ", "a", "b", "c")
    batch = source.split("train").take(torch.tensor([0]))
    assert batch["length"].tolist() == [4000]
    assert join(batch["target"][0].tolist(), source.spec) == "ab c"
    assert source.split("val").take(torch.tensor([0]))["input"][0].tolist() == list(range(4000, 6000))
    given = AudioManifest(root=tmp_path / "list.jsonl", symbols=list("zyxcba "), val=None)
    assert given.split("train").take(torch.tensor([0]))["target"].tolist() == [[5, 4, 6, 3]]
    words = AudioManifest(root=tmp_path / "list.jsonl", units="words", val=None)
    assert words.spec.classes == ("ab", "c")


def test_manifests_that_can_not_be(tmp_path):
    audio_reader.write(tmp_path / "a.wav", torch.ones(800, dtype=torch.int16), 8000)
    (tmp_path / "list.csv").write_text("path,text\na.wav,\n")
    with pytest.raises(DataError, match=r"list\.csv:2: has no text"):
        AudioManifest(root=tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text("path,text,split\na.wav,ab,train\na.wav,abx,val\n")
    with pytest.raises(DataError, match=r"'x' is not in the vocabulary"):
        AudioManifest(root=tmp_path / "list.csv").split("val")
    with pytest.raises(ConfigError, match=r"per_class=5"):
        AudioManifest(root=tmp_path / "list.csv", per_class=5)


def test_librispeech_is_read_in_its_layout(tmp_path):
    audio_manifest.sample(tmp_path)
    source = AudioManifest(root=tmp_path, seconds=0.35)
    assert source.spec.classes == tuple(" abenot")
    assert len(source.split("train")) == 3
    assert any("1 recording is longer" in note for note in source.notes)


def test_tones_are_functions_of_their_number():
    source = Tones(count=60, held_out=8)
    train = source.split("train")
    alone, together = train.take(torch.tensor([17])), train.take(torch.tensor([3, 17]))
    assert torch.equal(alone["input"][0], together["input"][1, : alone["length"][0]])
    assert (
        source.fingerprint() == Tones(count=60, held_out=8).fingerprint() != Tones(count=61, held_out=8).fingerprint()
    )
    assert source.split("train").labels.bincount().tolist() == [8, 8, 8, 8, 7, 7, 7, 7]
    strings = Tones(count=30, held_out=8, words=[2, 3]).split("train").take(torch.arange(30))
    assert set(strings["target_length"].tolist()) == {2, 3}


def test_classes_of_val_alone_are_left_out_where_some_are_kept(tmp_path):
    audio_folder.sample(tmp_path)
    audio_reader.write(tmp_path / "val" / "new" / "0.wav", torch.ones(800, dtype=torch.int16), 8000)
    with pytest.raises(DataError, match="val has the class 'new', which train has not"):
        AudioFolder(root=tmp_path).split("val")
    assert len(AudioFolder(root=tmp_path, classes=["low", "high"]).split("val")) == 12


@pytest.mark.parametrize("source_of", [AudioFolder, AudioManifest])
def test_recordings_of_different_rates_are_counted_and_the_rate_that_is_taken_is_told(tmp_path, source_of):
    lines = ["path,label,split"]
    for i, rate in enumerate((16_000, 8_000, 8_000, 44_100)):
        audio_reader.write(tmp_path / f"{i}.wav", torch.zeros(rate // 10, dtype=torch.int16), rate)
        lines.append(f"{i}.wav,{'ab'[i % 2]},train")
    (tmp_path / "broken.wav").write_bytes(b"junk")
    (tmp_path / "list.csv").write_text("\n".join([*lines, "broken.wav,a,train"]))
    typed = {"root": tmp_path / "list.csv", "val": None, "on_error": "skip"}
    source = source_of(**typed)
    found = "(8,000 Hz: 2, 16,000 Hz: 1, 44,100 Hz: 1)"
    said = f"recordings have different rates {found}; all are resampled to 16,000 Hz, that of the first"
    assert f"{said}; dataset.rate=… changes it" in source.notes
    assert source.spec.shape["rate"] == 16_000
    assert not any("rates" in note for note in source_of(rate=8_000, **typed).notes)
    like = source_of(rate=8_000, **typed).spec
    assert any("resampled to 8,000 Hz, as in the checkpoint" in note for note in source_of(like=like, **typed).notes)
