"""Which trial goes on: successive halving that waits for nobody, and forgets nobody who may still come up."""

import random

import pytest

from ptft.stages.tune.search import FAILED, OPEN, WHOLE, Plan, Rung, Trial

PLAN = Plan(count=27, rungs=(0.1, 0.3), factor=3, sign=1)


def play(plan, quality, failing=(), until=None):
    """A search of trials whose value is the same at every rung: how far each came, and the order they were run in."""
    trials, order = [], []
    while (trial := plan.following(trials)) is not None and (until is None or len(order) < until):
        if trial.number == len(trials):
            trials.append(trial)
        order.append(trial.number)
        if trial.number in failing:
            trial.status = FAILED
            continue
        trial.rungs.append(Rung(len(trial.rungs) + 1, quality[trial.number], None))
        trial.status = WHOLE if len(trial.rungs) > len(plan.rungs) else OPEN
    return trials, order


def shuffled(seed, count=27):
    values = [each / count for each in range(count)]
    random.Random(seed).shuffle(values)
    return values


@pytest.mark.parametrize("seed", range(20))
def test_the_best_comes_to_its_end_and_most_stop_at_the_first_rung(seed):
    quality = shuffled(seed)
    trials, order = play(PLAN, quality)
    assert PLAN.best(trials).number == quality.index(max(quality))
    assert len(trials) == 27
    assert sum(len(trial.rungs) == 1 for trial in trials) >= 11
    assert len(order) < 2 * 27, "where 3 times as many would train all of them to their end"


def test_less_is_better_where_the_metric_says_so():
    quality = shuffled(0)
    plan = Plan(27, (0.1, 0.3), 3, -1)
    assert plan.best(play(plan, quality)[0]).number == quality.index(min(quality))


def test_the_defaults_come_to_their_end_first_however_bad_they_are():
    quality = [-1.0, *shuffled(0, 26)]
    trials, order = play(PLAN, quality)
    assert order[:3] == [0, 0, 0]
    assert trials[0].status == WHOLE


@pytest.mark.parametrize("seed", range(20))
def test_what_is_hopeless_never_goes_on_and_all_that_stays_behind_becomes_it(seed):
    quality = shuffled(seed)
    trials, order = play(PLAN, quality)
    for until in range(1, len(order)):
        early, _ = play(PLAN, quality, until=until)
        for trial in PLAN.hopeless(early):
            assert len(trials[trial.number].rungs) == len(trial.rungs), f"trial {trial.number} went on after {until}"
    stopped = {trial.number for trial in trials if trial.status == OPEN}
    assert len(PLAN.hopeless(trials)) >= len(stopped) - 2  # the best of each rung would follow, if all others failed


def test_of_equal_values_the_lower_loss_goes_on_and_then_the_earlier_one():
    trials = [Trial(n, {}, [Rung(1, 0.9, loss)]) for n, loss in enumerate((9.0, 0.5, 0.2, 0.2, None))]
    assert [trial.number for trial in PLAN.ranked(trials, 0)] == [2, 3, 1, 0, 4]


def test_few_trials_still_have_one_that_is_trained_to_its_end():
    trials, _ = play(Plan(2, (0.1, 0.3), 3, 1), [0.9, 0.1])
    assert [trial.status for trial in trials] == [WHOLE, WHOLE]


def test_without_time_no_trial_begins_and_the_best_is_trained_to_its_end():
    trials, _ = play(PLAN, shuffled(1), until=8)
    assert len(trials) > 2
    ended = [trial for trial in trials[1:] if trial.status == WHOLE]
    count, left = len(trials), PLAN.following(trials, more=False)
    while left is not None:
        assert not ended
        left.rungs.append(Rung(9, 0.5, None))
        left.status = WHOLE if len(left.rungs) == 3 else OPEN
        ended = [trial for trial in trials[1:] if trial.status == WHOLE]
        left = PLAN.following(trials, more=False)
    assert len(ended) == 1
    assert len(trials) == count


def test_trials_that_fail_count_as_the_worst_and_end_nothing():
    trials, _ = play(PLAN, shuffled(2), failing={0, 3, 4, 9})
    assert [trial.number for trial in trials if trial.status == FAILED] == [0, 3, 4, 9]
    assert PLAN.best(trials).status == WHOLE
    assert PLAN.best(play(PLAN, shuffled(2), failing=set(range(27)))[0]) is None


def test_without_rungs_every_trial_is_trained_to_its_end():
    trials, order = play(Plan(5, (), 3, 1), shuffled(0, 5))
    assert order == [0, 1, 2, 3, 4]
    assert all(trial.status == WHOLE for trial in trials)


def test_its_cost_is_known_beforehand():
    assert Plan(10, (), 3, 1).cost() == 10
    assert Plan(27, (0.1, 0.3), 3, 1).cost() == pytest.approx(27 * 0.1 + 9 * 0.2 + 3 * 0.7 + 0.9)


def test_a_trial_is_the_same_after_it_was_stored():
    trial = Trial(3, {"optimizer.lr": 0.1}, [Rung(4, 0.5, 1.5)], OPEN, folder="there", of=40)
    assert Trial.of_dict(trial.to_dict()) == trial
