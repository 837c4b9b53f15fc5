"""Data of one's own without a val split: a tenth of train takes its place, or the split whose name says so."""

import json

import pytest

from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.image.folder import ImageFolder
from ptft.data.text.conll import Conll
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts
from ptft.errors import ConfigError
from tests.data.test_divided_by_name import audio_folder, image_folder, label, table

TRAIN = [f"{name}{i}" for i in range(20) for name in ("a", "b")]
OTHER = [f"{name}{i}" for i in range(20, 24) for name in ("a", "b")]
PARTS = {"train": TRAIN, "test": OTHER}


def folders(make):
    def made(root, parts):
        for split, names in parts.items():
            make(root, names, split)
        return root

    return made


def image_list(root, parts):
    folders(image_folder)(root, parts)
    rows = [f"{split}/{label(n)}/{n}.png,{label(n)},{split}" for split, names in parts.items() for n in names]
    (root / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    return root / "list.csv"


def manifest(root, parts):
    folders(audio_folder)(root, parts)
    rows = [
        {"path": f"{split}/{label(n)}/{n}.wav", "label": label(n), "split": split}
        for split, names in parts.items()
        for n in names
    ]
    (root / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "list.jsonl"


def tables(root, parts):
    for split, names in parts.items():
        table(root, names).rename(root / f"{split}.csv")
    return root


def conll(root, parts):
    root.mkdir()
    for split, names in parts.items():
        (root / f"{split}.conll").write_text("\n".join(f"see O\n{n} B-{label(n).upper()}\n" for n in names))
    return root


def squad(root, parts):
    root.mkdir()
    for split, names in parts.items():
        asked = [{"id": n, "question": f"{n}?", "answers": [{"text": "so", "answer_start": 0}]} for n in names]
        content = {"data": [{"title": "t", "paragraphs": [{"context": "so it is", "qas": asked}]}]}
        (root / f"{split}.json").write_text(json.dumps(content))
    return root


KINDS = {
    "image folder": (folders(image_folder), ImageFolder, {}),
    "image list": (image_list, ImageFolder, {}),
    "audio folder": (folders(audio_folder), AudioFolder, {}),
    "manifest": (manifest, AudioManifest, {}),
    "table": (tables, TableTexts, {"tokenizer": "bytes"}),
    "dataset": (tables, HuggingFaceTexts, {"tokenizer": "bytes"}),
    "conll": (conll, Conll, {"tokenizer": "bytes"}),
    "squad": (squad, Squad, {"tokenizer": "bytes", "length": 64}),
}


def known(source, split):
    part = source.part(split)
    names = source.known_by(part.split)
    return {names[i] for i in part.rows.tolist()}


@pytest.mark.parametrize("name", KINDS)
def test_a_tenth_of_train_is_val_where_there_is_none(name, tmp_path):
    make, kind, options = KINDS[name]
    root = make(tmp_path / "data", PARTS)
    source = kind(root=root, divide_by="name", **options)
    train, val, test = (known(source, split) for split in ("train", "val", "test"))
    assert 1 <= len(val) <= 10
    assert len(train | val) == 40
    assert not train & val
    assert len(test) == 8
    assert [note for note in source.notes if "a tenth of train is val (dataset.val=null" in note]
    without = kind(root=root, divide_by="name", val=None, **options)
    assert without.part("val") is None
    assert len(known(without, "train")) == 40
    assert not [note for note in without.notes if "tenth" in note]


def test_a_split_whose_name_says_that_it_is_val_is_taken(tmp_path):
    root = folders(image_folder)(tmp_path, {**PARTS, "validation2017": ["a90", "b90"]})
    source = ImageFolder(root=root, divide_by="name")
    assert known(source, "val") == {"validation2017/a/a90.png", "validation2017/b/b90.png"}
    assert "validation2017 is the val split (dataset.val)" in source.notes


def test_of_two_splits_that_may_be_val_one_must_be_named(tmp_path):
    root = folders(image_folder)(tmp_path, {**PARTS, "dev-clean": OTHER, "dev-other": OTHER})
    with pytest.raises(ConfigError, match=r"dataset\.val: there is no.*dev-clean.*dev-other"):
        ImageFolder(root=root)
    assert len(known(ImageFolder(root=root, val="dev-other"), "val")) == 8


def test_a_run_says_so_and_counts_no_example_twice(tmp_path, ptft):
    folders(audio_folder)(tmp_path / "data", PARTS)
    run = (
        "stage=pretrain",
        "dataset=audio_folder",
        "dataset.root=data",
        "model=audio_cnn",
        "model.channels=[4,8]",
        "objective=classify",
    )
    done = ptft(*run, "train.steps=2", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "a tenth of train is val" in done.out
    rows = (tmp_path / "run" / "split.csv").read_text().splitlines()[1:]
    assert len(rows) == len({row.split(",")[0] for row in rows}) == 48
