"""The learning rate of a finetune where none is typed: by what its weights are, and what of them moves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

AUTO = "auto"
"""The rate that is to be found here."""
USUAL = 5e-4
"""For convolutional networks, small transformers, weights that are new, and where the backbone's own weights rest."""
TRANSFORMER = 5e-5
"""For a pretrained transformer as a whole: the largest of 5e-5, 3e-5 and 2e-5, among which Devlin et al. 2019 (BERT)
choose for every task (section 4.1 and appendix A.3). Low-rank factors take about ten times as much (Hu et al. 2022,
appendix D: 2e-4 to 5e-4), heads and biases too (Ben Zaken et al. 2022), which is `USUAL`."""
LARGE = 6_000_000
"""Parameters outside of embeddings from which on a transformer is one: fewer than ALBERT's 7 million (Lan et al. 2020),
more than DeiT-tiny's. Smaller ones are finetuned at higher rates: up to 3e-4 in Turc et al. 2019."""
ATTENTION, EMBEDDING = re.compile(r"att(ention|n)", re.IGNORECASE), re.compile(r"emb(ed|eddings?)?[._]|embed|wte|wpe")
SHARE = 0.02
"""Of the parameters, those of attention in a transformer at the least."""
ADAM = ("Adam", "AdamW", "Muon")
"""Optimizers whose steps are about as long as the rate says, whatever the gradient: those that the rates are for."""
RESTING = ("head", "norm", "bias")
"""`finetune.train` where the backbone's weights, all but a few, rest."""


def default_rate(
    weights: Mapping[str, Tensor] | None, finetune: Mapping[str, Any], optimizer: str
) -> tuple[float, str]:
    """The rate, and what it is the default for.

    weights: the checkpoint's, by name; None where there is none. finetune: the node of the configuration.
    optimizer: the name of its class.
    """
    if weights is None or finetune.get("weights") == "fresh":
        return USUAL, "new weights"
    if (finetune.get("lora") or {}).get("rank") is not None:
        return USUAL, "low-rank factors"
    if finetune.get("train") in RESTING:
        return USUAL, f"finetune.train={finetune['train']}"
    if optimizer in ADAM and is_large_transformer(weights):
        return TRANSFORMER, "a pretrained transformer"
    return USUAL, "a whole network"


def is_large_transformer(weights: Mapping[str, Tensor]) -> bool:
    """Whether they are a transformer's, by the names of their tensors, with `LARGE` parameters beside embeddings."""
    sizes = {name: value.numel() for name, value in weights.items() if not EMBEDDING.search(name)}
    attention = sum(size for name, size in sizes.items() if ATTENTION.search(name))
    return sum(sizes.values()) >= LARGE and attention >= SHARE * sum(sizes.values())
