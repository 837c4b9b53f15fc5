"""Options of optimizers that torch refuses, or that ask for a plainer one."""

import pytest

from tests.conftest import FEW, NET, refused, summary

RUN = ("stage=pretrain", *FEW, *NET, "train.steps=2", "precision=fp32", "report=false", "predictions=none")


@pytest.mark.parametrize(
    "typed",
    [("optimizer=sgd", "optimizer.momentum=0"), ("optimizer=muon", "optimizer.rest=sgd", "optimizer.rest_momentum=0")],
    ids=["sgd", "the rest of muon"],
)
def test_without_a_momentum_it_is_the_plain_one_whatever_nesterov_is(ptft, tmp_path, typed):
    losses = []
    for name, ahead in (("one", ()), ("two", ("optimizer.nesterov=false",))):
        muon = () if typed[0] == "optimizer=sgd" else ("optimizer.momentum=0",)  # or its own Nesterov would differ
        done = ptft(*RUN, *typed, *muon, *ahead, f"hydra.run.dir={tmp_path / name}")
        assert done.code == 0, done.text
        losses.append(summary(tmp_path / name)["metrics"]["val"]["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("optimizer=sgd", "+optimizer.dampening=0.5"), ("optimizer: Nesterov momentum", "optimizer.KEY=")),
        (("optimizer=adamw", "+optimizer.foreach=true"), ("optimizer: `fused` and `foreach`", "optimizer.KEY=")),
        (
            ("optimizer=muon", "optimizer.ns_steps=100"),
            ("optimizer.ns_steps=100: must be a whole number from 1 to 99",),
        ),
    ],
)
def test_what_a_constructor_refuses_is_a_line_that_names_the_group(ptft, typed, said):
    refused(ptft(*RUN, *typed), 2, *said)
