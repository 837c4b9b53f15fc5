"""Components: one object from one node of the configuration. Below this file nothing knows the configuration.

What a `_target_` may name is decided in `ptft.config.instantiate`; in which order they are built, in `run.py`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch

from ptft.builders import datasets, networks
from ptft.builders.parts import own_views
from ptft.builders.parts.own_classes import names_class
from ptft.config.config import plain
from ptft.config.instantiate import construct, find, make, option_names
from ptft.config.rules import NOT_HANDED
from ptft.core import Examples, Objective, Source, Spec
from ptft.data.cache import policy
from ptft.data.loader import Loader
from ptft.errors import ConfigError, NoTrainingSplit, PtftError, first_line, shortened
from ptft.finetune import lora
from ptft.finetune.phases import Phases, planned
from ptft.loggers.logger import Logger
from ptft.optim.eager import without_dynamo
from ptft.optim.param_groups import parameter_groups
from ptft.optim.schedules import Schedule
from ptft.runtime.together.alone import Share
from ptft.train.state import Budget


def needs(task: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> frozenset[str]:
    """What the objective asks of every batch, known before it is built."""
    return find("objective", task, Objective, trusted).needs  # type: ignore[type-abstract]


def lacking(task: Mapping[str, Any], examples: Examples, trusted: tuple[str, ...] = ()) -> list[str]:
    """The keys of a batch that the objective of a configuration needs and the examples, on a device, don't give."""
    if not len(examples):
        return []
    return sorted(needs(task, trusted) - examples.take(torch.arange(1, device=examples.device)).keys())


def compares(task: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> bool:
    """Whether the objective measures examples by training examples, which it needs beside them."""
    return "reference" in option_names(find("objective", task, Objective, trusted))  # type: ignore[type-abstract]


def has_linear_head(task: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> bool:
    """Whether the objective ends in a linear classifier that can be fitted to convergence."""
    cls = find("objective", task, Objective, trusted)  # type: ignore[type-abstract]
    return cls.linear_head is not Objective.linear_head


def published(
    model: Mapping[str, Any], weights: Mapping[str, torch.Tensor], path: str, trusted: tuple[str, ...] = ()
) -> Spec | None:
    """What plain weights of the model, from the file at `path`, expect of examples, where its class knows it."""
    options = {str(key): value for key, value in plain(model).items() if key != "_target_"}
    cls = networks.backbone_class(model, trusted)
    return cls.published(options, weights, path) if cls else None


def published_size(model: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> tuple[int, int] | None:
    """(H, W) of the images that the model's public weights are for; None where it has none, or is changed to others."""
    spec = None if model.get("stem") == "small" else published(model, {}, "", trusted)
    height, width = spec.shape.get("size", (0, 0)) if spec is not None and spec.modality == "image" else (0, 0)
    return (int(height), int(width)) if height else None


def source(
    node: Mapping[str, Any],
    like: Spec | None,
    trusted: tuple[str, ...] = (),
    *,
    labelled: bool = True,
    whole: bool = False,
    model: Mapping[str, Any] | None = None,
    tower: Spec | None = None,
    every: bool = False,
) -> Source:
    """The dataset; where the configuration leaves size, channels and normalisation open they come from `like`.

    labelled: whether labels are needed; without, a source may be one that has none. whole: whether all of it is only
        measured, so that there need not be a training split. model: what learns from it and may know its images' size.
        tower: how what is to read its captions reads texts, where that is decided. every: whether files that can't be
        used are only listed, where a source looks into all of them beforehand.
    """
    node = {key: value for key, value in node.items() if key not in NOT_HANDED and not is_own_transform(key, value)}
    size = None if model is None else partial(published_size, model, trusted)
    return datasets.source(
        node, like, trusted, whole=whole, labelled=labelled, model_size=size, tower=tower, every=every
    )


def source_to_measure(
    node: Mapping[str, Any],
    like: Spec | None,
    trusted: tuple[str, ...] = (),
    *,
    split: str | None,
    whole: bool | None,
    labelled: bool = True,
) -> tuple[Source, bool]:
    """As `source`, of a dataset of which a `split` is measured, and whether all that there is is.

    split: None is whichever there is. whole: None is only where there is no split to train on.
    """
    if whole is None and split != "train":
        try:
            return source(node, like, trusted, labelled=labelled), False
        except NoTrainingSplit:
            whole, node = True, {**node, "test": None} if split == "val" else node
    return source(node, like, trusted, labelled=labelled, whole=bool(whole)), bool(whole)


def is_own_transform(key: str, value: Any) -> bool:
    """Whether it is what changes training images, or nothing; a class of the user's may have an option of that name."""
    return key == "transform" and (value is None or names_class(value))


def objective(
    model: Mapping[str, Any],
    task: Mapping[str, Any],
    spec: Spec,
    train: Examples | None,
    trusted: tuple[str, ...] = (),
    reference: Examples | None = None,
    others: Mapping[str, Callable[..., Any]] | None = None,
    within: AbstractContextManager[object] | None = None,
    views: str = "objective.views",
) -> Objective:
    """A fresh backbone sized from `spec`, and the objective around it.

    train: what it is to be trained on, None where a trained one is made again; reference: training examples that only
        measure; others: what opens other checkpoints, for those that learn from one: `rebuild` and `classifier`, its
        objective, and `teach`, its backbone (`restore.py`); within: what the backbone is made in;
        views: the key that says what views are, for messages.
    """
    with within or nullcontext():
        backbone = networks.backbone(model, spec, trusted)
    labels = train.labels if train is not None else None
    optional: dict[str, Any] = {"labels": labels, "reference": reference if train is None else train}
    optional |= {"network": partial(networks.backbone, trusted=trusted), **(others or {})}
    task = own_views.in_task(task, backbone, spec, trusted, views)
    built = make("objective", task, Objective, trusted, backbone, spec, **optional)  # type: ignore[type-abstract]
    if train is not None and "label" in built.needs and labels is None:
        raise ConfigError(f"objective={type(built).__name__.lower()}: it needs labels, and the dataset has none")
    return built


def phases(task: Objective, finetune: Mapping[str, Any]) -> tuple[Phases, list[str]]:
    """What of the objective learns when, and notes for the user.

    With `finetune.lora.rank` low-rank factors are attached, which learn in the place of the backbone.
    """
    adapters = lora.attach(task.backbone, **finetune["lora"]) if finetune["lora"]["rank"] else {}
    parts = Phases(task, planned(finetune["train"], finetune["layer_decay"]), list(adapters.values()))
    if not adapters:
        return parts, []
    return parts, [
        f"LoRA of rank {finetune['lora']['rank']} on {shortened(adapters)}; checkpoints hold it multiplied in"
    ]


def optimizer(
    node: Mapping[str, Any], task: Objective, phases: Phases, anchored: bool, trusted: tuple[str, ...] = ()
) -> torch.optim.Optimizer:
    """The optimizer over what learns at some time: no decay on biases and norms, rates per layer."""
    rates = {"lr": float(node["lr"]), "weight_decay": float(node.get("weight_decay") or 0.0)}
    groups = parameter_groups(task, phases.scales, **rates, anchored=anchored)
    if not groups:
        raise ConfigError("finetune.train=head: this objective has nothing of its own to train; choose all or last:N")
    cls = without_dynamo(find("optimizer", node, torch.optim.Optimizer, trusted))
    with _options_of("optimizer"):
        return construct("optimizer", _without_idle_nesterov(node), cls, groups)


def _without_idle_nesterov(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without a momentum there is nothing to look ahead along: Nesterov's is the plain one then, which torch refuses
    to call so."""
    plain_one = node.get("momentum") == 0 and node.get("nesterov") is True
    return {**node, "nesterov": False} if plain_one else node


@contextmanager
def _options_of(group: str) -> Iterator[None]:
    """Inside, a value that a constructor refuses is a ConfigError of the group whose keys it gets."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError) as error:  # torch's raise the latter for options that exclude each other
        raise ConfigError(f"{group}: {first_line(error).rstrip('.')}; change its keys ({group}.KEY=…)") from error


def schedule(node: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> Schedule:
    with _options_of("schedule"):
        return make("schedule", node, Schedule, trusted)  # type: ignore[type-abstract]


def check_loggers(nodes: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> None:
    """Raises ConfigError where one of those that were chosen can't work."""
    for name, node in nodes.items():
        find(f"logger.{name}", node, Logger, trusted).check(node)


def loggers(nodes: Mapping[str, Any], trusted: tuple[str, ...] = (), **options: Any) -> list[Logger]:
    """Those that were chosen; options: `folder` and the others that `Logger` describes.

    One that can't begin (a full disk, a service that is gone) is left out with a warning, as one that fails later is.
    """
    built = []
    for name, node in nodes.items():
        try:
            built.append(make(f"logger.{name}", node, Logger, trusted, key=name, **options))
        except PtftError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            options["warn"](f"logger.{name}: can't begin ({reason}); the run goes on without it")
    return built


def budget(train: Mapping[str, Any], per_epoch: int) -> Budget:
    """What was typed, else the stage's own: so many epochs, but at least so many steps."""
    typed = Budget(train["epochs"], train["steps"], train["minutes"])
    if typed != Budget():
        return typed
    own = train["budget"]
    return Budget(epochs=max(own["epochs"], math.ceil(own["min_steps"] / per_epoch)))


@torch.no_grad()
def calibrate(task: Objective, train: Examples, device: torch.device) -> list[str]:
    """Show the backbone the training examples it asks for, spread evenly over the split; what to say."""
    count = min(task.backbone.calibrates, len(train))
    if not count:
        return []
    chosen = torch.linspace(0, len(train) - 1, count, dtype=torch.float64).round().long()
    sample = task.backbone.prepare(train.take(chosen)["input"].to(device))
    task.backbone.calibrate(sample)
    return [f"the model is calibrated with {len(sample):,} training examples"]


def examples(split: Examples, device: torch.device, mode: str, progress: Callable[[int, int], None]) -> Examples:
    """Kept as `mode` of `ptft.data.cache.policy` says, and on the device where they fit there too."""
    split = policy.keep(split, mode, progress)
    if not split.in_memory or device.type == "cpu":
        return split
    return (
        split.to(device) if device.type != "cuda" or split.nbytes < torch.cuda.mem_get_info(device)[0] // 2 else split
    )


def loader(
    split: Examples,
    batch_size: int,
    seed: int,
    device: torch.device,
    workers: int | str,
    *,
    shuffle: bool,
    tokens: int | None = None,
    share: Share = Share(),  # noqa: B008 - immutable
) -> Loader:
    """Batches of a split, or a share of each; worker processes only where examples must be decoded."""
    most = min(8, -(-(os.cpu_count() or 1) // share.count))
    workers = 0 if split.in_memory else most if workers == "auto" else int(workers)
    options: dict[str, Any] = {"seed": seed, "device": device, "workers": workers, "shuffle": shuffle, "tokens": tokens}
    return Loader(split, batch_size, share=share, **options)
