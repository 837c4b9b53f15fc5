"""What is divided stays so: an example that comes, goes or is renamed moves no other, whatever the modality."""

import json

import pytest
import torch
from PIL import Image

from ptft.data.audio import reader as audio_reader
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.image.folder import ImageFolder
from ptft.data.stratify import draws, held_out, train_val_test
from ptft.data.text.conll import Conll
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts

NAMES = [f"{name}{i}" for i in range(30) for name in ("a", "b")]


def label(name):
    return name[0]


def image_folder(root, names, below=""):
    for name in names:
        path = root / below / label(name) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return root


def image_list(root, names):
    image_folder(root, names)
    lines = ["path,label", *(f"{label(name)}/{name}.png,{label(name)}" for name in names)]
    (root / "list.csv").write_text("\n".join(lines))
    return root / "list.csv"


def audio_folder(root, names, below=""):
    for name in names:
        audio_reader.write(root / below / label(name) / f"{name}.wav", torch.arange(800, dtype=torch.int16), 8000)
    return root


def patterned(root, names):
    for name in names:
        audio_reader.write(root / f"{label(name)}_{name}.wav", torch.arange(800, dtype=torch.int16), 8000)
    return root


def manifest(root, names):
    audio_folder(root, names)
    rows = ({"path": f"{label(name)}/{name}.wav", "label": label(name)} for name in names)
    (root / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "list.jsonl"


def table(root, names):
    root.mkdir(parents=True, exist_ok=True)
    (root / "all.csv").write_text("\n".join(["text,label", *(f"about {name},{label(name)}" for name in names)]))
    return root / "all.csv"


def training_table(root, names):
    table(root, names).rename(root / "train.csv")
    return root


def conll(root, names):
    root.mkdir(parents=True, exist_ok=True)
    (root / "all.conll").write_text("\n".join(f"see O\n{name} B-{label(name).upper()}\n" for name in names))
    return root / "all.conll"


def squad(root, names):
    root.mkdir(parents=True, exist_ok=True)
    asked = [{"id": n, "question": f"{n}?", "answers": [{"text": "so", "answer_start": 0}]} for n in names]
    content = {"data": [{"title": "t", "paragraphs": [{"context": "so it is", "qas": asked}]}]}
    (root / "all.json").write_text(json.dumps(content))
    return root / "all.json"


KINDS = {
    "image folder": (image_folder, ImageFolder, {}),
    "image list": (image_list, ImageFolder, {}),
    "fraction of images": (lambda root, names: image_folder(root, names, "train"), ImageFolder, {"val": 0.2}),
    "audio folder": (audio_folder, AudioFolder, {}),
    "pattern": (patterned, AudioFolder, {"pattern": "{label}_{index}"}),
    "fraction of recordings": (lambda root, names: audio_folder(root, names, "train"), AudioFolder, {"val": 0.2}),
    "manifest": (manifest, AudioManifest, {"split_seed": 0}),
    "fraction of a manifest": (manifest, AudioManifest, {"val": 0.2}),
    "table": (table, TableTexts, {"tokenizer": "bytes"}),
    "fraction of a table": (training_table, TableTexts, {"tokenizer": "bytes", "val": 0.2}),
    "fraction of a dataset": (training_table, HuggingFaceTexts, {"tokenizer": "bytes", "val": 0.2}),
    "conll": (conll, Conll, {"tokenizer": "bytes"}),
    "squad": (squad, Squad, {"tokenizer": "bytes", "length": 64}),
}


def places(make, kind, options, root, names, **more):
    """Name -> split, as the source itself says of each part."""
    source = kind(root=make(root, names), divide_by="name", **(options | more))
    found = {}
    for split in ("train", "val", "test"):
        part = source.part(split)
        known = [] if part is None else source.known_by(part.split)
        found |= {known[i]: split for i in ([] if part is None else part.rows.tolist())}
    return found


@pytest.mark.parametrize("name", KINDS)
def test_what_comes_goes_or_is_renamed_moves_no_other(name, tmp_path):
    kind = KINDS[name]
    before = places(*kind, tmp_path / "before", NAMES)
    assert set(before.values()) == {"train", "val"} | ({"test"} if "fraction" not in name else set())
    more = places(*kind, tmp_path / "more", ["a000", *NAMES, "b999"])
    assert {key: split for key, split in more.items() if key in before} == before
    assert len(more) == len(before) + 2
    fewer = places(*kind, tmp_path / "fewer", NAMES[7:])
    assert fewer == {key: split for key, split in before.items() if key in fewer}
    assert len(fewer) == len(before) - 7
    turned = places(*kind, tmp_path / "turned", [*NAMES[:-1], "b777"][::-1])
    assert {key: split for key, split in turned.items() if key in before}.items() <= before.items()
    seed = "seed" if "fraction" in name else "split_seed"
    assert places(*kind, tmp_path / "before", NAMES, **{seed: 1}) != before


def test_the_shares_are_those_that_are_said_and_hold_every_class():
    labels = torch.arange(3000) % 3
    parts = train_val_test(labels, 0, [str(i) for i in range(3000)])
    assert {name: round(len(rows) / 3000, 1) for name, rows in parts.items()} == {"train": 0.8, "val": 0.1, "test": 0.1}
    for rows in parts.values():
        assert (labels[rows].bincount() > len(rows) / 4).all()
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(3000))


@pytest.mark.parametrize("count", [3, 4, 7, 12])
def test_small_sets_have_every_part_and_train_on_every_class(count):
    for seed in range(30):
        labels = torch.arange(count) % 2
        part = held_out(draws(map(str, range(count)), seed), labels, (0.1, 0.1))
        assert set(labels[part == 2].tolist()) == {0, 1}
        assert (set(part.tolist()) == {0, 1, 2}) == (count > 3)


def test_what_belongs_together_stays_together():
    part = held_out(draws((str(i // 10) for i in range(400)), 3), torch.zeros(400, dtype=torch.long), (0.1, 0.1))
    assert all(len(set(group)) == 1 for group in part.view(40, 10).tolist())
    assert set(part.tolist()) == {0, 1, 2}
