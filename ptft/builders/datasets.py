"""Sources from the configuration: ptft's own, and around any map-style torch Dataset of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import IterableDataset

from ptft.config.config import plain
from ptft.config.instantiate import construct, make, option_names, target_of
from ptft.config.overrides import OWN
from ptft.config.rules import NOT_HANDED, usual
from ptft.core import Source, Spec
from ptft.data.splits import SPLITS
from ptft.data.user_dataset import items
from ptft.data.user_dataset.examples import SplitDatasets, length
from ptft.data.user_dataset.sources import SOURCES
from ptft.errors import ConfigError, DataError, PtftError, first_line

KEYS = {
    "image": ("size", "channels", "mean", "std"),
    "audio": ("rate", "seconds"),
    "text": ("tokenizer", "vocabulary", "length"),
}
"""Of `dataset=torch_dataset`, what counts for one kind of input alone."""
LATER = frozenset({"group_as", "fold"})
"""Keys of it that runs of before have not."""
NEEDED = ("__getitem__", "__len__")


def source(
    node: Mapping[str, Any], like: Spec | None, trusted: tuple[str, ...], *, whole: bool, **offered: Any
) -> Source:
    """What `dataset._target_` names: a Source, or around a map-style Dataset of the user's own one.

    A Dataset's constructor gets what is typed beside the keys of `dataset=torch_dataset`, and of those that concern
    inputs what it asks for by that name. One that asks for `split` is called for train, val and test (as
    `dataset.train`, `.val` and `.test` call them), one that asks for `train` with True and False.
    Raises ConfigError and DataError.
    """
    cls = target_of("dataset", node, trusted)
    if not _is_users(cls, trusted):
        node = _without_own(node, cls)
        return make("dataset", node, Source, trusted, like=like, whole=whole, **offered)  # type: ignore[type-abstract]
    name = str(node["_target_"])
    if issubclass(cls, IterableDataset):
        needs = "items are taken by their number, which needs __getitem__ and __len__"
        raise ConfigError(f"dataset._target_={name}: is an IterableDataset; {needs}")
    if lacking := [method for method in NEEDED if not hasattr(cls, method)]:
        what = "is no Dataset of (input, label), nor a Source of ptft"
        raise ConfigError(f"dataset._target_={name}: {what}; it lacks {' and '.join(lacking)}")
    typed = {str(key): value for key, value in plain(node).items() if key != "_target_"}
    own, arguments = _sorted(typed, option_names(cls))
    datasets = _datasets(name, cls, own, arguments, whole)
    kind = _kind(datasets, own)
    for modality, keys in KEYS.items():
        for key in keys:
            value = own.pop(key, None) if modality != kind else own.get(key)
            if modality != kind and value is not None:
                raise ConfigError(f"dataset.{key}={value}: is for {modality}; the items of {name} are {kind}")
    unsaid = {"split_seed", *(key for key, value in own.items() if value is None and key not in ("val", "test"))}
    options = {key: value for key, value in own.items() if key not in unsaid}
    root = {"root": typed["root"]} if isinstance(typed.get("root"), str) else {}
    wrapped: Source = SOURCES[kind](datasets, **options, **root, like=like, whole=whole)
    return wrapped


def _is_users(cls: Any, trusted: tuple[str, ...]) -> bool:
    """Whether it is a class from a trusted package, and none of ptft's kind."""
    if not inspect.isclass(cls) or issubclass(cls, Source):
        return False
    return any(cls.__module__ == package or cls.__module__.startswith(f"{package}.") for package in trusted)


def _without_own(node: Mapping[str, Any], cls: Any) -> Mapping[str, Any]:
    """The node of a Source without what `dataset=torch_dataset` says by itself and the class does not take."""
    defaults = usual("dataset", OWN)
    if not inspect.isclass(cls) or not defaults.keys() - LATER <= {*node, *NOT_HANDED}:
        return node
    option_keys = option_names(cls)
    return {
        key: value
        for key, value in node.items()
        if key == "_target_" or key in option_keys or key not in defaults or (value != defaults[key] and key != "seed")
    }


def _sorted(typed: dict[str, Any], option_keys: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that are ptft's, and those for the constructor; of inputs it gets those that it asks for by name."""
    of_inputs = {key for keys in KEYS.values() for key in keys}
    shared = usual("dataset", OWN).keys() - of_inputs
    own: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for key, value in typed.items():
        if key in shared:
            own[key] = value
        elif key not in of_inputs:
            arguments[key] = value
        elif value is not None and key in option_keys:
            arguments[key] = value
            own |= {key: value} if key == "rate" else {}
        else:
            own[key] = value
    return own, arguments


def _datasets(name: str, cls: Any, own: Mapping[str, Any], arguments: dict[str, Any], whole: bool) -> SplitDatasets:
    """The datasets, one for each split that the class has."""
    options, seed = option_names(cls), int(own.get("split_seed") or 0)

    def build(**split: Any) -> Any:
        call = ", ".join(f"{key}={value!r}" for key, value in {**arguments, **split}.items())
        try:
            return construct("dataset", {"_target_": name, **arguments}, cls, **split)
        except PtftError:
            raise
        except Exception as error:  # whatever a stranger's constructor may raise
            failure = f"{name}({call}) fails ({type(error).__name__}: {first_line(error)})"
            raise ConfigError(f"dataset._target_: {failure}; dataset.KEY=… sets what it takes") from error

    if "split" in options and "split" not in arguments:
        return _by_split(name, build, own, seed, whole)
    if "train" in options and "train" not in arguments:
        splits = {"test": build(train=False)} if whole else {"train": build(train=True), "test": build(train=False)}
        return SplitDatasets(name, splits, seed)
    return SplitDatasets(name, {"": build()}, seed)


def _by_split(name: str, build: Callable[..., Any], own: Mapping[str, Any], seed: int, whole: bool) -> SplitDatasets:
    """A dataset for each of the splits that are asked for. A class may have no val and no test, as they are usual."""
    split_names = {key: own.get(key, key) for key in SPLITS}
    datasets, notes = dict[str, Any](), list[str]()
    for key, split in split_names.items():
        if not isinstance(split, str) or split in datasets or (whole and key == "train"):
            continue
        try:
            datasets[split] = build(split=split)
        except ConfigError as error:
            if key == "train" or split != key:
                raise
            notes.append(f"there is no {split} split: {str(error.__cause__ or error)[:120]}")
    if not datasets:
        datasets["train"] = build(split=split_names["train"])
    return SplitDatasets(name, datasets, seed, tuple(notes))


def _kind(datasets: SplitDatasets, own: Mapping[str, Any]) -> str:
    """The modality of the first item; what is waveforms is said by `dataset.rate`."""
    dataset = next(iter(datasets.splits.values()))
    if not length(dataset, datasets.name):
        raise DataError(f"{datasets.name}: holds no items")
    item = items.read(dataset, 0, datasets.name)
    return "audio" if own.get("rate") is not None else items.kind(item)
