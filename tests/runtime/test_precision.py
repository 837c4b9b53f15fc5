"""Precision and layout: typed, measured, remembered, kept."""

import json
import math
from pathlib import Path

import pytest
import torch

from ptft.core import Spec
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.objectives.supervised.classify import Classify
from ptft.runtime import autotune, precision
from ptft.runtime.autotune import _choose, fastest
from ptft.runtime.paths import cache_dir
from ptft.runtime.precision import ComputeFormat, choices, ruled
from tests.helpers.self_killing import Net

CPU = torch.device("cpu")
LONG = ["stage=pretrain", "dataset.images=200", "train.batch_size=8", "train.steps=100", "train.every.evaluate=50"]
TINY = ["model.width=8", "model.channels=[4,4]"]


def spec() -> Spec:
    return Spec("image", {"size": [12, 12], "channels": 1, "fit": "none"}, classes=("a", "b"), mean=(0.5,), std=(0.5,))


def objective() -> Classify:
    torch.manual_seed(0)
    return Classify(Net(spec(), channels=[4, 4], width=8), spec(), views={"shift": 1})


def batch() -> dict[str, torch.Tensor]:
    return {"input": torch.randint(256, (8, 1, 12, 12), dtype=torch.uint8), "label": torch.arange(8) % 2}


def test_nothing_is_open_where_both_are_typed():
    assert choices("fp32", "contiguous", CPU, objective()) == [ComputeFormat("fp32", "contiguous")]
    assert choices("bf16", "auto", CPU, objective()) == [
        ComputeFormat("bf16", "channels_last"),
        ComputeFormat("bf16", "contiguous"),
    ]


@pytest.mark.parametrize(("hardware", "expected"), [(True, ["bf16", "fp32"]), (False, ["fp32"])])
def test_half_precision_is_a_choice_where_the_hardware_computes_in_it(monkeypatch, hardware, expected):
    monkeypatch.setattr(precision, "_has_bf16", lambda device: hardware)
    assert [each.precision for each in choices("auto", "contiguous", CPU, objective())] == expected


def test_half_precision_must_be_clearly_faster():
    half, exact = ComputeFormat("bf16", "channels_last"), ComputeFormat("fp32", "channels_last")
    assert _choose({half: 10.0, exact: 10.2}) == exact
    assert _choose({half: 10.0, exact: 10.4}) == half
    assert _choose({half: 10.4, exact: 10.0}) == exact


def test_measuring_leaves_no_trace():
    task, given = objective(), batch()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    state = torch.get_rng_state()
    among = [ComputeFormat("fp32", "channels_last"), ComputeFormat("fp32", "contiguous")]
    chosen, _ = fastest(task, given, among, CPU, {})
    assert chosen in among
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert all(parameter.grad is None for parameter in task.parameters())


def test_what_was_measured_is_remembered_for_the_same_thing_only(monkeypatch):
    steps = []
    monkeypatch.setattr(autotune, "_step", lambda *given: steps.append(given) or 0.01)
    monkeypatch.setattr(autotune, "ALONE", 0.0)  # however busy the machine is
    among = [ComputeFormat("fp32", "channels_last"), ComputeFormat("fp32", "contiguous")]
    given, task = batch(), objective()
    measured = fastest(task, given, among, CPU, {"model": 1})[1]
    assert measured == dict.fromkeys(among, 10.0)
    (file,) = cache_dir().rglob("*.json")
    rows = json.loads(file.read_text())
    rows[0]["milliseconds"], rows[1]["milliseconds"] = 5.0, 1.0
    file.write_text(json.dumps(rows))
    assert fastest(task, given, among, CPU, {"model": 1})[1] == dict(zip(among, [5.0, 1.0], strict=True))
    assert fastest(task, given, among, CPU, {"model": 2})[1] == measured
    assert len(steps) == 2 * len(among) * (1 + autotune.ROUNDS), "measured twice, recalled once"
    file.write_text("{")
    assert fastest(task, given, among, CPU, {"model": 1})[1] == measured, "what can't be read is measured again"


def test_what_a_busy_machine_measured_is_neither_used_nor_remembered(monkeypatch):
    monkeypatch.setattr(autotune, "ALONE", math.inf)
    among = [ComputeFormat("fp32", "contiguous"), ComputeFormat("fp32", "channels_last")]
    assert fastest(objective(), batch(), among, CPU, {}) == (among[0], {})
    assert not list(cache_dir().rglob("*.json"))


def test_a_network_without_convolutions_has_no_layout_to_choose():
    net = VisionTransformer(spec(), patch=4, width=8, depth=1, heads=1)
    assert len(choices("fp32", "auto", CPU, Classify(net, spec()))) == 2, "its patches are a convolution"
    net.patches = torch.nn.Identity()
    assert len(choices("fp32", "auto", CPU, Classify(net, spec()))) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [(["precision=fp32", "train.layout=contiguous"], "fp32\n"), (["train.layout=channels_last"], "channels last")],
)
def test_a_run_says_computes_in_and_keeps_what_was_chosen(ptft, typed, said):
    assert ptft(*LONG, *TINY, *typed, "hydra.run.dir=run").code == 0
    summary = json.loads(Path("run/summary.json").read_text())
    header = next(line for line in Path("run/run.log").read_text().splitlines(True) if line.startswith("device"))
    assert said in header
    stored = torch.load("run/checkpoints/last.pt", weights_only=True)["config"]
    assert (stored["precision"], stored["train"]["layout"]) == (summary["precision"], summary["layout"])
    assert stored["precision"] in ("fp32", "bf16")
    assert ptft("resume=run", "train.steps=101").code == 0
    assert json.loads(Path("run/summary.json").read_text())["precision"] == summary["precision"]


def test_nothing_is_chosen_by_the_clock_where_the_numbers_must_be_the_same_each_time(ptft, monkeypatch):
    asked = []

    def measured(task, batch, among, *_):
        asked.append(among)
        return among[-1], {}

    monkeypatch.setattr("ptft.builders.acceleration.fastest", measured)
    assert ptft(*LONG, *TINY, "train.deterministic=true", "hydra.run.dir=run").code == 0
    rule, summary = ruled("auto", "auto", CPU), json.loads(Path("run/summary.json").read_text())
    assert (summary["precision"], summary["layout"]) == (rule.precision, rule.layout)
    assert not asked
    assert ptft(*LONG, *TINY, "hydra.run.dir=measured").code == 0
    assert len(asked) == 1


def test_an_evaluation_computes_as_the_training_did(ptft, pretrained):
    assert ptft("stage=evaluate", f"ckpt={pretrained}", "hydra.run.dir=measured").code == 0
    trained = json.loads((pretrained / "summary.json").read_text())
    assert json.loads(Path("measured/summary.json").read_text())["precision"] == trained["precision"]


def test_the_rule_without_measuring():
    assert ruled("fp32", "auto", CPU) == ComputeFormat("fp32", "channels_last")
    assert ruled("bf16", "contiguous", CPU) == ComputeFormat("bf16", "contiguous")
