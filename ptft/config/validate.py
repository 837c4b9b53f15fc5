"""Types, ranges and contradictions of a composed configuration, all at once, before any data is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptft.errors import ConfigError
from ptft.validators import (
    ABOVE_0,
    AREAS,
    ARMS,
    AT_LEAST_0,
    BELOW_1,
    BETAS,
    CACHE,
    COUNT,
    DECAY,
    DEVICE,
    FLAG,
    INSIDE,
    NAMES,
    NUMBER,
    POSITIVE,
    SHARE,
    SIZE,
    SPLIT,
    TARGETS,
    TEMPERATURES,
    TEXT,
    TRAIN,
    WHOLE,
    Rule,
    _texts,
    auto,
    is_number,
    is_plan,
    is_whole,
    one_of,
    optional,
    several,
)

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
    problems = [*_values(cfg, dict(_leaves(defaults))), *_contradictions(cfg), *finetune_contradictions(cfg)]
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


def finetune_contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    """What can't be asked of a finetune together, or without one."""
    finetune, finetunes = cfg.get("finetune", {}), cfg.get("stage", {}).get("finetunes", False)
    train, lora = finetune.get("train"), finetune.get("lora", {}).get("rank") is not None
    l2sp, start = finetune.get("l2sp") is not None, finetune.get("head_init", "random")
    given = {"train": train not in (None, "all"), "lora.rank": lora, "l2sp": l2sp, "head_init": start != "random"}
    keys = [f"finetune.{key}" for key, set_ in given.items() if set_]
    if keys and not finetunes:
        yield f"{', '.join(keys)}: for stage=finetune, not for stage={cfg.get('names', {}).get('stage')}"
        return
    fresh = cfg.get("ckpt") is None or finetune.get("weights") == "fresh"
    scratch = finetunes and fresh and not cfg.get("resume")
    for key in [key for key in keys if key in ("finetune.lora.rank", "finetune.l2sp") and scratch]:
        yield f"{key} and ckpt=null: it needs the weights of a checkpoint; set one of them"
    parts = {phase["train"] for phase in train} if is_plan(train) else {str(train)}
    if lora and (other := sorted(parts - {"all", "head"})):
        yield f"finetune.lora.rank and finetune.train={other[0]}: low-rank factors learn with all, and rest with head"
    if lora and l2sp:
        yield "finetune.lora.rank and finetune.l2sp: with low-rank factors the backbone does not move; set one of them"
    if l2sp and parts == {"head"}:
        yield "finetune.l2sp and finetune.train=head: the backbone does not move; set one of them"
    if start != "random" and finetune.get("head") == "keep":
        yield f"finetune.head_init={start} and finetune.head=keep: a kept head has its start; choose finetune.head=new"
    if cfg.get("train", {}).get("cuda_graph") is True and is_plan(train):
        yield "train.cuda_graph=true: not with phases in finetune.train, which change what a step is; set it to false"
