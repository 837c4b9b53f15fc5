"""What a run says of its splits: classes without an example, few examples, and copies; for every kind of data."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.data.audio import reader as audio_reader

IMAGES = ("model=cnn", "dataset=image_folder", "dataset.size=8")
SOUNDS = ("model=audio_cnn", "dataset=audio_folder")
TEXTS = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset=table")
QUICK = ("stage=pretrain", "objective=classify", "device=cpu", "train.steps=1", "dry_run=true")


def image(file: Path, colour: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(file)


def sound(file: Path, pitch: int) -> None:
    tone = 6000 * torch.sin(2 * torch.pi * (200 + pitch) * torch.arange(800) / 8000)
    audio_reader.write(file, tone.to(torch.int16), 8000)


KINDS = {"images": (IMAGES, image, "png"), "recordings": (SOUNDS, sound, "wav")}


@pytest.mark.parametrize("noun", KINDS)
def test_a_class_without_an_example_in_a_split_is_told(ptft, noun):
    typed, make, suffix = KINDS[noun]
    for split, classes in (("train", "abc"), ("val", "abc"), ("test", "ab")):
        for name in classes:
            for i in range(2):
                make(Path("data") / split / name / f"{i}.{suffix}", len(split) * 40 + ord(name) % 3 * 2 + i)
    done = ptft(*QUICK, *typed, "dataset.root=data")
    assert done.code == 0, done.text
    assert "no example of c is in test" in done.out
    assert "is in val" not in done.out
    assert "in train too" not in done.out
    assert "points of accuracy" not in done.out  # whoever divided it knows how many there are


def test_what_can_not_be_read_does_not_count_as_an_example(ptft):
    for name in "ab":
        for i in range(40):
            image(Path("data") / name / f"{name}{i}.png", 3 * i + (name == "b"))
    listed = ptft(*QUICK[:-1], *IMAGES, "dataset.root=data", "hydra.run.dir=whole")
    assert listed.code == 0, listed.text
    with Path("whole/split.csv").open() as file:
        held = [row["name"] for row in csv.DictReader(file) if row["split"] == "test"]
    assert f"test has only {len(held)} of the images" in listed.out
    Path("data", held[0]).write_bytes(b"no image")
    again = ptft(*QUICK, *IMAGES, "dataset.root=data")
    assert again.code == 0, again.text
    assert f"test has only {len(held) - 1} of the images" in again.out
    for split, name in (("train", "a1"), ("train", "b1"), ("val", "a2"), ("val", "b2")):
        image(Path("divided", split, name[0], f"{name}.png"), int(name[1]))
    Path("divided/val/b/b2.png").write_bytes(b"no image")
    divided = ptft(*QUICK, *IMAGES, "dataset.root=divided", "dataset.size=8")
    assert "no example of b is in val" in divided.out, divided.text


def test_a_class_without_an_example_is_told_of_tables_and_lists_too(ptft):
    Path("texts").mkdir()
    Path("texts/train.csv").write_text("text,label\n" + "".join(f"it is {i},{'abc'[i % 3]}\n" for i in range(9)))
    Path("texts/dev.csv").write_text("text,label\nit was,a\n")
    done = ptft(*QUICK, *TEXTS, "dataset.root=texts")
    assert done.code == 0, done.text
    assert "no example of b, c is in val" in done.out
    rows = []
    for i in range(6):
        sound(Path(f"{i}.wav"), 10 * i)
        rows.append(f"{i}.wav,{'ab'[i % 2]},{'val' if i == 4 else 'train'}\n")
    Path("list.csv").write_text("path,label,split\n" + "".join(rows))
    for dataset in ("audio_folder", "audio_manifest"):
        done = ptft(*QUICK, *SOUNDS, f"dataset={dataset}", "dataset.root=list.csv")
        assert done.code == 0, done.text
        assert "no example of b is in val" in done.out


def test_it_stands_in_the_log_of_a_training_and_of_an_evaluation(ptft):
    for split, classes in (("train", "ab"), ("val", "ab"), ("test", "a")):
        for name in classes:
            image(Path("data") / split / name / "0.png", len(split) + ord(name))
    typed = [word for word in QUICK if word != "dry_run=true"]
    assert ptft(*typed, *IMAGES, "dataset.root=data", "hydra.run.dir=run").code == 0
    assert "no example of b is in test" in Path("run/run.log").read_text()
    assert ptft("stage=evaluate", "ckpt=run", "hydra.run.dir=again").code == 0
    assert "no example of b is in test" in Path("again/run.log").read_text()


def test_few_examples_of_a_split_that_was_drawn_are_told(ptft):
    for name in "ab":
        for i in range(30):
            image(Path("data") / name / f"{i}.png", 100 * (name == "a") + i)
    done = ptft(*QUICK, *IMAGES, "dataset.root=data")
    assert done.code == 0, done.text
    assert "test has only " in done.out
    assert " points of accuracy" in done.out


@pytest.mark.parametrize("noun", KINDS)
def test_copies_in_two_splits_and_under_two_classes_are_told_once(ptft, noun):
    typed, make, suffix = KINDS[noun]
    for split, first in (("train", 0), ("val", 40), ("test", 80)):
        for name in "ab":
            for i in range(4):
                make(Path("data") / split / name / f"{i}.{suffix}", first + 10 * (name == "b") + i)
    root = Path("data")
    (root / f"test/a/0 (2).{suffix}").write_bytes((root / f"train/a/0.{suffix}").read_bytes())
    (root / f"train/b/x.{suffix}").write_bytes((root / f"train/a/1.{suffix}").read_bytes())
    done = ptft(*QUICK, *typed, "dataset.root=data")
    assert done.code == 0, done.text
    said = " ".join(done.out.split())
    assert f"1 of 9 test {noun} is in train too, e.g. test/a/0 (2).{suffix} and train/a/0.{suffix}" in said
    assert f"1 of the {noun} is there under two classes, e.g. train/a/1.{suffix} (a) and train/b/x.{suffix} (b)" in said
    assert said.count("in train too") == 1


def test_texts_that_are_there_twice_are_told(ptft):
    Path("texts").mkdir()
    rows = [f"number {i},{'ab'[i % 2]}\n" for i in range(8)]
    Path("texts/train.csv").write_text("".join(["text,label\n", *rows]))
    Path("texts/dev.csv").write_text("text,label\nnumber 1,a\nnumber 2,a\nnew,b\n")
    done = ptft(*QUICK, *TEXTS, "dataset.root=texts")
    assert done.code == 0, done.text
    assert "2 of 3 val texts are in train too, e.g. dev.csv:2 and train.csv:3" in done.out
    assert "1 of the texts is there under two classes, e.g. train.csv:3 (b) and dev.csv:2 (a)" in done.out


def test_large_files_that_are_alike_in_pieces_only_are_no_copies(ptft):
    for split in ("train", "val"):
        for name in "ab":
            wave = torch.zeros(40_000, dtype=torch.int16)  # silent at its beginning, in its middle and at its end
            wave[10_000:10_100] = len(split) * 10 + ord(name)
            audio_reader.write(Path("data") / split / name / "0.wav", wave, 8000)
    done = ptft(*QUICK, *SOUNDS, "dataset.root=data")
    assert done.code == 0, done.text
    assert "in train too" not in done.out
    assert "two classes" not in done.out
