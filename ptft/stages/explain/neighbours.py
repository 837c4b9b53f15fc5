"""Training examples that are nearest to an input in the features of a checkpoint's backbone.

Those of its own training, and of the pretraining that it started from: which examples taught it this. Axes: N examples,
B inputs, D width, K neighbours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptft.builders import components, membership
from ptft.builders.inputs import eval_loader, read_splits
from ptft.builders.predictor import Predictor
from ptft.builders.restore import trained_with
from ptft.checkpoint.load import open_checkpoint
from ptft.config.resolve import Job
from ptft.core import Examples, Source, Spec
from ptft.errors import CheckpointError, ConfigError, DataError, PtftError, first_line
from ptft.export.report import explanation
from ptft.export.report.previews import of_rows
from ptft.loggers.console import Console
from ptft.metrics.knn import normalised
from ptft.runtime.system import write_text, written_whole
from ptft.stages import left_out

TEXT = 120
"""Characters of a text that is shown."""


@dataclass(frozen=True)
class Bank:
    """The training examples of one dataset: features of length 1, float32 [N, D]; what to call each, its label, and
    how they are read again."""

    name: str
    features: Tensor
    items: Sequence[str]
    labels: Sequence[str | None]
    examples: Examples
    spec: Spec


def banks(job: Job, predictor: Predictor, out: Console) -> list[Bank]:
    """Of the checkpoint's training split, and of that of the run that it started from, where that can be read again;
    why it can't be is said. Raises what reading the checkpoint's own dataset raises.
    """
    cfg = job.config
    found = [_bank(job, predictor, cfg.dataset, str(cfg.names.dataset), out)]
    stored = _pretraining(predictor, out)
    if stored is not None and stored["dataset"] != (predictor.checkpoint.config or {}).get("dataset"):
        name = str(stored["names"].get("dataset"))
        try:
            found.append(_bank(job, predictor, stored["dataset"], f"{name} (pretraining)", out))
        except (ConfigError, DataError) as error:
            out.say(f"no neighbours of the pretraining: {error}", "yellow")
    return found


def _pretraining(predictor: Predictor, out: Console) -> dict[str, Any] | None:
    """The configuration of the run that the checkpoint started from; None where there was none, or it is gone."""
    parent = predictor.checkpoint.meta.get("parent")
    if not isinstance(parent, Mapping) or not parent.get("path"):
        return None
    try:
        opened = open_checkpoint(str(parent["path"]), "parent")
    except (CheckpointError, PtftError) as error:
        out.say(f"no neighbours of the pretraining: {error}", "yellow")
        return None
    if parent.get("sha256") and opened.sha256 != parent["sha256"]:
        out.say(
            f"no neighbours of the pretraining: {parent['path']} holds other weights than it started from", "yellow"
        )
        return None
    return opened.config if opened.config and "dataset" in opened.config else None


def _bank(job: Job, predictor: Predictor, node: Mapping[str, Any], name: str, out: Console) -> Bank:
    """Raises DataError where there is no training split."""
    cfg = job.config
    source = components.source(node, predictor.spec, cfg.trusted, labelled=False)
    if source.split("train") is None:
        raise DataError(f"explain.neighbours: the dataset {name} has no training split")
    examples = read_splits(source, ("train",), cfg, predictor.device, out)["train"]
    features = _features(job, predictor, source, examples, out)
    return Bank(name, features, _items(source, examples), _labels(source, examples), examples, source.spec)


def _items(source: Source, examples: Examples) -> list[str]:
    """What each is: its text where the dataset has one to show, else what it is called."""
    shown = membership.shown(source, "train", examples)
    texts = [" | ".join(row)[:TEXT] for row in zip(*shown.values(), strict=True)] if shown else []
    return texts or membership.names(source, "train", examples)


def _labels(source: Source, examples: Examples) -> list[str | None]:
    if examples.labels is None or examples.labels.ndim > 1:
        return [None] * len(examples)
    classes = source.spec.classes
    return [classes[label] if classes else f"{label:.4g}" for label in examples.labels.tolist()]


def _features(job: Job, predictor: Predictor, source: Source, examples: Examples, out: Console) -> Tensor:
    """Float32 [N, D], computed, or read from where a run kept them; explain.index=true keeps them."""
    cfg, count = job.config, len(examples)
    file = _file(predictor, source, count)
    if file is not None and file.is_file():
        with np.load(file, allow_pickle=False) as kept:
            out.say(f"features of {count:,} training examples are read from {file}")
            return torch.from_numpy(kept["features"])
    features = torch.full((count, predictor.objective.backbone.width), torch.nan)
    done = 0
    with out.reading("embedding training examples") as progress:
        for batch in eval_loader(cfg, examples, predictor.device, trained_with(job)).epoch():
            features[batch["index"].cpu()] = normalised(predictor.embed(batch))
            done += len(batch["index"])
            progress(done, count)
    left_out.say({"train": examples}, out)
    if cfg.explain.index and file is not None:
        with written_whole(file, "type explain.index=false") as aside, aside.open("wb") as handle:
            np.savez(handle, features=features.numpy())
        out.say(f"features of {count:,} training examples are kept in {file}")
    return features


def _file(predictor: Predictor, source: Source, count: int) -> Path | None:
    """Where features of these weights and examples are kept, beside the checkpoint; None for one that is no file."""
    path = Path(predictor.checkpoint.path)
    if predictor.checkpoint.sha256 is None or not path.is_file():
        return None
    known = f"{predictor.checkpoint.sha256} {source.fingerprint()} {count}".encode()
    return path.with_name(f"{path.stem}-neighbours-{hashlib.sha256(known).hexdigest()[:12]}.npz")


def nearest(banks: Sequence[Bank], features: Tensor, count: int) -> list[dict[str, list[dict[str, Any]]]]:
    """Of each input [B, D], by the name of a bank, its `count` nearest examples by cosine, the nearest first."""
    found: list[dict[str, list[dict[str, Any]]]] = [{} for _ in features]
    for bank in banks:
        similar = (normalised(features) @ bank.features.T).nan_to_num(-2)
        values, indices = similar.topk(min(count, len(bank.items)), dim=1)
        for row, near in zip(found, zip(values.tolist(), indices.tolist(), strict=True), strict=True):
            row[bank.name] = [
                {"index": i, "item": bank.items[i], "label": bank.labels[i], "similarity": value}
                for value, i in zip(*near, strict=True)
            ]
    return found


def show(folder: Path, banks: Sequence[Bank], told: Sequence[Mapping[str, Any]], out: Console) -> None:
    """neighbours.json: what of them can be seen or heard on the page; it is not worth a run, whatever it meets."""
    try:
        found: dict[str, str] = {}
        for bank in banks:
            places = sorted({near["index"] for row in told for near in row["neighbours"][bank.name]})
            uris = of_rows(bank.examples, bank.spec, places, len(places))
            found |= {f"{bank.name} {i}": uri for i, uri in zip(places, uris, strict=True) if uri is not None}
        if found:
            write_text(folder / explanation.NEIGHBOURS, json.dumps(found))
    except Exception as error:
        out.say(f"{explanation.NEIGHBOURS}: can't be made ({first_line(error)}); the page goes without it", "yellow")
