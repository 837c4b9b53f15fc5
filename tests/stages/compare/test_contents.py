"""A run is taken for another only where the code and the files that its configuration names are the same."""

from pathlib import Path

import pytest

from ptft.config.overrides import Overrides
from ptft.config.resolve import resolve
from ptft.stages.compare import contents, preflight
from ptft.stages.compare.contents import code, files
from tests.conftest import FEW, NET

ONE = ("compare.per_class=[1]", "compare.seeds=1", "compare.tune=null", "train.steps=1", "precision=fp32")
SMALL = (*FEW, "dataset.size=12")

NET_OF_MINE = """
from torch import nn
from bits import {act}

class Tiny(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=4)

    def forward(self, images):
        return {act}(self.conv(images)).mean((2, 3))
"""


def compare(ptft, *typed, into):
    done = ptft("stage=compare", "ckpt=pre", *typed, *ONE, "train.layout=contiguous", f"hydra.run.dir={into}")
    assert done.code == 0, done.text
    return done.out


def test_runs_of_other_code_are_not_taken(ptft):
    Path("tiny.py").write_text(NET_OF_MINE.format(act="act"))
    Path("bits.py").write_text("from torch.nn.functional import relu as act\n")
    Path("other.py").write_text("")
    mine = ("trusted=[tiny]", "compare.only=finetune", *SMALL)
    made = ("stage=pretrain", "model._target_=tiny.Tiny", *mine[:1], *SMALL, "train.steps=1", "hydra.run.dir=pre")
    assert ptft(*made, "objective=classify").code == 0
    assert "there already" not in compare(ptft, *mine, "dataset=glyphs", into="first")
    Path("other.py").write_text("# imported by nobody")
    plan = (*mine, "dataset=glyphs", "dry_run=true")
    assert "2 of them there already" in compare(ptft, *plan, into="second")
    Path("bits.py").write_text("from torch.nn.functional import gelu as act\n")
    assert "there already" not in compare(ptft, *plan, into="second")
    again = compare(ptft, *mine, "dataset=glyphs", into="first")
    assert again.count("\nrun ") == 2
    assert "scratch, finetune: the code of bits changed since this comparison began; runs of before do not" in again
    once_more = compare(ptft, *mine, "dataset=glyphs", into="first")
    assert "2 of them there already" in once_more
    assert "changed since" not in once_more


def test_runs_that_learned_from_another_teacher_or_other_data_are_not_taken(ptft):
    learn = (*SMALL, *NET, "train.steps=1", "objective=classify", "precision=fp32")
    for seed in (0, 1):
        assert ptft("stage=pretrain", *learn, f"seed={seed}", f"hydra.run.dir=t{seed}").code == 0
    Path("pre").symlink_to("t0")
    Path("teacher").symlink_to("t0")
    with Path("t0/split.csv").open() as file:
        head, *lines = [line for line in file if "val" not in line and "test" not in line]
    Path("ignore.csv").write_text(head + lines[0])
    arms = ("student=[objective=distill,objective.teacher=teacher]", "clean=dataset.ignore=ignore.csv")
    typed = (*(f"compare.arms.{arm}" for arm in arms), "compare.only=[student,clean]", "dataset=glyphs", *SMALL)
    compare(ptft, *typed, into="first")
    plan = (*typed, "dry_run=true")
    assert "3 of them there already" in compare(ptft, *plan, into="second")
    Path("teacher").unlink()
    Path("teacher").symlink_to("t1")
    assert "2 of them there already" in compare(ptft, *plan, into="second")
    Path("ignore.csv").write_text(head + lines[1])
    assert "1 of them there already" in compare(ptft, *plan, into="second")
    again = compare(ptft, *typed, into="first")
    assert "student: what objective.teacher names changed since this comparison began" in again
    assert "clean: data changed since this comparison began" in again


def test_runs_of_another_version_of_the_models_library_are_not_taken(ptft, monkeypatch):
    made = ("model=mobilenet_v3_small", *SMALL, "train.steps=1", "objective=classify")
    assert ptft("stage=pretrain", *made, "train.batch_size=8", "hydra.run.dir=pre").code == 0
    plan = ("compare.only=finetune", "dataset=glyphs", *SMALL, "train.batch_size=8")
    compare(ptft, *plan, into="first")
    assert "2 of them there already" in compare(ptft, *plan, "dry_run=true", into="second")
    monkeypatch.setattr(contents, "version", lambda library: f"{library} of tomorrow")
    again = compare(ptft, *plan, into="first")
    assert again.count("\nrun ") == 2
    assert "scratch, finetune: the version of torchvision changed since this comparison began" in again


@pytest.fixture
def weights():
    for name in ("a.pt", "run/checkpoints/best.pt", "public/model.safetensors", "noises/one.wav", "lists/words.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


def test_every_value_that_is_a_file_counts_by_what_is_in_it(weights, monkeypatch):
    config = {
        "model": {"embeddings": "huggingface:public", "name": "timm:nothing"},
        "objective": {"lm": "run", "text": "x" * 5000, "own": [{"words": "lists/words.txt"}]},
        "train": {"panel": ["a.pt", "run"]},
        "dataset": {"root": "lists/words.txt", "val": "run", "transform": {"noises": "./noises"}},
        "finetune": {"train": "run", "lr": 3},
    }
    before = files(config)
    keys = ("model.embeddings", "objective.lm", "objective.own[0].words", "train.panel[0]", "train.panel[1]")
    assert {*before} == {f"what {key} names" for key in (*keys, "dataset.transform.noises")}, (
        "data are known by reading"
    )
    changes = {
        "a.pt": ("train.panel[0]",),
        "run/checkpoints/best.pt": ("objective.lm", "train.panel[1]"),
        "public/model.safetensors": ("model.embeddings",),
        "noises/two.wav": ("dataset.transform.noises",),
        "lists/words.txt": ("objective.own[0].words",),
    }
    for file, keys in changes.items():
        Path(file).write_text("something else")
        after = files(config)
        assert {name for name in after if after[name] != before[name]} == {f"what {key} names" for key in keys}, file
        before = after


def test_the_code_of_a_package_is_that_of_all_its_files_and_what_they_import_beside_it():
    Path("mine/deep").mkdir(parents=True)
    for name, text in {"mine/__init__.py": "", "mine/deep/net.py": "import beside, os, torch, nowhere"}.items():
        Path(name).write_text(text)
    Path("beside.py").write_text("import mine")
    Path("mine/notes.txt").write_text("no code")
    before = code(("mine.deep", "torch", "ptft"))
    assert {*before} == {"the code of mine", "the code of beside"}
    Path("mine/notes.txt").write_text("other")
    assert code(("mine",)) == before
    Path("mine/deep/net.py").write_text("import beside  # other")
    after = code(("mine",))
    assert [after[name] == before[name] for name in ("the code of mine", "the code of beside")] == [False, True]
    Path("mine/deep/net.py").write_text("this is no Python")
    assert {*code(("mine",))} == {"the code of mine"}


@pytest.mark.parametrize("group", [None, "who"])
def test_a_key_that_says_nothing_there_makes_no_other_comparison(group):
    typed = ["stage=pretrain", "dataset=table", "dataset.root=x.csv", "model=bert_tiny"]
    typed.append(f"dataset.group={group or 'null'}")
    parts = preflight.parts_of(resolve(Overrides.parse(typed), {}), "data", None, True)
    assert ("group_as" in parts["configuration"]["dataset"]) == (group is not None)
    assert "fold" not in parts["configuration"]["dataset"]
    assert "folds" not in parts["configuration"]["train"]
