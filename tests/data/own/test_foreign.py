"""Files of other kinds among images and recordings: each is told, and what is data is never taken for noise."""

import csv
from pathlib import Path

import pytest

from ptft.data.audio import folder as audio_folder
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.folder import AudioFolder
from ptft.data.image import folder as image_folder
from ptft.data.image import reader as image_reader
from ptft.data.image.folder import ImageFolder
from ptft.errors import DataError
from tests.data.image.test_folder import put

KINDS = {
    "images": (ImageFolder, image_folder.sample, ".heic", ".jpg", "save them as JPEG"),
    "recordings": (AudioFolder, audio_folder.sample, ".m4a", ".wav", "save them as WAV or FLAC"),
}


@pytest.mark.parametrize("noun", KINDS)
def test_a_photo_or_sound_that_cant_be_read_is_told_apart_from_noise(tmp_path, noun):
    source_of, sample, suffix, _, remedy = KINDS[noun]
    sample(tmp_path)
    first, *_ = folders = sorted((tmp_path / "train").iterdir())
    for name in (f"a{suffix}", f"b{suffix.upper()}", "Thumbs.db"):
        (first / name).write_bytes(b"junk")
    source = source_of(root=tmp_path)
    ending = f"({suffix} 2, .db 1) and are left out, the first: {first}/Thumbs.db"
    assert f"3 files are no {noun} by their suffix {ending}" in source.notes
    ending = f"({suffix} 2) are left out, the first: {first}/a{suffix}; {remedy}"
    assert f"2 {noun} of a kind that can't be read {ending}" in source.notes
    assert (f"train/{first.name}/a{suffix}", f"is a {suffix} file") in source.unusable
    assert len(source.unusable) == 2
    assert len(folders) == 2


@pytest.mark.parametrize("noun", KINDS)
def test_where_there_is_nothing_else_the_message_says_so(tmp_path, noun):
    source_of, _, suffix, _, remedy = KINDS[noun]
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"x{suffix}").touch()
    with pytest.raises(DataError, match=rf"no {noun} in them that can be read, but \{suffix} 2: {remedy}"):
        source_of(root=tmp_path)
    with pytest.raises(DataError, match=rf"holds no {noun} that can be read, but \{suffix} 2: {remedy}"):
        source_of(root=tmp_path, pattern="{label}_{index}")


def test_with_a_pattern_and_without_classes_too(tmp_path):
    for i in range(20):
        put(tmp_path / f"{'ab'[i % 2]}_{i}.png", colour=i)
    (tmp_path / "a_99.heic").touch()
    for source in (ImageFolder(root=tmp_path, pattern="{label}_{index}"), ImageFolder(root=tmp_path, labelled=False)):
        assert [note for note in source.notes if "that can't be read (.heic 1)" in note]
        assert source.unusable == [("a_99.heic", "is a .heic file")]


@pytest.mark.parametrize("reader", [image_reader, audio_reader])
def test_predict_tells_what_it_leaves_out_of_a_folder_and_of_a_glob(tmp_path, reader):
    suffix = {image_reader: "avif", audio_reader: "aac"}[reader]
    good = {image_reader: "png", audio_reader: "wav"}[reader]
    for name in (f"a.{good}", f"b.{suffix}", "c.txt"):
        (tmp_path / name).touch()
    for path in (str(tmp_path), f"{tmp_path}/*"):
        found = reader.items(path, None)
        assert [item.name for item in found] == [f"a.{good}"]
        assert len(found.notes) == 2
        assert f"(.{suffix} 1) is left out, the first: {tmp_path}/b.{suffix}" in found.notes[1]


def test_they_stand_in_split_csv(ptft):
    image_folder.sample(Path("photos"))
    Path("photos/train/cat/holiday.heic").touch()
    done = ptft("stage=pretrain", "objective=classify", "model=cnn", "dataset=image_folder", "dataset.root=photos",
                "dataset.size=8", "device=cpu", "train.steps=1", "hydra.run.dir=run")  # fmt: skip
    assert done.code == 0, done.text
    assert "(.heic 1) is left out" in " ".join(done.out.split())
    rows = list(csv.reader(Path("run/split.csv").read_text().splitlines()))
    assert ["train/cat/holiday.heic", "", "is a .heic file"] in rows
