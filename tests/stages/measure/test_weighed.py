"""Every objective that says what each example adds: its metrics of weighted examples are those of copies of them."""

import importlib
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from ptft.builders import components
from ptft.config.resolve import resolve
from ptft.data.corrupted.examples import Corrupted
from ptft.data.loader import Loader
from ptft.stages.measure import intervals
from ptft.train.found import Found
from ptft.train.loop import evaluate

BERT = ("model=bert_tiny", "model.width=16", "model.depth=1", "dataset.tokenizer=bytes")
SOUND = ("model=audio_cnn", "model.channels=[4,8]", "model.width=12", "dataset=tones", "dataset.count=12")
SETS = "text,label\n" + "".join(f"word {i} {'a' * i},{'x|y' if i % 3 else 'z'}\n" for i in range(30))
TASKS = {
    "classify": ("dataset=digits", "model.width=8", "model.channels=[4,4]"),
    "calibrated": ("dataset=digits", "model.width=8", "model.channels=[4,4]", "objective.calibrate=true"),
    "multilabel": ("dataset=table", "objective=multilabel", "dataset.label_separator=|", *BERT),
    "regress": ("dataset=table", "objective=regress", "dataset.target=number", "dataset.label=number", *BERT),
    "tag": ("dataset=conll", "objective=tag", *BERT),
    "span": ("dataset=squad", "objective=span", *BERT),
    "ctc": (*SOUND, "objective=ctc", "dataset.words=[1,2]", "dataset.held_out=12"),
    "causal_lm": (
        "dataset=conll",
        "objective=causal_lm",
        "model=gpt_tiny",
        "model.width=16",
        "dataset.tokenizer=bytes",
    ),
    "masked_lm": ("dataset=conll", "objective=masked_lm", *BERT),
    "replaced_token": ("dataset=conll", "objective=replaced_token", *BERT),
}
WITHOUT = {"ece", "temperature", "exact_match"}
"""Metrics that are none of weights, and of questions of which there is one each, whatever is copied."""


def copies(batch, severity, spec, examples):
    """What `Corrupted` makes of the places of copies: the examples that they are copies of."""
    raise AssertionError("taken by its own `take`")


class Copies(Corrupted):
    """Some of the examples, some of them several times."""

    def __init__(self, examples, rows):
        super().__init__(examples, copies, 1, None)
        self.rows = rows
        self.labels = None if examples.labels is None else examples.labels[rows]
        self.lengths = None if examples.lengths is None else examples.lengths[rows]

    def __len__(self):
        return len(self.rows)

    def take(self, indices):
        return self.examples.take(self.rows[indices])


def data(name):
    """What to type for the root of a task's data, which are written."""
    dataset = next(key.partition("=")[2] for key in TASKS[name] if key.startswith("dataset="))
    if name == "multilabel":
        Path("sets.csv").write_text(SETS)
        return ["dataset.root=sets.csv"]
    if dataset in ("digits", "tones"):
        return []
    importlib.import_module(f"ptft.data.text.{dataset}").sample(Path("data"))
    return ["dataset.root=data"]


@pytest.mark.parametrize("name", TASKS)
def test_metrics_of_weighted_examples_are_those_of_copies(name):
    torch.manual_seed(0)
    cfg = resolve(["stage=pretrain", "device=cpu", "precision=fp32", *TASKS[name], *data(name)]).config
    source = components.source(cfg.dataset, None, labelled="label" in components.needs(cfg.objective))
    objective = components.objective(cfg.model, cfg.objective, source.spec, source.split("train"))
    examples = source.split("val")
    if name == "calibrated":
        objective.calibration.fill_(0.3)
    found = Found()
    metrics = evaluate(objective, Loader(examples, 16), nullcontext, found=found)[0]
    measure = intervals.measured_by(objective, examples, found)
    assert {*intervals.trusted(measure, found, metrics)} >= {*metrics} - WITHOUT
    weight = torch.randint(3, (2, len(examples)), generator=torch.Generator().manual_seed(3)).double()
    weighed = measure(weight)
    for r in range(2):
        rows = torch.arange(len(examples)).repeat_interleave(weight[r].long())
        copied = evaluate(objective, Loader(Copies(examples, rows), 16), nullcontext)[0]
        names = {*copied} - WITHOUT - ({"f1"} if name == "span" else set())
        assert {key: float(weighed[key][r]) for key in names} == pytest.approx(
            {key: copied[key] for key in names}, rel=1e-3, abs=1e-4, nan_ok=True
        )
