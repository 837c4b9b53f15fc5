"""The model card of an export: README.md in the format of the Hugging Face hub, with its front matter of YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ptft
from ptft.data import readers
from ptft.errors import counted, shortened
from ptft.export import measured
from ptft.export.subject import Subject
from ptft.loggers.console import duration
from ptft.objectives.supervised.multilabel import Multilabel
from ptft.objectives.supervised.pooled import LinearHead
from ptft.runs.folder import read_json
from ptft.runtime.system import write_text

TASKS = {
    ("image", "class"): "image-classification",
    ("image", "labels"): "image-classification",
    ("text", "class"): "text-classification",
    ("text", "labels"): "text-classification",
    ("audio", "class"): "audio-classification",
    ("audio", "labels"): "audio-classification",
    ("text", "tags"): "token-classification",
    ("text", "span"): "question-answering",
    ("audio", "transcript"): "automatic-speech-recognition",
}
"""Modality and target -> the task, as the hub calls it."""
MODALITIES = {"image": "images", "text": "texts", "audio": "recordings"}
OBJECTIVES = {"masked_lm": "fill-mask", "causal_lm": "text-generation"}
FEATURES = {"image": "image-feature-extraction", "text": "feature-extraction", "audio": "feature-extraction"}
LIBRARIES = {"onnx": "onnx", "torch": "pytorch", "safetensors": "ptft", "huggingface": "transformers", "peft": "peft"}
DEEPEST = 20
"""Ancestors that a card names at the most."""


def write(folder: Path, subject: Subject, usage: str, facts: Mapping[str, Any]) -> None:
    """README.md. Raises StorageError."""
    sections = [
        "\n".join(["---", *_front(subject), "---"]),
        f"# {_title(subject)}\n\n{_what(subject)}",
        f"## How it is loaded\n\nIn this folder:\n\n```python\n{usage}\n```",
        _section("What it was trained on", _data(subject)),
        _section("How good it is", measured.lines(subject)),
        _section("Where it comes from", _lineage(subject)),
        _section("What it cost", _cost(subject)),
        _section("Limits", [*_limits(subject), *_checked(facts)]),
        f"Written by ptft {ptft.__version__}.",
    ]
    write_text(folder / "README.md", "\n\n".join(filter(None, sections)) + "\n", "choose another output")


def _section(title: str, lines: Iterator[str] | list[str]) -> str:
    listed = "\n".join(f"- {line}" for line in lines)
    return f"## {title}\n\n{listed}" if listed else ""


def _task(subject: Subject) -> str:
    spec = subject.spec
    if subject.objective in OBJECTIVES:
        return OBJECTIVES[subject.objective]
    return TASKS.get((spec.modality, spec.target)) or FEATURES.get(spec.modality, "feature-extraction")


def _front(subject: Subject) -> Iterator[str]:
    """The lines of the front matter; texts as JSON writes them, which YAML reads too."""
    metrics = measured.held_out(subject)
    yield f"library_name: {LIBRARIES[subject.format]}"
    yield f"pipeline_tag: {_task(subject)}"
    yield f"tags: [ptft, {subject.spec.modality}, {json.dumps(subject.model)}]"
    if not metrics:
        return
    (split, values), (dataset, kind) = metrics, measured.data_of(subject)
    yield "model-index:"
    yield f"- name: {json.dumps(_title(subject))}"
    yield "  results:"
    yield f"  - task: {{type: {_task(subject)}}}"
    yield f"    dataset: {{name: {json.dumps(dataset)}, type: {json.dumps(kind)}, split: {split}}}"
    yield "    metrics:"
    for name, value in values.items():
        yield f"    - {{type: {json.dumps(name)}, value: {json.dumps(value)}}}"


def _title(subject: Subject) -> str:
    return f"{subject.model}, {subject.objective} on {subject.predictor.card['dataset']}"


def _what(subject: Subject) -> str:
    spec, card = subject.spec, subject.predictor.card
    how = readers.preparation(spec)
    classes = f"\n\n{counted(len(spec.classes), 'classes')}: {shortened(spec.classes, 20)}" if spec.classes else ""
    inputs = f"{readers.of(spec).describe(spec)}{f', {how}' if how else ''}"
    inside = "; normalisation is part of it" if subject.format in ("onnx", "torch") else ""
    return (
        f"A model of {MODALITIES.get(spec.modality, spec.modality)}, {card['parameters']:,} parameters, exported as "
        f"`{subject.format}`. It reads {inputs}{inside}.{classes}"
    )


def _data(subject: Subject) -> Iterator[str]:
    card = subject.predictor.card
    config = (subject.checkpoint.config or {}).get("dataset", {})
    yield f"dataset: `{card['dataset']}`" + (f" from `{config['root']}`" if config.get("root") else "")
    for split, count in ((measured.training(subject).get("data") or {}).get("examples") or {}).items():
        yield f"{split}: {counted(count, 'examples')}"
    if card["fingerprint"]:
        yield f"fingerprint: `{card['fingerprint']}`"


def _lineage(subject: Subject) -> Iterator[str]:
    """The checkpoint, and what it started from, back to the first."""
    says = subject.description()["checkpoint"]
    yield _named(says)
    parent, seen = subject.checkpoint.meta.get("parent"), set[str]()
    while isinstance(parent, Mapping) and parent.get("path") not in seen and len(seen) < DEEPEST:
        seen.add(str(parent.get("path")))
        yield f"started from {_named(parent)}"
        parent = read_json(Path(str(parent.get("run"))) / "summary.json").get("parent") if parent.get("run") else None


def _named(checkpoint: Mapping[str, Any]) -> str:
    return f"`{checkpoint.get('path')}`" + (f", sha256 `{checkpoint['sha256']}`" if checkpoint.get("sha256") else "")


def _cost(subject: Subject) -> Iterator[str]:
    recorded = {**subject.checkpoint.progress, **measured.training(subject)}
    counts = {"steps": recorded.get("steps", recorded.get("step")), "examples": recorded.get("samples")}
    seconds = recorded.get("seconds")
    parts = [counted(int(count), noun) for noun, count in counts.items() if count]
    parts += [f"{duration(seconds)} of training"] if seconds else []
    parts += [f"on {recorded['device']} in {recorded['precision']}"] if "device" in recorded else []
    if parts:
        yield ", ".join(parts)
    if recorded.get("flops"):
        yield f"{recorded['flops']:.3g} floating-point operations"


def _limits(subject: Subject) -> Iterator[str]:
    spec = subject.spec
    objective = subject.predictor.objective
    if isinstance(objective, LinearHead):
        yield from _answered(subject, objective)
    yield "it was measured on the data named above alone; other data may be answered worse"
    if subject.answers == "features" and subject.format in ("onnx", "torch"):
        yield f"what comes out are features of the backbone; the head of objective={subject.objective} is not in it"
    if spec.target == "transcript" and subject.format in ("onnx", "torch"):
        yield "of the symbols that come out of every frame the last one is CTC's blank"
    if spec.modality == "audio" and subject.format in ("onnx", "torch"):
        yield "recordings of less than 0.05 s are filled up with silence before; `length` says how much is real"
    if "tokenizer" in spec.shape:
        yield f"of longer texts {spec.shape['length']:,} tokens count"


def _answered(subject: Subject, objective: LinearHead) -> Iterator[str]:
    """What its probabilities mean, and from which on a label is answered."""
    by = objective.calibration
    on = "validation split" + " of the data it was measured on" * bool(subject.predictor.card["measured_on"])
    how = "not calibrated" if by is None else f"calibrated on the {on} (temperature {float(by):.3g})"
    calibrated = f"its probabilities are {how}"
    if not objective.sets:
        yield f"it answers with one of its classes whatever it is shown, and {calibrated}"
        return
    yield f"each label has a probability of its own, and {calibrated}"
    if isinstance(objective, Multilabel):
        pairs = zip(objective.classes, objective.cutoffs.tolist(), strict=True)
        chosen = f" (chosen on the {on})" if objective.threshold is None else ""
        listed = ", ".join(f"{name} {value:.4g}" for name, value in pairs)
        yield f"a label is there from this probability on{chosen}: {listed}"


def _checked(facts: Mapping[str, Any]) -> Iterator[str]:
    if "largest_difference" in facts:
        yield f"tried after it was written: its answers differ from ptft's by {facts['largest_difference']:.1g} at most"
    if "int8_accuracy" in facts:
        yield (
            f"int8 weights (model.int8.onnx): {100 * facts['int8_accuracy']:.2f} % right on the validation split, "
            f"{100 * facts['float32_accuracy']:.2f} % with float32"
        )
    if "remarks" in facts:
        yield from facts["remarks"]
