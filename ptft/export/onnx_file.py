"""format=onnx: one file with preprocessing inside, made by torch's own exporter and tried with onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ptft.errors import ConfigError, first_line
from ptft.export import program
from ptft.export.subject import Subject

NEEDS: Mapping[str, str] = {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx"}
FILE, INT8 = "model.onnx", "model.int8.onnx"


def write(folder: Path, subject: Subject) -> dict[str, Any]:
    """model.onnx, and with `quantize` model.int8.onnx beside it; as `ptft.export.subject.Format.write`."""
    with program.quiet():
        traced, sizes = program.traced(subject)
        try:
            made = torch.onnx.export(
                traced, dynamo=True, input_names=_inputs(traced), output_names=[subject.answers], verbose=False
            )
        except Exception as error:  # of an operation that has no counterpart, in any words
            why = f"torch.onnx can't express it ({type(error).__name__}: {first_line(error, 120)})"
            raise subject.refused(why) from error
        assert made is not None
        _name_axes(made.model, program.axes_of(subject.spec, sizes))
        made.model.metadata_props.update(_metadata(subject))
        made.save(folder / FILE)
        facts: dict[str, Any] = {"largest_difference": program.difference(subject, runner(folder / FILE), sizes)}
        if subject.quantize:
            facts |= _quantized(folder, subject)
    return facts


def _inputs(traced: Any) -> list[str]:
    return [name for name in traced.graph_signature.user_inputs if name is not None]


def _metadata(subject: Subject) -> dict[str, str]:
    """What the file says of itself: classes and Spec as JSON, the digest of the checkpoint, what comes out."""
    return {
        "classes": json.dumps(list(subject.spec.classes), ensure_ascii=False),
        "spec": json.dumps(subject.spec.to_dict(), ensure_ascii=False),
        "sha256": subject.checkpoint.sha256 or "",
        "answers": subject.answers,
        "objective": subject.objective,
    }


def _name_axes(model: Any, axes: Mapping[str, Mapping[int, str]]) -> None:
    """Call free axes by their names, where torch numbers them."""
    names: dict[str, str] = {}
    for value in model.graph.inputs:
        for axis, name in axes.get(value.name, {}).items():
            names.setdefault(str(value.shape[axis]), name)
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        for axis, size in enumerate(value.shape or ()):
            if str(size) in names:
                value.shape[axis] = names[str(size)]


def runner(path: Path) -> Callable[[Mapping[str, Any]], Any]:
    """A function from a raw batch to the answers of an ONNX file, as arrays."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def answers(batch: Mapping[str, Any]) -> Any:
        return session.run(None, {name: batch[name].numpy() for name in names})[0]

    return answers


def _quantized(folder: Path, subject: Subject) -> dict[str, Any]:
    """model.int8.onnx, whose weights are int8 and whose activations are quantized as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    assert subject.measure
    model = onnx.load(folder / FILE)
    del model.graph.value_info[:]  # shapes within, which some versions of torch write otherwise than they are
    try:
        quantize_dynamic(model, folder / INT8, weight_type=QuantType.QUInt8)
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"quantize=dynamic: onnxruntime can't quantize this model ({reason}); drop it") from error
    before, after = (subject.measure(runner(folder / name)) for name in (FILE, INT8))
    sizes = [(folder / name).stat().st_size for name in (FILE, INT8)]
    return {"float32_accuracy": before, "int8_accuracy": after, "float32_bytes": sizes[0], "int8_bytes": sizes[1]}


def usage(subject: Subject) -> str:
    feed = ", ".join(f'"{name}": {code}' for name, code in program.example(subject).items())
    last = f'session.run(["{subject.answers}"], {{{feed}}})[0]'
    names = "json.loads(session.get_modelmeta().custom_metadata_map['classes'])"
    answer = f"{names}[{last}.argmax(1)[0]]" if subject.classifies else last
    return f"""\
import json, numpy, onnxruntime

session = onnxruntime.InferenceSession("{FILE}")
{answer}"""
