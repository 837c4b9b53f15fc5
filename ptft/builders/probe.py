"""Linear probes: whether the head of a run is fitted to convergence instead of trained in steps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ptft.builders.inputs import Inputs, eval_loader
from ptft.config.config import Config
from ptft.config.instantiate import find
from ptft.core import Objective
from ptft.errors import ConfigError
from ptft.finetune.head_init import Autocast, fit_head
from ptft.runs.registry import is_arm

LARGEST = 2**29
"""Numbers in the features of the training split, at the most, that are kept at a time."""
LOSSES = ("class_weights", "label_smoothing", "focal", "mixup", "cutmix", "dropout")
"""Keys of `objective` that ask for another loss than the one that is fitted, or for other examples."""
STEPS = (
    "budget",
    "batch_size",
    "tokens",
    "accumulate",
    "clip",
    "ema",
    "average_last",
    "patience",
    "every",
    "cuda_graph",
    "checkpoint_activations",
)
IN_STEPS = (
    "optimizer",
    "schedule",
    *(f"train.{key}" for key in STEPS),
    *(f"finetune.{key}" for key in ("head", "head_init", "layer_decay")),
    *(f"objective.{key}" for key in (*LOSSES, "views")),
    "dataset.views",
    "dataset.transform",
)
"""Keys and nodes that say how steps are taken, from where and of what; `fitted` says it of the budget."""
NOTHING = (None, False, 0, "auto", "new", "random")
"""Their values that ask for nothing."""


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


def check(cfg: Config, folder: Path | None) -> None:
    """Raises ConfigError where `finetune.probe=exact` is asked for with what a fit of the plain loss can't heed.

    folder: of the run, None in a dry run and where another process has it. Of a run of a comparison `unused` says so
    instead: there keys are typed for all arms.
    """
    lone = not is_arm(folder) if folder else cfg.dry_run
    finetune, task = cfg.finetune, cfg.objective
    if not lone or cfg.resume or finetune.probe != "exact" or not _has_fitted_head(cfg):
        return
    remedy = "or type finetune.probe=steps"
    if finetune.head == "keep":
        raise ConfigError(
            f"finetune.probe=exact and finetune.head=keep: a fit leaves nothing of a kept head; drop one, {remedy}"
        )
    if asked := [f"objective.{key}={_text(task[key])}" for key in LOSSES if task.get(key)]:
        what = "the plain cross-entropy of examples as they are"
        drop = f"drop {'them' if asked[1:] else 'it'}"
        raise ConfigError(f"finetune.probe=exact and {' and '.join(asked)}: it fits {what}; {drop}, {remedy}")


def _has_fitted_head(cfg: Config) -> bool:
    """Whether its objective is the one whose classifier is fitted; what derives from it learns otherwise."""
    cls: type[Objective] = find("objective", cfg.objective, Objective, cfg.trusted)  # type: ignore[type-abstract]
    return "linear_head" in vars(cls)


def _text(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)


def unused(typed: Mapping[str, Any] | Iterable[str]) -> list[str]:
    """What to say of keys that were typed and mean nothing where a head is fitted: how steps are taken, and of what.

    typed: with their values, as of `Overrides.typed`, of which those that ask for nothing are left out; or without.
    """
    values = typed if isinstance(typed, Mapping) else dict.fromkeys(typed, True)
    keys = [key for key, value in values.items() if _counts_in_steps(key) and value not in NOTHING]
    does, them = ("do", "them") if len(keys) > 1 else ("does", "it")
    names = ", ".join(keys[:-1]) + (" and " if keys[1:] else "") + "".join(keys[-1:])
    sentence = f"{names} {does} not count, as the head is fitted; finetune.probe=steps heeds {them}"
    return [sentence] if keys else []


def _counts_in_steps(key: str) -> bool:
    return any(key == node or key.startswith(f"{node}.") for node in IN_STEPS)


def fitted(cfg: Config, objective: Objective, inputs: Inputs, autocast: Autocast) -> tuple[list[str], float, int]:
    """The head, fitted in place: what to say, the seconds that took, and how many examples were computed."""
    began, device, val = time.perf_counter(), inputs.device, inputs.splits.get("val")
    batches = eval_loader(cfg, inputs.splits["train"], device).epoch()
    sentence, count = fit_head(objective, batches, eval_loader(cfg, val, device).epoch() if val else None, autocast)
    typed = [f"train.{key}={cfg.train[key]}" for key in ("epochs", "steps", "minutes") if cfg.train[key] is not None]
    not_counted = f"; {' and '.join(typed)} {'do' if len(typed) > 1 else 'does'} not count" if typed else ""
    return [sentence + not_counted], time.perf_counter() - began, count
