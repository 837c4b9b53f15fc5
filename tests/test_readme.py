"""README says what is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_is_in_the_tree_and_every_name_in_the_tree_is_a_file():
    tree = README.split("## The files")[1].split("```")[1]
    named = set(re.findall(r"\w+\.py", tree)) - {"test_architecture.py", "test_conf.py"}
    assert named == {path.name for path in (ROOT / "ptft").rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(re.findall(r"(\w+)/", tree.split("ptft/\n")[0])) - {"conf"} == {
        p.name for p in (ROOT / "conf").iterdir() if p.is_dir()
    }


@pytest.mark.parametrize("group", ["stage", "model", "dataset", "objective", "optimizer", "schedule", "experiment"])
def test_every_choice_is_named(group):
    names = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} - {"from_ckpt", "torchvision"}
    missing = {name for name in names if not re.search(rf"[`=]{name}\b", README)}
    assert not missing


def test_its_keys_exist():
    from ptft.config.compose import compose, flat_keys, options

    known = {
        *flat_keys(compose(["stage=pretrain"])),
        *flat_keys(compose(["stage=pretrain", "model=vit_tiny"])),
        *(key for name in options("dataset") for key in flat_keys(compose(["stage=pretrain", f"dataset={name}"]))),
        *flat_keys(compose(["stage=predict", "dataset=glyphs"])),
        "input",
        "model.name",
    }
    typed = set(re.findall(r"\b((?:dataset|train|model|optimizer|finetune|objective)\.\w+)=", README))
    assert typed
    assert not {key for key in typed if key not in known and not key.endswith("._target_")}


def test_the_gate_calls_the_command_that_it_gives():
    assert "make test" in README
    assert re.search(r"^make test", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
