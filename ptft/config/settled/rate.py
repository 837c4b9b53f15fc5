"""`optimizer.lr: auto`, the rate of a finetune where none is typed, becomes a number, which is what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from ptft.finetune.rates import AUTO, default_rate

if TYPE_CHECKING:
    from ptft.checkpoint.load import Checkpoint


def settle(cfg: DictConfig, checkpoint: Checkpoint | None) -> tuple[str, ...]:
    """Set it in place where the stage finetunes; a sentence that says what it is and why, or none."""
    if not cfg.stage.get("finetunes") or OmegaConf.select(cfg, "optimizer.lr", default=None) != AUTO:
        return ()
    optimizer = str(cfg.optimizer.get("_target_")).rpartition(".")[2]
    finetune = OmegaConf.to_container(cfg.finetune, resolve=False)
    assert isinstance(finetune, dict)
    options = {str(key): value for key, value in finetune.items()}
    cfg.optimizer.lr, why = default_rate(checkpoint.weights if checkpoint else None, options, optimizer)
    return (f"lr {cfg.optimizer.lr:g}, the default for finetuning {_described(cfg, why)}; optimizer.lr changes it",)


def _described(cfg: DictConfig, why: str) -> str:
    network = cfg.model.get("name") if "model" in cfg else None
    return f"{network or cfg.names.model} ({why})"
