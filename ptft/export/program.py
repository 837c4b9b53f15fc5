"""The module that is exported as a program: raw batches in, probabilities or features out; and how both are compared.

Axes: B batch, K classes, D width.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.errors import first_line
from ptft.export import raw_batches
from ptft.export.subject import Subject

TOLERANCE = 1e-4
"""What an export may differ by, of probabilities, and of features as a part of the largest."""


def traced(subject: Subject) -> tuple[Any, list[tuple[int, int]]]:
    """What `torch.export` makes of the module, batch and lengths free; and two sizes (H, W) that images may have.

    Where the model takes images of any size, height and width are free as well. Raises ConfigError for a model that
    computes what depends on values.
    """
    sizes = _sizes(subject)
    if len(sizes) > 1:
        with contextlib.suppress(Exception):  # then of one size, where whatever is wrong is said
            return _tried(subject, sizes), sizes
    try:
        return _traced(subject, sizes[:1]), sizes[:1]
    except Exception as error:  # which says anything at all of what it can't follow
        raise subject.refused(f"can't be traced ({_reason(error)})", ("safetensors",)) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error, 120)}"


def _tried(subject: Subject, sizes: list[tuple[int, int]]) -> Any:
    """What is traced, once it ran with all sizes: where it holds for some alone, it is better made of one."""
    traced = _traced(subject, sizes)
    module = traced.module()
    for batch in raw_batches.batches(subject.spec, sizes)[:2]:
        module(**batch)
    return traced


def _traced(subject: Subject, sizes: list[tuple[int, int]]) -> Any:
    spec = subject.spec
    batch = raw_batches.batches(spec, sizes)[1]
    dynamic: dict[str, Any] = {
        name: dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for name, axes in axes_of(spec, sizes).items()
    }
    module = subject.module.requires_grad_(False)  # nor does whoever runs it need a graph of gradients
    return torch.export.export(module, (), dict(batch), dynamic_shapes=dynamic)


def axes_of(spec: Spec, sizes: Sequence[tuple[int, int]]) -> dict[str, dict[int, str]]:
    """The axes of each input that are free, by name."""
    axes = raw_batches.AXES[spec.modality]
    if spec.modality == "image" and len(sizes) == 1:
        return {name: {0: free[0]} for name, free in axes.items()}
    return axes


def _sizes(subject: Subject) -> list[tuple[int, int]]:
    if subject.spec.modality != "image":
        return []
    height, width = (int(side) for side in subject.spec.shape["size"])
    larger = (height + 32, width + 64)
    takes = subject.predictor.objective.backbone.takes
    return [(height, width), larger] if takes(larger) and takes((height + 32, width)) else [(height, width)]


def difference(subject: Subject, answers: Callable[[Batch], Any], sizes: list[tuple[int, int]]) -> float:
    """By how much `answers` of raw batches differ from the module's at the most, as TOLERANCE counts.

    Raises ConfigError above it, or where they can't be had.
    """
    largest = 0.0
    for batch in raw_batches.batches(subject.spec, sizes):
        with torch.no_grad():
            expected: Tensor = subject.module(**batch)
        try:
            found = torch.as_tensor(answers(batch))
        except Exception as error:  # of another program, which raises what it likes
            raise subject.refused(f"what was written can't be run ({_reason(error)})") from error
        scale = 1.0 if subject.answers == "probabilities" else max(1.0, float(expected.abs().max()))
        by = float((found - expected).abs().max()) / scale if found.shape == expected.shape else float("inf")
        if not by <= TOLERANCE:
            how = f"{len(batch['input'])} examples of {'×'.join(map(str, batch['input'].shape[1:]))}"
            raise subject.refused(f"what was written answers otherwise, by {by:.3g} for {how}")
        largest = max(largest, by)
    return largest


def example(subject: Subject) -> dict[str, str]:
    """NumPy code for the raw batch of one example, by input: what a card shows."""
    spec = subject.spec
    if spec.modality == "image":
        height, width = spec.shape["size"]
        return {"input": f"numpy.zeros((1, {spec.shape['channels']}, {height}, {width}), numpy.uint8)"}
    if spec.modality == "text":
        return {"input": "numpy.array([[72, 105]])", "mask": "numpy.ones((1, 2), bool)"}
    rate = int(spec.shape["rate"])
    return {"input": f"numpy.zeros((1, {rate}), numpy.int16)", "length": f"numpy.array([{rate}])"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters print, log and warn of while they work; what matters is tried afterwards."""
    logs = [logging.getLogger(name) for name in ("", "torch.onnx", "torch.__trace", "onnxscript", "onnx_ir")]
    before = [log.disabled for log in logs]
    try:
        for log in logs:
            log.disabled = True
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, was in zip(logs, before, strict=True):
            log.disabled = was
