"""Types, ranges and contradictions of a composed configuration, all at once, before any data is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ptft import finetuning
from ptft.errors import ConfigError

Rule = tuple[str, Callable[[Any], bool]]
"""What a value must be, in words, and the test of it."""


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def optional(rule: Rule) -> Rule:
    return f"{rule[0]}, or null", lambda value: value is None or rule[1](value)


def auto(rule: Rule) -> Rule:
    return f"{rule[0]}, or auto", lambda value: value == "auto" or rule[1](value)


def one_of(*choices: str) -> Rule:
    return f"one of {', '.join(choices)}", lambda value: value in choices


POSITIVE: Rule = ("a number greater than 0", lambda value: is_number(value) and value > 0)
AT_LEAST_0: Rule = ("a number of at least 0", lambda value: is_number(value) and value >= 0)
WHOLE: Rule = ("a whole number of at least 0", lambda value: is_whole(value) and value >= 0)
COUNT: Rule = ("a whole number of at least 1", lambda value: is_whole(value) and value >= 1)
SHARE: Rule = ("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1)
BELOW_1: Rule = ("a number from 0 up to, not including, 1", lambda value: is_number(value) and 0 <= value < 1)
INSIDE: Rule = ("a number between 0 and 1", lambda value: is_number(value) and 0 < value < 1)
ABOVE_0: Rule = ("a number above 0 and up to 1", lambda value: is_number(value) and 0 < value <= 1)
FLAG: Rule = ("true or false", lambda value: isinstance(value, bool))
NUMBER: Rule = ("a number", is_number)
TEXT: Rule = ("text", lambda value: isinstance(value, str) and value != "")
NAMES: Rule = ("a list of names", lambda value: isinstance(value, list))
SIZE: Rule = (
    "a whole number of pixels of at least 1, or [height, width]",
    lambda value: COUNT[1](value) or (isinstance(value, list) and len(value) == 2 and all(map(COUNT[1], value))),
)
BETAS: Rule = ("two numbers from 0 up to 1", lambda value: isinstance(value, list) and all(map(BELOW_1[1], value)))
AREAS: Rule = (
    "two numbers from 0.01 to 1, the smaller one first",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(is_number, v)) and 0.01 <= v[0] <= v[1] <= 1,
)
TEMPERATURES: Rule = (
    "two numbers greater than 0",
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(POSITIVE[1], value)),
)
DEVICE: Rule = (
    "auto, cpu, cuda, cuda:N or mps",
    lambda value: isinstance(value, str) and bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value)),
)
DECAY: Rule = ("a number above 0 and up to 1", finetuning.is_share)
TRAIN: Rule = (
    "all, head, norm, bias, last:N, or phases that end one after another, the last at 1, each with until, train and "
    "perhaps layer_decay: [{until: 0.2, train: head}, {until: 1.0, train: all}]",
    lambda value: finetuning.is_part(value) or finetuning.is_plan(value),
)
TARGETS: Rule = (
    "attention, linear, all, a regular expression or a list of module names",
    lambda value: (
        finetuning.is_pattern(value) or (NAMES[1](value) and bool(value) and all(map(finetuning.is_pattern, value)))
    ),
)
SPLIT: Rule = ("the name of a split, a fraction between 0 and 1", lambda value: TEXT[1](value) or INSIDE[1](value))

CACHE: Rule = (
    "one of auto, memory, disk, off",
    lambda value: value is False or value in ("auto", "memory", "disk", "off"),  # YAML takes a plain `off` for false
)

ARMS: Rule = (
    "names, each with one override or a list of them",
    lambda value: isinstance(value, Mapping) and all(v is None or TEXT[1](v) or _texts(v) for v in value.values()),
)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(TEXT[1], value))


def several(rule: Rule, what: str) -> Rule:
    """A list of different values, each of which keeps the rule."""
    return what, lambda v: isinstance(v, list) and bool(v) and all(map(rule[1], v)) and len(set(v)) == len(v)


RULES: dict[str, Rule] = {
    "ckpt": optional(TEXT),
    "resume": optional(TEXT),
    "device": DEVICE,
    "precision": one_of("auto", "fp32", "bf16", "fp16"),
    "seed": WHOLE,
    "dry_run": FLAG,
    "trusted": NAMES,
    "split": optional(one_of("train", "val", "test")),
    "train.epochs": optional(COUNT),
    "train.steps": optional(COUNT),
    "train.minutes": optional(POSITIVE),
    "train.budget.epochs": COUNT,
    "train.budget.min_steps": WHOLE,
    "train.batch_size": COUNT,
    "train.tokens": optional(COUNT),
    "train.accumulate": COUNT,
    "train.clip": optional(POSITIVE),
    "train.ema": optional(INSIDE),
    "train.average_last": optional(("a whole number of at least 2", lambda value: is_whole(value) and value >= 2)),
    "train.workers": auto(WHOLE),
    "train.layout": one_of("auto", "channels_last", "contiguous"),
    "train.keep_memory": FLAG,
    "train.compile": FLAG,
    "train.tf32": FLAG,
    "train.cuda_graph": FLAG,
    "train.checkpoint_activations": FLAG,
    "train.patience": optional(COUNT),
    "train.every.log": auto(COUNT),
    "train.every.evaluate": auto(COUNT),
    "train.every.save": auto(COUNT),
    "finetune.train": TRAIN,
    "finetune.head": one_of("new", "keep"),
    "finetune.head_init": one_of("random", "zero", "probe"),
    "finetune.layer_decay": optional(DECAY),
    "finetune.l2sp": optional(POSITIVE),
    "finetune.lora.rank": optional(COUNT),
    "finetune.lora.alpha": POSITIVE,
    "finetune.lora.targets": TARGETS,
    "finetune.lora.dropout": BELOW_1,
    "finetune.weights": one_of("ckpt", "fresh"),
    "generate.length": COUNT,
    "generate.temperature": AT_LEAST_0,
    "generate.top_k": optional(COUNT),
    "generate.top_p": optional(ABOVE_0),
    "dataset.root": optional(TEXT),
    "dataset.size": optional(SIZE),
    "dataset.rate": optional(COUNT),
    "dataset.seconds": optional(POSITIVE),
    "dataset.channels": optional(("1 or 3", lambda value: is_whole(value) and value in (1, 3))),
    "dataset.train": TEXT,
    "dataset.val": optional(SPLIT),
    "dataset.test": optional(SPLIT),
    "dataset.tokenizer": optional(TEXT),
    "dataset.units": one_of("characters", "words", "bpe"),
    "dataset.symbols": optional(NAMES),
    "dataset.vocabulary": COUNT,
    "dataset.length": optional(COUNT),
    "dataset.documents": one_of("file", "line", "paragraph"),
    "dataset.sentences": COUNT,
    "dataset.held_out": COUNT,
    "dataset.limit": optional(COUNT),
    "dataset.fraction": optional(ABOVE_0),
    "dataset.per_class": optional(COUNT),
    "dataset.classes": optional(NAMES),
    "dataset.download": FLAG,
    "dataset.cache": CACHE,
    "dataset.on_error": one_of("raise", "skip"),
    "compare.arms": ARMS,
    "compare.only": optional(("a name or a list of names", lambda v: TEXT[1](v) or (_texts(v) and bool(v)))),
    "compare.baseline": TEXT,
    "compare.per_class": optional(several(COUNT, "a list of different whole numbers of at least 1")),
    "compare.fractions": optional(several(ABOVE_0, "a list of different numbers above 0 and up to 1")),
    "compare.seeds": (
        "a whole number of at least 1, or a list of different seeds",
        lambda value: COUNT[1](value) or several(WHOLE, "")[1](value),
    ),
    "compare.tune": optional(several(POSITIVE, "a list of different learning rates")),
    "compare.processes": COUNT,
    "compare.keep": one_of("all", "best"),
    "compare.reuse": FLAG,
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": AT_LEAST_0,
    "optimizer.momentum": BELOW_1,
    "optimizer.eps": POSITIVE,
    "optimizer.betas": BETAS,
    "optimizer.ns_steps": COUNT,
    "optimizer.adjust_lr_fn": one_of("match_rms_adamw", "original"),
    "optimizer.rest": one_of("adamw", "sgd"),
    "optimizer.rest_lr": optional(POSITIVE),
    "optimizer.rest_momentum": BELOW_1,
    "objective.label_smoothing": BELOW_1,
    "objective.dropout": BELOW_1,
    "objective.mask_ratio": INSIDE,
    "objective.generator": ("a number above 0 and up to 1", lambda v: is_number(v) and 0 < v <= 1),
    "objective.depth": COUNT,
    "objective.weight": POSITIVE,
    "objective.tta": optional(one_of("flip")),
    "objective.temperature": POSITIVE,
    "objective.momentum": SHARE,
    "objective.alpha": SHARE,
    "objective.hidden": optional(COUNT),
    "objective.out": COUNT,
    "objective.teacher": TEXT,
    "objective.views.crop": optional(("a number above 0 and up to 1", lambda v: is_number(v) and 0 < v <= 1)),
    "objective.views.color": SHARE,
    "objective.mixup": AT_LEAST_0,
    "objective.cutmix": AT_LEAST_0,
    "objective.decoder_width": COUNT,
    "objective.decoder_depth": COUNT,
    "objective.decoder_heads": COUNT,
    "objective.local_crops": WHOLE,
    "objective.global_crop": AREAS,
    "objective.local_crop": AREAS,
    "objective.local_size": optional(COUNT),
    "objective.bottleneck": COUNT,
    "objective.prototypes": COUNT,
    "objective.teacher_temperature": TEMPERATURES,
    "objective.freeze_last": SHARE,
    "objective.warmup": SHARE,
    "objective.center_momentum": BELOW_1,
    "model.dropout": optional(BELOW_1),
    "model.drop_path": optional(BELOW_1),
    "model.bias_lr_scale": POSITIVE,
    "schedule.warmup": AT_LEAST_0,
    "schedule.min_factor": SHARE,
}


ALONE = {
    "ema": "both average the weights; set one of them to null",
    "patience": "which evaluations are the last is not known beforehand; set one of them to null",
    "minutes": "which evaluations are the last is not known beforehand; give the budget in epochs or steps",
}
"""Why `train.average_last` and another key of `train` don't go together."""


def check(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise one ConfigError that names every key whose value can't work, with what is allowed.

    cfg: the resolved configuration; defaults: the same composition without typed values, whose types count for keys
    that have no rule of their own.
    """
    problems = [*_values(cfg, dict(_leaves(defaults))), *_contradictions(cfg), *finetuning.contradictions(cfg)]
    if problems:
        raise ConfigError("\n".join(problems))


def _values(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    for key, value in _leaves(cfg):
        rule = RULES.get(key) or _rule_of(defaults.get(key))
        if rule and not rule[1](value):
            shown = "null" if value is None else value
            yield f"{key}={shown}: must be {rule[0]}"


def _rule_of(default: Any) -> Rule | None:
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, int | float):
        return NUMBER
    return None


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value and path not in RULES:
            yield from _leaves(value, path)
        else:
            yield path, value


def _contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    train, dataset = cfg.get("train", {}), cfg.get("dataset", {})
    if cfg.get("resume") and cfg.get("ckpt"):
        yield "resume= continues a run and ckpt= starts a new one: type one of them"
    subsets = [f"dataset.{key}" for key in ("limit", "fraction", "per_class") if dataset.get(key) is not None]
    if len(subsets) > 1:
        yield f"{' and '.join(subsets)}: each chooses a part of the training split; type one of them"
    batch_size, accumulate = train.get("batch_size"), train.get("accumulate")
    if COUNT[1](batch_size) and COUNT[1](accumulate) and accumulate > batch_size:
        yield f"train.accumulate={accumulate}: must be at most train.batch_size={batch_size}"
    for other in ("compile", "cuda_graph"):
        if train.get("checkpoint_activations") is True and train.get(other) is True:
            yield f"train.checkpoint_activations and train.{other}: set one of them to false, they don't work together"
    if train.get("average_last") is not None:
        for other in ("ema", "patience", "minutes"):
            if train.get(other) is not None:
                yield f"train.average_last={train['average_last']} and train.{other}={train[other]}: {ALONE[other]}"
    if train.get("cuda_graph") is True and cfg.get("precision") == "fp16":
        yield "train.cuda_graph=true: not with precision=fp16, whose scaling waits for the device; choose bf16 or fp32"
    if cfg.get("optimizer") is not None and "lr" not in cfg["optimizer"]:
        yield f"optimizer.lr: is missing; it must be {POSITIVE[0]}"
    if monitor := train.get("monitor"):
        good = isinstance(monitor, Mapping) and "metric" in monitor and monitor.get("mode") in ("min", "max")
        if not good:
            yield f"train.monitor={monitor}: must be {{metric: val/NAME, mode: min or max}}"
