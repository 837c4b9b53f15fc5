"""Composition: Hydra's own result, though files are merged once for a choice of options, and anew when they change."""

import hydra
import pytest
from omegaconf import OmegaConf

from ptft.config import compose, yaml_files
from ptft.config.overrides import Overrides


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["stage=finetune", "seed=3", "+train.more=1", "~optimizer.weight_decay", "hydra.job.name=mine"],
        ["experiment=cifar10_fast", "train={steps: 4}", "hydra/launcher=basic", "++model.width=9"],
        ["logger=[tensorboard]", "model=vit_tiny", "hydra.run.dir='a b/${hydra.job.override_dirname}'"],
        ["stage=finetune", "seed=4", "dataset.classes=[a,b]", "trusted=[mine]"],
    ],
)
def test_it_is_what_hydra_composes(typed):
    overrides = Overrides.parse(typed)
    own = compose.compose(overrides)
    with hydra.initialize_config_dir(str(yaml_files.conf_dir()), job_name="ptft", **compose.VERSION):
        hydras = hydra.compose("config", list(overrides.texts), return_hydra_config=True)
    expected = OmegaConf.to_container(hydras, resolve=False)
    expected["logger"] = expected.get("logger") or {}
    found = OmegaConf.to_container(own, resolve=False)
    assert found.pop("names")["logger"] == list(expected["logger"])
    assert found == expected


def test_a_value_of_one_composition_is_not_in_the_next():
    assert compose.compose(["stage=pretrain", "seed=5"]).seed == 5
    assert compose.compose(["stage=pretrain"]).seed == 0


def test_a_file_that_changes_is_read_anew(tmp_path):
    (tmp_path / "conf/experiment").mkdir(parents=True)
    for seed in (1, 2):
        (tmp_path / "conf/experiment/mine.yaml").write_text(f"# @package _global_\nseed: {seed}\n")
        assert compose.compose(["stage=pretrain", "experiment=mine"]).seed == seed
    assert "mine" in compose.options("experiment")
    (tmp_path / "conf/experiment/mine.yaml").rename(tmp_path / "conf/experiment/other.yaml")
    assert compose.compose(["stage=pretrain", "experiment=other"]).seed == 2
