"""Files in one folder, whose names say their class: what to type is named, and works as it is pasted."""

import re
import shlex
from unicodedata import normalize

import pytest

from ptft.data.audio.folder import AudioFolder
from ptft.data.image.folder import ImageFolder
from ptft.errors import DataError
from tests.conftest import refused
from tests.data.test_divided_by_name import audio_folder, image_folder

RUN = {
    "png": ("dataset=image_folder", "dataset.size=8", "model=cnn", "model.channels=[4,8]", "model.width=8"),
    "wav": ("dataset=audio_folder", "model=audio_cnn"),
}


def flat(root, names, suffix):
    """Files of these names directly in a folder."""
    root.mkdir(parents=True)
    (audio_folder if suffix == "wav" else image_folder)(root / "made", names)
    for path in sorted((root / "made").rglob(f"*.{suffix}")):
        path.rename(root / path.name)
    for folder in (root / "made").iterdir():
        folder.rmdir()
    (root / "made").rmdir()


@pytest.mark.parametrize("suffix", RUN)
@pytest.mark.parametrize(
    ("names", "pattern", "classes"),
    [
        ([f"{i % 10}_{who}_{i}" for i in range(20) for who in ("theo", "anna")], "{part1}_{label}_{part3}", 2),
        ([f"{kind}.{i}" for i in range(20) for kind in ("cat", "dog")], "{label}.{part2}", 2),
        ([f"{i} big {kind}" for i in range(20) for kind in ("cat", "dog")], "{part1} {part2} {label}", 2),
    ],
)
def test_a_flat_folder_says_which_pattern_to_type(suffix, names, pattern, classes, tmp_path, ptft):
    flat(tmp_path / "data", names, suffix)
    run = ("stage=pretrain", *RUN[suffix], "objective=classify", "dataset.root=data", "train.steps=1", "dry_run=true")
    result = ptft(*run)
    refused(result, 3, "no folder for each class", f"one of {classes} classes")
    typed = shlex.split(re.search(r"('?dataset\.pattern=.*?) takes it", result.text)[1])
    assert typed == [f"dataset.pattern={pattern}"]
    done = ptft(*run, *typed)
    assert done.code == 0, done.text
    assert f"{classes} classes" in done.out


def test_names_that_say_nothing_have_no_example(tmp_path):
    flat(tmp_path / "data", [f"a{i}" for i in range(8)], "png")
    with pytest.raises(DataError, match=r"dataset\.pattern takes it from their names, where they say it"):
        ImageFolder(root=tmp_path / "data")


@pytest.mark.parametrize(("kind", "suffix"), [(ImageFolder, "png"), (AudioFolder, "wav")])
def test_split_folders_count_with_a_pattern(kind, suffix, tmp_path):
    for split, count in (("train", 20), ("test", 4)):
        flat(tmp_path / "data" / split, [f"{name}_{i}" for i in range(count) for name in "ab"], suffix)
    with pytest.raises(DataError, match=r"dataset\.pattern=\{label\}_\{part2\} takes it"):
        kind(root=tmp_path / "data")
    source = kind(root=tmp_path / "data", pattern="{label}_{part2}", divide_by="name")
    assert len(source.split("test")) == 8
    assert len(source.split("train")) + len(source.split("val")) == 40


def test_images_have_rules_too(tmp_path):
    flat(tmp_path / "data", [f"{name}_{who}_{i}" for i in range(4) for name in "ab" for who in ("x", "y")], "png")
    source = ImageFolder(root=tmp_path / "data", pattern="{label}_{who}_{index}", test_rule="who:y", val=None)
    assert [len(source.split(name)) for name in ("train", "test")] == [8, 8]
    assert source.spec.classes == ("a", "b")


WHO = "dataset.pattern={label}_{who}_{index}"


def test_what_a_rule_holds_out_is_there(tmp_path, ptft):
    flat(tmp_path / "data", [f"{name}_{who}_{i}" for i in range(4) for name in "ab" for who in ("anna", "tom")], "png")
    run = ("stage=pretrain", *RUN["png"], "objective=classify", "dataset.root=data", WHO, "train.steps=1")
    near = "dataset.test_rule=who:anna+Tom: no file has Tom as its who; did you mean tom?"
    refused(ptft(*run, "dataset.test_rule=who:anna+Tom"), 2, near)
    beyond = "dataset.val_rule=index:2-3+7-9: no file has 7-9 as its index; there are 0, 1, 2, 3"
    refused(ptft(*run, "dataset.val_rule=index:2-3+7-9"), 2, beyond)

    done = ptft(*run, "dataset.test_rule=who:tom", "dataset.val_rule=index:2-3", "device=cpu", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "4 files are of dataset.test_rule=who:tom and dataset.val_rule=index:2-3: they are test" in done.text
    flat(tmp_path / "other", [f"{name}_{who}_{i}" for i in range(3) for name in "ab" for who in ("tom", "zoe")], "png")
    measured = ptft("stage=evaluate", "ckpt=run", "dataset.root=other")
    assert "image_folder: 6 test" in measured.out, measured.text
    flat(tmp_path / "last", [f"{name}_{who}_{i}" for i in range(2) for name in "ab" for who in ("eva", "zoe")], "png")
    measured = ptft("stage=evaluate", "ckpt=run", "dataset.root=last")
    assert "no file has tom as its who" in measured.text
    assert "there is no test and no val split, so all of train is measured" in measured.text


def test_a_rule_names_what_another_machine_wrote(tmp_path):
    decomposed = normalize("NFD", "josé")
    flat(
        tmp_path / "data", [f"{name}_{who}_{i}" for i in range(4) for name in "ab" for who in (decomposed, "x")], "png"
    )
    keys = {"pattern": "{label}_{who}_{index}", "val": None}
    for written in ("josé", decomposed):
        source = ImageFolder(root=tmp_path / "data", test_rule=f"who:{written}", **keys)
        assert [len(source.split(name)) for name in ("train", "test")] == [8, 8]
        assert not source.without_effect


@pytest.mark.parametrize(("kind", "suffix"), [(ImageFolder, "png"), (AudioFolder, "wav")])
def test_a_file_whose_name_has_another_form_is_left_out_and_named_or_ends_the_run(kind, suffix, tmp_path):
    flat(tmp_path / "data", [*(f"{'ab'[i % 2]}_{i}" for i in range(20)), "notes"], suffix)
    stray = str(tmp_path / "data" / f"notes.{suffix}")
    keys = {"root": tmp_path / "data", "pattern": "{label}_{index}"}
    with pytest.raises(DataError, match=rf"notes\.{suffix}: its name is not of the form .*on_error=skip leaves such f"):
        kind(on_error="raise", **keys)
    source = kind(on_error="skip", **keys)
    assert sum(len(source.split(split)) for split in ("train", "val", "test")) == 20
    assert any(said.startswith(f"1 file is left out, the first: {stray}") for said in source.notes)
    assert [name for name, _ in source.unusable] == [stray]
    with pytest.raises(DataError, match=r"its files can't be used, .*too many"):
        kind(on_error="skip", **(keys | {"pattern": "{label}-{index}"}))


@pytest.mark.parametrize(("kind", "suffix"), [(ImageFolder, "png"), (AudioFolder, "wav")])
def test_split_folders_of_any_case_count_with_a_pattern(kind, suffix, tmp_path):
    for split, count in (("Train", 20), ("TEST", 4)):
        flat(tmp_path / "data" / split, [f"{'ab'[i % 2]}_{i}" for i in range(count)], suffix)
    source = kind(root=tmp_path / "data", pattern="{label}_{index}", val=0.1)
    assert [len(source.split(split)) for split in ("train", "val", "test")] == [18, 2, 4]


@pytest.mark.parametrize(("suffix", "written"), [("wav", ".wav"), ("wav", ".FLAC"), ("png", ".JPG"), ("png", ".*")])
def test_a_pattern_may_end_with_a_suffix(suffix, written, tmp_path, ptft):
    flat(tmp_path / "data", [f"{'ab'[i % 2]}_{i}" for i in range(20)], suffix)
    typed = f"dataset.pattern={{label}}_{{id}}{written}"
    run = ("stage=pretrain", *RUN[suffix], "objective=classify", "dataset.root=data", "train.steps=1", "dry_run=true")
    done = ptft(*run, typed)
    assert done.code == 0, done.text
    assert "2 classes" in done.out
    refused(ptft(*run, "dataset.pattern={label}/{id}.wav"), 2, "{label}/{id}.wav: is of names of files")
