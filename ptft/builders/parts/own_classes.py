"""Objects of the user's own below a key of a group, and those that they are made of: what a node may name there."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, TypeGuard

from ptft.config.config import plain
from ptft.config.instantiate import construct, option_names, target_of
from ptft.errors import ConfigError, PtftError, first_line

TARGET = "_target_"


def names_class(node: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(node, Mapping) and TARGET in node


def shown(node: Mapping[str, Any], key: str) -> str:
    """What is typed, for messages."""
    return f"{key}.{TARGET}={node[TARGET]}"


def built(node: Mapping[str, Any], trusted: tuple[str, ...], key: str, base: type, usual: Collection[str] = ()) -> Any:
    """What the node names, built of its other keys, in which nodes may name classes again.

    base: of what a class must be; where it is `object` a function may be named as well, which gets the keys when it is
    called. usual: keys of ptft's own that have no place beside it.
    Raises ConfigError naming the key for what is no such thing of a trusted package, or can't be built.
    """
    options, name = plain(node), shown(node, key)
    target = target_of(key, options, trusted)
    is_function = base is object and inspect.isroutine(target)
    fits = (inspect.isclass(target) and issubclass(target, base)) or is_function
    if not (fits and _is_trusted(str(getattr(target, "__module__", "")), trusted)):
        what = "class or function" if base is object else f"{base.__module__.partition('.')[0]}.nn.{base.__name__}"
        raise ConfigError(f"{name}: refused, it is no {what} of a package of yours (trusted=[package])")
    if not is_function:
        for option in [each for each in options if each in usual and each not in option_names(target)]:
            own = f"ptft's own {key.rpartition('.')[2]}"
            raise ConfigError(f"{key}.{option}: is a key of {own}, and {options[TARGET]} has no such option")
    within = {option: _made(value, trusted, f"{key}.{option}") for option, value in options.items()}
    try:
        if is_function:
            return partial(target, **{option: value for option, value in within.items() if option != TARGET})
        return construct(key, within, target)
    except PtftError:
        raise
    except Exception as error:  # whatever a stranger's constructor may raise
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{name}: can't be built ({reason}); {key}.KEY=… sets what it takes") from error


def _made(value: Any, trusted: tuple[str, ...], key: str) -> Any:
    if names_class(value):
        return built(value, trusted, key, object)
    if isinstance(value, list | tuple):
        return [_made(each, trusted, f"{key}[{number}]") for number, each in enumerate(value)]
    return value


def _is_trusted(module: str, trusted: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in trusted)
