"""What belongs together is in one split, wherever the groups are said, and stays there as others come and go."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from ptft.builders import membership
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.image.folder import ImageFolder
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts
from ptft.data.user_dataset.examples import SplitDatasets
from ptft.data.user_dataset.sources import OwnTexts
from ptft.errors import ConfigError, DataError
from tests.conftest import refused

ITEMS = [(f"g{i:02d}", name, f"{i:02d}{part}") for i in range(16) for part in "xy" for name in "ab"]
"""(group, label, name): 16 groups of four, of both classes."""


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def sound(path):
    audio_reader.write(path, torch.arange(800, dtype=torch.int16), 8000)


def in_folders(root, items, write=image, suffix="png", below=""):
    for group, label, name in items:
        write(root / below / label / group / f"{name}.{suffix}")
    return root


def in_names(root, items, write=image, suffix="png"):
    for group, label, name in items:
        write(root / label / f"{group}-{label}{name}.{suffix}")
    return root


def in_list(root, items, write=image, suffix="png"):
    rows = ["path,label,who"]
    for group, label, name in items:
        write(root / "all" / f"{label}{name}.{suffix}")
        rows.append(f"all/{label}{name}.{suffix},{label},{group}")
    (root / "list.csv").write_text("\n".join(rows))
    return root / "list.csv"


def in_pattern(root, items):
    for group, label, name in items:
        sound(root / f"{label}_{group}_{name}.wav")
    return root


def in_table(root, items, file="all.csv"):
    root.mkdir(parents=True, exist_ok=True)
    rows = [f"about {label}{name},{label},{group}" for group, label, name in items]
    (root / file).write_text("\n".join(["text,label,who", *rows]))
    return root / file


def in_lines(root, items):
    root.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"about {label}{name}", "label": label, "who": int(group[1:])} for group, label, name in items]
    (root / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "all.jsonl"


def in_articles(root, items):
    root.mkdir(parents=True, exist_ok=True)
    articles = {}
    for group, label, name in items:
        asked = {"id": label + name, "question": "Is it?", "answers": [{"text": "so", "answer_start": 0}]}
        articles.setdefault(group, []).append({"context": "so it is", "qas": [asked]})
    data = [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles.items()]
    (root / "all.json").write_text(json.dumps({"data": data}))
    return root / "all.json"


def recorded(make):
    return lambda root, items: make(root, items, sound, "wav")


KINDS = {
    "folders": (in_folders, ImageFolder, {"group": "folder"}),
    "names of images": (in_names, ImageFolder, {"group": "who", "pattern": "{who}-{index}"}),
    "list of images": (in_list, ImageFolder, {"group": "who"}),
    "share of train": (lambda r, i: in_folders(r, i, below="train"), ImageFolder, {"group": "folder", "val": 0.2}),
    "recordings": (recorded(in_folders), AudioFolder, {"group": "folder:1"}),
    "pattern": (in_pattern, AudioFolder, {"group": "who", "pattern": "{label}_{who}_{index}"}),
    "share of a manifest": (recorded(in_list), AudioManifest, {"group": "who", "val": 0.2}),
    "table": (in_table, TableTexts, {"group": "who", "tokenizer": "bytes"}),
    "column number": (in_table, TableTexts, {"group": 2, "text": 0, "label": 1, "header": True, "tokenizer": "bytes"}),
    "lines": (in_lines, TableTexts, {"group": "who", "tokenizer": "bytes"}),
    "articles": (in_articles, Squad, {"group": "title", "tokenizer": "bytes", "length": 64}),
}


def places(make, kind, options, root, items, **more):
    """Group -> the splits that its examples are in, and how many examples there are."""
    source = kind(root=make(root, items), divide_by="name", **options, **more)
    found, count = {}, 0
    for split in ("train", "val", "test"):
        if (part := source.part(split)) is None:
            continue
        of = source.grouped(part.split)
        for i in part.rows.tolist():
            found.setdefault(of[i], set()).add(split)
        count += len(part.rows)
    return found, count


@pytest.mark.parametrize("name", KINDS)
def test_a_group_is_in_one_split_and_stays_there(name, tmp_path):
    kind = KINDS[name]
    before, count = places(*kind, tmp_path / "before", ITEMS)
    assert len(before) == 16
    assert count == len(ITEMS)
    assert all(len(splits) == 1 for splits in before.values())
    held = {"val"} if "share" in name else {"val", "test"}
    assert set.union(*before.values()) == {"train", *held}
    changed = [*[("g90", "a", "new"), ("g91", "b", "new")], *ITEMS[4:-1], ("g15", "b", "renamed")][::-1]
    after, _ = places(*kind, tmp_path / "after", changed)
    assert {group: after[group] for group in before if group in after} == {g: before[g] for g in before if g in after}
    assert len(after) == 17
    seed = "seed" if "share" in name else "split_seed"
    assert places(*kind, tmp_path / "before", ITEMS, **{seed: 1})[0] != before


def test_rows_of_the_hub_have_groups(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {
        "text": [f"about {x[1]}{x[2]}" for x in ITEMS],
        "label": [x[1] for x in ITEMS],
        "who": [x[0] for x in ITEMS],
    }
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "saved"))
    kind = (
        lambda root, items: tmp_path / "saved",
        HuggingFaceTexts,
        {"group": "who", "val": 0.2, "tokenizer": "bytes"},
    )
    found, count = places(*kind, tmp_path, ITEMS)
    assert count == len(ITEMS)
    assert all(len(splits) == 1 for splits in found.values())


def test_the_run_says_how_many_and_writes_which(tmp_path, ptft):
    root = in_table(tmp_path / "texts", ITEMS)
    small = ("model=bert_tiny", "model.width=16", "model.depth=1", "dataset.vocabulary=300", "train.steps=2")
    typed = ("stage=pretrain", "dataset=table", f"dataset.root={root}", "objective=classify", *small)
    done = ptft(*typed, "dataset.group=who", "hydra.run.dir=run")
    assert done.code == 0, done.text
    with open("run/split.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    splits = {}
    for row in rows:
        splits.setdefault(row["group"], set()).add(row["split"])
    counts = {split: sum(of == {split} for of in splits.values()) for split in ("train", "val", "test")}
    assert sum(counts.values()) == 16
    said = f"dataset.group=who: {counts['train']} groups in train, {counts['val']} in val, {counts['test']} in test"
    assert said in " ".join(done.out.split())
    assert ptft(*typed, "hydra.run.dir=alone").code == 0
    assert Path("alone/split.csv").read_text().startswith("name,split,left out because\n")
    done = ptft("resume=run", "train.steps=3")
    assert done.code == 0, done.text


def test_given_splits_that_share_groups_are_told_and_left(tmp_path):
    in_folders(tmp_path, ITEMS, below="train")
    in_folders(tmp_path, ITEMS[:8], below="val")
    in_folders(tmp_path, [("g90", *ITEMS[0][1:]), *ITEMS[8:12]], below="test")
    source = ImageFolder(root=tmp_path, divide_by="name", group="folder")
    for split in ("train", "val", "test"):
        assert source.split(split) is not None
    said = [note for note in source.notes if "dataset.group" in note]
    assert said[0] == "dataset.group=folder: 16 groups in train, 2 in val, 2 in test"
    assert "measured too: 2 of 2 in val and 1 of 2 in test, e.g. g00" in said[1]
    assert len(said) == 2
    fewer = ImageFolder(root=tmp_path, divide_by="name", group="folder", classes=["b"])
    groups, part = fewer.grouped("train"), fewer.part("train")
    assert [groups[i] for i in part.rows.tolist()] == [group for group, label, _ in ITEMS if label == "b"]


NUMBERS = [(int(group[1:]) + 1, label, name) for group, label, name in ITEMS]
MIXED = [(f"{group}.0" if i % 3 else group, label, name) for i, (group, label, name) in enumerate(NUMBERS)]
"""The same groups as pandas writes them in a file with a gap, and in one without."""


class Patients(Dataset):
    """Texts of a user, who keeps the patients as they come."""

    def __init__(self, items):
        self.items, self.who = items, [group for group, _, _ in items]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return f"about {self.items[index][1]}{self.items[index][2]}", self.items[index][1]


def user_texts(root, **keys):
    return OwnTexts(SplitDatasets("Patients", {"": root}), **keys)


def in_objects(root, items):
    root.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"{x[1]}{x[2]}", "label": x[1], "who": json.loads(str(x[0]))} for x in items]
    (root / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "all.jsonl"


@pytest.mark.parametrize(
    ("make", "kind", "more"),
    [
        (in_table, TableTexts, {"tokenizer": "bytes"}),
        (in_objects, TableTexts, {"tokenizer": "bytes"}),
        (in_list, ImageFolder, {}),
        (lambda root, items: Patients(items), user_texts, {"tokenizer": "bytes"}),
    ],
)
def test_a_whole_number_is_one_group_however_it_is_written(make, kind, more, tmp_path):
    options = {"group": "who", "group_as": "value", **more}
    mixed, count = places(make, kind, options, tmp_path / "mixed", MIXED)
    plain, _ = places(make, kind, options, tmp_path / "plain", NUMBERS)
    assert count == len(ITEMS)
    assert {place for splits in mixed.values() for place in splits} == {"train", "val", "test"}
    by_value = {}
    for group, splits in mixed.items():
        by_value.setdefault(group.removesuffix(".0"), set()).update(splits)
    assert by_value == {str(group): splits for group, splits in plain.items()}
    before = kind(root=make(tmp_path / "mixed", MIXED), divide_by="name", group="who", **more)
    as_text = {}
    for split in ("train", "val", "test"):
        part = before.part(split)
        for row in part.rows.tolist():
            as_text.setdefault(before.grouped(part.split)[row], set()).add(split)
    assert all(len(splits) == 1 for splits in as_text.values())  # as runs were divided that have not the key
    assert any(as_text[f"{group}.0"] != as_text[str(group)] for group in range(1, 17))
    assert before.split("train") is not None
    assert before.split("val") is not None
    told = [note for note in before.notes if "trained on are measured too" in note]
    assert len(told) == 1
    assert told[0].endswith("divided by how they are written (dataset.group_as=text, as in older runs)")


def test_numbers_in_names_of_files_are_names(tmp_path):
    items = [(f"{i // 2 + 1}{'.0' * (i % 2)}", label, name) for i, (_, label, name) in enumerate(ITEMS[:32])]
    found = ImageFolder(root=in_folders(tmp_path, items), divide_by="name", group="folder", group_as="value")
    groups = {group for split in ("train", "val", "test") for group in found.groups_of(split)}
    assert groups == {group for group, _, _ in items}
    assert {"1", "1.0"} <= groups


def test_groups_of_given_splits_are_compared_by_value(tmp_path):
    in_table(tmp_path, [x for x in NUMBERS if x[0] < 13], "train.csv")
    in_table(tmp_path, [x for x in NUMBERS if x[0] > 12], "val.csv")
    in_table(tmp_path, [(f"{x[0]}.0", x[1], f"{x[2]}w") for x in NUMBERS if x[0] in (1, 2, 14)], "test.csv")
    source = TableTexts(root=tmp_path, divide_by="name", group="who", tokenizer="bytes")
    examples = {split: source.split(split) for split in ("train", "val", "test")}
    said = " ".join(note for note in source.notes if "dataset.group" in note)
    assert "12 groups in train, 4 in val, 3 in test" in said
    assert "measured too: 2 of 3 in test, e.g. 1;" in said
    assert set(membership.groups(source, "test", examples["test"])) == {"1", "2", "14"}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_an_empty_group_is_named(ending, tmp_path):
    make = in_table if ending == "csv" else in_lines
    root = make(tmp_path, ITEMS)
    lines = root.read_text().split("\n")
    lines[4] = lines[4].rpartition(",")[0] + ("," if ending == "csv" else ', "who": null}')
    root.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"all.{ending}:5: has no group, column 'who' is empty"):
        TableTexts(root=root, divide_by="name", group="who", tokenizer="bytes", on_error="skip")
    with pytest.raises(DataError, match=r"whom.*did you mean who|no column 'whom'|whom"):
        TableTexts(root=root, divide_by="name", group="whom", tokenizer="bytes", on_error="skip")
    listed = in_list(tmp_path / "images", ITEMS)
    listed.write_text(listed.read_text().replace("all/b00x.png,b,g00", "all/b00x.png,b, "))
    for kind, where in ((ImageFolder, listed), (AudioManifest, listed)):
        with pytest.raises(DataError, match=r"list.csv:3: has no group, column 'who' is empty"):
            kind(root=where, divide_by="name", group="who", on_error="skip")


def test_what_says_no_group_is_told_what_does(tmp_path, ptft):
    flat = in_names(tmp_path / "flat", ITEMS)
    with pytest.raises(DataError, match=r"a/g00-a00x.png: lies in no folder below .*dataset.pattern names"):
        ImageFolder(root=flat, divide_by="name", group="folder")
    with pytest.raises(ConfigError, match=r"dataset.group=who: is said by no column, folder or part of"):
        ImageFolder(root=flat, divide_by="name", group="who")
    with pytest.raises(DataError, match=r"list.csv:2: .*whom"):
        ImageFolder(root=in_list(tmp_path / "list", ITEMS), divide_by="name", group="whom")
    with pytest.raises(DataError, match=r"2 groups are too few to divide, so that .* empty"):
        ImageFolder(
            root=in_folders(tmp_path / "two", [x for x in ITEMS if x[0] < "g02"]), divide_by="name", group="folder"
        )
    with pytest.raises(ConfigError, match=r"dataset.group=folder: .*dataset.divide_by=name"):
        ImageFolder(root=flat, group="folder")
    refused(ptft("stage=pretrain", "dataset.group=who"), 2, "Glyphs knows no groups", "dataset=image_folder")
    refused(ptft("stage=pretrain", "dataset=tones", "model=audio_cnn", "dataset.group=who"), 2, "knows no groups")


def test_groups_do_not_become_the_label(tmp_path):
    source = TableTexts(root=in_table(tmp_path, ITEMS), divide_by="name", group="who", tokenizer="bytes")
    assert source.spec.classes == ("a", "b")
    rows = [f"{label}{name} is a text;{label};{group}" for group, label, name in ITEMS]
    (tmp_path / "found.csv").write_text("\n".join(["review,stars,who", *rows]).replace(";", ","))
    source = TableTexts(root=tmp_path / "found.csv", divide_by="name", group="who", tokenizer="bytes")
    assert source.settled["label"] == "stars"
