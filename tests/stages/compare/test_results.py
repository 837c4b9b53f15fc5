"""From values to verdicts and words: rates, pairs, chance, direction, and the sentence that answers."""

import random
from dataclasses import replace

import pytest

from ptft.stages.compare.design import Design
from ptft.stages.compare.results import Measure, compared
from ptft.stages.compare.table import answer, legend, number, table

ACCURACY = Measure("accuracy", "max", "test")
LOSS = Measure("loss", "min", "val")


def asked(arms=("scratch", "finetune"), amounts=(1, 5, 20), seeds=5, rates=(None,)):
    return Design({arm: [] for arm in arms}, arms[0], "per_class", list(amounts), list(range(seeds)), list(rates))


def records(design, value, val=None):
    """A finished run for every cell, with `value(arm, amount, seed, rate)`; None is one that failed."""
    found = []
    for seed in design.seeds:
        for amount in design.amounts:
            for arm in design.arms:
                for rate in design.rates:
                    what = {"arm": arm, "amount": amount, "seed": seed, "lr": rate}
                    held = (val or value)(arm, amount, seed, rate)
                    found.append({**what, "value": value(arm, amount, seed, rate), "val": held})
    return found


def curve(lift, noise=0.004, seed=0):
    """Accuracies that rise with the labels, with what `lift(arm, amount)` adds, and noise."""
    draw = random.Random(seed)
    return lambda arm, amount, seed, rate: (
        0.5 + 0.1 * [1, 5, 20].index(amount) + lift(arm, amount) + draw.gauss(0, noise)
    )


def judged(design, value, by=ACCURACY):
    return compared(design, records(design, value), by)


def verdicts(rows):
    return {(row.arm, row.amount): row.verdict for row in rows if row.difference}


def test_a_lift_is_found_where_it_is_and_worth_its_labels():
    design = asked()
    rows = judged(design, curve(lambda arm, amount: 0.1 if arm == "finetune" and amount < 20 else 0, seed=1))
    assert verdicts(rows) == {("finetune", 1): "better", ("finetune", 5): "better", ("finetune", 20): "noise"}
    worth = {row.amount: row.worth for row in rows if row.arm == "finetune"}
    assert worth[1][0] == "="
    assert worth[1][1] == pytest.approx(5, rel=0.1), "it has with 1 what scratch has with 5"
    assert worth[5][1] == pytest.approx(4, rel=0.1)
    said = answer(design, rows, ACCURACY, ["finetune"])
    assert said.startswith("Pretraining helped: beside scratch, finetune is better with 1 and 5 labels per class (by ")
    assert " and is within the noise with 20 (" in said
    assert "points of test accuracy, 5 seeds, paired, 95 % intervals" in said
    assert said.endswith(").")


def test_what_hurts_is_said_to_hurt():
    design = asked()
    rows = judged(design, curve(lambda arm, amount: -0.1 if arm == "finetune" else 0))
    assert set(verdicts(rows).values()) == {"worse"}
    assert answer(design, rows, ACCURACY, ["finetune"]).startswith(
        "Pretraining hurt: beside scratch, finetune is worse with 1, 5 and 20"
    )


def test_help_here_and_harm_there_are_both_said():
    design = asked()
    rows = judged(design, curve(lambda arm, amount: 0 if arm == "scratch" else 0.1 if amount == 1 else -0.1))
    assert answer(design, rows, ACCURACY, ["finetune"]).startswith(
        "Pretraining helped in some cases and hurt in others"
    )


def test_noise_is_rarely_taken_for_help():
    design, claims = asked(("scratch", "a", "b", "c")), 0
    for seed in range(100):
        rows = judged(design, curve(lambda arm, amount: 0, seed=seed))
        claims += not answer(design, rows, ACCURACY, "abc").startswith(
            "Pretraining made no difference beyond the noise"
        )
    assert claims <= 10, "5 in 100 tables, not 5 in 100 of their nine rows"


def test_pairing_finds_what_the_seeds_hide():
    """Some subsets of labels are much better than others, for every arm."""
    draw = random.Random(0)
    shift, design = [draw.gauss(0, 0.1) for _ in range(5)], asked()
    rows = judged(
        design, lambda arm, amount, seed, rate: 0.5 + shift[seed] + 0.01 * (arm == "finetune") + draw.gauss(0, 0.001)
    )
    (row,) = [row for row in rows if row.arm == "finetune" and row.amount == 5]
    assert row.mean.half > 0.05
    assert row.difference.half < 0.005
    assert row.verdict == "better"


def test_less_is_better_where_the_metric_says_so():
    design = asked()
    rows = judged(
        design, curve(lambda arm, amount: -0.1 * [1, 5, 20].index(amount) * 2 - 0.2 * (arm == "finetune")), LOSS
    )
    assert set(verdicts(rows).values()) == {"better"}
    (row,) = [row for row in rows if row.arm == "finetune" and row.amount == 1]
    assert row.difference.mean == pytest.approx(-0.2, abs=0.01)
    assert row.worth[1] == pytest.approx(20, rel=0.1)
    said = answer(design, rows, LOSS, ["finetune"])
    assert said.startswith("Pretraining helped")
    assert "points" not in said
    assert "(val loss, 5 seeds" in said


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_give_no_answer(seeds):
    design = asked(seeds=seeds)
    rows = judged(design, curve(lambda arm, amount: 0.3 * (arm == "finetune"), noise=0))
    assert set(verdicts(rows).values()) == {"unknown"}
    assert answer(design, rows, ACCURACY, ["finetune"]).startswith("Too few seeds to say whether pretraining helped")
    header, cells = table(design, rows, ACCURACY)
    assert all(len(cell) == len(header) for cell in cells)
    assert ("± ?" in cells[0][2]) == (seeds == 1)


def test_an_arm_without_pretrained_weights_is_no_pretraining():
    design = asked(("scratch", "big"))
    rows = judged(design, curve(lambda arm, amount: 0.1 * (arm == "big")))
    assert answer(design, rows, ACCURACY, []).startswith(
        "No arm starts from pretrained weights: beside scratch, big is better"
    )


def test_failed_runs_are_left_out_in_pairs_and_named():
    design, good = asked(), curve(lambda arm, amount: 0.1 * (arm == "finetune"))
    lost = {("finetune", 5, 1), ("scratch", 5, 2)}
    rows = judged(
        design, lambda arm, amount, seed, rate: None if (arm, amount, seed) in lost else good(arm, amount, seed, rate)
    )
    (row,) = [row for row in rows if row.arm == "finetune" and row.amount == 5]
    assert row.failed == [1]
    assert row.mean.size == 4
    assert row.difference.size == 3
    header, cells = table(design, rows, ACCURACY)
    assert header[-1] == "failed seeds"
    assert [cell[-1] for cell in cells if cell[:2] == ["5", "finetune"]] == ["1"]
    assert "3 to 5 seeds" in answer(design, rows, ACCURACY, ["finetune"])


def test_rates_are_chosen_for_every_arm_and_amount_on_the_validation_split():
    design = asked(rates=(0.1, 0.2))

    def val(arm, amount, seed, rate):
        return (rate == (0.2 if arm == "finetune" or amount == 20 else 0.1)) + seed / 100

    def test(arm, amount, seed, rate):  # which would choose the other one
        return 1 - 0.5 * val(arm, amount, seed, rate)

    rows = compared(design, records(design, test, val), ACCURACY)
    chosen = {(row.arm, row.amount): row.rate for row in rows}
    assert chosen == {
        **{("finetune", amount): 0.2 for amount in (1, 5, 20)},
        ("scratch", 1): 0.1,
        ("scratch", 5): 0.1,
        ("scratch", 20): 0.2,
    }
    assert rows[0].values == {seed: test("scratch", 1, seed, 0.1) for seed in range(5)}
    assert any("lr: each arm's best" in note for note in legend(design, rows, ACCURACY))
    header, cells = table(design, rows, ACCURACY)
    assert [cell[header.index("lr")] for cell in cells] == ["0.1", "0.2", "0.1", "0.2", "0.2", "0.2"]


def test_a_rate_that_breaks_runs_is_not_chosen_for_the_best_of_them():
    design = asked(rates=(0.1, 9.0))
    rows = compared(
        design,
        records(design, lambda arm, amount, seed, rate: 0.5 if rate == 0.1 else 0.9 if seed == 0 else None),
        ACCURACY,
    )
    assert {row.rate for row in rows} == {0.1}


def test_shares_are_percent_and_everything_else_is_not():
    assert number(0.9333, ACCURACY) == "93.33"
    assert number(-0.0123, ACCURACY, signed=True) == "−1.23"
    assert number(1.5, LOSS) == "1.5000"
    assert number(0.25, LOSS, signed=True) == "+0.2500"


def late(found, **by_arm):
    """The records with what each arm became better by in its last fifth."""
    return [{**each, "late": by_arm.get(each["arm"])} for each in found]


@pytest.mark.parametrize("arm", ["scratch", "finetune"])
def test_what_was_still_improving_is_marked_and_not_judged(arm):
    """Also where it is the arm that the others are compared with."""
    design = asked()
    found = records(design, curve(lambda arm, amount: 0.1 if arm == "finetune" else 0))
    rows = compared(design, late(found, **{arm: 0.02}), ACCURACY)
    assert set(verdicts(rows).values()) == {"unjudged"}
    assert {row.arm for row in rows if row.doubt} == {arm}
    said = answer(design, rows, ACCURACY, ["finetune"])
    assert said.startswith("No answer, as the arms or what they are compared with were still improving")
    assert "finetune is not judged with 1, 5 and 20 labels per class (" in said
    assert {cells[1] for cells in table(design, rows, ACCURACY)[1] if cells[1].endswith("†")} == {f"{arm} †"}
    assert any(line.startswith("† still improving") for line in legend(design, rows, ACCURACY))


def test_what_hardly_improves_is_judged():
    design = asked()
    found = records(design, curve(lambda arm, amount: 0.1 if arm == "finetune" else 0))
    rows = compared(design, late(found, scratch=0.005, finetune=-0.01), ACCURACY)
    assert set(verdicts(rows).values()) == {"better"}


def test_other_metrics_improve_relative_to_what_they_are():
    design = asked()
    found = records(design, lambda arm, amount, seed, rate: 10 + seed / 100 - (arm == "finetune"))
    for most, doubted in ((0.2, True), (0.05, False)):
        rows = compared(design, late(found, finetune=most), LOSS)
        assert {bool(row.doubt) for row in rows if row.arm == "finetune"} == {doubted}


def test_a_rate_is_chosen_by_the_first_seed_and_kept():
    design = replace(asked(seeds=3), tunes=True, choices={"scratch": [0.1, 0.2], "finetune": [None]})
    values = {(0, 0.1): 0.5, (0, 0.2): 0.6, (1, 0.2): 0.1, (2, 0.2): 0.2}
    found = [
        {"arm": "scratch", "amount": amount, "seed": seed, "lr": rate, "value": value, "val": value}
        for amount in design.amounts
        for (seed, rate), value in values.items()
    ]
    (row, *_) = [row for row in compared(design, found, ACCURACY) if row.arm == "scratch"]
    assert row.rate == 0.2
    assert row.values == {0: 0.6, 1: 0.1, 2: 0.2}
