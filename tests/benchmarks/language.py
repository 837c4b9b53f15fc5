"""Language modelling: tokens a second of `fit` beside a plain loop over the same model, in one process."""

from __future__ import annotations

import time
from pathlib import Path

import torch
import torch.nn.functional as F

from ptft.data.text.grammar import Grammar
from ptft.models.text.transformer import Transformer
from ptft.objectives.language.causal_lm import CausalLM
from ptft.runtime import process
from ptft.runtime.precision import autocast
from ptft.train.state import Training
from tests.benchmarks.common import Options, fitted, in_turn, rates, training

CPU, BATCH, LENGTH, STEPS = torch.device("cpu"), 16, 256, 8


def plain(source: Grammar, model: Transformer, precision: str) -> float:
    """What people write: random crops of a tensor of ids, forward, backward, clip, AdamW."""
    ids = source.split("train").values.long()  # type: ignore[union-attr]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    began = time.perf_counter()
    for _ in range(STEPS):
        starts = torch.randint(len(ids) - LENGTH, (BATCH,)).tolist()
        x = torch.stack([ids[start : start + LENGTH - 1] for start in starts])
        y = torch.stack([ids[start + 1 : start + LENGTH] for start in starts])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(x).tokens @ model.embedding.weight.T
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return STEPS * BATCH * LENGTH / (time.perf_counter() - began)


def prepared(source: Grammar, model: Transformer) -> Training:
    return training(CausalLM(model, source.spec), source.split("train"), BATCH)  # type: ignore[arg-type]


def ours(t: Training, precision: str, folder: Path) -> float:
    """Tokens a second of `fit`, with everything that it counts, logs and watches."""
    t.autocast = autocast(precision, CPU)
    return STEPS * BATCH * LENGTH / fitted(t, folder, STEPS)


def run(options: Options) -> str:
    """gpt_tiny on the grammar, bytes, batches of 16 x 256."""
    process.keep_freed_memory()
    source = Grammar(length=LENGTH)
    model = Transformer(source.spec, causal=True)
    t = prepared(source, Transformer(source.spec, causal=True))
    sides = {}
    for precision in ("fp32", "bf16"):
        sides[f"plain loop {precision}"] = lambda p=precision: plain(source, model, p)
        sides[f"ptft {precision}"] = lambda p=precision: ours(t, p, options.work / "language")
    for measure in sides.values():
        measure()
    return rates(in_turn(options.rounds, **sides), "plain loop fp32", "tokens/s")
