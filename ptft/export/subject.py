"""Subject: the trained model that is exported, and what every format asks of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from ptft.builders.predictor import Predictor
from ptft.checkpoint import exported
from ptft.checkpoint.load import Checkpoint
from ptft.config.config import model_name
from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.export import answering
from ptft.objectives.supervised.classify import Classify
from ptft.runs.folder import read_json

FORMATS = ("onnx", "torch", "safetensors", "huggingface", "peft")
ALWAYS = ("onnx", "torch", "safetensors")
"""Formats that are there for every model, or say why not."""

Measure = Callable[[Callable[[Mapping[str, Any]], Any]], float]
"""How often a function from a raw batch to probabilities is right on the validation split, from 0 to 1."""


@dataclass(frozen=True)
class Subject:
    """A trained model on the CPU, in float32.

    format: what it becomes. quantize: whether int8 weights are asked for as well. measure: how right answers are on the
        validation split, where they have classes; raises DataError where there is none.
    """

    predictor: Predictor
    format: str
    quantize: bool = False
    measure: Measure | None = None

    @property
    def spec(self) -> Spec:
        return self.predictor.spec

    @property
    def checkpoint(self) -> Checkpoint:
        return self.predictor.checkpoint

    @property
    def module(self) -> nn.Module:
        """From a raw batch to what it `answers`."""
        return answering.of(self.predictor.objective)[0].eval()

    @property
    def model(self) -> str:
        return model_name(self.predictor.job.config)

    @property
    def objective(self) -> str:
        return str(self.predictor.job.config.names.objective)

    @property
    def answers(self) -> str:
        """What the module makes of a raw batch: probabilities, values, logits or features."""
        return answering.of(self.predictor.objective)[1]

    @property
    def classifies(self) -> bool:
        """Whether that is a probability of each class for each example, which has one of them."""
        return isinstance(self.predictor.objective, Classify)

    @property
    def summary(self) -> dict[str, Any]:
        """That of the run whose best weights these are; {} where it is not known."""
        run = self.checkpoint.run
        if run is None or Path(self.checkpoint.path).stem != "best":
            return {}
        return read_json(Path(run) / "summary.json")

    def description(self) -> dict[str, Any]:
        """What the JSON file of every export says: the checkpoint that it was made of, its Spec, its configuration."""
        checkpoint = self.checkpoint
        content = {"config": checkpoint.config, "spec": self.spec.to_dict(), **checkpoint.meta}
        of = checkpoint.meta.get("checkpoint") or {}  # of an export again
        path, run = of.get("path", checkpoint.path), of.get("run", checkpoint.run)
        says, card = exported.described(content, checkpoint.sha256, path, run), self.predictor.card
        measured = {"metrics": card["metrics"], **({"measured_on": card["measured_on"]} if card["measured_on"] else {})}
        return {**says, "kind": self.format, "answers": self.answers, **measured}

    def brief(self) -> dict[str, Any]:
        """The same of an export that ptft does not open again: without the configuration, and the tokenizer's text."""
        says = self.description()
        shape = dict(says["spec"]["shape"])
        if "tokenizer" in shape:
            shape["tokenizer"] = {key: value for key, value in shape["tokenizer"].items() if key != "json"}
        says["spec"] = {**says["spec"], "shape": shape}
        return {key: value for key, value in says.items() if key not in ("config", "transfer")}

    def refused(self, why: str, instead: Iterable[str] = ALWAYS, what: str = "model") -> ConfigError:
        """The error for a model (or an objective) that the format has no place for, with those that have one."""
        name = self.model if what == "model" else self.objective
        others = [name for name in instead if name != self.format]
        listed = f"{', '.join(others[:-1])} or {others[-1]}" if len(others) > 1 else "".join(others)
        works = "works" if len(others) == 1 else "work"
        return ConfigError(f"format={self.format}: {what}={name}: {why}; format={listed} {works}")


class Format(Protocol):
    """A module of this package.

    NEEDS: packages that it imports, and the extra of ptft that brings them.
    """

    NEEDS: Mapping[str, str]

    def write(self, folder: Path, subject: Subject) -> dict[str, Any]:
        """Fill an empty folder and try what is in it; facts for the summary and the card.

        Raises ConfigError where the model can't be expressed, or what was written answers otherwise.
        """

    def usage(self, subject: Subject) -> str:
        """A few lines of Python that load it, run in the folder; the last one makes an answer."""


def of(name: str) -> Format:
    """The module of a format. Raises ConfigError, with the command to type, where a package is missing."""
    module: Any = importlib.import_module(f"ptft.export.{MODULES[name]}")
    for package, extra in module.NEEDS.items():
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"format={name}: needs the package {package}: pip install 'ptft[{extra}]'")
    chosen: Format = module
    return chosen


MODULES = {
    "onnx": "onnx_file",
    "torch": "torch_program",
    "safetensors": "weights",
    "huggingface": "huggingface.folder",
    "peft": "adapter",
}
"""The module of each format; none is called as a package that it imports."""
