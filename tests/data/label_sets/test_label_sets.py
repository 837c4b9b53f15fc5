"""Several labels an example, in lists of files: read, divided, chosen and known again."""

import json

import pytest
import torch
from PIL import Image

from ptft.data.image.folder import ImageFolder
from ptft.data.label_sets.cells import of_value, proposed
from ptft.data.stratify import held_out, strata, stratified_order
from ptft.errors import ConfigError, DataError

ROWS = ("red;round", "", "round", "red", " blue ; red;", "Cafe\u0301;round")


def listed(root, rows=ROWS, header="path,labels", name="list.csv"):
    """A list of pictures of one colour each, a row of `rows` behind each path."""
    for i in range(len(rows)):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(root / f"{i}.png")
    lines = [header, *(f"{i}.png,{row}" for i, row in enumerate(rows))]
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / name


def source(root, **keys):
    return ImageFolder(root=root, label_separator=keys.pop("label_separator", ";"), divide_by="name", **keys)


def test_labels_of_a_cell_are_a_vector_and_none_is_an_example(tmp_path):
    data = source(listed(tmp_path, [*ROWS, *ROWS, *ROWS, *ROWS]), label="labels")
    assert data.spec.target == "labels"
    assert data.spec.classes == ("Caf\u00e9", "blue", "red", "round")
    parts = [data.split(name) for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == 24
    found = sorted(tuple(row) for part in parts for row in part.labels.tolist())
    assert found == sorted(4 * [(0, 0, 1, 1), (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 1, 0), (1, 0, 0, 1)])
    batch = parts[0].take(torch.tensor([2, 0]))
    assert batch["label"].dtype == torch.uint8
    assert torch.equal(batch["label"], parts[0].labels[[2, 0]])
    assert bool((parts[0].labels.sum(0) > 0).all()), "each label has an example to learn from"


def test_columns_of_0_and_1_are_labels_too(tmp_path):
    rows = ["1,0,train", "0,0,train", "1,1,train", "false,True,val", ",1,train"]
    data = source(listed(tmp_path, rows, "path,b,a,split"), label=["b", "a"], label_separator=None)
    assert data.spec.classes == ("b", "a"), "in the order that was typed"
    assert data.split("train").labels.tolist() == [[1, 0], [0, 0], [1, 1], [0, 1]]
    assert data.split("val").labels.tolist() == [[0, 1]]
    with pytest.raises(DataError, match="column 'b' holds '2', which is neither 0 nor 1"):
        source(listed(tmp_path, ["2,0,train"], "path,b,a,split"), label=["b", "a"], label_separator=None)


def test_lists_of_a_json_file_are_labels(tmp_path):
    listed(tmp_path, ROWS)
    rows = [{"path": "0.png", "label": ["a;b", "c"]}, {"path": "1.png", "label": []}, {"path": "2.png", "label": "c"}]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps({**row, "split": "train"}) for row in rows))
    data = source(tmp_path / "list.jsonl", val=None, label="auto", path="auto")
    assert data.spec.classes == ("a;b", "c")
    assert data.split("train").labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert of_value("['x', \"y\"]", ",", "label", "here") == of_value("x,y", ",", "label", "here")


def test_chosen_labels_keep_every_example(tmp_path):
    rows = [f"{row},train" for row in ROWS]
    data = source(listed(tmp_path, rows, "path,labels,split"), label="labels", val=None, classes=["round", "blue"])
    assert data.spec.classes == ("round", "blue")
    assert data.split("train").labels.tolist() == [[1, 0], [0, 0], [1, 0], [0, 0], [0, 1], [1, 0]]
    assert len(source(tmp_path / "list.csv", label="labels", val=None, fraction=0.5).split("train")) == 3


def test_what_can_not_be_is_said(tmp_path):
    file = listed(tmp_path, ["a;b,train", "a,train", "b;new,val", "new,val"], "path,labels,split")
    data = source(file, label="labels")
    assert data.split("val").labels.tolist() == [[0, 1], [0, 0]]
    assert any("val has labels that train has not, and they do not count: new 2" in note for note in data.notes)
    with pytest.raises(ConfigError, match=r"dataset\.per_class=1: an example may have several labels"):
        source(file, label="labels", per_class=1)
    with pytest.raises(ConfigError, match=r"dataset\.label_separator: .* is a folder"):
        source(tmp_path)
    assert "'dataset.label_separator=;'" in proposed(["a", "a;b", "b"])
    assert proposed(["a", "b", "c"]) is None


def test_another_label_is_another_fingerprint(tmp_path):
    rows = [f"{row},train" for row in ROWS]
    prints = []
    for changed in (rows, rows, [*rows[:-1], "round,train"], [*rows[:2], "red,train", *rows[3:]]):
        prints.append(source(listed(tmp_path, changed, "path,labels,split"), label="labels", val=None).fingerprint())
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_choice_keeps_the_sets_in_proportion():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(2000, 4, generator=generator) < torch.tensor([0.9, 0.5, 0.2, 0.02])).to(torch.uint8)
    first = labels[stratified_order(labels, 0)[:200]].float().mean(0)
    assert torch.allclose(first, labels.float().mean(0), atol=0.02)
    assert len(strata(labels)) == 2000
    draw = torch.rand(2000, generator=generator, dtype=torch.float64)
    rare = torch.cat([labels, (draw < draw.sort().values[3]).to(torch.uint8).unsqueeze(1)], 1)
    kept = rare[held_out(draw, rare, (0.1, 0.1)) == 2]
    assert bool(kept.any(0).all()), "a label whose examples were all held out has one to learn from"
