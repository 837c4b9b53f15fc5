"""`dataset.names` says what classes are called, wherever there are some; it goes with the model."""

import csv
import json

import pytest
from PIL import Image

from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.manifest import AudioManifest
from ptft.data.image.folder import ImageFolder
from ptft.data.text.huggingface import HuggingFaceTexts
from ptft.data.text.table import TableTexts
from ptft.errors import ConfigError
from tests.conftest import refused
from tests.data.test_divided_by_name import audio_folder, image_folder, manifest, table, training_table
from tests.helpers.tables import RUN

NAMES = [f"{name}{i}" for i in range(20) for name in ("a", "b")]
KINDS = {
    "image folder": (image_folder, ImageFolder, {}),
    "audio folder": (audio_folder, AudioFolder, {}),
    "manifest": (manifest, AudioManifest, {}),
    "table": (table, TableTexts, {"tokenizer": "bytes"}),
    "dataset": (training_table, HuggingFaceTexts, {"tokenizer": "bytes"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_classes_get_their_names_and_keep_their_examples(name, tmp_path):
    make, kind, options = KINDS[name]
    root = make(tmp_path / "data", NAMES)
    plain = kind(root=root, divide_by="name", **options)
    source = kind(root=root, divide_by="name", names=["yes", "no"], **options)
    assert plain.spec.classes == ("a", "b")
    assert source.spec.classes == ("yes", "no")
    assert source.split("train").labels.tolist() == plain.split("train").labels.tolist()
    assert "classes are called: a yes, b no" in source.notes
    assert kind(root=root, names={"b": "no"}, classes=["b"], **options).spec.classes == ("no",)
    assert kind(root=root, divide_by="name", **{**options, **source.settled}).spec.classes == ("yes", "no")
    for wrong, said in ((["yes"], "names 1, there are 2"), ({"c": "x"}, "'c'"), (["x", "x"], "two classes would be")):
        with pytest.raises(ConfigError, match=rf"dataset\.names.*{said}"):
            kind(root=root, names=wrong, **options)


def reviews(path, kinds):
    path.write_text("\n".join(["text,label", *(f"it was {k} and more {i},{k}" for i, k in enumerate(kinds))]))


def test_names_of_numeric_labels_go_with_the_model(tmp_path, ptft):
    reviews(tmp_path / "all.csv", [0, 1] * 20)
    run = (*RUN, "objective=classify", "dataset.root=all.csv", "train.steps=2", "hydra.run.dir=run")
    done = ptft(*run, "dataset.names=[negative,positive]")
    assert done.code == 0, done.text
    assert "negative" in done.out
    assert "0 negative, 1 positive" in done.out
    reviews(tmp_path / "new.csv", [1] * 5)
    measured = ptft("stage=evaluate", "ckpt=run", "dataset.root=new.csv", "split_overlap=allow")
    assert measured.code == 0, measured.text
    predicted = ptft("stage=predict", "ckpt=run", "input=new.csv", "output=out.csv")
    assert predicted.code == 0, predicted.text
    with (tmp_path / "out.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} <= {"negative", "positive"}
    refused(
        ptft(*run[:-1], "dataset.names=[negative]"), 2, "dataset.names=negative: names 1, there are 2 classes (0, 1)"
    )
    refused(ptft(*run[:-1], "dataset.names=negative"), 2, "dataset.names=negative", "a list of names, or {CLASS: NAME}")


def test_what_has_no_classes_has_no_names(tmp_path):
    for i in range(20):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    with pytest.raises(ConfigError, match=r"dataset\.names=.*no classes"):
        ImageFolder(root=tmp_path, names=["a"], labelled=False, val=None, test=None)
    audio_folder(tmp_path, ["a1"])
    (tmp_path / "list.jsonl").write_text(json.dumps({"path": "a/a1.wav", "text": "ab"}))
    with pytest.raises(ConfigError, match=r"dataset\.names=.*transcripts have no classes"):
        AudioManifest(root=tmp_path / "list.jsonl", names=["a"], val=None)


def test_the_plan_counts_the_examples_of_each_class(tmp_path, ptft):
    reviews(tmp_path / "all.csv", ["many"] * 30 + ["few"] * 10)
    run = (*RUN, "objective=classify", "dataset.val=null", "dataset.test=null", "train.steps=2", "dry_run=true")
    done = ptft(*run, "dataset.root=all.csv")
    assert done.code == 0, done.text
    counts = next(line.split() for line in done.out.splitlines() if line.strip().startswith("classes"))
    assert sum(int(word.rstrip(",")) for word in counts if word.rstrip(",").isdecimal()) < 40
    assert counts[1::2] == ["few", "many", "(train)"]
    kinds = [f"k{i:02}" for i in range(12)]
    (tmp_path / "train.csv").write_text(
        "\n".join(["text,label", *(f"a b {k} {i},{k}" for k in kinds for i in range(9))])
    )
    (tmp_path / "all.csv").unlink()
    done = ptft(*run, f"dataset.root={tmp_path}")
    assert "k00 9, k01 9, k02 9, k03 9, k04 9, k05 9, k06 9, k07 9 and 4 more; 9 to 9 each (train)" in " ".join(
        done.out.split()
    )
