"""Regress, tag and span: padding and parts of a batch change nothing, and numbers are what they are by hand."""

import math

import pytest
import torch
from scipy import stats

from ptft.core import Step
from ptft.data.loader import Loader
from ptft.data.text import squad
from ptft.data.text.conll import Conll
from ptft.data.text.squad import Squad
from ptft.data.text.table import TableTexts
from ptft.models.text.transformer import Transformer
from ptft.objectives.supervised.classify import Classify
from ptft.objectives.supervised.regress import Regress
from ptft.objectives.supervised.span import Span
from ptft.objectives.supervised.tag import Tag
from ptft.train.loop import evaluate, gradients
from tests.helpers.autoencoder import training

KINDS = [Classify, Regress, Tag, Span]


def source(kind, root):
    if kind is Tag:
        root.mkdir()
        for split in ("train", "dev"):
            lines = ["Ada\tB-PER\nLovelace\tI-PER\n" + "sees\tO\n" * (i % 5) + "Delft\tB-LOC\n" for i in range(32)]
            (root / f"{split}.conll").write_text("\n".join(lines))
        return Conll(root=root, vocabulary=300)
    if kind is Span:
        squad.sample(root, 32)
        return Squad(root=root, vocabulary=300, length=40, stride=8)
    root.mkdir()
    for split in ("train", "dev"):
        lines = [f"{'very ' * (i % 7)}good {i}\t{i % 3}" for i in range(32)]
        (root / f"{split}.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    return TableTexts(root=root, vocabulary=300, target="number" if kind is Regress else "class")


def build(kind, found):
    torch.manual_seed(0)
    backbone = Transformer(found.spec, width=16, depth=2, heads=2)
    labels = {"labels": found.split("train").labels} if kind in (Classify, Regress) else {}
    return kind(backbone, found.spec, **labels).double()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_loss_and_no_answer(kind, tmp_path):
    found = source(kind, tmp_path / "data")
    examples, objective = found.split("val"), build(kind, found).eval()
    whole = examples.take(torch.arange(len(examples)))
    assert not whole["mask"].all()
    with torch.no_grad():
        alone: list[Step] = [objective(examples.take(torch.tensor([i]))) for i in range(len(examples))]
        together = objective(whole)
        # Where words begin, which for new files the reader says, is where labels stand.
        answers, first = (
            objective.predict({**batch, "words": batch["label"]} if kind is Tag else batch)
            for batch in (whole, examples.take(torch.tensor([0])))
        )
    assert float(together.total) == pytest.approx(sum(float(step.total) for step in alone), rel=1e-5)
    assert int(together.count) == sum(int(step.count) for step in alone)
    assert answers[0].keys() == first[0].keys()
    for name, value in answers[0].items():
        assert first[0][name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5, abs=1e-6))


@pytest.mark.parametrize("kind", KINDS)
def test_four_parts_of_eight_are_one_batch_of_thirty_two(kind, tmp_path):
    found = source(kind, tmp_path / "data")
    batch = found.split("train").take(torch.arange(32))
    results = []
    for accumulate in (1, 4):
        t = training(lambda: build(kind, found), accumulate=accumulate)
        sums, _ = gradients(t, batch)
        results.append((float(sums["total"]), int(sums["count"]), [p.grad for p in t.parameters if p.grad is not None]))
    (total, count, one), (again, same, four) = results
    assert total == pytest.approx(again, rel=1e-6)
    assert count == same
    torch.testing.assert_close(one, four, rtol=1e-4, atol=1e-7)


def test_regression_metrics_over_batches_are_scipys(tmp_path):
    found = source(Regress, tmp_path / "data")
    objective, examples = build(Regress, found), found.split("val")
    measured, _ = evaluate(objective, Loader(examples, 5), torch.no_grad)
    value = torch.tensor([row["value"] for row in objective.eval().predict(examples.take(torch.arange(32)))])
    assert measured["rmse"] == pytest.approx(math.sqrt((value - examples.labels).square().mean()), rel=1e-4)
    assert measured["pearson"] == pytest.approx(stats.pearsonr(value, examples.labels).statistic, abs=1e-4)
    assert measured["spearman"] == pytest.approx(stats.spearmanr(value, examples.labels).statistic, abs=1e-4)
    labels = found.split("train").labels
    assert float(objective.target_mean) == pytest.approx(float(labels.mean()))
    assert float(objective.target_std) == pytest.approx(float(labels.std(unbiased=False)))
    assert {"target_mean", "target_std"} <= objective.state_dict().keys()


def test_entities_are_counted_over_batches_as_in_one(tmp_path):
    found = source(Tag, tmp_path / "data")
    objective, examples = build(Tag, found), found.split("val")
    small, table = evaluate(objective, Loader(examples, 3), torch.no_grad)
    large, _ = evaluate(objective, Loader(examples, 16), torch.no_grad)
    assert small == pytest.approx(large)
    assert table["entities"].rows == ["LOC", "PER"]
    assert [row[0] for row in table["entities"].values] == [32, 32]


def test_the_best_span_is_the_best_of_all_that_may_be(tmp_path):
    found = source(Span, tmp_path / "data")
    objective = build(Span, found).eval()
    objective.max_answer = 4
    batch = found.split("val").take(torch.arange(8))
    with torch.no_grad():
        logits, best = objective.logits(batch), objective.predict(batch)
    for row in range(8):
        start, end = logits[row].unbind(-1)
        allowed = [
            (float(start[a] + end[b]), a, b) for a in range(1, len(start)) for b in range(a, min(a + 4, len(start)))
        ]
        score, a, b = max(allowed)
        assert (best[row]["start"], best[row]["end"]) == (a, b)
        assert best[row]["score"] == pytest.approx(score)
        assert best[row]["margin"] == pytest.approx(float(start[0] + end[0]))
        assert batch["context"][row, a : b + 1].all()
