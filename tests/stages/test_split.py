"""split.csv, and held-out examples that a checkpoint was trained on, through whole runs of every modality."""

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.data import files
from ptft.data.audio import reader as audio_reader
from tests.conftest import refused, summary

RUN = ("precision=fp32", "train.steps=1", "train.every.evaluate=1", "train.workers=0", "device=cpu")
WIDTH = "model.width=8"
DRAW = np.random.default_rng(0)


def images(root):
    for i in range(60):
        path = root / f"{'ab'[i % 2]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DRAW.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return root


def recordings(root):
    for i in range(60):
        samples = torch.from_numpy(DRAW.integers(-9999, 9999, 900, dtype=np.int16))
        audio_reader.write(root / f"{'ab'[i % 2]}/{i}.wav", samples, 8000)
    return root


def texts(root):
    root.mkdir()
    lines = [f"words about {i} and {i * 7},{'ab'[i % 2]}" for i in range(60)]
    (root / "all.csv").write_text("\n".join(["text,label", *lines]))
    return root / "all.csv"


KINDS = {
    "images": (images, "dataset=image_folder", "model=cnn", "model.channels=[4,4]", WIDTH),
    "recordings": (recordings, "dataset=audio_folder", "model=audio_cnn", WIDTH),
    "texts": (
        texts,
        "dataset=table",
        "model=bert_tiny",
        WIDTH,
        "model.depth=1",
        "model.heads=1",
        "dataset.tokenizer=bytes",
    ),
}


def listed(folder):
    with (folder / "split.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_on_is_not_measured_unless_it_is_allowed(ptft, tmp_path, kind):
    make, *options = KINDS[kind]
    root = make(tmp_path / "data")
    first = ("stage=pretrain", *options, f"dataset.root={root}", *RUN, "objective=classify", "hydra.run.dir=first")
    done = ptft(*first)
    assert done.code == 0, done.text
    rows = listed(tmp_path / "first")
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert len({row["name"] for row in rows}) == 60
    assert ptft("stage=evaluate", "ckpt=first", "hydra.run.dir=own").code == 0
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    other = f"dataset.root={tmp_path / 'copy' / root.relative_to(tmp_path / 'data')}"
    trained = sum(row["split"] == "train" for row in rows)
    said = (f"{trained} of 60 test {kind} were trained on by", "first/checkpoints/best.pt", "split_overlap=allow")
    refused(ptft("stage=evaluate", "ckpt=first", other, "hydra.run.dir=refused"), 3, *said)
    done = ptft("stage=evaluate", "ckpt=first", other, "hydra.run.dir=allowed", "split_overlap=allow")
    assert done.code == 0, done.text
    assert f"{trained} of 60 test {kind} were trained on" in done.out
    assert summary(tmp_path / "allowed")["samples"] == 60


@pytest.mark.parametrize("kind", ["images", "recordings"])
def test_too_many_files_to_be_compared_are_said_and_a_part_of_them_is_compared(ptft, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(files, "MOST", 20)
    make, *options = KINDS[kind]
    root, few = make(tmp_path / "data"), tmp_path / "few" / "a"
    few.mkdir(parents=True)
    for path in sorted((root / "a").iterdir())[:9]:
        shutil.copy(path, few)
    first = ("stage=pretrain", *options, f"dataset.root={root}", *RUN, "objective=classify", "dataset.val=null")
    done = ptft(*first, "hydra.run.dir=many")
    assert done.code == 0, done.text
    assert f"{kind} of train are not compared with others, as they are over 20" in done.out
    other = (f"dataset.root={few.parent}", "dataset.classes=[a]")
    done = ptft("stage=evaluate", "ckpt=many", *other, "hydra.run.dir=measured")
    assert done.code == 0, done.text
    assert f"was trained on some of the test {kind} is not known" in done.out
    done = ptft(*first, "dataset.limit=18", "hydra.run.dir=part")
    assert done.code == 0, done.text
    assert "compared" not in done.out
    refused(ptft("stage=evaluate", "ckpt=part", *other), 3, f"of 9 test {kind} were trained on", "split_overlap=allow")


def test_a_finetune_knows_what_its_whole_line_was_trained_on(ptft, tmp_path):
    make, *options = KINDS["images"]
    data, new = make(tmp_path / "data"), make(tmp_path / "new")
    first = ("stage=pretrain", *options, f"dataset.root={data}", *RUN, "hydra.run.dir=first")
    assert ptft(*first).code == 0
    second = ("stage=finetune", "ckpt=first", "dataset=image_folder", *RUN)
    typed = (*second, f"dataset.root={data}", "dataset.split_seed=3")
    refused(ptft(*typed, "hydra.run.dir=no"), 3, "test images were trained on by", "split_overlap=allow")
    refused(ptft(*typed, "dry_run=true"), 3, "test images were trained on by")
    assert ptft(*typed, "dataset.test=null", "hydra.run.dir=untested").code == 0
    assert ptft(*second, f"dataset.root={new}", "hydra.run.dir=second").code == 0
    refused(
        ptft("stage=evaluate", "ckpt=second", f"dataset.root={data}", "hydra.run.dir=of_the_first"), 3, "or what it"
    )
    assert ptft("resume=second", "train.steps=2").code == 0
    refused(ptft("stage=evaluate", "ckpt=second", f"dataset.root={data}", "hydra.run.dir=again"), 3, "or what it")
    fresh = (*second, "finetune.weights=fresh", f"dataset.root={data}", "dataset.split_seed=3", "hydra.run.dir=fresh")
    assert ptft(*fresh).code == 0


@pytest.mark.parametrize("kind", ["images", "recordings"])
def test_what_can_not_be_read_is_listed_whenever_that_is_noticed(ptft, tmp_path, kind):
    make, *options = KINDS[kind]
    root = make(tmp_path / "data")
    fixed = "dataset.size=8" if kind == "images" else "dataset.rate=8000"
    typed = ("stage=pretrain", *options, f"dataset.root={root}", *RUN, "objective=classify", fixed)
    assert ptft(*typed, "hydra.run.dir=whole").code == 0
    name = next(row["name"] for row in listed(tmp_path / "whole") if row["split"] == "train")
    (root / name).write_bytes(b"nothing of the kind")
    for cache in ("auto", "off"):
        done = ptft(*typed, "dataset.on_error=skip", f"dataset.cache={cache}", f"hydra.run.dir={cache}")
        assert done.code == 0, done.text
        left = [row for row in listed(tmp_path / cache) if not row["split"]]
        assert left == [{"name": name, "split": "", "left out because": "can't be read"}], cache


def test_what_is_not_chosen_is_listed_with_the_key(ptft, tmp_path):
    root = images(tmp_path / "data")
    typed = ("stage=pretrain", *KINDS["images"][1:], f"dataset.root={root}", *RUN, "dataset.per_class=15")
    assert ptft(*typed, "hydra.run.dir=few").code == 0
    rows = listed(tmp_path / "few")
    assert sum(row["split"] == "train" for row in rows) == 30
    assert {row["left out because"] for row in rows if not row["split"]} == {"dataset.per_class=15"}


def test_rows_of_a_list_that_name_nothing_are_listed(ptft, tmp_path):
    root = images(tmp_path / "data")
    files = sorted(root.rglob("*.png"))
    lines = ["path,label", *(f"{path.relative_to(root)},{path.parent.name}" for path in files), "a/1.png,"]
    (root / "list.csv").write_text("\n".join(lines))
    typed = ("stage=pretrain", *KINDS["images"][1:], f"dataset.root={root / 'list.csv'}", *RUN)
    assert ptft(*typed, "dataset.on_error=skip", "hydra.run.dir=run").code == 0
    last = {"name": f"{root / 'list.csv'}:62", "split": "", "left out because": "has no label"}
    assert listed(tmp_path / "run")[-1] == last


def test_lines_that_can_not_be_used_are_listed(ptft, tmp_path):
    file = texts(tmp_path / "data")
    file.write_text(file.read_text() + "\nno label,\n")
    typed = ("stage=pretrain", *KINDS["texts"][1:], f"dataset.root={file}", *RUN, "objective=classify")
    assert ptft(*typed, "dataset.on_error=skip", "hydra.run.dir=run").code == 0
    assert listed(tmp_path / "run")[-1] == {
        "name": f"{file}:62",
        "split": "",
        "left out because": "has no label in column 'label'",
    }


def test_what_a_dataset_holds_twice_is_its_own_affair(ptft, tmp_path):
    root = images(tmp_path / "data")
    for name in ("val", "test"):
        shutil.copytree(root, tmp_path / "divided" / name)
    shutil.move(root, tmp_path / "divided" / "train")
    typed = ("stage=pretrain", *KINDS["images"][1:], f"dataset.root={tmp_path / 'divided'}", *RUN, "hydra.run.dir=run")
    assert ptft(*typed).code == 0
    assert ptft("stage=evaluate", "ckpt=run", "hydra.run.dir=evaluated").code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_that_was_moved_gives_the_runs_own_number_again(kind, ptft, tmp_path):
    write, *typed = KINDS[kind]
    root = write(tmp_path / "data")
    assert ptft("stage=pretrain", *typed, f"dataset.root={root}", *RUN, "hydra.run.dir=run").code == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = f"dataset.root={tmp_path / 'moved' / root.relative_to(tmp_path / 'data')}"
    refused(ptft("stage=evaluate", "ckpt=run", moved), 3, "split=test measures", "split_overlap=allow")
    done = ptft("stage=evaluate", "ckpt=run", moved, "split=test", "device=cpu", "hydra.run.dir=again")
    assert done.code == 0, done.text
    assert summary(tmp_path / "again")["metrics"]["test"] == summary(tmp_path / "run")["metrics"]["test"]
    assert "when it was trained" not in done.out


def test_what_is_new_in_a_set_since_it_was_trained_is_said(ptft, tmp_path):
    write, *typed = KINDS["images"]
    root = write(tmp_path / "data")
    for split, numbers in {"test": range(10), "train": range(10, 60)}.items():
        for i in numbers:
            place = root / split / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            (root / "ab"[i % 2] / f"{i}.png").rename(place / f"{i}.png")
    shutil.rmtree(root / "a")
    shutil.rmtree(root / "b")
    assert ptft("stage=pretrain", *typed, f"dataset.root={root}", *RUN, "hydra.run.dir=run").code == 0
    plan = ("stage=evaluate", "ckpt=run", "dry_run=true")
    assert "when it was trained" not in ptft(*plan).out
    for name in ("new1", "new2", "new3"):
        shutil.copy(root / "test" / "a" / "0.png", root / "test" / "a" / f"{name}.png")
    (root / "test" / "b" / "1.png").unlink()
    said = "12 test images, 10 when it was trained: 3 are new, e.g. test/a/new1.png; 1 is gone, e.g. test/b/1.png"
    assert said in ptft(*plan).out


def test_what_could_not_be_read_was_not_trained_on(ptft, tmp_path):
    make, *options = KINDS["images"]
    root = make(tmp_path / "data")
    for i in range(0, 10, 2):
        (root / f"a/{i}.png").write_bytes(b"broken %d" % i)
    assert ptft("stage=pretrain", *options, f"dataset.root={root}", *RUN, "hydra.run.dir=run").code == 0
    rows = listed(tmp_path / "run")
    assert sum(row["left out because"] == "can't be read" for row in rows) == 5
    trained = sum(row["split"] == "train" for row in rows)
    shutil.move(root, tmp_path / "moved")
    done = ptft("stage=evaluate", "ckpt=run", f"dataset.root={tmp_path / 'moved'}")
    refused(done, 3, f"{trained} of 60 test images were trained on")
