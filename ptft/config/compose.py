"""Hydra's part: from overrides to composed configurations, and one clear line for what can't be composed."""

from __future__ import annotations

import itertools
import os
import pickle
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ptft.config import documented, hydra_keys, mistakes, yaml_files
from ptft.config.overrides import TARGETS, Overrides, typed_class
from ptft.config.settled import own_views
from ptft.errors import ConfigError, first_line, suggest
from ptft.runtime.process import OneAtATime

GROUPS = ("model", "dataset", "objective", "optimizer", "schedule", "stage", "experiment", "logger", "tune")
NEEDED = ("model", "dataset", "objective", "optimizer", "schedule", "stage")
"""Groups of which an option must be chosen."""
SEVERAL = ("logger",)
"""Groups of which any number of options can be chosen, each a node of its own below the group."""
UNREADABLE = (HydraException, OmegaConfBaseException, ValueError, RecursionError)
"""What a composition raises for what was typed, or stands in a YAML."""
RUNS = {"dir": "outputs"}
"""`hydra.run` of ptft's own `config.yaml`: where runs that nobody names get folders of their own."""
SWEEPS = "outputs/sweeps"  # `hydra.sweep.dir` there, the same of sweeps
VERSION: dict[str, Any] = {"version_base": "1.3"} if hydra.__version__ < "1.4" else {}
_alone = OneAtATime()  # around what Hydra has one of in a process: its session, and what `${hydra:…}` asks


@contextmanager
def _session() -> Iterator[Any]:
    """Hydra's config loader, of a session of its own also inside a job that Hydra has launched, and in any thread."""
    with _alone:
        instance = GlobalHydra.instance()
        outer, instance.hydra = instance.hydra, None
        try:
            with hydra.initialize_config_dir(str(yaml_files.conf_dir()), job_name="ptft", **VERSION):
                yield instance.config_loader()
        finally:
            GlobalHydra.instance().hydra = outer  # another instance: Hydra puts back a copy of the one that was


def compose(overrides: Overrides | Iterable[str]) -> DictConfig:
    """The composed configuration, with `hydra` and a node `names` (which option of each group was chosen).

    Raises ConfigError naming the key or option that does not exist and the nearest that does.
    """
    overrides = Overrides.of(overrides).with_own()
    hydra_keys.check_typed(overrides.parsed)
    with _session():
        try:
            cfg = by_hydra(overrides)
        except UNREADABLE as error:
            raise _explain(overrides, error) from error
    hydra_keys.check_composed(cfg.hydra, overrides.where(lambda key: re.match(r"hydra[./]", key) is not None).texts)
    choices = cfg.hydra.runtime.choices
    OmegaConf.set_struct(cfg, False)
    for group in SEVERAL:
        if (node := cfg._get_node(group)) is None or node._is_none():
            cfg[group] = {}
    for group in (*NEEDED, *SEVERAL):
        if not _holds_keys(cfg, group):
            raise ConfigError(f"{group}: needs an option; type {group}=NAME, one of {', '.join(options(group))}")
    cfg.names = {group: _names(cfg, choices, group) for group in GROUPS}
    for group in TARGETS:
        cfg.names[group] = typed_class(overrides.parsed, group) or cfg.names[group]
    OmegaConf.set_struct(cfg, True)
    return cfg


def _holds_keys(cfg: DictConfig, group: str) -> bool:
    """Whether a group has keys of its own: it is neither nothing, nor a value, nor the name of another place."""
    node = cfg._get_node(group)
    return isinstance(node, DictConfig) and not (node._is_none() or node._is_interpolation())


def by_hydra(overrides: Overrides) -> DictConfig:
    """What `hydra.compose` gives with its own node; files are merged once for the same options with other values."""
    changed = yaml_files.changed()
    groups = ("hydra", *_listing(changed))
    chooses = [_chooses(override, groups) for override in overrides.parsed]
    cfg: DictConfig = pickle.loads(_merged(tuple(itertools.compress(overrides.texts, chooses)), changed))
    values = [override for override, is_choice in zip(overrides.parsed, chooses, strict=True) if not is_choice]
    if typed_class(values, "model"):
        cfg.model = {}
    for group in TARGETS:
        if typed_class(values, group):
            OmegaConf.set_struct(cfg[group], False)
    own_views.as_in_files(cfg, documented.files_of)
    own_views.make_room(cfg, values)
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    typed = [override for override in overrides.parsed if not override.is_hydra_override()]
    own, runtime, job = cfg.hydra.overrides, cfg.hydra.runtime, cfg.hydra.job
    own.task = [override.input_line for override in typed]
    own.hydra = [override.input_line for override in overrides.parsed if override.is_hydra_override()]
    if not OmegaConf.is_interpolation(job, "override_dirname"):  # from Hydra 1.4 on
        job.override_dirname = hydra_keys.override_dirname(own.task, [o.key_or_group for o in typed], job.config)
    runtime.cwd = os.getcwd()
    return cfg


def _chooses(override: Override, groups: Collection[str]) -> bool:
    """Whether an override chooses an option, or is one that Hydra refuses as such."""
    key = override.key_or_group
    return override.package is not None or ("." not in key and key.split("/")[0] in groups)


@cache
def _merged(chosen: tuple[str, ...], changed: int) -> bytes:
    """The configuration of these options, pickled, as long as the YAML files are the same."""
    return pickle.dumps(hydra.compose("config", list(chosen), return_hydra_config=True))


def _names(cfg: DictConfig, choices: DictConfig, group: str) -> Any:
    return list(cfg[group]) if group in SEVERAL else choices.get(group)


def options(group: str) -> list[str]:
    """The names in a group; raises ConfigError with the nearest for a group that does not exist."""
    groups = listing()
    if not groups.get(group):
        raise ConfigError(f"{group}: there is no such group{suggest(group, groups)} ({', '.join(groups)})")
    return list(groups[group])


def listing() -> Mapping[str, Sequence[str]]:
    """Every group and the names in it, both sorted."""
    return _listing(yaml_files.changed())


@cache
def _listing(changed: int) -> Mapping[str, Sequence[str]]:
    with _session() as loader:
        groups = sorted(group for group in loader.list_groups("") if group != "hydra")
        return {group: tuple(sorted(loader.get_group_options(group))) for group in groups}


def apply(cfg: DictConfig, prefix: str, overrides: Overrides) -> list[str]:
    """Set the overrides that begin with `prefix.` on `cfg`, in place; new keys need a `+`, as in Hydra.

    Returns a line for each that has no such key.
    """
    problems, own = [], own_views.keys(overrides.parsed)
    own_views.make_room(cfg, overrides.parsed)
    for override in overrides.parsed:
        key = override.key_or_group
        if not key.startswith(f"{prefix}."):
            continue
        if not (override.is_add() or key.startswith(own)) and OmegaConf.select(cfg, key, default=KeyError) is KeyError:
            problems.append(mistakes.unknown(key, flat_keys(cfg)))
        elif isinstance(override.value(), dict) and (inside := mistakes.within(override, flat_keys(cfg), own)):
            problems += inside
        elif override.is_delete():
            parent, _, leaf = key.rpartition(".")
            OmegaConf.select(cfg, parent).pop(leaf)
        else:
            OmegaConf.update(cfg, key, override.value(), force_add=True)
    return problems


def flat_keys(cfg: DictConfig) -> list[str]:
    """Every dotted key of a configuration, without `hydra` and `names`; nothing is resolved."""
    return [key for name, node in raw_tree(cfg).items() if name != "names" for key in _keys(node, str(name))]


def raw_tree(cfg: DictConfig) -> dict[str, Any]:
    """Plain values without `hydra`, not resolved."""
    nodes = ((str(name), node) for name, node in cfg.items_ex(resolve=False) if name != "hydra")
    return {name: OmegaConf.to_container(node) if OmegaConf.is_config(node) else node for name, node in nodes}


def _holds(node: Any, text: str) -> bool:
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return node == text or any(_holds(part, text) for part in parts)


def _keys(node: Any, path: str) -> list[str]:
    children = node.items() if isinstance(node, dict) else ()
    return [path, *(key for name, child in children for key in _keys(child, f"{path}.{name}"))]


def without_value(cfg: DictConfig) -> list[str]:
    """The keys that must be given a value, and have none; none of them where `plain` fails for another reason."""
    if not _holds(raw_tree(cfg), "???"):
        return []
    try:
        return sorted(key for name in cfg if name != "hydra" for key in _missing(cfg, str(name)))
    except (OmegaConfBaseException, RecursionError):
        return []


def _missing(cfg: DictConfig, name: str) -> list[str]:
    if OmegaConf.is_missing(cfg, name):
        return [name]
    return list(OmegaConf.missing_keys(cfg[name])) if OmegaConf.is_config(cfg[name]) else []


def plain(cfg: DictConfig) -> Any:
    """Resolved dicts, lists, strings and numbers, without `hydra`; raises ConfigError naming a key without a value."""
    try:
        return {str(name): _resolved(cfg[name]) for name in cfg if name != "hydra"}
    except (OmegaConfBaseException, RecursionError) as error:
        key = getattr(error, "full_key", None) or "the configuration"
        raise ConfigError(f"{key}: {first_line(error)}") from error


def _resolved(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def with_stage_defaults(cfg: DictConfig) -> DictConfig:
    """The same with what is known of the stage of that name, for a copy or a run of an earlier version too."""
    file = yaml_files.conf_dir() / "stage" / f"{cfg.names.stage}.yaml"
    if file.is_file():
        OmegaConf.set_struct(cfg, False)
        known = yaml_files.content(file)["stage"]
        if known.keys() - cfg.stage.keys():
            cfg.stage = OmegaConf.merge(known, cfg.stage)
        OmegaConf.set_struct(cfg, True)
    return cfg


def selected(cfg: DictConfig, key: str) -> Any:
    """The value of a key with its interpolations resolved. Raises ConfigError where that fails, or it has none."""
    with _alone:
        hydra_config: Any = HydraConfig.instance()
        before, hydra_config.cfg = hydra_config.cfg, cfg  # which `${hydra:…}` asks
        try:
            return OmegaConf.select(cfg, key, throw_on_missing=True, throw_on_resolution_failure=True)
        except (OmegaConfBaseException, ValueError, RecursionError) as error:
            raise ConfigError(f"{key}: {first_line(error)}") from error
        finally:
            hydra_config.cfg = before


def raw(cfg: DictConfig, key: str) -> Any:
    """A node as plain values, not resolved."""
    return OmegaConf.to_container(OmegaConf.select(cfg, key), resolve=False)


def place(cfg: DictConfig, key: str) -> str:
    """The folder that `hydra.run.dir` or the like means in a composition. Raises ConfigError where it means none."""
    folder = selected(cfg, key)
    if not isinstance(folder, str | int | float) or folder == "":
        raise ConfigError(f"{key}={'null' if folder is None else folder}: must name a folder")
    return os.path.expanduser(str(folder))


def data(content: dict[str, Any]) -> DictConfig:
    """A configuration that was resolved before and stored: its texts are data, and `${` in them means nothing."""
    cfg: DictConfig = OmegaConf.create(literal(content))
    return cfg


def literal(value: Any) -> Any:
    """The same texts, in dicts and lists, written so that OmegaConf reads them as they are."""
    if isinstance(value, dict):
        return {key: literal(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [literal(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


@cache
def own() -> dict[str, Any]:
    """What ptft's own `config.yaml` says, not resolved, without `hydra` and the choice of options."""
    tree = yaml_files.content(yaml_files.conf_dir() / "config.yaml")
    return {key: value for key, value in tree.items() if key not in ("defaults", "hydra")}


def _explain(overrides: Overrides, error: Exception) -> ConfigError:
    """What is wrong with a composition that failed, a line each: what was typed and does not exist, else the error."""
    groups = listing()
    unfit = mistakes.unfit(overrides, groups, NEEDED)
    parsed = [o for o in overrides.parsed if o.key_or_group.split(".")[0] not in unfit]
    problems = list(unfit.values())
    with suppress(*UNREADABLE):
        base = hydra.compose("config", [str(o.input_line) for o in parsed if o.key_or_group in groups])
        problems += mistakes.unknown_keys(parsed, [*flat_keys(base), *groups])
    text = " ".join(str(error.__cause__ or error).split())
    return ConfigError("\n".join(problems) or f"{' '.join(overrides.texts) or 'config'}: {text}")


def unfit_choices(overrides: Overrides) -> dict[str, str]:
    """Group -> what is wrong with the option that was typed for it, where there is none of that name."""
    return mistakes.unfit(overrides, {group: names for group, names in listing().items() if group in GROUPS}, NEEDED)
