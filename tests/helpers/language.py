"""Small parts of language modelling that tests share: a text source, batches of it, and models."""

from __future__ import annotations

import torch

from ptft.core import Batch, Objective, Spec
from ptft.data.ragged import padded
from ptft.data.text.grammar import Grammar
from ptft.data.text.reader import text_spec
from ptft.data.tokenizer import Tokenizer
from ptft.models.text.transformer import Transformer

SIZE = {"width": 32, "depth": 2, "heads": 2}

SENTENCES = ["the cat sat on the mat", "a dog", "every green robot that waits laughs again, and again", "who?"]


def spec(length: int = 64) -> Spec:
    return text_spec(Tokenizer(), length, "none", keep="end")


def model(causal: bool, length: int = 64, **options) -> Transformer:
    torch.manual_seed(0)
    return Transformer(spec(length), causal=causal, **{**SIZE, **options})


def batch(sentences: list[str] = SENTENCES) -> Batch:
    """Uneven sentences, padded."""
    ids, mask = padded([torch.tensor(row) for row in Tokenizer().encode(sentences)], Tokenizer().pad)
    return {"input": ids, "mask": mask, "index": torch.arange(len(ids))}


def grammar(**options) -> Grammar:
    return Grammar(**{"sentences": 60, "held_out": 20, "length": 32, "val": "val", "test": "test", **options})


def part(whole: Batch, rows: list[int]) -> Batch:
    """Some examples of a batch, no longer than they need to be."""
    longest = int(whole["mask"][rows].sum(1).max())
    return {name: v[rows][:, :longest] if v.ndim > 1 else v[rows] for name, v in whole.items()}


def loss(objective: Objective, found: Batch) -> tuple[float, int]:
    step = objective(found)
    return float(step.total.detach()), int(step.count)
