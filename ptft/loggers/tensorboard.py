"""Logger of curves for TensorBoard, in the run's folder (`pip install 'ptft[tensorboard]'`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptft.errors import ConfigError
from ptft.loggers.logger import Logger

POSITION = ("step", "epoch", "split", "seconds", "samples")
"""Entries of a row that say when it was, and are no metrics."""


class TensorBoardLogger(Logger):
    """Every metric as a scalar `SPLIT/NAME` at its step, the rate as `lr`, and the configuration as a text.

    A run that continues goes on in the same curves: what was written after `step` is dropped.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        self.writer = _writer(folder / "tensorboard", step)
        self.writer.add_text("configuration", f"```json\n{json.dumps(config, indent=2)}\n```", step)

    def log(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name not in POSITION:
                self.writer.add_scalar(name if name == "lr" else f"{row['split']}/{name}", value, row["step"])

    def evaluated(self, train: Mapping[str, float], row: Mapping[str, Any] | None, best: bool) -> None:
        if row is not None:
            self.log(row)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def _writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ModuleNotFoundError as error:
        raise ConfigError(
            "logger=tensorboard: needs the package tensorboard: pip install 'ptft[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
