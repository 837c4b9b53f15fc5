"""What is typed becomes arms, runs and their overrides."""

from pathlib import Path

import pytest

from ptft.config import compose
from ptft.config.config import Config
from ptft.config.overrides import Overrides, quote
from ptft.errors import ConfigError
from ptft.stages.compare.design import cells, merged, read_design


def asked(*typed: str, ckpt: str | None = "/runs/a b.pt", **changes):
    """The design of `ptft stage=compare …`."""
    texts = [quote(text) for text in ("stage=compare", f"ckpt={ckpt or 'null'}", *typed)]
    config = compose.plain(compose.compose(texts))
    cfg = Config({"ckpt": ckpt, "compare": {**config["compare"], **changes}})
    return read_design(cfg, Overrides.parse(texts))


def values(overrides):
    return Overrides.parse(overrides).typed


def test_three_arms_come_by_themselves_and_differ_in_one_key():
    found = asked()
    assert list(found.arms) == ["scratch", "probe", "finetune"]
    runs = {arm: values(found.overrides(arm, 5, 3)) for arm in found.arms}
    common = {"stage": "finetune", "predictions": "none", "ckpt": "/runs/a b.pt", "dataset.per_class": 5, "seed": 3}
    common |= {"train.safetensors": False, "report": False}
    assert runs["finetune"] == common
    assert runs["probe"] == {**common, "finetune.train": "head", "finetune.probe": "exact"}
    assert runs["scratch"] == {**common, "finetune.weights": "fresh"}


@pytest.mark.parametrize("plus", ["", "+"])
def test_an_arm_is_typed_as_it_is(plus):
    path = "runs/k=1, (b) [c].pt"
    found = asked(f"{plus}compare.arms.letters=ckpt={path}")
    assert values(found.arms["letters"])["ckpt"] == path
    found = asked(f"{plus}compare.arms.letters=[ckpt={path[:-8]}, finetune.train=last:1,optimizer.betas=[0.9,0.95]]")
    typed = values(found.arms["letters"])
    assert typed["ckpt"] == path[:-8]
    assert typed["finetune.train"] == "last:1"
    assert typed["optimizer.betas"] == [0.9, 0.95]


def test_what_is_typed_counts_for_every_arm_and_an_arm_wins():
    found = asked("train.steps=7", "dataset=mnist", "optimizer.lr=3", "compare.arms.slow=optimizer.lr=0.1")
    for arm in found.arms:
        typed = values(found.arms[arm])
        assert typed["train.steps"] == 7
        assert typed["dataset"] == "mnist"
        assert typed["optimizer.lr"] == (0.1 if arm == "slow" else 3)
        assert not [key for key in typed if key.startswith("compare")]


def test_what_is_pinned_gives_way_to_an_arm():
    found = asked("compare.arms.exact=precision=fp32").pinned(["precision=bf16"])
    assert {arm: values(found.arms[arm])["precision"] for arm in found.arms} == {
        "scratch": "bf16",
        "probe": "bf16",
        "finetune": "bf16",
        "exact": "fp32",
    }


def test_only_keeps_the_baseline():
    assert list(asked("compare.only=finetune").arms) == ["scratch", "finetune"]
    assert list(asked("compare.only=[finetune,probe]").arms) == ["scratch", "probe", "finetune"]
    assert list(asked("compare.baseline=probe", "compare.only=finetune").arms) == ["probe", "finetune"]
    assert list(asked("compare.arms.probe=null").arms) == ["scratch", "finetune"]


def test_fractions_take_the_place_of_counts():
    found = asked("compare.fractions=[1,0.1]", "compare.seeds=[7,3]")
    assert (found.key, found.amounts, found.seeds) == ("fractions", [0.1, 1], [7, 3])
    assert values(found.overrides("probe", 0.1, 7))["dataset.fraction"] == 0.1


def test_every_arm_meets_every_amount_seed_and_rate():
    found = asked("compare.per_class=[20,1]", "compare.seeds=2", "compare.tune=[1e-3,1e-2]")
    every = cells(found, dict.fromkeys(found.arms, "x") | {"probe": "y"})
    assert len(every) == 3 * 2 * 2 * 2
    assert {(cell.arm, cell.amount, cell.seed, cell.rate) for cell in every} == {
        (arm, amount, seed, rate)
        for arm in found.arms
        for amount in (1, 20)
        for seed in (0, 1)
        for rate in (1e-3, 1e-2)
    }
    assert all(values(cell.overrides)["optimizer.lr"] == cell.rate for cell in every)
    assert len({cell.identity for cell in every if cell.arm == "probe"}) == 8
    assert [cell.seed for cell in every] == sorted(cell.seed for cell in every), "a part of them is balanced"
    folders = {cell.folder(Path("runs")) for cell in every}
    assert len(folders) == len(every)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("compare.only=prob", "did you mean probe?"),
        ("compare.baseline=nothing", "compare.baseline=nothing: there is no such arm"),
        ("compare.only=scratch", "nothing to compare scratch with"),
        ("compare.arms.x=seed=3", "compare.arms.x: seed=3: is the same for all arms"),
        ("compare.arms.x=dataset=mnist", "is the same for all arms"),
        ("seed=3", "seed=3: in a comparison compare.seeds says it"),
        ("dataset.per_class=3", "compare.per_class or compare.fractions says it"),
        ("compare.per_class=null", "one of them must say how many labels to use"),
    ],
)
def test_what_can_not_be_compared_is_refused(typed, said):
    with pytest.raises(ConfigError) as error:
        asked(typed)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_of_two_overrides_of_a_key_the_later_one_counts():
    assert merged(["a=1", "b=2"], ["a=3"], ["+c=4"]) == ["a=3", "b=2", "+c=4"]
