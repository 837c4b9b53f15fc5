"""What was typed and does not exist: the nearest that does, or how what other programs call so is called here."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from ptft.config.overrides import Overrides, unlisted
from ptft.errors import DataError, suggest

KEYS = {
    "optimizer.lr": "lr learning_rate base_lr lr0 init_lr",
    "optimizer.weight_decay": "wd weight_decay decay",
    "optimizer=NAME": "opt optim",
    "schedule=NAME": "scheduler lr_scheduler lr_scheduler_type sched",
    "schedule.warmup": "warmup warmup_steps warmup_ratio warmup_epochs num_warmup_steps",
    "train.epochs": "epochs max_epochs num_epochs num_train_epochs n_epochs",
    "train.steps": "steps max_steps max_iters num_steps iterations",
    "train.batch_size": "batch_size bs batch per_device_train_batch_size per_gpu_batch_size",
    "train.accumulate": "accumulate_grad_batches gradient_accumulation_steps accumulation grad_accum",
    "train.clip": "gradient_clip_val max_grad_norm grad_clip clip_grad",
    "train.ema": "ema ema_decay model_ema use_ema",
    "train.processes": "nproc_per_node nproc num_processes world_size ddp",
    "train.sync_batchnorm": "sync_bn syncbn sync_bn_convert",
    "train.workers": "workers num_workers dataloader_num_workers n_workers",
    "train.patience": "patience early_stopping early_stopping_patience earlystopping early_stop",
    "train.monitor": "monitor metric_for_best_model",
    "train.compile": "compile torch_compile",
    "train.deterministic": "deterministic full_determinism cudnn_deterministic use_deterministic_algorithms",
    "train.every.evaluate": "eval_steps eval_every val_check_interval check_val_every_n_epoch evaluation_strategy",
    "train.every.save": "save_steps save_every checkpoint_every",
    "train.every.log": "logging_steps log_every log_every_n_steps log_interval",
    "precision=bf16": "bf16 amp mixed_precision",
    "precision=fp16": "fp16 half",
    "dataset.root": "data data_dir data_path root dataset_dir train_dir",
    "dataset.size": "imgsz img_size image_size resolution",
    "dataset.limit": "limit max_samples max_train_samples limit_train_batches",
    "model=NAME": "arch architecture backbone net network",
    "ckpt=PATH": "pretrained weights checkpoint ckpt_path model_path resume_from_checkpoint init_from",
    "hydra.run.dir=FOLDER": "output_dir out_dir save_dir logdir log_dir project exp_dir",
    "finetune.train=head": "freeze freeze_backbone linear_probe",
    "finetune.lora.rank": "lora lora_r lora_rank rank",
    "logger=tensorboard": "tensorboard report_to",
    "seed": "random_seed manual_seed random_state",
    "quiet=true": "verbose silent",
}
"""What is typed here -> what it is called elsewhere, whatever node it is put in there (`trainer.max_epochs`)."""

ONE_DEVICE = (
    "a run on one GPU is device=cuda:0, on N of them train.processes=N; -m device=cuda:0,cuda:1 makes a run on each"
)
DEVICES = ("devices", "gpus", "gpu", "num_gpus", "n_gpu", "accelerator", "strategy", "cuda", "device_ids")
NODES = ("train", "trainer", "training", "args", "hparams", "optimizer", "optim", "data", "dataset", "model", "config")

VALUES = (
    (
        "train.batch_size",
        r"-1",
        "train.batch_size=auto cuts the stage's own into the largest parts that fit",
    ),
    ("device", r"gpu|\d+", "the first GPU is device=cuda:0"),
    ("device", r"[\d, \[\]()]+|.*,.*", ONE_DEVICE),
    ("train.workers", r"-1", "auto chooses them"),
    ("precision", r"32|32-true|float32|full", "precision=fp32"),
    ("precision", r"16|16-mixed|float16|half", "precision=fp16"),
    ("precision", r"bf16-mixed|bfloat16|bf16-true|amp", "precision=bf16"),
    ("finetune.train", r"probe|linear|frozen", "a linear probe is finetune.train=head"),
    ("finetune.train", r"lora", "finetune.lora.rank=8"),
)
"""Key, what its value is elsewhere (a regular expression of all of it), and what to do here."""

AMOUNTS = ("dataset.limit", "dataset.per_class")
"""Which say how many examples are used, of data that have them and classes."""
OTHER_AMOUNTS = ("dataset.sentences", "dataset.fraction")
"""Which say it of running text, whatever of them there is."""

FLAGS = {"version": "--version", "info": "--info"}
"""Words, and the flag to type instead."""


def type_instead(key: str, keys: Collection[str] = ()) -> str:
    """ "; type optimizer.lr" for a key by a name that it has elsewhere, or nothing.

    keys: those that there are, of some groups at least; what is none of its group's is not proposed.
    """
    node, _, name = key.lower().rpartition(".")
    if node and node not in NODES:
        return ""
    if name in DEVICES:
        return f"; {ONE_DEVICE}"
    meant = next((own for own, names in KEYS.items() if name in names.split()), key)
    if meant in AMOUNTS and meant not in keys and (others := [other for other in OTHER_AMOUNTS if other in keys]):
        return f"; running text has no examples to count; type {others[0]}"
    return f"; type {meant}" if meant != key and _is_there(meant, keys) else ""


def _is_there(own: str, keys: Collection[str]) -> bool:
    """Whether a key of KEYS is one, as far as the keys of its group are known."""
    key, group = own.partition("=")[0], own.partition(".")[0]
    return "." not in key or key in keys or not any(each.startswith(f"{group}.") for each in keys)


def flag(word: str, following: str, keys: Mapping[str, str]) -> str:
    """ "; type optimizer.lr=0.1" for `--lr 0.1`, a flag of other programs or a key as one; or nothing.

    following: the word behind it. keys: every key and group that there is, with its default.
    """
    name, _, value = word.lstrip("-").partition("=")
    name = name.replace("-", "_")
    own = f"; type {name}" if name in keys else type_instead(name)
    if own in ("", f"; {ONE_DEVICE}") or name == "verbose":
        return own if name != "verbose" else ""
    own, _, shown = own.partition("=")
    if shown and not shown.isupper():
        return f"{own}={shown}"
    if not value and not following.startswith("-") and "=" not in following:
        value = following
    key = own.removeprefix("; type ")
    return f"{own}={value or shown or ('true' if keys.get(key) in ('true', 'false') else 'VALUE')}"


def advice(key: str, value: object) -> str:
    """What to type in the place of a value that is one elsewhere, with a "; " in front, or nothing."""
    text = str(value).lower()
    return next((f"; {remedy}" for name, form, remedy in VALUES if key == name and re.fullmatch(form, text)), "")


def unfit(overrides: Overrides, options: Mapping[str, Sequence[str]], needed: Collection[str]) -> dict[str, str]:
    """Group -> what is wrong with the option that was typed for it, where there is none of that name.

    options: group -> the names in it. needed: groups of which an option must be chosen.
    """
    problems = {}
    for override in overrides.parsed:
        key = override.key_or_group
        choices = options.get(key, ())
        if choices and override.value() is None and not override.is_delete() and key in needed:
            problems[key] = f"{key}=null: needs a name, {key} is one of {', '.join(choices)}"
        elif choices and not _exists(override, choices):
            value = override.get_value_element_as_str()
            problems[key] = (
                f"{key}={value}: there is no {key} of that name{suggest(value, choices)} "
                f"({key} is one of {', '.join(choices)})"
            )
    return problems


def _exists(override: Override, choices: Collection[str]) -> bool:
    value = override.value()
    if value is None or override.is_sweep_override():
        return True
    names = value if isinstance(value, list) else [value]
    return set(map(str, names)) <= set(choices)


def unknown_keys(parsed: Sequence[Override], keys: Collection[str]) -> list[str]:
    """A line for each override of a key that is not among the `keys`, with the nearest that is."""
    problems = []
    for override in parsed:
        key = override.key_or_group
        if key not in keys and not (override.is_add() or override.is_force_add() or key.startswith(unlisted(parsed))):
            problems.append(unknown(key, keys))
        problems += within(override, keys, unlisted(parsed))
    return problems


def within(override: Override, keys: Collection[str], free: tuple[str, ...] = ()) -> list[str]:
    """A line for each key in a group that was typed as a whole, `train.every={log: 1}`, if it is not among the `keys`.

    free: what those begin with that only a class of the user's knows.
    """
    added = override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override()
    inside = [] if added else _below(override.key_or_group, override.value(), keys)
    return [unknown(key, keys) for key in inside if not (free and key.startswith(free))]


def _below(key: str, value: Any, keys: Collection[str]) -> Iterator[str]:
    """Of a group that has keys; one that has none, and a value that may be of any form, take all."""
    if isinstance(value, Mapping) and any(each.startswith(f"{key}.") for each in keys):
        for name, inner in value.items():
            path = f"{key}.{name}"
            yield from _below(path, inner, keys) if path in keys else (path,)


def unknown(key: str, keys: Collection[str]) -> str:
    """There is no such key, and what was meant."""
    return f"{key}: there is no such key{type_instead(key, keys) or suggest(key, keys)}"


def check_input(typed: Any) -> None:
    """Raises DataError where nothing lies at the `input` that was typed: checkpoints take seconds to read."""
    if not isinstance(typed, str) or typed in ("", "-") or "${" in typed:
        return
    path = os.path.expanduser(typed)
    if not os.path.lexists(path) and not any(glob.iglob(path, recursive=True)):
        text = f'; a text itself is typed as text="{typed}"' if len(typed.split()) > 1 and os.sep not in typed else ""
        raise DataError(f"input={typed}: no files there; name a file, a folder or a glob{text}")
