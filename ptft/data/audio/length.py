"""How long recordings are in a Spec, and what becomes of longer ones: their middle, or all of them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ptft.core import Spec


def max_samples(spec: Spec) -> int | None:
    """How many samples a recording has at most; None where any number."""
    seconds = spec.shape["seconds"]
    return None if seconds is None else max(1, round(seconds * spec.shape["rate"]))


def whole(spec: Spec) -> Spec:
    """As `spec`, and recordings are read whole, however long they are."""
    return replace(spec, shape={**spec.shape, "whole": True})


def fit(values: Tensor, spec: Spec) -> Tensor:
    """The middle of int16 [n], not longer than the Spec's recordings are; all of it where `whole` made the Spec."""
    longest = max_samples(spec)
    if longest is None or len(values) <= longest or spec.shape.get("whole"):
        return values
    start = (len(values) - longest) // 2
    return values[start : start + longest]


def longer_than(spec: Spec) -> str:
    """What becomes of a recording that is longer than `Spec.shape` has them."""
    seconds = f"{spec.shape['seconds']:g} s"
    if spec.shape.get("whole"):
        return f"overlapping windows of {seconds} are heard, since training had no longer ones (dataset.seconds)"
    return f"only the middle {seconds} are heard (dataset.seconds)"
