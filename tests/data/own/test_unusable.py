"""What of people's files can't be used is left out unasked, counted, and named in split.csv; too much of it is not."""

import csv

import pytest
import torch

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.image.folder import ImageFolder
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.data.text.table import TableTexts
from ptft.errors import DataError
from tests.conftest import refused
from tests.data.test_divided_by_name import audio_folder, image_folder

NAMES = [f"{name}{i}" for i in range(12) for name in ("a", "b")]
RUN = {
    "image": ("dataset=image_folder", "dataset.size=8", "model=cnn", "model.channels=[4,8]", "model.width=8"),
    "audio": ("dataset=audio_folder", "model=audio_cnn"),
}


def left_out(run):
    with (run / "split.csv").open() as file:
        return {row["name"]: row["left out because"] for row in csv.DictReader(file) if not row["split"]}


@pytest.mark.parametrize("cache", ["auto", "off"])
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_broken_files_are_left_out_and_all_named(kind, cache, tmp_path, ptft):
    make, suffix = {"image": (image_folder, "png"), "audio": (audio_folder, "wav")}[kind]
    for split in ("train", "val"):
        make(tmp_path / "data", NAMES, split)
    broken = [f"train/a/a{i}.{suffix}" for i in (0, 5)] + [f"val/b/b3.{suffix}"]
    for name in broken:
        path = tmp_path / "data" / name
        path.write_bytes(path.read_bytes()[:30])
    run = ("stage=pretrain", *RUN[kind], "objective=classify", "dataset.root=data", f"dataset.cache={cache}")
    done = ptft(*run, "train.epochs=1", "train.workers=0", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert left_out(tmp_path / "run") == dict.fromkeys(broken, "can't be read")
    assert "split.csv" in done.out
    refused(
        ptft(*run, "dataset.on_error=raise", "train.epochs=1", "train.workers=0"),
        3,
        "on_error=skip leaves such files out",
    )


def test_too_many_broken_files_end_the_run_and_how_many_may_be_is_said(tmp_path, ptft):
    image_folder(tmp_path / "data", NAMES, "train")
    for i in range(11):
        (tmp_path / f"data/train/a/a{i}.png").write_bytes(b"x")
    result = ptft("stage=pretrain", *RUN["image"], "objective=classify", "dataset.root=data", "dataset.val=null")
    refused(result, 3, "train: 11 of 24 files are unreadable", "a0.png the first", "of 24 at most 10 are")


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("kind", [TableTexts, HuggingFaceTexts])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_empty_rows_are_no_mistake(kind, suffix, on_error, tmp_path):
    rows = [(f"text {i}", "ab"[i % 2], str(i)) for i in range(10)]
    mark = {"csv": ",", "tsv": "\t"}.get(suffix)
    if mark:
        lines = [mark.join(row) for row in [("text", "label", "id"), *rows]] + [mark * 2, f" {mark} {mark}", mark]
    else:
        lines = [f'{{"text": "{t}", "label": "{k}"}}' for t, k, _ in rows] + ['{"text": "", "label": null}'] * 3
    (tmp_path / f"train.{suffix}").write_text("\n".join(lines) + "\n")
    source = kind(root=tmp_path, val=None, tokenizer="bytes", on_error=on_error)
    assert len(source.split("train")) == 10
    first = 12 if mark else 11
    assert f"3 empty lines are left out, the first: {tmp_path}/train.{suffix}:{first}" in source.notes
    assert [why for _, why in source.unusable] == ["is empty"] * 3


def test_empty_rows_of_a_list_are_no_mistake(tmp_path):
    image_folder(tmp_path, NAMES)
    lines = ["path,label", *(f"{name[0]}/{name}.png,{name[0]}" for name in NAMES), ",", ",,"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    source = ImageFolder(root=tmp_path / "list.csv", val=None, test=None)
    assert f"2 empty lines are left out, the first: {tmp_path}/list.csv:26" in source.notes
    (tmp_path / "list.csv").write_text("\n".join([*lines, "x.png,"]))
    with pytest.raises(DataError, match="has no label"):
        ImageFolder(root=tmp_path / "list.csv", val=None, test=None)


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_header_in_the_middle_is_no_row_of_a_table_or_a_list(tmp_path, suffix):
    between = "," if suffix == "csv" else "\t"
    rows = [between.join((f"{i}.wav", "ab"[i % 2])) for i in range(8)]
    for head in ("text,label", "path,label"):
        header = head.replace(",", between)
        marked = [header, *rows[:4], f"\ufeff{header}", *rows[4:], header]
        (tmp_path / f"{head[:4]}.{suffix}").write_text("\n".join(marked))
    for i in range(8):
        audio_reader.write(tmp_path / f"{i}.wav", torch.full((80,), i + 1, dtype=torch.int16), 8000)
    sources = [
        TableTexts(root=tmp_path / f"text.{suffix}", tokenizer="bytes", val=None, whole=True),
        AudioFolder(root=tmp_path / f"path.{suffix}", whole=True),
        AudioManifest(root=tmp_path / f"path.{suffix}", whole=True),
    ]
    for source in sources:
        assert source.spec.classes == ("a", "b")
        assert len(source.split("test") or source.split("train")) == 8
        assert any("2 lines that repeat the header are left out, the first: " in note for note in source.notes)
