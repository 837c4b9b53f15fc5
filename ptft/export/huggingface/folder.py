"""format=huggingface: a folder that `from_pretrained` and `pipeline` of transformers read, without ptft.

Axes: B batch, T tokens, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch
from ptft.errors import first_line
from ptft.export import program, raw_batches
from ptft.export.huggingface import own_image, own_text, preprocessing, wrapped
from ptft.export.huggingface import task as tasks
from ptft.export.huggingface.expressed import Expressed, Inexpressible
from ptft.export.huggingface.task import Task
from ptft.export.subject import Subject
from ptft.models.hub.huggingface import HuggingFace, library
from ptft.models.image.vision_transformer import VisionTransformer
from ptft.models.text.transformer import Transformer

NEEDS: Mapping[str, str] = {"transformers": "huggingface"}
PIPELINES = {
    ("text", "pooled"): ("text-classification", '"a text"'),
    ("text", "tokens"): ("token-classification", '"a text"'),
    ("text", "masked"): ("fill-mask", 'f"a {model.tokenizer.mask_token} text"'),
    ("text", "causal"): ("text-generation", '"a text", max_new_tokens=5'),
    ("image", "pooled"): ("image-classification", "Image.new('RGB', (64, 64))"),
    ("audio", "pooled"): ("audio-classification", "numpy.zeros(16000, numpy.float32)"),
}
IMPORTS = {"image": "from PIL import Image\n", "audio": "import numpy\n", "text": ""}


def write(folder: Path, subject: Subject) -> dict[str, Any]:
    """Weights and configuration, the tokenizer or processor; read again and compared, as in `Format.write`."""
    objective, package = subject.predictor.objective, library()
    task = tasks.of(objective)
    if task is None:
        raise subject.refused("transformers has no head for what it answers", what="objective")
    with program.quiet():
        try:
            model, remarks = built(subject, task)
        except Inexpressible as error:
            raise subject.refused(str(error)) from error
        model.eval().save_pretrained(folder)
        backbone = objective.backbone
        said = preprocessing.write(folder, subject.spec, backbone, masks=task.kind == "masked")
        again = getattr(package, type(model).__name__).from_pretrained(folder).eval()
        by = difference(subject, task, again)
        automatic = wrapped.automatic(subject.spec.modality, task.kind)
        assert type(getattr(package, automatic).from_pretrained(folder)) is type(again)
    more = [*remarks, *said, *looks_once(objective)]
    return {"architecture": type(model).__name__, "largest_difference": by, "remarks": more}


def looks_once(objective: Any) -> list[str]:
    """What to say of an objective that looks at an image twice, which no model of transformers does."""
    asked = f"objective.tta={tta}" if (tta := getattr(objective, "tta", None)) else ""
    means = "ptft's answers and the metrics above are means over an image and its mirror image"
    return [f"{means} ({asked}); transformers looks once and answers otherwise"] * bool(asked)


def built(subject: Subject, task: Task) -> tuple[Any, tuple[str, ...]]:
    """The model of transformers, and remarks. Raises Inexpressible."""
    backbone: Any = subject.predictor.objective.backbone
    labels = _labels(task)
    if type(backbone) is HuggingFace:
        return wrapped.built(backbone, subject.spec, task, labels), ()
    if type(backbone) is Transformer:
        return _made(own_text.express(backbone, subject.predictor.objective, task), labels, _special(subject))
    if type(backbone) is VisionTransformer:
        return _made(own_image.express(backbone, task), labels, {})
    raise Inexpressible(f"transformers has no architecture of {type(backbone).__name__}")


def _labels(task: Task) -> dict[str, Any]:
    """What a configuration says of classes."""
    if task.problem == "regression":
        return {"num_labels": 1, "problem_type": "regression"}
    if not task.labels:
        return {}
    by_id = dict(enumerate(task.labels))
    problem = {"problem_type": task.problem} if task.problem else {}
    return {"id2label": by_id, "label2id": {name: index for index, name in by_id.items()}, **problem}


def _special(subject: Subject) -> dict[str, int | None]:
    """What a configuration says of special tokens."""
    tokenizer = subject.spec.shape["tokenizer"]
    roles = {"pad_token_id": "pad", "bos_token_id": "cls", "eos_token_id": "sep", "mask_token_id": "mask"}
    ids = {name: tokenizer[role] if tokenizer[role] >= 0 else None for name, role in roles.items()}
    return ids if "end" not in subject.spec.shape else {**ids, "eos_token_id": subject.spec.shape["end"]}


EARLIER = {"lm_head.weight": "embed_out.weight"}
"""Names of tensors in earlier versions of transformers that ptft works with: of GPT-NeoX."""


@torch.no_grad()
def _made(said: Expressed, labels: Mapping[str, Any], special: Mapping[str, int | None]) -> tuple[Any, tuple[str, ...]]:
    package, pad = library(), special.get("pad_token_id") or 0
    options = dict(said.options)
    if said.config == "EsmConfig":
        longest = said.positions or 2**14
        options["max_position_embeddings"] = longest + (pad + 1 if said.counts_from_pad else 0)
    elif said.config != "EsmConfig" and special:
        special = {name: value for name, value in special.items() if name != "mask_token_id"}
    model = getattr(package, said.model)(getattr(package, said.config)(**options, **labels, **special))
    own, given = model.state_dict(), set[str]()
    for written, value in said.weights(pad):
        name = written if written in own else EARLIER.get(written, written)
        assert own[name].shape == value.shape, (name, own[name].shape, value.shape)
        own[name].copy_(value)
        given.add(name)
    wrapped.clear_others(model, given)
    return model, said.remarks


def difference(subject: Subject, task: Task, model: Any) -> float:
    """By how much the logits differ at the most. Raises ConfigError above EXACT."""
    spec, objective = subject.spec, subject.predictor.objective
    sizes = [(int(spec.shape["size"][0]), int(spec.shape["size"][1]))] if spec.modality == "image" else []
    largest = 0.0
    for batch in _tried(subject, raw_batches.batches(spec, sizes)):
        with torch.no_grad():
            expected = tasks.answered(objective, task, batch)
        try:
            found = _answers(subject, task, model, batch)
        except Exception as error:  # of a model that wants something else, in any words
            raise subject.refused(f"what was written can't be run ({first_line(error, 120)})") from error
        if found.shape != expected.shape:
            raise subject.refused(f"what was written answers {tuple(found.shape)} instead of {tuple(expected.shape)}")
        real = batch["mask"] if "mask" in batch and found.ndim == 3 else torch.ones(found.shape[:-1], dtype=torch.bool)
        scale = max(1.0, float(expected[real].abs().max()))
        by = float((found - expected)[real].abs().max()) / scale
        if not by <= tasks.EXACT:
            raise subject.refused(f"{type(model).__name__} answers otherwise, by {by:.2g}")
        largest = max(largest, by)
    return largest


def _tried(subject: Subject, batches: list[Batch]) -> Iterator[Batch]:
    """Recordings one by one, as models of transformers do not all leave out what is padding."""
    for batch in batches:
        if subject.spec.modality != "audio":
            yield batch
            continue
        for i, length in enumerate(batch["length"].tolist()):
            yield {"input": batch["input"][i : i + 1, :length], "length": batch["length"][i : i + 1]}


@torch.no_grad()
def _answers(subject: Subject, task: Task, model: Any, batch: Batch) -> Tensor:
    objective: Any = subject.predictor.objective
    if subject.spec.modality == "text":
        out = model(input_ids=batch["input"], attention_mask=batch["mask"].long())
    elif subject.spec.modality == "image":
        x = objective.backbone.inputs(batch)
        channels = int(model.config.num_channels)
        out = model(pixel_values=x.expand(-1, channels, -1, -1) if x.shape[1] == 1 else x)
    else:
        out = model(objective.backbone.inputs(batch).squeeze(2).nan_to_num(0))
    answers: Tensor = out.last_hidden_state if task.kind == "features" else out.logits
    return answers


def usage(subject: Subject) -> str:
    task = tasks.of(subject.predictor.objective)
    assert task
    if found := PIPELINES.get((subject.spec.modality, task.kind)):
        name, example = found
        return f"""\
{IMPORTS[subject.spec.modality]}from transformers import pipeline

model = pipeline("{name}", ".")
model({example})"""
    return f"""\
from transformers import {wrapped.automatic(subject.spec.modality, task.kind)}

model = {wrapped.automatic(subject.spec.modality, task.kind)}.from_pretrained(".")
model.config.hidden_size"""
