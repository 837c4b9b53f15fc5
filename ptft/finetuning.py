"""What can be asked of a finetune: parts of a backbone, plans of phases, names of modules, and what excludes what.

Plain values of a configuration only; `ptft.check` says it all at once.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any


def is_share(value: Any) -> bool:
    """Whether it is a number above 0 and up to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def is_part(value: Any) -> bool:
    """Whether it names what of a backbone learns."""
    return isinstance(value, str) and bool(re.fullmatch(r"all|head|norm|bias|last:\d+", value))


def is_plan(value: Any) -> bool:
    """Whether it is a list of phases: each with its end and what learns in it, and perhaps its own layer_decay."""
    if not isinstance(value, list) or not value or not all(isinstance(phase, Mapping) for phase in value):
        return False
    keys = all({"until", "train"} <= phase.keys() <= {"until", "train", "layer_decay"} for phase in value)
    if not keys or not all(is_share(phase["until"]) and is_part(phase["train"]) for phase in value):
        return False
    ends = [phase["until"] for phase in value]
    decays = [phase["layer_decay"] for phase in value if phase.get("layer_decay") is not None]
    return ends[-1] == 1 and all(a < b for a, b in itertools.pairwise(ends)) and all(map(is_share, decays))


def is_pattern(value: Any) -> bool:
    """Whether it is a regular expression, as every name is."""
    if not isinstance(value, str) or not value:
        return False
    try:
        re.compile(value)
    except re.error:
        return False
    return True


def contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    """What can't be asked of a finetune together, or without one."""
    finetune, stage = cfg.get("finetune", {}), cfg.get("names", {}).get("stage")
    train, lora = finetune.get("train"), finetune.get("lora", {}).get("rank") is not None
    l2sp, start = finetune.get("l2sp") is not None, finetune.get("head_init", "random")
    given = {"train": train not in (None, "all"), "lora.rank": lora, "l2sp": l2sp, "head_init": start != "random"}
    keys = [f"finetune.{key}" for key, set_ in given.items() if set_]
    if stage == "pretrain" and keys:
        yield f"{', '.join(keys)}: for stage=finetune, not for stage=pretrain"
        return
    fresh = cfg.get("ckpt") is None or finetune.get("weights") == "fresh"
    scratch = stage == "finetune" and fresh and not cfg.get("resume")
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
