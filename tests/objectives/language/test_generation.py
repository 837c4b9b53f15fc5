"""Continuations: with and without a cache, drawn as asked, and through `ptft stage=predict`."""

import csv
import json
from pathlib import Path

import pytest
import torch

from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.language.generation import SamplingParameters, generate
from tests.conftest import refused
from tests.helpers.language import batch, model, spec

PROMPTS = ["the cat", "a", "every green robot"]


def writer(length=64, **options):
    return CausalLM(model(True, length, **options), spec(length)).eval()


def texts(objective, found, window=64, **options):
    with torch.inference_mode():
        return generate(objective, found, SamplingParameters(**options), window, end=-1)


@pytest.mark.parametrize("options", [{}, {"positions": "learned"}])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_what_is_kept_changes_nothing(options, temperature):
    """Also beyond the window, and whatever else is in the batch."""
    objective, found = writer(32, **options), batch(PROMPTS)
    kept = texts(objective, found, 32, length=50, temperature=temperature)
    again = texts(objective, found, 32, length=50, temperature=temperature, cache=False)
    assert kept == again
    assert all(len(text) == 50 for text in kept)
    alone = {name: value[1:2] for name, value in batch(PROMPTS).items()}
    alone["input"], alone["mask"] = alone["input"][:, :1], alone["mask"][:, :1]
    assert texts(objective, alone, 32, length=50, temperature=temperature)[0] == kept[1]


def test_draws_follow_the_seed_and_the_text():
    objective, found = writer(), batch(["same", "same"])
    first = texts(objective, found, length=20, temperature=1.0)
    assert first == texts(objective, found, length=20, temperature=1.0)
    assert first[0] != first[1]
    assert first != texts(objective, found, length=20, temperature=1.0, seed=1)


def test_only_the_likeliest_are_drawn():
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0]]).expand(1000, 4)
    chance = torch.linspace(0, 0.9999, 1000)
    share = logits[0].softmax(0)

    def drawn(**options):
        return torch.bincount(SamplingParameters(**options)(logits, chance), minlength=4) / 1000

    assert torch.allclose(drawn(temperature=1.0), share, atol=0.01)
    assert torch.allclose(drawn(temperature=0.5), (2 * logits[0]).softmax(0), atol=0.01)
    assert drawn(temperature=1.0, top_k=2)[[0, 3]].sum() == 0
    assert torch.allclose(drawn(temperature=1.0, top_k=2)[1], share[1] / (share[1] + share[2]), atol=0.01)
    assert drawn(temperature=1.0, top_p=0.5).tolist() == [0, 1, 0, 0]
    assert drawn(temperature=1.0, top_p=0.7)[[0, 3]].sum() == 0
    for temperature in (0, 1e-3, 1e-8, 1e-40, 1e-320):
        assert drawn(temperature=temperature).tolist() == [0, 1, 0, 0]


def test_a_text_ends_at_its_end():
    objective = writer()
    end = int(objective.next_logits(objective.backbone(batch(["the"])["input"]).tokens[:, -1]).argmax())
    with torch.inference_mode():
        assert generate(objective, batch(["the"]), SamplingParameters(temperature=0), 64, end) == [[]]


SMALL = [
    *("model=gpt_tiny", "model.width=32", "model.depth=2", "model.heads=2", "objective=causal_lm", "dataset=grammar"),
    *("dataset.sentences=100", "dataset.held_out=10", "dataset.length=32", "precision=fp32", "train.steps=6"),
]


def objects(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run, which the first test that needs it trains."""
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def trained(folder, ptft):
    if not folder.exists():
        done = ptft("stage=pretrain", *SMALL, f"hydra.run.dir={folder}")
        assert done.code == 0, done.text
        assert "bits per byte" in done.out
    return folder


def test_prompts_of_a_file_are_continued(ptft, trained, tmp_path):
    (tmp_path / "prompts.txt").write_text("the cat\n\nsome old dogs that\n", encoding="utf-8")
    common = ["stage=predict", f"ckpt={trained}", "input=prompts.txt", "generate.length=20"]
    assert (done := ptft(*common, "output=a.csv")).code == 0, done.text
    with open("a.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == ["the cat", "some old dogs that"]
    assert rows[0]["path"].endswith("prompts.txt:1")
    assert (done := ptft(*common, "output=b.jsonl", "generate.cache=false")).code == 0, done.text
    assert objects("b.jsonl") == rows
    assert (done := ptft(*common, "output=c.jsonl", "whole=true", "seed=3")).code == 0, done.text
    (row,) = objects("c.jsonl")
    assert row["prompt"] == "the cat\n\nsome old dogs that\n"


def test_prompts_of_a_table_are_its_texts(ptft, trained, tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"text": "the cat"}\n{"id": 3}\n')
    common = ("stage=predict", f"ckpt={trained}", "generate.length=4", "output=out.csv")
    assert (done := ptft(*common, "input=prompts.jsonl")).code == 0, done.text
    with open("out.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["prompt"]) for row in rows] == [("prompts.jsonl:1", "the cat"), ("prompts.jsonl:2", "")]
    (tmp_path / "prompts.csv").write_text("id,prompt\n1,the cat\n")
    done = ptft("stage=predict", f"ckpt={trained}", "input=prompts.csv")
    refused(done, 3, "prompts.csv:1: column: there is no 'text'", "input_text=NAME")


def test_evaluate_and_what_can_not_be_asked(ptft, trained):
    done = ptft("stage=evaluate", f"ckpt={trained}")
    assert done.code == 0, done.text
    assert "bits_per_byte" in done.out
    refused(ptft("stage=predict", f"ckpt={trained}", "text=x", "generate.top_p=2"), 2, "generate.top_p=2")
    Path("empty").mkdir()
    refused(ptft("stage=predict", f"ckpt={trained}", "input=empty"), 3, "no text files there")
    refused(ptft("stage=predict", f"ckpt={trained}", "input=nowhere"), 3, "no files there")
    refused(ptft("stage=finetune", f"ckpt={trained}", "dataset=digits"), 2, "text")
    refused(ptft("stage=pretrain", *SMALL, "model.causal=false"), 2, "objective=causal_lm", "gpt_tiny")
