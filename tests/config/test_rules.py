"""Rules stand in the YAML of an option, beside its keys, and hold wherever its class is configured."""

from pathlib import Path

import pytest
import yaml

from ptft.config import compose, yaml_files
from ptft.config.validate import check
from ptft.errors import ConfigError
from ptft.validators import RULES, is_like, rule_named
from tests.conftest import refused

FILES = sorted(yaml_files.conf_dir().glob("*/*.yaml"))


def composed(*typed):
    return compose.plain(compose.compose(["stage=pretrain", *typed]))


def broken(config, key, value):
    """What is said of the configuration with `value` at the dotted key."""
    *path, leaf = key.split(".")
    node = config
    for part in path:
        node = node[part]
    node[leaf] = value
    with pytest.raises(ConfigError) as caught:
        check(config, config)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_rule_has_a_name_and_is_of_a_key_of_its_own_file(file):
    node = yaml.safe_load(file.read_text(encoding="utf-8"))
    for key, said in node.get("_rules_", {}).items():
        rule_named(said)
        if not key.startswith("views.") and (file.stem[0], key) != ("_", "root"):  # views may be another node's
            assert has(node, key), key


def has(node, key):
    first, _, rest = key.partition(".")
    return first in node and (not rest or has(node[first], rest))


def test_all_rules_have_words_and_reject_something():
    for words, keeps, _ in RULES.values():
        assert words
        assert not keeps(object())


PROBES = [
    *(None, True, False, -1, 0, 1, 2, 3, 0.0, 0.005, 0.5, 1.0, 1.5, -0.5, float("nan"), float("inf"), 10**6),
    *("", "auto", "text", "last:2", "head", "5min", "epoch", "cuda:1", "off", "val", "("),
    *([], [0.9], [0.9, 0.99], [0.5, 0.2], [0, 2], [1, 2], [3, 3], ["a"], ["a", "a"], [1, 1, 1], ["a", 1]),
    *({}, {"a": "b"}, {"a": None}, {"a": 1}, {"until": 1, "train": "all"}),
]
STRICTER = ("areas", "class names", "arms", "zoom", "file or files")
"""Rules whose test refuses more than data can say."""


@pytest.mark.parametrize("name", RULES)
def test_the_data_of_a_rule_allow_what_its_test_allows(name):
    for wider in ("", " or null", " or auto"):
        rule = rule_named(f"{name}{wider}")
        differ = [probe for probe in PROBES if rule.fits(probe) != is_like(rule.data, probe)]
        differ = [probe for probe in differ if probe is not False or name != "cache"]  # a plain off in YAML
        assert [probe for probe in differ if rule.fits(probe)] == []
        assert not differ or name in STRICTER


def test_a_key_is_checked_by_the_rule_beside_it():
    said = broken(composed("objective=mae", "model=vit_tiny"), "objective.mask_ratio", 1)
    assert said == ["objective.mask_ratio=1: must be a number between 0 and 1"]
    assert broken(composed(), "optimizer.lr", "1e") == ["optimizer.lr=1e: must be a number greater than 0"]


def test_a_key_that_datasets_share_is_checked_by_the_rule_beside_it():
    for dataset in ("mnist", "tones", "table", "text"):
        said = broken(composed(f"dataset={dataset}", "dataset.root=x"), "dataset.fraction", 2)
        assert said == ["dataset.fraction=2: must be a number above 0 and up to 1, or null"]


def test_a_configuration_that_was_stored_without_rules_or_under_an_old_path_has_them():
    config = composed("objective=mae", "model=vit_tiny")
    config["objective"] = {"_target_": "ptft.objectives.mae.MAE", "mask_ratio": 0.5}
    config["names"]["objective"] = "of_old"
    assert broken(config, "objective.mask_ratio", 0) == ["objective.mask_ratio=0: must be a number between 0 and 1"]


def copy(name, text):
    path = Path("conf") / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


SGD = "_target_: torch.optim.SGD\nlr: 0.1\nmomentum: 0.9\n"


def test_an_old_copy_without_rules_keeps_them(ptft):
    copy("optimizer/sgd", SGD)
    refused(ptft("stage=pretrain", "optimizer=sgd", "optimizer.momentum=1"), 2, "optimizer.momentum=1: must be")


def test_a_copy_may_have_rules_of_its_own_and_no_run_sees_them(ptft):
    copy("optimizer/mine", f"{SGD}dampening: 0\n_rules_: {{momentum: between 0 and 1, dampening: [0, 1]}}\n")
    said = "optimizer.momentum=0: must be a number between 0 and 1"
    refused(ptft("stage=pretrain", "optimizer=mine", "optimizer.momentum=0"), 2, said)
    assert "_rules_" not in ptft("--cfg", "job", "optimizer=mine").out


def test_a_rule_that_does_not_exist_is_named_with_the_nearest(ptft):
    copy("optimizer/mine", f"{SGD}_rules_: {{lr: above 00}}\n")
    refused(ptft("stage=pretrain", "optimizer=mine"), 2, "optimizer: _rules_.lr: there is no rule above 00", "above 0")


def test_notes_and_shared_files_are_seen_by_nobody(ptft, monkeypatch):
    shown = ptft("--cfg", "job", "dataset=mnist", "objective=simclr").out
    assert not [note for note in yaml_files.NOTES if note in shown]
    listed = ptft("ls").out + ptft("ls", "dataset").out + ptft("--help").out
    assert not {"_image", "_views"} & set(listed.replace(",", " ").split())
    said = ptft("stage=pretrain", "dataset=mnits")
    refused(said, 2, "did you mean mnist")
    assert " _image" not in said.err
    monkeypatch.setenv("COMP_LINE", "ptft dataset=")
    monkeypatch.setenv("COMP_POINT", "13")
    offered = ptft("-sc", "query=bash").out
    assert "dataset=mnist" in offered
    assert "=_image" not in offered


def test_a_copied_dataset_has_its_shared_keys_from_ptfts_own_file_or_from_a_copy_of_it(ptft):
    assert ptft("cp", "dataset/mnist").code == 0
    own = Path("conf/dataset/mnist.yaml")
    own.write_text(own.read_text().replace("  shift: 2", "  shift: 1"))
    there = compose.compose(["dataset=mnist"]).dataset
    assert (there.views.shift, there.views.padding, there.limit) == (1, "border", None)
    assert ptft("cp", "dataset/_image").code == 0
    shared = Path("conf/dataset/_image.yaml")
    shared.write_text(shared.read_text().replace("limit: null", "limit: 100"))
    assert compose.compose(["dataset=mnist"]).dataset.limit == 100
    assert compose.compose(["dataset=glyphs"]).dataset.limit == 100
    refused(ptft("stage=pretrain", "dataset=mnist", "dataset.limit=0"), 2, "dataset.limit=0: must be a whole number")


def test_copies_hold_the_rules_and_not_what_only_tests_read(ptft):
    assert ptft("cp", "objective/mae").code == 0
    text = Path("conf/objective/mae.yaml").read_text()
    assert "_rules_:" in text
    assert "_test_" not in text
    assert text.endswith("\n")
