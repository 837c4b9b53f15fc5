"""Proposals: they follow from what was found and nothing else, stay in the space, and find what is better."""

import math

import pytest

from ptft.stages.tune import sampler
from ptft.stages.tune.sampler import Known
from ptft.stages.tune.space import Dimension

SPACE = [
    Dimension("optimizer.lr", 1e-5, 1e-1, log=True),
    Dimension("train.batch_size", 8, 64, step=8),
    Dimension("finetune.layer_decay", choices=(None, 0.65, True)),
    Dimension("schedule.warmup", 0.0, 0.5),
]


@pytest.fixture(autouse=True)
def _quiet():
    sampler.check()


def searched(count, value, seed=0, mode="max"):
    known = []
    for number in range(count):
        settings = sampler.proposed(SPACE, known, mode, seed, number)
        found = value(settings)
        known.append(Known(settings, 1, found, found is not None and number % 3 == 0))
    return known


def near(settings):
    """Better the nearer the rate is to 1e-2; the other keys do nothing."""
    return -abs(math.log10(settings["optimizer.lr"]) + 2)


def test_a_proposal_is_in_the_space_short_and_the_same_once_more():
    known = searched(14, near)
    assert known == searched(14, near)
    assert known[:9] != searched(9, near, seed=1)
    assert len({str(each.settings) for each in known}) == 14
    for each in known:
        assert all(dimension.holds(each.settings[dimension.key]) for dimension in SPACE)
        assert float(f"{each.settings['optimizer.lr']:.4g}") == each.settings["optimizer.lr"], "few digits are typed"
        assert each.settings["train.batch_size"] % 8 == 0


@pytest.mark.parametrize("seed", range(3))
def test_no_settings_are_proposed_twice_until_all_were(seed):
    """Where one is far better than the others, which a sampler comes back to."""
    few = [
        Dimension("finetune.layer_decay", choices=(None, 0.65, True, 1)),
        Dimension("train.batch_size", 8, 32, step=8),
        Dimension("schedule.warmup", 1.0, 1.0004, step=0.0001),
    ]
    known, count = [], 4 * 4 * 5
    assert math.prod(each.count for each in few) == count
    for number in range(count):
        settings = sampler.proposed(few, known, "max", seed, number)
        known.append(Known(settings, 1, float(settings["train.batch_size"] == 8), True))
    assert len({str(each.settings) for each in known}) == count
    assert math.prod(each.count for each in SPACE) == math.inf


def test_later_proposals_are_nearer_to_what_is_best():
    values = [each.value for each in searched(30, near)]
    assert sum(values[20:]) / 10 > sum(values[:10]) / 10 + 0.3


def test_less_is_better_where_the_metric_says_so():
    values = [each.value for each in searched(30, lambda settings: -near(settings), mode="min")]
    assert sum(values[20:]) / 10 < sum(values[:10]) / 10 - 0.3


def test_where_trials_fail_fewer_are_proposed():
    def fails_high(settings):
        return None if settings["optimizer.lr"] > 1e-3 else 0.5

    failed = [each.value is None for each in searched(30, fails_high)]
    assert sum(failed[20:]) < sum(failed[:10])


def test_what_mattered_is_the_key_that_decided():
    found = sampler.importance(SPACE, searched(30, near), "max")
    assert next(iter(found)) == "optimizer.lr"
    assert found["optimizer.lr"] > 0.5
    assert sum(found.values()) == pytest.approx(1)


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    import builtins

    from ptft.errors import ConfigError

    usual = builtins.__import__

    def without(name, *rest, **options):
        if name == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'", name="optuna")
        return usual(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"stage=tune needs the package optuna: pip install 'ptft\[tune\]'"):
        sampler.check()
