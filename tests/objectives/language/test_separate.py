"""Texts that share a row: the same as each in a row of its own, whatever else is beside them."""

import math

import pytest
import torch

from ptft.core import Spec
from ptft.data.ragged import padded
from ptft.data.text.corpus import Text
from ptft.data.text.packed.packing import packed, pieces
from ptft.errors import ConfigError
from ptft.models.text.transformer import Transformer, places_in
from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.language.masked_lm import MaskedLM
from ptft.objectives.language.replaced_token import ReplacedToken
from tests.helpers.language import model, spec

LINES = ["the cat sat on the mat", "a dog", "who?", "every green robot that waits laughs", "again", "and again"]
RUNS = ("whole", "half")


@pytest.fixture
def source(tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(LINES))
    return Text(root=tmp_path / "lines.txt", documents="line", separate=True, length=40, val=None)


def alone(batch):
    """Every document of a packed batch in a row of its own, padded."""
    rows = [
        row[document == number]
        for row, document in zip(batch["input"], batch["document"], strict=True)
        for number in range(1, int(document.max()) + 1)
    ]
    ids, mask = padded(rows, 256)
    return {"input": ids, "mask": mask, "index": torch.arange(len(ids))}


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_documents_that_share_a_row_are_as_each_by_itself(source, positions):
    batch = source.split("train").take(torch.arange(len(source.split("train"))))
    assert int(batch["document"].max()) > 1
    objective = CausalLM(model(True, positions=positions), source.spec).eval()
    both = [objective(found) for found in (batch, alone(batch))]
    assert int(both[0].count) == int(both[1].count) == sum(len(line) + 1 for line in LINES)
    assert math.isclose(*(float(step.total.detach()) for step in both), rel_tol=1e-5)
    reader = model(False, positions=positions).eval()
    packed_tokens = reader(batch["input"], batch["document"]).tokens[batch["mask"]]
    own = alone(batch)
    assert torch.allclose(packed_tokens, reader(own["input"], own["mask"]).tokens[own["mask"]], atol=1e-5)
    changed = {**batch, "input": batch["input"].where(batch["document"] != 1, 120)}
    after = reader(changed["input"], batch["document"]).tokens
    still = batch["document"] > 1
    assert torch.equal(after[still], reader(batch["input"], batch["document"]).tokens[still])


def test_masked_words_are_found_in_their_own_document(source):
    batch = source.split("train").take(torch.arange(1))
    objective = MaskedLM(model(False), source.spec, mask_ratio=0.4, whole_words=True).eval()
    chosen = objective.masks(batch)[0]
    assert not (chosen & (batch["input"] > 255)).any()
    assert chosen.any()
    other = {**batch, "input": batch["input"].where(chosen | (batch["document"] != 1), 120)}
    assert float(objective(other).total.detach()) != float(objective(batch).total.detach())
    with pytest.raises(ConfigError, match=r"objective=replaced_token: .*dataset\.separate=false"):
        ReplacedToken(model(False), source.spec)


def test_a_model_that_would_mix_them_is_refused(source):
    class Mixing(Transformer):
        separates = False

    objective = CausalLM(Mixing(spec(), causal=True, width=32, depth=1, heads=2), source.spec)
    with pytest.raises(ConfigError, match=r"dataset\.separate=true: Mixing lets texts"):
        objective(source.split("train").take(torch.arange(1)))


def test_every_epoch_holds_each_document_once_and_some_in_other_company(source):
    train = source.split("train")
    whole = {bytes(t for t in row.tolist() if t < 256).decode() for row in alone(train.take(torch.arange(3)))["input"]}
    assert whole == set(LINES)
    companies = set()
    for seed in range(8):
        order = train.shuffled(seed)
        batch = train.take(order)
        assert torch.equal(batch["input"], train.take(order)["input"]), "a function of the indices"
        texts = [bytes(t for t in row.tolist() if t < 256).decode() for row in alone(batch)["input"]]
        assert sorted(texts) == sorted(LINES)
        companies.add(tuple(sorted(bytes(t for t in row.tolist() if t < 256) for row in batch["input"])))
    assert len(companies) == 2, "`a dog` and `again` are as long, and change places"


def test_rows_are_full_and_none_is_cut():
    lengths = torch.tensor([5, 3, 3, 2, 7, 1, 4])
    rows = packed(lengths, 8)
    assert sorted(text for row in rows for text in row) == list(range(7))
    assert all(sum(int(lengths[text]) for text in row) <= 8 for row in rows)
    assert len(rows) == 4
    starts, sizes, text = pieces(torch.tensor([0, 10]), torch.tensor([10, 3]), 4)
    assert (starts.tolist(), sizes.tolist(), text.tolist()) == ([0, 3, 6, 10], [4, 4, 4, 3], [0, 0, 0, 1])
    assert places_in(torch.tensor([[1, 1, 2, 2, 2, 0]])).tolist() == [[0, 1, 0, 1, 2, 0]]


def test_rows_of_tables_are_documents(tmp_path):
    lines = [f'{{"text": "{line}"}}' for line in LINES]
    (tmp_path / "t.jsonl").write_text("\n".join([*lines, '{"text": ""}']))
    found = Text(root=tmp_path, documents="row", separate=True, length=24, val=None)
    assert found.documents("train") == LINES
    assert any("1 empty line is left out" in note for note in found.notes)
    assert isinstance(found.spec, Spec)


def test_a_run_in_two_halves_is_the_run_in_one(ptft, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(LINES * 4))
    typed = ["stage=pretrain", "model=gpt_tiny", "objective=causal_lm", "dataset=text", "dataset.root=lines.txt"]
    typed += ["dataset.documents=line", "dataset.separate=true", "dataset.length=48", "dataset.val=0.2"]
    typed += ["model.width=16", "model.depth=1", "model.heads=2", "schedule=constant", "train.batch_size=2"]
    for name, steps in zip(RUNS, (8, 5), strict=True):
        done = ptft(*typed, f"train.steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.text
    assert "documents apart in" in " ".join(done.out.split())
    assert ptft("resume=half", "train.steps=8").code == 0
    one, other = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True) for name in ("whole", "half")
    )
    assert all(torch.equal(value, other["weights"][key]) for key, value in one["weights"].items())
    (tmp_path / "p.txt").write_text("the cat")
    done = ptft("stage=predict", "ckpt=half", "input=p.txt", "generate.length=3", "hydra.run.dir=said")
    assert done.code == 0, done.text
