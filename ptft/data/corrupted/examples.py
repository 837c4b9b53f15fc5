"""A split whose examples are corrupted as they are taken. Axes: B batch, n values of an example."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ptft.core import Batch, Examples, Spec
from ptft.data.label_sets.handed_on import HandedOn
from ptft.data.text.packed.examples import PackedTexts
from ptft.errors import ConfigError, unknown
from ptft.runtime.together.splitmix import mix, uniform

SEVERITIES = (1, 2, 3, 4, 5)

Corruption = Callable[[Batch, int, Spec, Examples], Batch]
"""(raw batch, severity from 1 to 5, Spec, the split that it is of) -> the batch, corrupted. What becomes of an example
does not depend on those beside it."""


def kinds(spec: Spec) -> Mapping[str, Corruption]:
    """The corruptions of a modality by name. Raises ConfigError where there are none."""
    try:
        module = importlib.import_module(f"ptft.data.corrupted.{spec.modality}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"evaluate.corrupt: there are no corruptions of {spec.modality}; set it to null") from error
    found: Mapping[str, Corruption] = module.KINDS
    return found


def chosen(spec: Spec, names: tuple[str, ...], examples: Examples | None = None) -> dict[str, Corruption]:
    """Those of these names, for the examples. Raises ConfigError for one that there is not, for targets that lie in a
    text, and for texts that share a row."""
    known = kinds(spec)
    if strange := [name for name in names if name not in known]:
        raise ConfigError(unknown("evaluate.corrupt", strange[0], list(known)))
    if spec.modality == "text" and spec.target in ("tags", "span"):
        raise ConfigError(
            "evaluate.corrupt: the words of a text are what is asked for here, and would move; set it to null"
        )
    if isinstance(examples, PackedTexts):
        raise ConfigError(
            "evaluate.corrupt: texts share the rows here, and where each begins and what is learned of it would move; "
            "set it to null"
        )
    return {name: known[name] for name in names}


class Corrupted(HandedOn):
    """The same examples as another split, corrupted at a severity from 1 to 5."""

    def __init__(self, examples: Examples, corruption: Corruption, severity: int, spec: Spec) -> None:
        super().__init__(examples)
        self.corruption, self.severity, self.spec = corruption, severity, spec

    def take(self, indices: Tensor) -> Batch:
        batch = self.examples.take(indices)
        return self.corruption(batch, self.severity, self.spec, self.examples) if len(batch["index"]) else batch


def normal(index: Tensor, count: int, key: int) -> Tensor:
    """float32 [B, count] of mean 0 and deviation 1, which examples (long [B]) and a key decide (Box & Muller 1958)."""
    cells = mix(index.unsqueeze(1) ^ key) + torch.arange(count, device=index.device)
    one, two = uniform(cells.flatten(), 2)
    values: Tensor = (-2 * (1 - one).log()).sqrt() * (2 * math.pi * two).cos()
    return values.float().view(len(index), count)
