"""The panel: tasks of earlier runs, by which a training tells whether its backbone still serves them.

Axes: N examples.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ptft.builders import components
from ptft.builders.inputs import Inputs
from ptft.builders.parts.alike import check_alike, source_of
from ptft.builders.restore import check_spec
from ptft.checkpoint.load import Checkpoint, open_checkpoint
from ptft.config.config import Config
from ptft.config.renamed import renamed
from ptft.core import Examples, Source
from ptft.data.cache import policy
from ptft.data.examples import SplitExamples
from ptft.errors import CheckpointError, ConfigError, DataError
from ptft.loggers.console import Console
from ptft.runs.folder import read_json
from ptft.runtime.paths import relative

KEY = "train.panel"
TRAIN, VAL = 2000, 10_000
"""So many examples of a task at most a probe is fitted to, and measured on: the same ones every time."""


@dataclass(frozen=True)
class PanelTask:
    """A task that an earlier run learned. rows: long [N], which of the validation split are in `val`."""

    name: str
    checkpoint: Checkpoint
    source: Source
    train: Examples
    val: Examples
    rows: Tensor

    @property
    def path(self) -> str:
        """The run that learned it, or else its checkpoint."""
        return self.checkpoint.run or self.checkpoint.path


def opened(cfg: Config, inputs: Inputs, out: Console) -> list[PanelTask]:
    """The tasks of `train.panel`. Raises ConfigError, DataError and CheckpointError naming those that can't be used."""
    return [_opened(cfg, inputs, run, out) for run in runs(cfg)]


def runs(cfg: Config) -> list[str]:
    """What `train.panel` names, paths of what is there from the root on."""
    typed = cfg.train.panel
    named = [typed] if isinstance(typed, str) else [str(run) for run in typed or ()]
    return [os.path.abspath(path) if os.path.lexists(path := os.path.expanduser(run)) else run for run in named]


def _opened(cfg: Config, inputs: Inputs, run: str, out: Console) -> PanelTask:
    said = f"{KEY}={relative(run) if os.path.lexists(run) else run}"
    checkpoint = open_checkpoint(_best_of(run), KEY)
    if not checkpoint.has_task or "dataset" not in (checkpoint.config or {}):
        raise CheckpointError(f"{said}: {checkpoint.path} holds weights and no task of ptft; name a finetuned run")
    stored = renamed(checkpoint.config or {})
    if not components.has_linear_head(stored["objective"], cfg.trusted):
        raise ConfigError(
            f"{said}: a linear probe tells one class an example, and objective={stored['names'].get('objective')} asks "
            "for something else; leave it out"
        )
    try:
        check_spec(checkpoint)
        source = source_of(cfg, checkpoint, labelled=True)
        whole = source.split("train"), source.split("val")
        if whole[0] and (missing := components.lacking(stored["objective"], whole[0], cfg.trusted)):
            raise ConfigError(f"{said}: its dataset has no {missing[0]} to fit a probe to; leave it out")
        check_alike(cfg, said, source.spec, inputs.source.spec)
        if not whole[0] or not whole[1]:
            raise DataError(
                f"{said}: its dataset has no {'validation' if whole[0] else 'training'} split; leave it out"
            )
        rows = [_spread(part, most) for part, most in zip(whole, (TRAIN, VAL), strict=True) if part is not None]
        train, val = (
            _read(part, some, inputs, f"reading {split} of {relative(run)}", out)
            for split, part, some in zip(("train", "val"), whole, rows, strict=True)
            if part is not None
        )
    except (ConfigError, DataError) as error:
        raise error if said in str(error) else type(error)(f"{said}: its dataset can't be had: {error}") from error
    return PanelTask(str(stored["names"].get("dataset")), checkpoint, source, train, val, rows[1])


def _best_of(run: str) -> str:
    """The run itself, or of a comparison the finished one that had the most labels."""
    cells = sorted((Path(run).expanduser() / "cells").rglob("summary.json"))
    if not cells:
        return run
    done = [(file, read_json(file)) for file in cells]
    labels = {
        file.parent: (summary.get("data") or {}).get("examples", {}).get("train", 0)
        for file, summary in done
        if summary.get("status") == "finished" and (file.parent / "checkpoints").is_dir()
    }
    if not labels:
        raise CheckpointError(f"{KEY}={run}: a comparison of which no finished run has its checkpoint; name a run")
    return str(max(labels, key=lambda folder: labels[folder]))


def _spread(examples: Examples, most: int) -> Tensor:
    """All of them, or `most` that lie evenly among those of which some can be taken."""
    count = len(examples)
    if count <= most or not isinstance(examples, SplitExamples):
        return torch.arange(count)
    return torch.linspace(0, count - 1, most, dtype=torch.float64).round().long()


def _read(examples: Examples, rows: Tensor, inputs: Inputs, title: str, out: Console) -> Examples:
    """Those at `rows`, kept in memory where there is room for them."""
    part = examples
    if len(rows) < len(examples) and isinstance(examples, SplitExamples):
        part = examples.at(rows, None if examples.labels is None else examples.labels[rows])
    mode = "memory" if policy.choose("auto", [part])[0] == "memory" else "off"
    with out.reading(title) as progress:
        return components.examples(part, inputs.device, mode, progress)
