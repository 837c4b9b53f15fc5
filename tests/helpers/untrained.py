"""A checkpoint of a model that was built and never trained: for what asks how a model is made, not what it learned.

It computes in float32 on every machine, so that others can be compared with it.
"""

from pathlib import Path

from ptft.builders import components
from ptft.checkpoint import file as checkpoint_file
from ptft.config.resolve import resolve


def write(path: Path, *typed: str) -> Path:
    """best.pt of `stage=pretrain` with what is typed, before its first step."""
    cfg = resolve(["stage=pretrain", "device=cpu", "precision=fp32", *typed]).config
    source = components.source(cfg.dataset, None, labelled="label" in components.needs(cfg.objective), model=cfg.model)
    built = components.objective(cfg.model, cfg.objective, source.spec, source.split("train"))
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
