"""inspect.json: what was found, as plain values. Axes: N examples of all splits."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import torch
from torch import Tensor

from ptft.data.inspected.reading import Seen
from ptft.data.inspected.subject import Subject
from ptft.stages.inspect.findings import ALONE, Findings, leakage, leaks

FORMAT = 1
"""Of inspect.json: it rises where something in it gets another meaning."""
MOST = 1000
"""So many findings of a kind stand in inspect.json; their number is exact."""
BINS = 24
"""Of a histogram."""


def as_json(subject: Subject, seen: Seen, found: Findings) -> dict[str, Any]:
    """inspect.json: plain values, of which pages and programs are made. `format` rises where one gets
    another meaning.

    captioned: whether an example is a caption of a picture. splits: how many examples each has. balance: split -> class
    -> count. leakage: held-out split -> how many of it are in another one. histograms: by what is measured (width,
    brightness, seconds, tokens …), see `histogram`. An *item*
    is as `Subject.item` has it; its `path`, or else its split and index there, is the source of a preview. Lists of
    findings, the worst first, hold MOST at most, and `counts` says how many there are:
    unreadable, odd: {item, why}. duplicates: {items, count, leak, labels_differ}, the one that stays first.
    near_duplicates: {items (two), distance, by, leak, labels_differ}; those by "features alone" count as no leak and
    stand behind the others. label_errors: {item, given, likely, sure}.
    outliers: {item, deviations}. unusable: rows of tables and lists, {name, why}. features, outliers_by: by what.
    probe_accuracy: of the probe behind label_errors, out of fold. notes: sentences. omitted: what was not
    done, and why.
    """
    classes, item = subject.source.spec.classes, subject.item
    near = [*found.near, *found.alone]
    lists: dict[str, list[dict[str, Any]]] = {
        "unreadable": [{"item": item(row), "why": why} for row, why in _first(list(found.unreadable.items()))],
        "odd": [{"item": item(row), "why": why} for row, why in _first(list(found.odd.items()))],
        "duplicates": [
            {
                "items": [item(row) for row in group[:MOST]],
                "count": len(group),
                "leak": leaks(subject, group),
                "labels_differ": _differ(subject, group),
            }
            for group in _first(sorted(found.copies, key=lambda group: not leaks(subject, group)))
        ],
        "near_duplicates": [
            {
                "items": [item(a), item(b)],
                "distance": distance,
                "by": by,
                "leak": by != ALONE and leaks(subject, (a, b)),
                "labels_differ": _differ(subject, (a, b)),
            }
            for a, b, distance, by in _first(near)
        ],
        "label_errors": [
            {"item": item(row), "given": subject.label(row), "likely": classes[likely], "sure": sure}
            for row, likely, sure in _first(found.errors)
        ],
        "outliers": [{"item": item(row), "deviations": score} for row, score in _first(found.outliers)],
    }
    totals: tuple[Sized, ...] = (found.unreadable, found.odd, found.copies, near, found.errors, found.outliers)
    counts = {name: len(total) for name, total in zip(lists, totals, strict=True)}
    return {
        "format": FORMAT,
        "modality": subject.source.spec.modality,
        "target": subject.source.spec.target,
        "captioned": subject.captions is not None,
        "classes": list(classes),
        "splits": subject.sizes,
        "balance": balance(subject),
        "leakage": leakage(subject, found),
        "counts": {**counts, "unusable": len(getattr(subject.source, "unusable", ()))},
        "histograms": {name: histogram(subject, values) for name, values in seen.measures.items()},
        "features": found.described,
        "outliers_by": found.outliers_by,
        "probe_accuracy": found.accuracy,
        **lists,
        "unusable": [{"name": name, "why": why} for name, why in _first(list(getattr(subject.source, "unusable", ())))],
        "notes": seen.notes,
        "omitted": found.omitted,
    }


def _first(values: Sequence[Any]) -> Sequence[Any]:
    return values[:MOST]


def _differ(subject: Subject, group: Sequence[int]) -> bool:
    """Whether labels differ among them."""
    return subject.labels is not None and len({int(subject.labels[row]) for row in group}) > 1


def balance(subject: Subject) -> dict[str, dict[str, int]]:
    """Split -> class -> how many examples it has."""
    if subject.labels is None:
        return {}
    classes = subject.source.spec.classes
    of_split = torch.split(subject.labels, list(subject.sizes.values()))
    counts = {
        split: labels.bincount(minlength=len(classes)).tolist()
        for split, labels in zip(subject.sizes, of_split, strict=True)
    }
    return {split: dict(zip(classes, numbers, strict=True)) for split, numbers in counts.items()}


def histogram(subject: Subject, values: Tensor) -> dict[str, Any]:
    """BINS bins over all that is finite: `edges`, `counts` by split, and `median`, `least` and `most`."""
    real = values[values.isfinite()]
    if not len(real):
        return {"edges": [], "counts": {}, "least": None, "median": None, "most": None}
    least, most = float(real.min()), float(real.max())
    edges = torch.linspace(least, most if most > least else least + 1, BINS + 1)
    counts = {
        split: torch.histogram(part[part.isfinite()].float(), edges).hist.long().tolist()
        for split, part in zip(subject.sizes, torch.split(values, list(subject.sizes.values())), strict=True)
    }
    return {"edges": edges.tolist(), "counts": counts, "least": least, "median": float(real.median()), "most": most}
