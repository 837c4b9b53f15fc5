"""ptft.config.yaml_files: what a YAML file says, and how often it is looked at."""

import os

import pytest
import yaml
from omegaconf import OmegaConf

from ptft.config import yaml_files
from ptft.config.resolve import resolve
from ptft.errors import ConfigError

FILES = sorted(yaml_files.conf_dir().rglob("*.yaml"))


@pytest.mark.parametrize("library", [True, False])
def test_it_is_what_omegaconf_reads_with_libyaml_and_without(library, monkeypatch):
    monkeypatch.setattr(yaml, "__with_libyaml__", library)
    yaml_files._loader.cache_clear()
    read = [yaml_files.load(file)[1] for file in FILES[::7]]
    yaml_files._loader.cache_clear()
    assert read == [OmegaConf.load(file) for file in FILES[::7]]


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "3",
        "a: [",
        "x: " + 2_000 * "[" + 2_000 * "]",
        "a: !!python/object/apply:os.getcwd []",
        "9\t\t9",  # which libyaml takes for a text and OmegaConf, which reads texts, for no YAML
        "'a: 1'",
    ],
)
def test_what_is_no_yaml_is_refused_by_its_file(text, tmp_path):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.yaml"):
        yaml_files.load(tmp_path / "odd.yaml")


def test_values_are_omegaconfs(tmp_path):
    (tmp_path / "values.yaml").write_text("a: 1e-3\nb: 2026-11-27\nc: on\nd: 1_000\ne: ~\nf: ${a}\n")
    assert yaml_files.read(tmp_path / "values.yaml") == {
        "a": 0.001,
        "b": "2026-11-27",
        "c": True,
        "d": 1000,
        "e": None,
        "f": "${a}",
    }


def test_files_are_looked_at_once_in_a_configuration_and_again_in_the_next(monkeypatch):
    looked, scan = [], os.scandir
    monkeypatch.setattr(yaml_files.os, "scandir", lambda folder: looked.append(str(folder)) or scan(folder))
    for _ in range(2):
        looked.clear()
        resolve(["stage=pretrain", "seed=1"])
        assert looked.count(str(yaml_files.conf_dir())) == 1
