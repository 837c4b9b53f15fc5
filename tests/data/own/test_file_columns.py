"""Lists of files whose columns have other names: found where one reading is possible, else named as they are typed."""

import json
import re
import shlex

import pytest

from ptft.data.audio.manifest import AudioManifest
from ptft.data.image.folder import ImageFolder
from ptft.errors import DataError
from tests.conftest import refused
from tests.data.own.test_by_name import RUN
from tests.data.test_divided_by_name import audio_folder, image_folder, label

NAMES = [f"{name}{i}" for i in range(20) for name in "ab"]
AUTO = {"path": "auto", "label": "auto"}


def listed(root, suffix, header, name="list.csv", mark=";", prefix=""):
    """A list beside its files, with a column each of the file, its class, two sessions and a sentence."""
    (audio_folder if suffix == "wav" else image_folder)(root, NAMES)
    cells = [
        (f"{prefix}{label(n)}/{n}.{suffix}", "Ulla" if label(n) == "a" else "Jörg", f"s{i % 3}", f"das ist {n}", str(i))
        for i, n in enumerate(NAMES)
    ]
    rows = [dict(zip(header, row, strict=False)) for row in cells]
    if name.endswith(".jsonl"):
        text = "\n".join(map(json.dumps, rows))
    else:
        text = "\n".join([mark.join(header), *(mark.join(row.values()) for row in rows)])
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def run(suffix, root, *more):
    return ("stage=pretrain", *RUN[suffix], "objective=classify", f"dataset.root={root}", "train.steps=1", *more)


@pytest.mark.parametrize("suffix", RUN)
@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_columns_are_found_said_and_kept(suffix, name, tmp_path, ptft):
    root = listed(tmp_path / "data", suffix, ["Datei", "Sprecher"], name)
    done = ptft(*run(suffix, root, "hydra.run.dir=run"))
    assert done.code == 0, done.text
    assert f"the columns of {name} are found by what is in them: dataset.path=Datei dataset.label=Sprecher" in done.text
    assert "classes    Jörg" in done.out
    assert f"{name} is not divided" in done.text
    measured = ptft("stage=evaluate", "ckpt=run")
    assert measured.code == 0, measured.text
    assert "found by" not in measured.text
    answered = ptft("stage=predict", "ckpt=run", f"input={root}", "output=out.csv")
    assert answered.code == 0, answered.text
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 41


@pytest.mark.parametrize("suffix", RUN)
def test_what_to_type_is_named_and_can_be_pasted(suffix, tmp_path, ptft):
    header = ["Datei", "Sprecher", "Sitzung"]
    root = listed(tmp_path / "data", suffix, header)
    result = ptft(*run(suffix, root, "dry_run=true"))
    refused(result, 3, "'Sprecher' and 'Sitzung' may each be the label (Datei, Sprecher, Sitzung); type them, e.g.")
    typed = shlex.split(re.search(r"type them, e\.g\. (.*)", result.text)[1])
    assert typed == ["dataset.path=Datei", "dataset.label=Sprecher"]
    assert ptft(*run(suffix, root, *typed, "dry_run=true")).code == 0
    grouped = ptft(*run(suffix, root, "dataset.group=Sitzung", "dry_run=true"))
    assert grouped.code == 0, grouped.text  # the group is not the label, so that one reading is left
    refused(
        ptft(*run(suffix, root, "dataset.label=Sprechr", "dry_run=true")), 3, "dataset.label: there is no 'Sprechr'"
    )


def test_of_two_columns_of_files_one_is_typed_and_predicted_from(tmp_path, ptft):
    root = listed(tmp_path / "data", "png", ["photo", "kind"])
    lines = [line + ";a/a0.png" for line in root.read_text().splitlines()]
    root.write_text("\n".join([lines[0].replace("a/a0.png", "mask"), *lines[1:]]))
    refused(ptft(*run("png", root)), 3, "no column is clearly the path of the files", "dataset.path=photo")
    done = ptft(*run("png", root, "dataset.path=photo", "hydra.run.dir=run"))
    assert done.code == 0, done.text
    answered = ptft("stage=predict", "ckpt=run", f"input={root}", "output=out.csv")
    assert answered.code == 0, answered.text
    assert len({line.split(",")[0] for line in (tmp_path / "out.csv").read_text().splitlines()}) == 41


def test_files_that_are_not_there_are_known_by_their_suffix(tmp_path):
    root = listed(tmp_path / "data", "png", ["Datei", "Art"], prefix="elsewhere/")
    with pytest.raises(DataError, match=r"elsewhere/a/a\d+\.png: no such file"):
        ImageFolder(root=root, **AUTO)


@pytest.mark.parametrize(("kind", "suffix"), [(ImageFolder, "png"), (AudioManifest, "wav")])
def test_a_list_without_a_header_is_refused(kind, suffix, tmp_path):
    root = listed(tmp_path / "data", suffix, ["Datei", "Art"])
    root.write_text(root.read_text().split("\n", 1)[1])
    with pytest.raises(DataError, match=rf"list\.csv:1: has no header, its first line lists a/a0\.{suffix}; write"):
        kind(root=root, **AUTO)


def test_a_transcript_is_found_and_a_class_is_typed(tmp_path, ptft):
    manifest = ("stage=pretrain", "dataset=audio_manifest", "model=audio_cnn", "train.steps=1", "dry_run=true")
    root = listed(tmp_path / "data", "wav", ["Datei", "Sprecher", "Sitzung", "Satz"])
    assert AudioManifest(root=root, path="auto", text="Satz", label="auto").spec.target == "transcript"
    refused(
        ptft(*manifest, "objective=ctc", f"dataset.root={root}"),
        3,
        "'Satz' and 'Sprecher' and 'Sitzung' may each be the text or the label",
        "dataset.path=Datei dataset.text=Satz",
    )
    done = ptft(*manifest, "objective=ctc", f"dataset.root={root}", "dataset.text=Satz")
    assert done.code == 0, done.text
    done = ptft(*manifest, "objective=classify", f"dataset.root={root}", "dataset.label=Sprecher")
    assert done.code == 0, done.text
    both = ptft(*manifest, "objective=ctc", f"dataset.root={root}", "dataset.text=Satz", "dataset.label=Sprecher")
    refused(both, 2, "dataset.text=Satz and dataset.label=Sprecher: a recording has a transcript or a class")


def test_usual_names_are_taken_without_a_word(tmp_path):
    root = listed(tmp_path / "data", "png", ["path", "label", "Sitzung"])
    source = ImageFolder(root=root, **AUTO)
    assert not [note for note in source.notes if "found by" in note]
    assert not source.settled
    assert "path" not in source.spec.shape
