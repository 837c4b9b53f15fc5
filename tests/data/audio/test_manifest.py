"""Manifests as people have them: parts of recordings, marks, missing values, files that can't be read."""

import json
import unicodedata

import pytest
import torch

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest, sample
from ptft.errors import ConfigError, DataError

BASE = [
    {"path": f"{i}.wav", "text": "ab ba" if i % 2 else "bba", "split": "train" if i < 12 else "val"} for i in range(16)
]


@pytest.fixture
def listed(tmp_path):
    """`listed(rows)` is a manifest of them beside their recordings: 0.wav … of 0.1 s, long.wav of 1 s, broken.wav."""
    for i in range(16):
        audio_reader.write(tmp_path / f"{i}.wav", torch.full((800,), i + 1, dtype=torch.int16), 8000)
    audio_reader.write(tmp_path / "long.wav", torch.arange(8000, dtype=torch.int16), 8000)
    (tmp_path / "broken.wav").write_text("junk")

    def write(*rows, name="list.jsonl", encoding="utf-8", base=BASE):
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in (*rows, *base))
        (tmp_path / name).write_text(content, encoding=encoding)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("given", "begin", "end"),
    [
        ({"start": 0.75}, 6000, 8000),
        ({"start": "0.75", "end": ""}, 6000, 8000),
        ({"end": 0.5}, 0, 4000),
        ({"start": 0.25, "end": 0.5}, 2000, 4000),
        ({"start": 0.25, "end": 9}, 2000, 8000),
        ({"offset": 0.25, "duration": 0.5}, 2000, 6000),
        ({"offset": 0.75}, 6000, 8000),
        ({"duration": 0.5}, 0, 4000),
        ({"start": 0.25, "end": 0.5, "duration": 0.25}, 2000, 4000),
        ({"start": 0.5, "duration": None}, 4000, 8000),
        ({"begin": 0.25, "end": 0.5}, 2000, 4000),
        ({"start_time": 0.25, "end_time": 0.5}, 2000, 4000),
        ({"Start Time": "0.25", "End Time": "0.5"}, 2000, 4000),
        ({"startTime": 0.25, "endTime": 0.5}, 2000, 4000),
        ({"start": 0.25, "stop": 0.5}, 2000, 4000),
        ({"start_time": 0.75}, 6000, 8000),
        ({"begin": 0.25, "duration": 0.5}, 2000, 6000),
        ({"onset": 0.25, "offset": 0.5}, 2000, 4000),
        ({"onset": 0.25, "duration": 0.5}, 2000, 6000),
        ({"start": None, "end": None}, 0, 8000),
        ({"offset": None, "duration": 0.5}, 0, 4000),
    ],
)
@pytest.mark.parametrize("key", ["path", "audio_filepath"])
def test_a_row_may_be_a_part_of_a_recording(listed, given, begin, end, key):
    source = AudioManifest(root=listed({key: "long.wav", "text": "ab", "split": "train", **given}))
    train = source.split("train")
    assert train.lengths[0] == end - begin
    assert train.take(torch.tensor([0]))["input"][0].tolist() == list(range(begin, end))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"start": 2}, "holds no sound from 2 s on"),
        ({"start": 0.5, "end": 0.5}, "from 0.5 to 0.5 s is no part of a recording"),
        ({"start": -1}, "from -1 s on is no part"),
        ({"start": "nan"}, "start is nan, no number of seconds"),
        ({"end": "1e999"}, "end is 1e999, no number of seconds"),
        ({"offset": "soon"}, "start and end are seconds, offset is 'soon'"),
        ({"start": float("nan"), "end": 0.5}, "has no start, but end"),
        ({"start": None, "end": 0.5}, "has no start, but end"),
        ({"begin_time": "", "end_time": "0.5"}, "has no begin_time, but end_time"),
        ({"onset": None, "offset": 0.5}, "has no onset, but offset"),
        ({"offset": float("nan"), "duration": 0.5}, "has no offset, but duration"),
    ],
)
def test_a_part_that_is_none_is_named(listed, given, said):
    file = listed({"path": "long.wav", "text": "ab", "split": "train", **given})
    with pytest.raises(DataError, match=said):
        AudioManifest(root=file).split("train").take(torch.tensor([0]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["list.jsonl", "list.JSON"])
def test_a_manifest_may_have_a_byte_order_mark_and_any_character(listed, encoding, name):
    row = {"path": "0.wav", "text": "ab", "split": "train", "note": "a\u2028b"}
    assert len(AudioManifest(root=listed(row, encoding=encoding, name=name)).split("train")) == 13


def test_what_can_not_be_used_is_left_out_and_counted_where_that_is_asked(listed):
    rows = [{"path": "broken.wav", "text": "ab", "split": "train"}]
    with pytest.raises(DataError, match=r"broken\.wav: not readable.*dataset\.on_error=skip leaves such files out"):
        AudioManifest(root=listed(*rows))
    train = AudioManifest(root=listed(*rows), on_error="skip", seconds=5).split("train")
    assert len(train) == 13
    assert "1 of 13 files is unreadable and left out" in train.to_memory(lambda done, total: None).notes[0]
    rows = [{"path": "0.wav", "text": None, "split": "train"}]
    with pytest.raises(DataError, match=r"list\.jsonl:1: has no text; dataset\.on_error=skip leaves such lines out"):
        AudioManifest(root=listed(*rows))
    source = AudioManifest(root=listed(*rows), on_error="skip")
    assert len(source.split("train")) == 12
    assert source.notes[0].startswith("1 line is left out, the first:")


def test_a_test_split_without_transcripts_is_left_out_with_a_word(listed):
    source = AudioManifest(root=listed({"path": "0.wav", "text": "", "split": "test"}))
    assert source.split("test") is None
    assert "test has no text and is not used; stage=predict answers it" in source.notes


def test_transcripts_and_classes_have_one_unicode_form(listed):
    both = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    rows = [{"path": f"{i}.wav", "text": word, "split": "train"} for i, word in enumerate(both)]
    source = AudioManifest(root=listed(*rows, base=[]), val=None)
    assert source.spec.classes == ("a", "c", "f", "\u00e9")
    rows = [{"path": f"{i}.wav", "label": word, "split": "train"} for i, word in enumerate(both)]
    assert AudioManifest(root=listed(*rows, base=[]), val=None).spec.classes == ("caf\u00e9",)


def test_symbols_that_yaml_took_for_something_else_are_found(listed):
    rows = [{"path": "0.wav", "text": text, "split": "train"} for text in ("yes no", "no on")]
    source = AudioManifest(root=listed(*rows, base=[]), val=None, units="words", symbols=["on", False, "yes"])
    assert source.spec.classes == ("on", "no", "yes")
    with pytest.raises(ConfigError, match=r"dataset\.symbols: True may be 'on' or 'yes'"):
        AudioManifest(root=listed(*rows, base=[]), val=None, units="words", symbols=[True])


@pytest.mark.parametrize("blank", [" ", "\t", "  \t"])
def test_librispeech_lines_end_and_divide_as_lines_of_text_do(tmp_path, blank):
    folder = tmp_path / "train" / "1" / "2"
    audio_reader.write(folder / "1-2-0.flac", torch.ones(800, dtype=torch.int16), 8000)
    (folder / "1-2.trans.txt").write_bytes(f"\ufeff1-2-0{blank}CAF\u00c9\u2028B\r\n".encode())
    source = AudioManifest(root=tmp_path, val=None, units="words")
    assert source.spec.classes == ("b", "caf\u00e9")
    (folder / "1-2.trans.txt").write_bytes("1-2-0 A\n1-2-1 CAF\u00c9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"1-2\.trans\.txt:2: is not UTF-8 text"):
        AudioManifest(root=tmp_path)


def test_a_part_that_ends_behind_its_recording_is_said(listed):
    source = listed({"path": "0.wav", "text": "ab", "end": 100.0}, {"path": "long.wav", "text": "ab", "duration": 1.05})
    source = AudioManifest(root=source, test=None)
    source.split("train")
    (note,) = [note for note in source.notes if "behind" in note]
    assert note.startswith("train: 1 part behind the end of a recording is cut there, the first: ")
    assert "0.wav from 0 to 100 s, of " in note


def test_a_manifest_writes_splits_in_any_case(listed):
    source = AudioManifest(root=listed(base=[{**row, "split": row["split"].capitalize()} for row in BASE]))
    assert [len(source.split(split)) for split in ("train", "val")] == [12, 4]


def test_a_manifest_without_splits_is_divided_as_folders_are(listed, ptft):
    base = [{"path": f"{i}.wav", "text": "ab" if i else "q"} for i in range(16)]
    path = listed(base=base)
    source = AudioManifest(root=path, split_seed=0, divide_by="name", units="characters")
    sizes = [len(source.split(name)) for name in ("train", "val", "test")]
    assert sum(sizes) == 16
    assert min(sizes) >= 1
    assert source.spec.classes == ("a", "b", "q")  # of all of it, whatever part the only q is in
    percent = ", ".join(f"{100 * n / 16:.0f} % {name}" for n, name in zip(sizes, ("train", "val", "test"), strict=True))
    assert source.notes == (f"{path} is not divided: {percent} (dataset.split_seed=0)",)
    assert len(AudioManifest(root=path, split_seed=0, whole=True).split("test")) == 16
    before = AudioManifest(root=path, divide_by="name")  # as a run made before has it
    assert len(before.split("train")) + len(before.split("val")) == 16
    assert before.split("test") is None
    run = ("stage=pretrain", "model=audio_cnn", "objective=ctc", "dataset=audio_manifest", "dataset.root=list.jsonl")
    done = ptft(*run, "train.steps=1", "dry_run=true")
    assert done.code == 0, done.text
    assert "{} train, {} val, {} test".format(*sizes) in done.out


def test_rows_without_a_split_are_trained_on_where_others_have_one(listed):
    source = AudioManifest(root=listed({"path": "long.wav", "text": "ab"}), split_seed=0)
    assert [len(source.split(name)) for name in ("train", "val")] == [13, 4]
    assert source.split("test") is None


def test_a_transcript_of_a_name_that_no_file_can_have_is_left_out(tmp_path):
    sample(tmp_path)
    listing = tmp_path / "train" / "1" / "2" / "1-2.trans.txt"
    listing.write_bytes(b"\0" + listing.read_bytes())
    with pytest.raises(DataError, match=r"1-2.trans.txt:1: has a zero byte in the name of its recording"):
        AudioManifest(root=tmp_path, on_error="raise")
    listing.write_bytes(listing.read_bytes() + b"\n".join(b"1-2-%d A TONE" % i for i in (1, 2, 3) * 4))
    source = AudioManifest(root=tmp_path, on_error="skip")
    assert [where for where, _ in source.unusable] == [f"{listing}:1"]
    assert source.split("train") is not None


def test_what_lies_beside_transcripts_is_told(tmp_path):
    sample(tmp_path)
    folder = tmp_path / "train" / "1" / "2"
    for name in ("more.flac", "1-2-9.m4a", "cover.jpg"):
        (folder / name).touch()
    (tmp_path / "SPEAKERS.TXT").touch()
    (tmp_path / "README.md").touch()
    notes = AudioManifest(root=tmp_path, on_error="raise").notes
    assert f"1 recording without a transcript is left out, the first: {folder}/more.flac" in notes
    assert any(note.startswith("2 files are no recordings by their suffix (.m4a 1, .jpg 1)") for note in notes)
    assert any("1 recording of a kind that can't be read (.m4a 1) is left out" in note for note in notes)


def test_a_decimal_comma_is_answered_with_what_to_write(listed):
    with pytest.raises(DataError, match=r"start is '1,5'; a number is written with a point"):
        AudioManifest(root=listed({"path": "long.wav", "text": "ab", "start": "1,5"}))


def test_columns_that_look_like_times_and_are_not_read_are_said(listed):
    more = {"start_ms": 100, "endSample": 4000, "to": "0.5", "gender": 1, "amount": 2, "onset_note": "late"}
    base = [{**row, "label": row["text"], **more} for row in BASE]
    file = listed(base=base)
    said = "columns that look like times are not read: start_ms, endSample, to ("
    assert AudioManifest(root=file).notes[0] == f"{said}start and end, or offset and duration, are seconds)"
    parts = [{**row, "label": row["text"], "start": 0.01, "end": 0.02} for row in BASE]
    (note,) = [note for note in AudioFolder(root=listed(base=parts, name="parts.jsonl")).notes if "times" in note]
    assert note.endswith("not read: start, end (dataset=audio_manifest reads parts)")
    items = audio_reader.items(str(file), AudioManifest(root=file).spec)
    assert items.notes == (f"{said}start and end, or offset and duration, are seconds)",)


def test_a_header_is_asked_for_once_however_many_parts_are_of_its_file(listed, monkeypatch):
    asked = []
    info = audio_reader.info
    monkeypatch.setattr(audio_reader, "info", lambda path: asked.append(path.name) or info(path))
    parts = [{"path": "long.wav", "text": "ab", "start": i / 500} for i in range(400)]
    source = AudioManifest(root=listed(*parts), seconds=2)
    assert len(source.split("train")) == 412
    assert asked.count("long.wav") <= 3


def test_where_all_recordings_are_too_long_it_is_said(listed):
    source = AudioManifest(root=listed(), seconds=0.01)
    with pytest.raises(DataError, match=r"every recording of train lasts longer than dataset.seconds=0.01, the short"):
        source.split("train")


def test_labels_are_taken_where_they_are_needed_and_texts_where_they_are_not(listed, ptft):
    base = [{**row, "label": "long" if i % 3 else "short"} for i, row in enumerate(BASE)]
    file = listed(base=base)
    run = ("stage=pretrain", "model=audio_cnn", "dataset=audio_manifest", f"dataset.root={file}", "train.steps=1")
    assert "2 classes" in ptft(*run, "objective=classify", "dry_run=true").text
    assert "3 classes" in ptft(*run, "objective=ctc", "dry_run=true").text  # a, b and the blank between words
    assert AudioManifest(root=file, labelled=True).spec.classes == ("long", "short")
    assert AudioManifest(root=listed(name="t.jsonl"), labelled=True).units == "characters"


def test_a_path_may_be_an_address_of_a_file(listed, tmp_path):
    row = {"path": f"file://{tmp_path}/a%20b.wav", "text": "ab", "split": "train"}
    audio_reader.write(tmp_path / "a b.wav", torch.full((500,), 7, dtype=torch.int16), 8000)
    train = AudioManifest(root=listed(row)).split("train")
    assert train.take(torch.tensor([0]))["input"][0].tolist()[:500] == [7] * 500


def test_where_no_recording_is_readable_the_first_is_named(listed, tmp_path):
    base = [{**row, "path": row["path"].removesuffix(".wav")} for row in BASE]
    with pytest.raises(DataError, match=rf"none of 16 files .* the first: {tmp_path}/0: no such file"):
        AudioManifest(root=listed(base=base), on_error="skip")


def test_a_part_without_a_beginning_is_left_out(listed):
    source = AudioManifest(root=listed({"path": "long.wav", "text": "ab", "start": None, "end": 0.5}), on_error="skip")
    assert len(source.split("train")) == 12
    assert source.notes[0].endswith("list.jsonl:1: has no start, but end")
