"""A checkpoint of a model that was built and never trained: for what asks how a model is made, not what it learned.

Its weights follow from `seed`, whatever was drawn before; it computes in float32 on every machine, so that others can
be compared with it.
"""

from pathlib import Path

import torch

from ptft.builders import components
from ptft.builders.parts import recipe
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve


def write(path: Path, *typed: str) -> Path:
    """best.pt of `stage=pretrain` with what is typed, before its first step."""
    asked = resolve(["stage=pretrain", "device=cpu", "precision=fp32", *typed]).config
    torch.manual_seed(asked.seed)
    labelled = "label" in components.needs(asked.objective)
    source = components.source(asked.dataset, None, labelled=labelled, model=asked.model)
    train = source.split("train")
    cfg, _ = recipe.settled(asked, source.spec.modality, train)
    built = components.objective(cfg.model, cfg.objective, source.spec, train)
    config = cfg.plain()
    config["model"] = {**config["model"], **built.backbone.settled}
    content = {
        "config": config,
        "spec": built.describe(source.spec).to_dict(),
        "weights": dict(built.state_dict()),
        "progress": {"step": 0},
        "fingerprint": source.fingerprint(),
        "parent": None,
        "versions": {},
    }
    checkpoint_file.write(path, content)
    return path
