"""How messages say counts, and what lies beside a file that does not exist."""

import pytest

from ptft.errors import absent, are, counted, first_line, not_imported
from tests.conftest import refused

RUNS = {
    "image_folder": ("model=cnn", "objective=classify"),
    "audio_folder": ("model=audio_cnn", "objective=classify"),
    "audio_manifest": ("model=audio_cnn", "objective=classify"),
    "speech_commands": ("model=audio_cnn", "objective=classify"),
    "table": ("model=bert_tiny", "objective=classify"),
    "huggingface": ("model=bert_tiny", "objective=classify"),
    "huggingface_images": ("model=cnn", "objective=classify"),
    "huggingface_audio": ("model=audio_cnn", "objective=classify"),
    "conll": ("model=bert_tiny", "objective=tag"),
    "squad": ("model=bert_tiny", "objective=span"),
    "text": ("model=gpt_tiny", "objective=causal_lm"),
}


def test_one_is_in_the_singular():
    nouns = ("files", "images", "classes", "sentences", "linked folders")
    assert [counted(1, noun) for noun in nouns] == ["1 file", "1 image", "1 class", "1 sentence", "1 linked folder"]
    assert [f"{counted(n, 'rows')} {are(n)}" for n in (0, 1, 2000)] == ["0 rows are", "1 row is", "2,000 rows are"]


def test_a_long_first_line_ends_behind_a_word():
    assert first_line("one two three\nfour") == "one two three"
    assert first_line("one two three", 10) == "one two …"
    assert first_line("onetwothreefour", 10) == "onetwothr…"
    assert first_line(ValueError()) == "ValueError"


def test_the_end_of_a_failed_job_names_all_that_is_wrong_with_it(ptft):
    """The end of a message says what to do."""
    root = f"/{'long/' * 60}at the end"
    typed = ("stage=pretrain", "dataset=digits", f"dataset.root={root}", "model=cnn", "model.width=8,16")
    done = ptft("-m", *typed, "device=cpu")
    whole = f"dataset.root={root}: Digits needs no files and reads none; dataset=image_folder reads yours"
    assert done.text.count(f"job 0 failed: {whole}") == 1
    assert done.text.count(f"failed: {whole}; its log is") == 2


def test_a_package_that_is_there_and_does_not_import_is_not_called_missing():
    missing = not_imported("x: needs timm", "timm", "'ptft[timm]'", ModuleNotFoundError("No module", name="timm"))
    assert str(missing) == "x: needs timm: pip install 'ptft[timm]'"
    for error in (
        ImportError("needs NumPy 2"),
        ModuleNotFoundError("needs NumPy 2", name="numpy"),
        OSError("needs NumPy 2"),
    ):
        said = str(not_imported("x: needs timm", "timm", "'ptft[timm]'", error))
        assert said == "x: needs timm, and timm is installed and can't be imported (needs NumPy 2)"


def test_what_lies_beside_is_named(tmp_path):
    (tmp_path / "photos" / "train").mkdir(parents=True)
    (tmp_path / ".photo").mkdir()
    assert absent(tmp_path / "photo") == f"does not exist; did you mean {tmp_path}/photos?"
    assert absent("Photos") == "does not exist; did you mean photos?"
    assert absent("foto/train/cat") == "does not exist"
    assert absent("photo/train/cat") == "does not exist; did you mean photos?"


@pytest.mark.parametrize("dataset", RUNS)
def test_every_dataset_names_a_root_that_was_meant(dataset, tmp_path, ptft):
    (tmp_path / "recordings").mkdir()
    result = ptft("stage=pretrain", f"dataset={dataset}", *RUNS[dataset], "dataset.root=recording", "dry_run=true")
    refused(result, 3, f"does not exist; did you mean {tmp_path}/recordings?")
