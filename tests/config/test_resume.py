"""What may be typed on a resume: keys of files that may have moved, but none that a run did not read."""

import pytest
from omegaconf import OmegaConf

from ptft.config.overrides import Overrides
from ptft.config.resume import same_run
from ptft.errors import ConfigError

RUN = {
    "dataset": {"annotations": {"train": "a.json"}, "folders": "images", "ignore": None},
    "objective": {"lm": "run", "lm_model": {"of": "run", "sha256": "0"}},
    "names": {},
}


@pytest.mark.parametrize(
    "typed", ["dataset.annotations={train: b.json}", "dataset.annotations.train=b.json", "dataset.folders=x"]
)
def test_files_that_a_run_reads_again_may_have_moved(typed):
    same_run(OmegaConf.create(RUN), Overrides.parse([typed, "objective.lm=elsewhere"]))


@pytest.mark.parametrize("typed", ["dataset.ignore=a.csv", "objective.lm=null", "objective.lm_model.sha256=1"])
def test_a_run_is_given_no_file_and_rid_of_none(typed):
    with pytest.raises(ConfigError, match=rf"{typed.partition('=')[0]}: the run has .*, you typed "):
        same_run(OmegaConf.create(RUN), Overrides.parse([typed]))
