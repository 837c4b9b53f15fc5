"""The largest parts of a batch that fit, where memory is short by a real limit of the process."""

import itertools
import json
import math
import re
import resource
from contextlib import contextmanager

import pytest
import torch

from ptft.builders.run import build
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve
from ptft.errors import ConfigError, ResourceError
from ptft.loggers.console import Console
from ptft.runtime.rng import rng_state
from ptft.train.parts import divisions, size
from tests.conftest import FEW, GLYPHS, NET, refused
from tests.helpers.self_supervised import DIGITS
from tests.stages.test_resume import losses, same, state

EXACT = ("precision=fp32", "train.layout=contiguous", "device=cpu")
LARGE = ("dataset.images=80", "dataset.held_out=20", "dataset.size=64", "model.channels=[64,64]", "model.width=16")
RUN = ("stage=pretrain", *LARGE, *EXACT, "schedule=constant", "objective.dropout=0.2", "train.every.evaluate=2")


@contextmanager
def left(mib):
    """Inside, this process may take so much more memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + mib * 2**20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def accumulate(folder):
    stored = checkpoint_file.read(folder / "checkpoints" / "last.pt")[0]["config"]["train"]
    return stored["batch_size"], stored["accumulate"]


def test_what_fits_is_said_and_kept_and_the_run_is_the_one_with_that_typed(ptft, tmp_path):
    """It is cut after two steps and continued with memory enough for whole batches."""
    auto, typed = tmp_path / "auto", tmp_path / "typed"
    with left(480):
        done = ptft(*RUN, "train.batch_size=auto", "train.steps=2", f"hydra.run.dir={auto}")
    assert done.code == 0, done.text
    said = re.search(r"batch 64 as (\d+) parts of (\d+), what fits in [\d,.]+ [MG]iB", done.out)
    assert said, done.text
    parts = int(said[1])
    assert parts > 1
    assert parts * int(said[2]) == 64
    assert accumulate(auto) == (64, parts)
    assert ptft(f"resume={auto}", "train.steps=4").code == 0
    assert accumulate(auto) == (64, parts)
    assert ptft(*RUN, f"train.accumulate={parts}", "train.steps=4", f"hydra.run.dir={typed}").code == 0
    assert same(state(auto), state(typed))
    assert losses(auto, "val") == losses(typed, "val")
    done = ptft(f"resume={auto}", "train.steps=6", f"train.accumulate={2 * parts}")
    assert f"it was saved with train.accumulate={parts} and goes on with {2 * parts}" in " ".join(done.text.split())
    assert accumulate(auto) == (64, 2 * parts)


SMALL = ("model.width=16", "model.depth=1", "model.heads=2")
UNCUT = r"as a whole, and .*compares the examples.*lower train\.batch_size"
OTHERS = {
    "batch norms, averages": ("dataset=glyphs", *GLYPHS, *NET, "train.ema=0.9", "objective.mixup=0.3"),
    "simclr": (*DIGITS, *NET, "objective=simclr"),
    "byol": (*DIGITS, *NET, "objective=byol"),
    "dino": (*DIGITS, *NET, "objective=dino"),
    "uneven texts": ("dataset=grammar", "dataset.sentences=60", "dataset.held_out=20", "model=bert_tiny", *SMALL),
}


@pytest.mark.parametrize("name", OTHERS)
def test_where_all_fits_nothing_is_left_of_the_trial(name):
    made = []
    more = ("objective=masked_lm", "optimizer=muon") if name == "uneven texts" else ()
    for typed in ("train.accumulate=1", "train.batch_size=auto"):
        run = build(resolve(["stage=pretrain", "train.steps=4", *OTHERS[name], *more, *EXACT[::2], typed]), Console())
        drawn, weights = rng_state(run.device), run.objective.state_dict()
        assert not run.training.optimizer.state
        assert not any(p.grad is not None for p in run.objective.parameters())
        averages = run.training.ema.weights if run.training.ema else {}
        made.append({"rng": drawn, "weights": dict(weights), "ema": averages, "config": run.cfg.plain()})
        notes = [note for note in run.notes if "as a whole, which fits in" in note]
    assert same(*made)
    assert len(notes) == 1


def test_what_does_not_fit_is_refused_with_a_remedy():
    typed = (*RUN, "train.steps=2", "train.batch_size=auto")
    with left(140), pytest.raises(ResourceError, match=r"train\.batch_size=64: does not fit in .*smaller model"):
        build(resolve(list(typed)), Console())
    dino = ("stage=pretrain", "objective=dino", *LARGE, *EXACT, "train.steps=2", "train.batch_size=auto")
    with (
        left(480),
        pytest.raises(ResourceError, match=UNCUT),
    ):
        build(resolve(list(dino)), Console())


def test_parts_that_are_typed_win_and_other_stages_have_none(pretrained):
    job = resolve(["stage=pretrain", "experiment=mnist_simclr", "dataset.root=.", "train.batch_size=auto"])
    assert (job.config.train.batch_size, job.config.train.accumulate) == (256, "auto")
    job = resolve(["stage=pretrain", "train.batch_size=auto", "train.accumulate=4"])
    assert (job.config.train.batch_size, job.config.train.accumulate) == (64, 4)
    assert any("train.accumulate is as typed" in note for note in job.notes)
    evaluated = resolve(["stage=evaluate", f"ckpt={pretrained}", "train.batch_size=auto"]).config.train
    assert (evaluated.batch_size, evaluated.accumulate) == (64, 1)
    with pytest.raises(ConfigError, match=r"fsdp: not with train\.accumulate=auto.*train\.accumulate=2"):
        resolve(["stage=pretrain", "train.parallel=fsdp", "train.batch_size=auto"])


def test_arms_of_a_comparison_have_the_same_parts(ptft, pretrained, tmp_path):
    """They are found for all of them beforehand, as long as one runs at a time."""
    one = ("train.steps=2", "compare.per_class=[2]", "compare.seeds=1", "compare.tune=null")
    compare = ("stage=compare", f"ckpt={pretrained}", "train.batch_size=auto", "dataset=glyphs", *FEW, *one)
    refused(ptft(*compare, "compare.processes=2"), 2, "compare.processes=2", "train.accumulate=2")
    done = ptft(*compare, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.code == 0, done.text
    pins = json.loads((tmp_path / "run" / "compare.json").read_text())["pins"]
    assert "train.accumulate=1" in pins


@pytest.mark.parametrize(("most", "fewest", "least"), [(64, 5, 1), (127, 127, 1), (96, 3, 2), (1, 1, 1), (100, 60, 2)])
def test_parts_are_of_equal_size_where_that_is_possible(most, fewest, least):
    found = divisions(most, fewest, least)
    assert found == sorted(set(found))
    assert found[0] == 1
    limit = most if least == 1 else max(1, fewest // least)
    assert found[-1] == limit
    assert all(b <= 2 * a for a, b in itertools.pairwise(found))
    assert size(most, found[-1]) >= least
    if math.log2(most).is_integer() and least == 1:
        assert all(most % count == 0 for count in found)


def test_a_step_of_the_trial_is_counted_in_the_peak():
    from ptft.runtime import process

    process.begin_peak()
    taken = process.taken_by(lambda: torch.ones(2**24))
    if taken is None:
        pytest.skip("this system does not tell")
    assert 60 * 2**20 < taken < 90 * 2**20
    before = process.peak()
    process.taken_by(lambda: None)
    assert process.peak() >= before
