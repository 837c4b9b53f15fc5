"""format=peft: what LoRA learned, as an adapter that peft puts on the model that it started from.

A checkpoint holds the factors multiplied in (Hu et al. 2021). What a weight differs by from the one before is of their
rank, so they are found again by its singular values: delta = up @ down, up [out, r], down [r, in].
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.checkpoint.load import open_checkpoint
from ptft.core import Objective
from ptft.errors import CheckpointError
from ptft.export import program
from ptft.export.huggingface import folder as whole
from ptft.export.huggingface import preprocessing, wrapped
from ptft.export.huggingface import task as tasks
from ptft.export.huggingface.expressed import Inexpressible
from ptft.export.huggingface.task import Task
from ptft.export.subject import ALWAYS, Subject
from ptft.models.hub.huggingface import HuggingFace

NEEDS: Mapping[str, str] = {"peft": "peft", "transformers": "peft"}
BASE = "base"
"""The folder in the export that holds the model before, where it is not one that transformers finds by its name."""
KINDS = {"pooled": "SEQ_CLS", "tokens": "TOKEN_CLS", "causal": "CAUSAL_LM", "features": "FEATURE_EXTRACTION"}
PUBLIC = "huggingface:"


def write(folder: Path, subject: Subject) -> dict[str, Any]:
    """adapter_model.safetensors and adapter_config.json, put on the model before and compared, as in `Format.write`."""
    import peft

    rank = _rank(subject)
    task = tasks.of(subject.predictor.objective)
    if task is None:
        raise subject.refused("transformers has no head for what it answers", what="objective")
    with program.quiet():
        try:
            model, _ = whole.built(subject, task)
            before, _ = whole.built(_before(subject), _empty(task))
        except Inexpressible as error:
            raise subject.refused(str(error)) from error
        factors, saved = _changes(subject, before, model, rank)
        base = _base(folder, subject, before)
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=rank,  # so that factors are not scaled
            lora_dropout=0.0,
            target_modules=sorted(factors),
            modules_to_save=sorted(saved) or None,
            task_type=KINDS.get(task.kind),
            fan_in_fan_out=_transposed(before),
            base_model_name_or_path=base,
        )
        adapted = peft.get_peft_model(copy.deepcopy(before), config)
        _fill(adapted, factors, model)
        adapted.peft_config["default"].base_model_name_or_path = base
        adapted.save_pretrained(str(folder))
        if (folder / "README.md").exists():
            (folder / "README.md").unlink()  # peft's own, in whose place the card is
        preprocessing.write(folder, subject.spec, subject.predictor.objective.backbone, masks=False)
        again = peft.PeftModel.from_pretrained(before, folder).eval()
        by = whole.difference(subject, task, again)
    once = whole.looks_once(subject.predictor.objective)
    return {"rank": rank, "adapted": len(factors), "base": base, "largest_difference": by, "remarks": once}


def _rank(subject: Subject) -> int:
    """Raises ConfigError for a model that learned without LoRA."""
    lora = (subject.checkpoint.config or {}).get("finetune", {}).get("lora") or {}
    if not lora.get("rank"):
        raise subject.refused("was trained without LoRA (finetune.lora.rank)")
    return int(lora["rank"])


def _before(subject: Subject) -> Subject:
    """The model with the backbone that it started from. Raises CheckpointError where that is gone, or another."""
    parent = subject.checkpoint.meta.get("parent") or {}
    try:
        checkpoint = open_checkpoint(str(parent.get("path")))
    except CheckpointError as error:
        raise CheckpointError(f"format=peft: needs the checkpoint that it started from: {error}") from error
    if parent.get("sha256") and checkpoint.sha256 != parent["sha256"]:
        raise CheckpointError(f"format=peft: {parent['path']} has other weights than those that it started from")
    objective: Objective = copy.deepcopy(subject.predictor.objective)
    with torch.no_grad():
        for name, value in objective.backbone.state_dict().items():
            old = checkpoint.weights.get(f"backbone.{name}")
            if old is None or old.shape != value.shape:
                raise subject.refused(f"{name} of it is not in {parent['path']}, so its change is not known")
            value.copy_(old)
    predictor = copy.copy(subject.predictor)
    predictor.objective = objective
    return replace(subject, predictor=predictor)


def _empty(task: Task) -> Task:
    """The same head before it learned."""
    if not len(task.weight):
        return task
    return replace(task, weight=torch.zeros_like(task.weight), bias=torch.zeros_like(task.bias))


Factors = dict[str, tuple[Tensor, Tensor]]
"""The name of a module -> (up [out, r], down [r, in])."""


def _changes(subject: Subject, before: Any, model: Any, rank: int) -> tuple[Factors, set[str]]:
    """The factors of every matrix that changed, and the last names of modules that are saved whole: heads, norms.

    Raises ConfigError for a matrix that changed by more than its factors say.
    """
    prefix = f"{before.base_model_prefix}."
    old, new = before.state_dict(), model.state_dict()
    factors: Factors = {}
    saved: set[str] = set()
    for name, value in new.items():
        module = name.rpartition(".")[0]
        if not name.startswith(prefix) or ".pooler." in name:  # whatever head the model before is given
            saved.add(module.removeprefix(prefix).split(".")[0])
        elif not torch.equal(old[name], value):
            if value.ndim == 1:
                saved.add(module.rpartition(".")[2])
                continue
            delta = (value - old[name]).double()
            delta = delta.T if _is_transposed(before.get_submodule(module)) else delta
            factors[module] = _factored(subject, module, delta, rank)
    return factors, saved


def _factored(subject: Subject, name: str, delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    if delta.ndim != 2:
        raise subject.refused(f"LoRA changed {name}, which is no matrix there", ("huggingface", *ALWAYS))
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    if len(values) > rank and float(values[rank]) > 1e-3 * float(values[0]):
        raise subject.refused(f"{name} changed by more than rank {rank}", ("huggingface", *ALWAYS))
    half = values[:rank].sqrt()
    return (left[:, :rank] * half).float(), (half.unsqueeze(1) * right[:rank]).float()


def _is_transposed(module: Any) -> bool:
    return type(module).__name__ == "Conv1D"


def _transposed(model: Any) -> bool:
    """Whether matrices lie the other way round, as in GPT-2."""
    return any(map(_is_transposed, model.modules()))


def _base(folder: Path, subject: Subject, before: Any) -> str:
    """What the adapter is put on: a name or folder of transformers, else a folder in the export, which is written."""
    path = str((subject.checkpoint.meta.get("parent") or {}).get("path"))
    if path.startswith(PUBLIC) and isinstance(subject.predictor.objective.backbone, HuggingFace):
        return _found(path)
    before.save_pretrained(folder / BASE)
    return BASE


def _found(path: str) -> str:
    """Public weights as transformers finds them: a name, or where their folder lies."""
    name = path.removeprefix(PUBLIC)
    folder = Path(name).expanduser()
    return str(folder.absolute()) if folder.is_dir() else name


@torch.no_grad()
def _fill(adapted: Any, factors: Factors, model: Any) -> None:
    inner, trained = adapted.base_model.model, dict(model.state_dict())
    for name, (up, down) in factors.items():
        module = inner.get_submodule(name)
        module.lora_A["default"].weight.zero_()
        module.lora_B["default"].weight.zero_()
        module.lora_A["default"].weight[: len(down)].copy_(down)
        module.lora_B["default"].weight[:, : up.shape[1]].copy_(up)
    for name, parameter in inner.named_parameters():
        if ".modules_to_save.default." in f".{name}":
            parameter.copy_(trained[name.replace("modules_to_save.default.", "")])


def usage(subject: Subject) -> str:
    task = tasks.of(subject.predictor.objective)
    assert task
    name = wrapped.automatic(subject.spec.modality, task.kind)
    named = f", id2label={dict(enumerate(task.labels))!r}" if task.labels else ""
    labels = named or (f", num_labels={len(task.weight)}" if len(task.weight) else "")
    parent = str((subject.checkpoint.meta.get("parent") or {}).get("path"))
    base = _found(parent) if parent.startswith(PUBLIC) else BASE
    return f"""\
from peft import PeftModel
from transformers import {name}

base = {name}.from_pretrained({base!r}{labels})
model = PeftModel.from_pretrained(base, ".").eval()"""
