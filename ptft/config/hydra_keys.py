"""What of Hydra's own configuration may be chosen: where runs lie, and who launches them. The rest runs code or
changes the process (logging handlers, callbacks, environment variables, search paths), so it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ptft.errors import ConfigError, first_line

PLACES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name", "hydra.job.config")
"""Keys, and what is below them, that a file may set."""
PLUGINS = ("hydra/launcher", "hydra/sweeper")
TYPED = (*PLACES, "hydra.launcher", "hydra.sweeper.max_batch_size", *PLUGINS)
"""Keys, and what is below them, that may be typed."""
PACKAGE = re.compile(r"[\w-]+(\.[\w-]+)*")
"""What a file may be put into: Hydra looks for its keys one by one."""
FROM_PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")

SILENT = {"version": 1, "root": {"level": "ERROR"}, "disable_existing_loggers": True}
FIXED: dict[str, Any] = {
    "hydra_logging": SILENT,
    "job_logging": SILENT,
    "callbacks": {},
    "env": {},
    "searchpath": [],
    "output_subdir": None,
    "verbose": False,
}
"""What parts of a composed `hydra` are, whatever the files say that it was composed from."""
FIXED_OF_JOB = {"chdir": False, "env_set": {}, "env_copy": []}


def check_typed(parsed: Iterable[Override]) -> None:
    """Raises ConfigError for what is typed of Hydra and may not be."""
    for override in parsed:
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] == "hydra" and not _below(key, TYPED):
            setting = _setting(key, override.value())
            raise ConfigError(f"{setting}: refused; of Hydra's keys {', '.join(TYPED)} are free")


def check_file(place: str, content: DictConfig, header: Mapping[str, str | None], usual: DictConfig) -> None:
    """Raises ConfigError, naming the file, for what a YAML of the user's says of Hydra and may not.

    usual: the node `hydra` of ptft's own `config.yaml`, of which the user's may be a copy.
    """
    package = str(header.get("package") or "")
    if package and not PACKAGE.fullmatch(package):
        raise ConfigError(f"{place}: # @package {first_line(package, 40)}: must be _global_ or keys joined by dots")
    if package.split(".")[0] == "hydra":
        raise ConfigError(f"{place}: refused, as it is put into {package}; a file may set {', '.join(PLACES)}")
    if "hydra" in content:
        plain = OmegaConf.to_container(content, resolve=False)
        assert isinstance(plain, dict)
        defaults = [*_leaves(OmegaConf.to_container(usual, resolve=False), "hydra")]
        for key, value in _leaves(plain["hydra"], "hydra"):
            if not _below(key, (*PLACES, "hydra.help")) and (key, value) not in defaults:
                raise ConfigError(f"{place}: {_setting(key, value)}: refused; a file may set {', '.join(PLACES)}")


def check_composed(node: DictConfig, typed: Iterable[str]) -> None:
    """Raises ConfigError where a composed `hydra` does anything that ptft does not ask for. typed: overrides of it."""
    for name in ("launcher", "sweeper"):
        target = str((node[name] or {}).get("_target_"))
        if not target.startswith(FROM_PLUGINS):
            raise ConfigError(f"hydra.{name}._target_={target}: refused, it is not a plugin of Hydra's")
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    fixed = {**FIXED, "job": {**plain["job"], **FIXED_OF_JOB}, "overrides": {**plain["overrides"], "hydra": [*typed]}}
    for name, value in fixed.items():
        if plain[name] != value:
            path = f"hydra.{name}"
            usual = [*_leaves(value, path)]
            key, refused = next((pair for pair in _leaves(plain[name], path) if pair not in usual), (path, "…"))
            raise ConfigError(f"{_setting(key, refused)}: refused; of Hydra's keys {', '.join(TYPED)} are free")
    if plain["sweeper"].get("params"):
        raise ConfigError("hydra.sweeper.params: refused; type the values of a sweep on the command line")


def _below(key: str, allowed: Iterable[str]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in allowed)


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for name, child in node.items():
            yield from _leaves(child, f"{path}.{name}")
    else:
        yield path, node


def _setting(key: str, value: Any) -> str:
    """`KEY=VALUE`, or the part of it that names code."""
    if isinstance(value, dict) and "_target_" in value:
        return f"{key}._target_={value['_target_']}"
    return f"{key}={value}"


def override_dirname(typed: Sequence[str], keys: Sequence[str], job_config: DictConfig) -> str:
    """What `${hydra.job.override_dirname}` means, as Hydra documents it. keys: that of each of the typed overrides."""
    names = job_config.override_dirname
    kept = sorted(text for text, key in zip(typed, keys, strict=True) if key not in names.exclude_keys)
    return str(names.item_sep).join(kept).replace("=", names.kv_sep)
