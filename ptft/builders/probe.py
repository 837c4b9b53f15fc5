"""Linear probes: whether the head of a run is fitted to convergence instead of trained in steps."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ptft.builders.inputs import Inputs, eval_loader
from ptft.config.config import Config
from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.finetune.head_init import Autocast, fit_head

LARGEST = 2**29
"""Numbers in the features of the training split, at the most, that are kept at a time."""


def exact(cfg: Config, objective: Objective, inputs: Inputs) -> tuple[bool, list[str]]:
    """Whether the head is fitted, by `finetune.probe`, and what to say where it was asked for and can't be.

    Raises ConfigError where it was asked for and the features take too much memory.
    """
    finetune = cfg.finetune
    if finetune.train != "head" or finetune.probe == "steps":
        return False, []
    if objective.linear_head() is None:
        reason = (
            f"finetune.probe=exact: objective={cfg.names.objective} has no linear classifier to fit, so it is trained"
        )
        return False, [f"{reason} in steps"] if finetune.probe == "exact" else []
    numbers = len(inputs.splits["train"]) * objective.backbone.width
    sampler = cfg.dataset.get("sampler")
    if finetune.probe == "exact" and sampler:
        raise ConfigError(
            f"finetune.probe=exact: every training example counts once, so dataset.sampler={sampler} can't be heeded; "
            "type finetune.probe=steps"
        )
    if finetune.probe == "exact" and numbers > LARGEST:
        raise ConfigError(
            f"finetune.probe=exact: {len(inputs.splits['train']):,} features of {objective.backbone.width:,} numbers "
            "are too many to keep; type finetune.probe=steps"
        )
    train = cfg.train
    averages = train.ema is not None or train.average_last is not None or train.patience is not None
    transform = cfg.dataset.get("transform") is not None
    as_it_is = finetune.head != "keep" and finetune.head_init == "random" and not (averages or sampler or transform)
    return finetune.probe == "exact" or (objective.deterministic and as_it_is and numbers <= LARGEST), []


def unused(typed: Iterable[str]) -> list[str]:
    """What to say of keys that were typed and say how steps are taken, where a head is fitted and none is."""
    keys = [key for key in typed if key.split(".")[0] in ("optimizer", "schedule")]
    does = "do" if len(keys) > 1 else "does"
    sentence = f"{' and '.join(keys)} {does} not count, as the head is fitted; finetune.probe=steps trains it with them"
    return [sentence] if keys else []


def fitted(cfg: Config, objective: Objective, inputs: Inputs, autocast: Autocast) -> tuple[list[str], float, int]:
    """The head, fitted in place: what to say, the seconds that took, and how many examples were computed."""
    began, device, val = time.perf_counter(), inputs.device, inputs.splits.get("val")
    batches = eval_loader(cfg, inputs.splits["train"], device).epoch()
    sentence, count = fit_head(objective, batches, eval_loader(cfg, val, device).epoch() if val else None, autocast)
    typed = [f"train.{key}={cfg.train[key]}" for key in ("epochs", "steps", "minutes") if cfg.train[key] is not None]
    not_counted = f"; {' and '.join(typed)} {'do' if len(typed) > 1 else 'does'} not count" if typed else ""
    return [sentence + not_counted], time.perf_counter() - began, count
