"""Sources from the configuration: ptft's own, and around any map-style torch Dataset of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import IterableDataset

from ptft.config.config import plain
from ptft.config.instantiate import construct, found, make, option_names
from ptft.config.overrides import OWN
from ptft.config.rules import usual
from ptft.core import Source, Spec
from ptft.data.user_dataset import items
from ptft.data.user_dataset.examples import Given, length
from ptft.data.user_dataset.sources import SOURCES
from ptft.errors import ConfigError, DataError, PtftError, first_line

KEYS = {
    "image": ("size", "channels", "mean", "std"),
    "audio": ("rate", "seconds"),
    "text": ("tokenizer", "vocabulary", "length"),
}
"""Of `dataset=torch_dataset`, what counts for one kind of input alone."""
NEEDED = ("__getitem__", "__len__")


def source(
    node: Mapping[str, Any], like: Spec | None, trusted: tuple[str, ...], *, whole: bool, **known: Any
) -> Source:
    """What `dataset._target_` names: a Source, or around a map-style Dataset of the user's own one.

    A Dataset's constructor gets what is typed beside the keys of `dataset=torch_dataset`, and of those that concern
    inputs what it asks for by that name. One that asks for `split` is called for train, val and test (as
    `dataset.train`, `.val` and `.test` call them), one that asks for `train` with True and False.
    Raises ConfigError and DataError.
    """
    cls = found("dataset", node, trusted)
    if not _is_users(cls, trusted):
        node = _without_own(node, cls)
        return make("dataset", node, Source, trusted, like=like, whole=whole, **known)  # type: ignore[type-abstract]
    name = str(node["_target_"])
    if issubclass(cls, IterableDataset):
        needs = "items are taken by their number, which needs __getitem__ and __len__"
        raise ConfigError(f"dataset._target_={name}: is an IterableDataset; {needs}")
    if lacking := [method for method in NEEDED if not hasattr(cls, method)]:
        what = "is no Dataset of (input, label), nor a Source of ptft"
        raise ConfigError(f"dataset._target_={name}: {what}; it lacks {' and '.join(lacking)}")
    typed = {str(key): value for key, value in plain(node).items() if key != "_target_"}
    own, theirs = _sorted(typed, option_names(cls))
    given = _given(name, cls, own, theirs, whole)
    kind = _kind(given, own)
    for modality, keys in KEYS.items():
        for key in keys:
            value = own.pop(key, None) if modality != kind else own.get(key)
            if modality != kind and value is not None:
                raise ConfigError(f"dataset.{key}={value}: is for {modality}; the items of {name} are {kind}")
    unsaid = {"split_seed", *(key for key, value in own.items() if value is None and key not in ("val", "test"))}
    options = {key: value for key, value in own.items() if key not in unsaid}
    root = {"root": typed["root"]} if isinstance(typed.get("root"), str) else {}
    made: Source = SOURCES[kind](given, **options, **root, like=like, whole=whole)
    return made


def _is_users(cls: Any, trusted: tuple[str, ...]) -> bool:
    """Whether it is a class from a trusted package, and none of ptft's kind."""
    if not inspect.isclass(cls) or issubclass(cls, Source):
        return False
    return any(cls.__module__ == package or cls.__module__.startswith(f"{package}.") for package in trusted)


def _without_own(node: Mapping[str, Any], cls: Any) -> Mapping[str, Any]:
    """The node of a Source without what `dataset=torch_dataset` says by itself and the class does not take."""
    said = usual("dataset", OWN)
    if not inspect.isclass(cls) or not said.keys() <= {*node, "views", "cache"}:
        return node
    takes = option_names(cls)
    return {
        key: value
        for key, value in node.items()
        if key == "_target_" or key in takes or key not in said or (value != said[key] and key != "seed")
    }


def _sorted(typed: dict[str, Any], takes: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that are ptft's, and those for the constructor; of inputs it gets those that it asks for by name."""
    of_inputs = {key for keys in KEYS.values() for key in keys}
    shared = usual("dataset", OWN).keys() - of_inputs
    own: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for key, value in typed.items():
        if key in shared:
            own[key] = value
        elif key not in of_inputs:
            theirs[key] = value
        elif value is not None and key in takes:
            theirs[key] = value
            own |= {key: value} if key == "rate" else {}
        else:
            own[key] = value
    return own, theirs


def _given(name: str, cls: Any, own: Mapping[str, Any], theirs: dict[str, Any], whole: bool) -> Given:
    """The datasets, one for each split that the class has."""
    takes, seed = option_names(cls), int(own.get("split_seed") or 0)

    def build(**known: Any) -> Any:
        said = ", ".join(f"{key}={value!r}" for key, value in {**theirs, **known}.items())
        try:
            return construct("dataset", {"_target_": name, **theirs}, cls, **known)
        except PtftError:
            raise
        except Exception as error:  # whatever a stranger's constructor may raise
            told = f"{name}({said}) fails ({type(error).__name__}: {first_line(error)})"
            raise ConfigError(f"dataset._target_: {told}; dataset.KEY=… sets what it takes") from error

    if "split" in takes and "split" not in theirs:
        return _by_split(name, build, own, seed, whole)
    if "train" in takes and "train" not in theirs:
        made = {"test": build(train=False)} if whole else {"train": build(train=True), "test": build(train=False)}
        return Given(name, made, seed)
    return Given(name, {"": build()}, seed)


def _by_split(name: str, build: Callable[..., Any], own: Mapping[str, Any], seed: int, whole: bool) -> Given:
    """A dataset for each of the splits that are asked for. A class may have no val and no test, as they are usual."""
    wanted = {key: own.get(key, key) for key in ("train", "val", "test")}
    made, notes = dict[str, Any](), list[str]()
    for key, split in wanted.items():
        if not isinstance(split, str) or split in made or (whole and key == "train"):
            continue
        try:
            made[split] = build(split=split)
        except ConfigError as error:
            if key == "train" or split != key:
                raise
            notes.append(f"there is no {split} split: {str(error.__cause__ or error)[:120]}")
    if not made:
        made["train"] = build(split=wanted["train"])
    return Given(name, made, seed, tuple(notes))


def _kind(given: Given, own: Mapping[str, Any]) -> str:
    """The modality of the first item; what is waveforms is said by `dataset.rate`."""
    dataset = next(iter(given.splits.values()))
    if not length(dataset, given.name):
        raise DataError(f"{given.name}: holds no items")
    item = items.read(dataset, 0, given.name)
    return "audio" if own.get("rate") is not None else items.kind(item)
