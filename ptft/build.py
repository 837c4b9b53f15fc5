"""Config in, objects out. Below this file nothing knows the configuration.

A `_target_` is input, not code: it is imported only from ptft, torch.optim and packages the user trusts on the command
line, and only if it is what its group holds.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch

from ptft import lora, optim
from ptft.argv import suggest
from ptft.core import Backbone, Examples, Objective, Source, Spec
from ptft.data import cache
from ptft.data.loader import Loader
from ptft.eager import eager
from ptft.errors import CheckpointError, ConfigError
from ptft.origin import Origin, load
from ptft.phases import Phases, planned
from ptft.schedule import Schedule
from ptft.training import Budget
from ptft.transfer import take_over

PACKAGES = ("ptft", "torch.optim")
T = TypeVar("T")


def find(group: str, node: Mapping[str, Any], base: type[T], trusted: tuple[str, ...] = ()) -> type[T]:
    """The class that `node._target_` names. Raises ConfigError unless it is a `base` from an allowed package."""
    path = str(node.get("_target_"))
    found = _resolve(group, path, trusted)
    fits = inspect.isclass(found) and issubclass(found, base) and found is not base and not inspect.isabstract(found)
    if not (fits and _allowed(found.__module__, trusted)):
        packages = ", ".join((*PACKAGES, *trusted))
        raise ConfigError(f"{group}._target_={path}: refused, it is not a {base.__name__} of {packages}")
    return cast(type[T], found)


def stage(node: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> Callable[..., dict[str, Any]]:
    """The function `run` of a stage's module."""
    path = str(node.get("_target_"))
    found = _resolve("stage", path, trusted)
    module = getattr(found, "__module__", "")
    if not (
        inspect.isfunction(found)
        and found.__name__ == "run"
        and _allowed(module, trusted)
        and ".stages." in f".{module}"
    ):
        raise ConfigError(f"stage._target_={path}: refused, it is not the `run` of a stage")
    return cast(Callable[..., dict[str, Any]], found)


def _resolve(group: str, path: str, trusted: tuple[str, ...]) -> Any:
    module, _, name = path.rpartition(".")
    if not _allowed(module, trusted):
        raise ConfigError(
            f"{group}._target_={path}: refused; only {', '.join((*PACKAGES, *trusted))} may be named, "
            "others with trusted=[package]"
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"{group}._target_={path}: there is no such class ({error})") from error


def _allowed(module: str, trusted: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in (*PACKAGES, *trusted))


def make(group: str, node: Mapping[str, Any], base: type[T], trusted: tuple[str, ...], *given: Any, **known: Any) -> T:
    """An object of `node`'s class from its other keys; `known` is passed where the class takes it."""
    return construct(group, node, find(group, node, base, trusted), *given, **known)


def construct(group: str, node: Mapping[str, Any], cls: type[T], *given: Any, **known: Any) -> T:
    takes = option_names(cls)
    options = {str(key): value for key, value in node.items() if key != "_target_"}
    for key, value in options.items():
        if key not in takes:
            raise ConfigError(f"{group}.{key}: {cls.__name__} has no such option{suggest(key, takes)}")
        if isinstance(value, Mapping) and "_target_" in value:
            raise ConfigError(f"{group}.{key}._target_: refused; only a group itself names a class")
    return cls(*given, **options, **{key: value for key, value in known.items() if key in takes})


def option_names(cls: type) -> list[str]:
    """What a class can be built with; its bases' too as long as `**` hands options up to them."""
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return names


def needs(task: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> frozenset[str]:
    """What the objective asks of every batch, known before it is built."""
    return find("objective", task, Objective, trusted).needs  # type: ignore[type-abstract]


def source(
    node: Mapping[str, Any], like: Spec | None, trusted: tuple[str, ...] = (), *, labelled: bool = True
) -> Source:
    """The dataset; where the configuration leaves size, channels and normalisation open they come from `like`.

    labelled: whether labels are needed; without, a source may be one that has none.
    """
    node = {key: value for key, value in node.items() if key not in ("views", "cache")}
    return make("dataset", node, Source, trusted, like=like, labelled=labelled)  # type: ignore[type-abstract]


def objective(
    model: Mapping[str, Any],
    task: Mapping[str, Any],
    spec: Spec,
    train: Examples | None,
    trusted: tuple[str, ...] = (),
    reference: Examples | None = None,
) -> Objective:
    """A fresh backbone sized from `spec`, and the objective around it.

    train: what it is to be trained on, None where a trained one is made again; reference: training examples that only
        measure.
    """
    backbone = make("model", model, Backbone, trusted, spec)  # type: ignore[type-abstract]
    labels = train.labels if train is not None else None
    rebuild = None if train is None else partial(rebuilt, trusted=trusted)
    known = {"labels": labels, "reference": reference if train is None else train, "rebuild": rebuild}
    built = make("objective", task, Objective, trusted, backbone, spec, **known)  # type: ignore[type-abstract]
    if train is not None and "label" in built.needs and labels is None:
        raise ConfigError(f"objective={type(built).__name__.lower()}: it needs labels, and the dataset has none")
    return built


def restored(
    origin: Origin,
    model: Mapping[str, Any],
    task: Mapping[str, Any],
    spec: Spec,
    trusted: tuple[str, ...] = (),
    reference: Examples | None = None,
) -> Objective:
    """The checkpoint's objective with every tensor of it. Raises CheckpointError where its tensors don't fit."""
    built = objective(model, task, spec, None, trusted, reference)
    take_over(built, origin.weights, whole=True, why="", origin=origin.path)
    return built


def rebuilt(path: str, key: str, trusted: tuple[str, ...] = ()) -> tuple[Objective, Spec]:
    """The objective of the checkpoint at `path`, which the key names, made without any dataset; and its Spec.

    What its configuration names must be ptft's or `trusted`, whatever it trusted itself.
    """
    found = load(path, key)
    config, spec = found.config or {}, found.spec
    if spec is None or not {"model", "objective"} <= config.keys():
        raise CheckpointError(f"{key}={path}: {found.path} holds weights and no task of ptft; finetune them first")
    return restored(found, config["model"], config["objective"], spec, trusted), spec


def phases(task: Objective, finetune: Mapping[str, Any]) -> tuple[Phases, list[str]]:
    """What of the objective learns when, low-rank factors in the place of the backbone where they are asked for; and
    what to say of them."""
    adapters = lora.attach(task.backbone, **finetune["lora"]) if finetune["lora"]["rank"] else {}
    found = Phases(task, planned(finetune["train"], finetune["layer_decay"]), list(adapters.values()))
    if not adapters:
        return found, []
    names = list(adapters)
    some = ", ".join(names if len(names) <= 4 else [*names[:3], f"… {len(names) - 3} more"])
    return found, [f"LoRA of rank {finetune['lora']['rank']} on {some}; checkpoints hold it multiplied in"]


def optimizer(
    node: Mapping[str, Any], task: Objective, phases: Phases, anchored: bool, trusted: tuple[str, ...] = ()
) -> torch.optim.Optimizer:
    """The optimizer over what learns at some time: no decay on biases and norms, rates per layer."""
    rates = {"lr": float(node["lr"]), "weight_decay": float(node.get("weight_decay") or 0.0)}
    groups = optim.parameter_groups(task, **rates, phases=phases, anchored=anchored)
    if not groups:
        raise ConfigError("finetune.train=head: this objective has nothing of its own to train; choose all or last:N")
    return construct("optimizer", node, eager(find("optimizer", node, torch.optim.Optimizer, trusted)), groups)


def schedule(node: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> Schedule:
    return make("schedule", node, Schedule, trusted)  # type: ignore[type-abstract]


def budget(train: Mapping[str, Any], per_epoch: int) -> Budget:
    """What was typed, else the stage's own: so many epochs, but at least so many steps."""
    typed = Budget(train["epochs"], train["steps"], train["minutes"])
    if typed != Budget():
        return typed
    own = train["budget"]
    return Budget(epochs=max(own["epochs"], math.ceil(own["min_steps"] / per_epoch)))


def device(name: str) -> torch.device:
    """`auto` is cuda, then mps, then cpu. Raises ConfigError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    found = torch.device(name)
    cuda_missing = found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()
    if cuda_missing or (found.type == "mps" and not torch.backends.mps.is_available()):
        raise ConfigError(f"device={name}: this machine has none that torch can use; device=auto takes what there is")
    return found


@torch.no_grad()
def calibrate(task: Objective, train: Examples, on: torch.device) -> list[str]:
    """Show the backbone the training examples it asks for, spread evenly over the split; what to say."""
    count = min(task.backbone.calibrates, len(train))
    if not count:
        return []
    chosen = torch.linspace(0, len(train) - 1, count, dtype=torch.float64).round().long()
    sample = task.backbone.prepare(train.take(chosen)["input"].to(on))
    task.backbone.calibrate(sample)
    return [f"the model is calibrated with {len(sample):,} training examples"]


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def examples(found: Examples, on: torch.device, mode: str, progress: Callable[[int, int], None]) -> Examples:
    """Kept as `mode` of `ptft.data.cache` says, and on the device where they fit there too."""
    found = cache.keep(found, mode, progress)
    if not found.in_memory or on.type == "cpu":
        return found
    size = getattr(found, "nbytes", 0)
    return found.to(on) if on.type != "cuda" or size < torch.cuda.mem_get_info(on)[0] // 2 else found


def loader(
    found: Examples,
    batch_size: int,
    seed: int,
    on: torch.device,
    workers: int | str,
    *,
    shuffle: bool,
    tokens: int | None = None,
) -> Loader:
    """Batches of a split; worker processes only where examples must be decoded."""
    count = (0 if found.in_memory else min(8, os.cpu_count() or 1)) if workers == "auto" else int(workers)
    workers = 0 if found.in_memory else count
    return Loader(found, batch_size, seed=seed, device=on, workers=workers, shuffle=shuffle, tokens=tokens)
