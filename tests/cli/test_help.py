"""`ptft help`, `ptft ls`, `ptft cp config`: what the YAML files say of themselves, quickly and without torch."""

import resource
import subprocess
import sys

import pytest
import yaml

from ptft.config import documented
from tests.conftest import refused


def said(ptft, word):
    done = ptft("help", word)
    assert done.code == 0, done.text
    return " ".join(done.out.split())


def test_a_key_is_shown_with_its_comment_range_default_and_stages(ptft):
    shown = said(ptft, "train.clip")
    assert "largest gradient norm" in shown
    assert "value a number greater than 0, or null" in shown
    assert "default 1.0" in shown
    assert "stages compare, finetune, pretrain" in shown
    assert "resume may be typed" in said(ptft, "train.workers")


def test_a_key_of_options_has_each_meaning_and_rule_beside_the_options_that_mean_it(ptft):
    shown = said(ptft, "dataset.length")
    assert "else 128 in dataset=conll, dataset=huggingface, dataset=table value a whole number of at least 1" in shown
    assert "else 256 in dataset=grammar, dataset=text" in shown
    assert "default auto with stage=compare, auto with stage=finetune" in said(ptft, "optimizer.lr")
    assert "stages predict" in said(ptft, "generate.top_k")


def test_nodes_options_and_groups_list_what_is_below(ptft):
    assert "train.every.evaluate also epoch" in said(ptft, "train.every")
    for word in ("model/cnn", "model=cnn"):
        assert "model.width=128 hidden units" in said(ptft, word)
    assert "bert_tiny" in said(ptft, "model")


@pytest.mark.parametrize("group", documented.groups())
def test_options_and_their_keys_can_be_asked_for(ptft, group):
    for option in documented.options(group):
        assert said(ptft, f"{group}/{option}").startswith(f"{group}={option}")
    asked = [
        key for key in list(documented.keys()) if key.split(".")[0] == group or (group, "." in key) == ("stage", False)
    ]
    done = ptft("help", *asked)
    assert done.code == 0
    assert not [key for key in asked if key not in done.out]


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("train.epoch", "train.epochs"), ("model/cnnn", "cnn"), ("lr", "optimizer.lr"), ("datase", "dataset")],
)
def test_what_there_is_not_has_the_nearest_beside_it(ptft, word, nearest):
    refused(ptft("help", word), 2, nearest)


def test_ls_says_of_each_option_what_it_is(ptft):
    done = ptft("ls", "optimizer")
    assert [line.split()[0] for line in done.out.splitlines() if line[0] != " "] == ["adam", "adamw", "muon", "sgd"]
    assert "Loshchilov & Hutter 2019" in done.out


def test_config_can_be_copied_and_the_copy_wins(ptft, tmp_path):
    assert ptft("cp", "config").code == 0
    copy = tmp_path / "conf" / "config.yaml"
    copy.write_text(copy.read_text().replace("seed: 0 ", "seed: 7 "))
    assert yaml.safe_load(ptft("--cfg", "job", "stage=pretrain").out)["seed"] == 7
    refused(ptft("cp", "config"), 2, "is there already")


def test_an_own_option_is_listed_with_its_own_words(ptft, tmp_path):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("# My net.\n_target_: mine.Net\ndepth: 3   # of it\n")
    assert "My net." in ptft("ls", "model").out
    assert "model.depth=3 of it" in said(ptft, "model/mine")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_terminal(ptft, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = [line for words in (["help", "train"], ["ls", "model"], ["ls"]) for line in ptft(*words).out.splitlines()]
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert max(map(len, ptft("--help").out.splitlines())) <= width


@pytest.mark.parametrize("word", ["ls", "cp", "new", "help", "runs", "rm"])
def test_every_word_says_how_it_is_typed(ptft, word):
    done = ptft(word, "--help")
    assert done.code == 0, done.text
    assert len(done.out.splitlines()) <= 2
    assert done.out.startswith(f"ptft {word} ")


def test_a_key_alone_is_told_where_it_is_explained(ptft):
    assert "ptft help train.epochs" in ptft("train.epochs").err
    for word in ("train.foo", "train", "compare.nonsense"):
        assert f"ptft help {word}" not in ptft(word).err


def test_it_is_quick_and_imports_no_torch():
    timed = []
    for words in (["--help"], ["help", "train.clip"]):
        code = f"import sys; from ptft.cli.main import run; run({words}); assert 'torch' not in sys.modules"
        began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        timed.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began)
    assert timed[1] < timed[0] + 0.6  # of the processor's time, however many share it
