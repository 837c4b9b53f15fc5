"""Search spaces, as they are typed and stand in files."""

import pytest

from ptft.config.overrides import quote
from ptft.config.resolve import resolve
from ptft.errors import ConfigError
from ptft.stages.tune import space
from ptft.stages.tune.space import Dimension, shown_as, typed
from ptft.stages.tune.stage import asked


def job(*words):
    return resolve([quote(word) for word in ("stage=tune", "ckpt=null", *words)])


def read(*words):
    return {each.key: each for each in asked(job(*words))[0]}


def test_a_range_a_list_and_a_choice_of_options_are_typed_and_one_is_taken_away():
    found = read(
        "tune=light",
        "tune.space.optimizer.lr=[0.1,0.2]",
        "tune.space.optimizer=[adamw,sgd]",
        "tune.space.train.batch_size={low: 8, high: 64}",
        "tune.space.finetune.layer_decay=null",
        "tune.space.schedule.warmup={low: 0.0, high: 0.5, step: 0.1}",
    )
    assert found == {
        "optimizer.lr": Dimension("optimizer.lr", choices=(0.1, 0.2)),
        "optimizer": Dimension("optimizer", choices=("adamw", "sgd")),
        "train.batch_size": Dimension("train.batch_size", 8, 64),
        "schedule.warmup": Dimension("schedule.warmup", 0.0, 0.5, step=0.1),
    }
    assert found["train.batch_size"].whole
    assert not found["schedule.warmup"].whole


def test_what_is_typed_last_counts_whatever_form_it_has():
    first, second = "tune.space.optimizer.lr=[0.1,0.2]", "tune.space.optimizer.lr={low: 0.1, high: 0.2}"
    assert read(first, second)["optimizer.lr"] == Dimension("optimizer.lr", 0.1, 0.2)
    assert read(second, first)["optimizer.lr"] == Dimension("optimizer.lr", choices=(0.1, 0.2))


def test_only_a_key_whose_space_is_typed_twice_is_told():
    from ptft.config.overrides import Overrides
    from ptft.config.settled.idle import overridden

    words = ["tune.space.optimizer.lr=[1,2]", "tune.space.train.ema=null", "tune.space.optimizer=[adamw,sgd]"]
    assert not [*overridden(Overrides.parse(map(quote, words)))]
    for again in ("[3,4]", "{low: 1, high: 2}", "null"):
        (said,) = overridden(Overrides.parse(map(quote, [*words, f"tune.space.optimizer.lr={again}"])))
        assert said.endswith(f": typed 2 times, of which the last counts: tune.space.optimizer.lr={again}")


def test_a_key_that_is_typed_is_searched_only_where_its_space_is_typed_too():
    dimensions, notes = asked(job("tune=light", "optimizer.lr=0.01"))
    assert [each.key for each in dimensions] == ["finetune.layer_decay"]
    assert notes == ["optimizer.lr is typed, so it is not searched"]
    both = ("tune=light", "optimizer.lr=0.01", "tune.space.optimizer.lr=[0.1,0.01]")
    assert "optimizer.lr" in {each.key for each in asked(job(*both))[0]}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tune.space.optimizer.lr={low: 2", "must be a list of choices, 'tune.space.optimizer.lr=[a,b]', or a range"),
        ("tune.space.optimizer.lr=1e-3,1e-4", "must be a list of choices"),
        ("tune.space.optimizer.lr={low: 2, high: 1}", "low and high must be numbers, low the smaller one"),
        ("tune.space.optimizer.lr={low: 0, high: 1, log: true}", "a log range has a low above 0"),
        ("tune.space.optimizer.lr={low: 1, hihg: 2}", "optimizer.lr.hihg: there is no such part of a range"),
        ("tune.space.optimizer.lr={low: 1}", "must be a list of choices, or a range like"),
        ("tune.space.optimizer.lr={low: 0, high: 1, step: 2}", "step must be a number above 0 and at most"),
        ("tune.space.optimizer.lr={low: 0, high: 0.2, step: 0.03}", "high must be low and a whole number of steps"),
        ("tune.space.optimizer.lr=[0.1]", "must be a list of at least two choices"),
        ("tune.space.optimizer.lr=[0.1,0.1]", "a choice stands there twice"),
        ("tune.space.seed=[1,2]", "seed: can't be searched"),
        ("tune.space.train.epochs=[1,2]", "all trials have the same budget"),
        ("tune.space.train.every.save=[1,2]", ""),
        ("tune.space.dataset.val=[0.1,0.2]", "all trials are measured on the same examples"),
        ("tune.space.objective=[classify,simclr]", "can't be compared"),
        ("tune.space.objective.mixup=[0.0,0.2]", ""),
        ("tune.space.dataset.views.flip=[true,false]", ""),
    ],
)
def test_what_can_not_be_searched_is_refused(word, said):
    if not said:
        assert read(word)
        return
    with pytest.raises(ConfigError, match=r"tune\.space") as error:
        read(word)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_settings_are_overrides_that_hydra_reads_as_they_were_options_first():
    settings = {
        "optimizer.lr": 1e-5,
        "finetune.layer_decay": None,
        "finetune.train": [{"until": 0.2, "train": "head"}, {"until": 1.0, "train": "all"}],
        "train.compile": True,
        "optimizer": "sgd",
        "ckpt": "a b,c.pt",
        "dataset.text": "it's",
    }
    from ptft.config.overrides import Overrides

    words = typed(settings)
    assert words[:2] == ["optimizer=sgd", "optimizer.lr=1e-05"]
    assert Overrides.parse(words).typed == settings
    assert [shown_as(each) for each in (0.1 + 0.2, 2.0, 10)] == ["0.3", "2.0", "10"]


def test_the_defaults_are_a_point_of_the_space_where_they_lie_in_it():
    cfg = job("optimizer.lr=0.001", "tune.space.optimizer.lr=[0.1,0.2]").config
    inside = [Dimension("optimizer.lr", 1e-4, 1e-2, True), Dimension("optimizer", choices=("adamw", "sgd"))]
    assert space.defaults(inside, cfg) == {"optimizer.lr": 0.001, "optimizer": "adamw"}
    outside = Dimension("optimizer.lr", 0.1, 0.2)
    assert not outside.holds(space.defaults([outside], cfg)["optimizer.lr"])
    assert space.defaults([Dimension("train.ema", choices=(None, 0.9))], cfg) == {"train.ema": None}
    assert not Dimension("train.workers", choices=(1, 0)).holds(True)
    assert Dimension("finetune.l2sp", choices=(0, 0.1)).holds(0.0)
    by_twenties = Dimension("train.batch_size", 20, 100, step=20)
    assert [by_twenties.holds(each) for each in (20, 60, 64, 100, 120)] == [True, True, False, True, False]
