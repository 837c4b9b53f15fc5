"""Hydra's part: from overrides to composed configurations, and one clear line for what can't be composed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ptft.config.overrides import Overrides
from ptft.errors import ConfigError, suggest
from ptft.runtime.system import write_text

GROUPS = ("model", "dataset", "objective", "optimizer", "schedule", "stage", "experiment", "logger")
SEVERAL = ("logger",)
"""Groups of which any number of options can be chosen, each a node of its own below the group."""
NOTES = ("_rules_", "_test_")
"""What a YAML file says beside its keys: what their values must be (ptft.config.rules), and what a test of it types."""
VERSION: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__ < "1.4" else {}


def conf_dir() -> Path:
    """`conf/` inside an installed ptft, else the one at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def user_conf() -> Path | None:
    """`./conf` of the folder the user stands in, when it is not ptft's own."""
    folder = Path.cwd() / "conf"
    return folder if folder.is_dir() and folder.resolve() != conf_dir().resolve() else None


class OptionFiles(FileConfigSource):
    """Reads the YAML files of a `conf/` for Hydra, which sees neither their notes nor files that begin with `_`.

    Notes are for ptft and its tests and belong to no run; such a file holds keys that options share, and is none.
    """

    @staticmethod
    def scheme() -> str:
        return "ptft"

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            return super().load_config(config_path)  # which says so
        header, content = _read(file, file.stat().st_mtime_ns)
        where = f"{self.scheme()}://{self.path}"
        return ConfigResult(config=OmegaConf.create(content), path=where, provider=self.provider, header=dict(header))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [name for name in super().list(config_path, results_filter) if not name.startswith("_")]


@cache
def _read(file: Path, changed: int) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Header and content of a YAML file, without its notes; read once as long as it does not change."""
    with file.open(encoding="utf-8") as opened:
        header = ConfigSource._get_header_dict(opened.read(512))
        opened.seek(0)
        config = OmegaConf.load(opened)
    assert isinstance(config, DictConfig)
    for note in NOTES:
        config.pop(note, None)
    content = OmegaConf.to_container(config)
    assert isinstance(content, dict)
    return header, {str(key): value for key, value in content.items()}


class OurConf(SearchPathPlugin):
    """Has ptft's `conf/` read by OptionFiles, and puts the user's `./conf` before it, so that an edited copy wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for element in search_path.get_path():
            if element.provider == "main":
                element.path = f"ptft://{conf_dir()}"
        if folder := user_conf():
            search_path.prepend("user", f"ptft://{folder}")


Plugins.instance().register(OptionFiles)
Plugins.instance().register(OurConf)


@contextmanager
def _session() -> Iterator[Any]:
    """Hydra's config loader, of a session of its own also inside a job that Hydra has launched."""
    instance = GlobalHydra.instance()
    outer, instance.hydra = instance.hydra, None
    try:
        with hydra.initialize_config_dir(str(conf_dir()), job_name="ptft", **VERSION):
            yield instance.config_loader()
    finally:
        instance.hydra = outer


def compose(overrides: Overrides | Iterable[str]) -> DictConfig:
    """The composed configuration, with `hydra` and a node `names` (which option of each group was chosen).

    Raises ConfigError naming the key or option that does not exist and the nearest that does.
    """
    overrides = Overrides.of(overrides)
    with _session():
        try:
            cfg = hydra.compose("config", list(overrides.texts), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise _explain(overrides, error) from error
    _only_hydras_own(cfg.hydra)
    choices = cfg.hydra.runtime.choices
    OmegaConf.set_struct(cfg, False)
    cfg.names = {group: list(cfg[group]) if group in SEVERAL else choices.get(group) for group in GROUPS}
    OmegaConf.set_struct(cfg, True)
    return cfg


def _only_hydras_own(node: DictConfig) -> None:
    """Raises ConfigError for a launcher, sweeper or callback that is no plugin: Hydra would build it unasked."""
    parts = {"launcher": node.launcher, "sweeper": node.sweeper}
    parts |= {f"callbacks.{name}": callback for name, callback in (node.callbacks or {}).items()}
    for name, part in parts.items():
        target = str((part or {}).get("_target_"))
        if not target.startswith(("hydra._internal.core_plugins.", "hydra_plugins.")):
            raise ConfigError(f"hydra.{name}._target_={target}: refused, it is not a plugin of Hydra's")


def options(group: str) -> list[str]:
    """The names in a group; raises ConfigError with the nearest for a group that does not exist."""
    with _session() as loader:
        names: list[str] = loader.get_group_options(group)
        if not names:
            groups = groups_of(loader)
            raise ConfigError(f"{group}: there is no such group{suggest(group, groups)} ({', '.join(groups)})")
    return sorted(names)


def listing() -> dict[str, list[str]]:
    """Every group and the names in it."""
    with _session() as loader:
        return {group: sorted(loader.get_group_options(group)) for group in groups_of(loader)}


def groups_of(loader: Any) -> list[str]:
    return sorted(group for group in loader.list_groups("") if group != "hydra")


def apply(cfg: DictConfig, prefix: str, overrides: Overrides) -> None:
    """Set the overrides that begin with `prefix.` on `cfg`, in place; new keys need a `+`, as in Hydra."""
    for override in overrides.parsed:
        key = override.key_or_group
        if not key.startswith(f"{prefix}."):
            continue
        if not override.is_add() and OmegaConf.select(cfg, key, default=KeyError) is KeyError:
            raise ConfigError(f"{key}: there is no such key{suggest(key, flat_keys(cfg))}")
        if override.is_delete():
            parent, _, leaf = key.rpartition(".")
            OmegaConf.select(cfg, parent).pop(leaf)
            continue
        OmegaConf.update(cfg, key, override.value(), force_add=True)


def flat_keys(cfg: DictConfig) -> list[str]:
    """Every dotted key of a configuration, without `hydra` and `names`; nothing is resolved."""
    tree = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(tree, dict)
    return [key for name, node in tree.items() if name not in ("hydra", "names") for key in _keys(node, str(name))]


def _keys(node: Any, path: str) -> list[str]:
    below = node.items() if isinstance(node, dict) else ()
    return [path, *(key for name, child in below for key in _keys(child, f"{path}.{name}"))]


def plain(cfg: DictConfig) -> Any:
    """Resolved dicts, lists, strings and numbers, without `hydra`; raises ConfigError naming a key without a value."""
    bare = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        return OmegaConf.to_container(bare, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, RecursionError) as error:
        key = getattr(error, "full_key", None) or "the configuration"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error


def save(content: Any, path: Path) -> None:
    """Plain values as YAML, in the form that Hydra itself writes and reads. Raises StorageError."""
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(content)))


def _explain(overrides: Overrides, error: Exception) -> ConfigError:
    """One line for a failed composition: the first override that names something that does not exist."""
    loader = GlobalHydra.instance().config_loader()
    known_groups = groups_of(loader)
    parsed = overrides.parsed
    chosen = [str(o.input_line) for o in parsed if o.key_or_group in known_groups and _exists(loader, o)]
    for override in parsed:
        key = override.key_or_group
        if key in known_groups and not _exists(loader, override):
            choices = sorted(loader.get_group_options(key))
            value = override.get_value_element_as_str()
            return ConfigError(
                f"{key}={value}: there is no {key} of that name{suggest(value, choices)} "
                f"({key} is one of {', '.join(choices)})"
            )
    if unknown := unknown_key(parsed, hydra.compose("config", chosen), known_groups):
        return unknown
    text = " ".join(str(error.__cause__ or error).split())
    return ConfigError(f"{os.linesep.join(overrides.texts) or 'config'}: {text}")


def unknown_key(
    parsed: Sequence[Override], base: DictConfig, known_groups: Iterable[str] = GROUPS
) -> ConfigError | None:
    """One line for the first override of a key that `base` does not have, with the nearest that it has."""
    known = [*flat_keys(base), *known_groups]
    for override in parsed:
        key = override.key_or_group
        added = override.is_add() or override.is_force_add()
        if key not in known and not added and not key.startswith("hydra"):
            return ConfigError(f"{key}: there is no such key{suggest(key, known)}")
    return None


def _exists(loader: Any, override: Override) -> bool:
    value = override.value()
    if value is None or override.is_sweep_override():
        return True
    asked = value if isinstance(value, list) else [value]
    return set(map(str, asked)) <= set(loader.get_group_options(override.key_or_group))
