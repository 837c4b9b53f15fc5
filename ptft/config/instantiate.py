"""The safe instantiate: what a `_target_` may name, and objects built from their nodes."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from ptft.config.config import plain
from ptft.config.renamed import current
from ptft.errors import ConfigError, OptionError, suggest

PACKAGES = ("ptft", "torch.optim")


T = TypeVar("T")


def find(group: str, node: Mapping[str, Any], base: type[T], trusted: tuple[str, ...] = ()) -> type[T]:
    """The class that `node._target_` names. Raises ConfigError unless it is a `base` from an allowed package."""
    path, target = str(node.get("_target_")), target_of(group, node, trusted)
    fits = inspect.isclass(target) and issubclass(target, base) and target is not base
    if fits and inspect.isabstract(target):
        lacking = ", ".join(sorted(target.__abstractmethods__))
        raise ConfigError(f"{group}._target_={path}: it is a {base.__name__}, but lacks {lacking}")
    if not (fits and _allowed(target.__module__, trusted)):
        raise ConfigError(
            f"{group}._target_={path}: refused, it is not a {base.__name__}; its class must be defined in one of "
            f"{', '.join((*PACKAGES, *trusted))}"
        )
    return cast(type[T], target)


def target_of(group: str, node: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> Any:
    """Whatever `node._target_` names in an allowed package. Raises ConfigError where that is not, or has no such."""
    return _resolve(group, str(node.get("_target_")), trusted)


def look_here(trusted: tuple[str, ...]) -> None:
    """Packages that are trusted may lie where the user stands: the installed command does not look there by itself."""
    if trusted and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, it hides nothing


def stage(node: Mapping[str, Any], trusted: tuple[str, ...] = ()) -> Callable[..., dict[str, Any]]:
    """The function `run` of a stage's module."""
    path = str(node.get("_target_"))
    target = _resolve("stage", path, trusted)
    module = getattr(target, "__module__", "")
    if not (
        inspect.isfunction(target)
        and target.__name__ == "run"
        and _allowed(module, trusted)
        and ".stages." in f".{module}"
    ):
        raise ConfigError(f"stage._target_={path}: refused, it is not the `run` of a stage")
    return cast(Callable[..., dict[str, Any]], target)


def allowed(path: str, trusted: tuple[str, ...] = ()) -> bool:
    """Whether what `path` names lies in ptft, in what it builds on, or in a trusted package."""
    return _allowed(current(path).rpartition(".")[0], trusted)


def _resolve(group: str, path: str, trusted: tuple[str, ...]) -> Any:
    module, _, name = current(path).rpartition(".")
    if not _allowed(module, trusted):
        raise ConfigError(
            f"{group}._target_={path}: refused; only {', '.join((*PACKAGES, *trusted))} may be named, "
            f"others with trusted=[package]; type 'trusted=[{module.partition('.')[0]}]' if it is yours"
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        hint = f"; run it in the folder of {error.name}" if getattr(error, "name", None) in trusted else ""
        raise ConfigError(f"{group}._target_={path}: there is no such class ({error}){hint}") from error


def _allowed(module: str, trusted: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in (*PACKAGES, *trusted))


def make(
    group: str, node: Mapping[str, Any], base: type[T], trusted: tuple[str, ...], /, *args: Any, **offered: Any
) -> T:
    """An object of `node`'s class from its other keys; `offered` is passed where the class takes it."""
    return construct(group, node, find(group, node, base, trusted), *args, **offered)


def construct(group: str, node: Mapping[str, Any], cls: type[T], /, *args: Any, **offered: Any) -> T:
    kinds = _options(cls)
    names = list(kinds)
    options = {str(key): value for key, value in plain(node).items() if key != "_target_"}
    for key, value in options.items():
        if key not in names:
            raise ConfigError(f"{group}.{key}: {cls.__name__} has no such option{suggest(key, names)}")
        if isinstance(value, Mapping) and "_target_" in value:
            raise ConfigError(f"{group}.{key}._target_: refused; only a group itself names a class")
        if must := _misfit(value, kinds[key]):
            raise OptionError(f"{group}.{key}={'null' if value is None else value}: must be {must}")
    return cls(*args, **{**{key: value for key, value in offered.items() if key in names}, **options})


def _misfit(value: Any, kind: Any) -> str | None:
    """What an option that is a number by its annotation must be, if `value` is none; None for all other options."""
    kinds = set(str(getattr(kind, "__name__", kind)).split(" | "))
    if not kinds & {"int", "float"} or not kinds <= {"int", "float", "None"}:
        return None
    fits = isinstance(value, int if "float" not in kinds else int | float) and not isinstance(value, bool)
    if fits or (value is None and "None" in kinds):
        return None
    return ("a number" if "float" in kinds else "a whole number") + (", or null" if "None" in kinds else "")


def option_names(cls: type) -> list[str]:
    """What a class can be built with; its bases' too as long as `**` hands options up to them."""
    return list(_options(cls))


def _options(cls: type) -> dict[str, Any]:
    """As `option_names`, with their annotations."""
    annotations: dict[str, Any] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            kept = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            annotations |= {p.name: p.annotation for p in kept if p.name not in annotations}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return annotations
