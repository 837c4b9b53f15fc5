"""Config: one resolved configuration as everything outside `ptft.config` sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Config(Mapping[str, Any]):
    """Plain values that nobody changes, read as `cfg.train.steps` or `cfg["train"]["steps"]`.

    Nodes are Configs, lists are tuples. What is settled later (a precision that was measured) makes another Config.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", {str(key): _frozen(value) for key, value in values.items()})

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __getattr__(self, key: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[key]
        except KeyError:
            raise AttributeError(f"the configuration has no key {key}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"{key}: a configuration does not change; merged() makes another")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self.plain()})"

    def plain(self) -> dict[str, Any]:
        """A copy as dicts and lists: for files, checkpoints and constructors."""
        return {key: _plain(value) for key, value in self._values.items()}

    def merged(self, changes: Mapping[str, Any]) -> Config:
        """The same with other values, node by node."""
        values = dict(self._values)
        for key, value in changes.items():
            old = values.get(key)
            values[key] = old.merged(value) if isinstance(old, Config) and isinstance(value, Mapping) else value
        return Config(values)


def model_name(config: Config) -> str:
    """What the model is called: the option, and the network where the option is a library: "timm resnet50"."""
    option, network = str(config.names.model or ""), config.model.get("name")
    own = Path(network).name if isinstance(network, str) else ""
    return option if own in ("", option) else f"{option} {own}"


def plain(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node as a dict of dicts and lists, whether it is a Config or was read from a checkpoint."""
    return node.plain() if isinstance(node, Config) else {str(key): value for key, value in node.items()}


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value if isinstance(value, Config) else Config(value)
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.plain()
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value
