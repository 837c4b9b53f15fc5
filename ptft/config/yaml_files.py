"""The YAML files of `conf/`: ptft's own and the user's `./conf` before them, as Hydra gets to see them."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper
from omegaconf.errors import OmegaConfBaseException

from ptft.config import hydra_keys
from ptft.errors import ConfigError, first_line
from ptft.runtime.system import write_text

LARGEST = 100_000
"""Keys and values that a file may hold; ten lines of aliases of aliases stand for billions."""
ALIAS = re.compile(r"(?m)(?:^|[\s\[{,:-])\*\w")
NOTES = ("_rules_", "_reads_", "_test_")
"""What a YAML file says beside its keys: what their values must be (ptft.config.rules), of a stage which keys count in
it (ptft.config.reads), and what a test of it types."""


def conf_dir() -> Path:
    """`conf/` inside an installed ptft, else the one at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def user_conf() -> Path | None:
    """`./conf` of the folder the user stands in, when it is not ptft's own."""
    folder = Path.cwd() / "conf"
    return folder if folder.is_dir() and folder.resolve() != conf_dir().resolve() else None


@contextmanager
def unchanging() -> Iterator[None]:
    """Inside, the files are taken to be as they are at its begin: they are looked at once and not for each question."""
    outer = _seen.set(changed())
    try:
        yield
    finally:
        _seen.reset(outer)


_seen: ContextVar[int | None] = ContextVar("_seen", default=None)
"""What `changed` says until the outermost `unchanging` of this thread ends."""


def changed() -> int:
    """Differs when a YAML file of `conf/` or the user's own was changed, added or removed, or another folder counts."""
    if (seen := _seen.get()) is not None:
        return seen
    folders = [folder for folder in (conf_dir(), user_conf()) if folder is not None]
    return hash(tuple(sorted(file for folder in folders for file in _files(str(folder)))))


def _files(folder: str) -> Iterator[tuple[str, int]]:
    """Every YAML file below a folder, and when it was changed; runs ask for it several times."""
    with os.scandir(folder) as found:
        for entry in found:
            with suppress(OSError):  # a link to nothing, a folder that nobody may read
                if entry.is_dir():
                    yield from _files(entry.path)
                elif entry.name.endswith(".yaml"):
                    yield entry.path, entry.stat().st_mtime_ns


class OptionFiles(FileConfigSource):
    """Reads the YAML files of a `conf/` for Hydra, which sees neither their notes nor files that begin with `_`.

    Notes are for ptft and its tests and belong to no run; such a file holds keys that options share, and is none.
    What the user's own files say of Hydra is checked before Hydra sees it, and their `config.yaml`, which may be a copy
    of an older one, has the keys and groups of ptft's own where it lacks them.
    """

    @staticmethod
    def scheme() -> str:
        return "ptft"

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.is_file():
            return super().load_config(config_path)  # which says so
        changed = file.stat().st_mtime_ns
        header = _read(file, changed)[0]
        where, header = f"{self.scheme()}://{self.path}", dict(header)
        config: DictConfig = pickle.loads(_node(file, changed))
        result = ConfigResult(config=config, path=where, provider=self.provider, header=header)
        assert isinstance(result.config, DictConfig)
        if Path(self.path).resolve() != conf_dir().resolve():
            place = f"{Path(self.path) / config_path}".removesuffix(".yaml") + ".yaml"
            usual = OmegaConf.load(conf_dir() / "config.yaml").hydra
            hydra_keys.check_file(place, result.config, result.header, usual)
            if place == str(Path(self.path) / "config.yaml"):
                result.config = _completed(result.config)
        return result

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [name for name in super().list(config_path, results_filter) if not name.startswith("_")]


def load(file: Path) -> tuple[str, DictConfig | ListConfig]:
    """The text of a YAML file, and what it says, of which nothing is resolved. Raises ConfigError."""
    try:
        text, content = _parsed(file)
        return text, OmegaConf.create({} if content is None else content)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is no YAML that can be read ({first_line(error)})") from error


def _parsed(file: Path) -> tuple[str, Any]:
    """The text of a YAML file and its plain values. Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8")
        if ALIAS.search(text) and (size := _size(yaml.compose(text, Loader=yaml.SafeLoader), {})) > LARGEST:
            raise ConfigError(f"{file}: its aliases stand for {size:,} keys and values; at most {LARGEST:,} are read")
        content = yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{file}: is no YAML that can be read ({first_line(error)})") from error
    if not isinstance(content, dict | list | None):  # of a text OmegaConf would read YAML once more
        raise ConfigError(f"{file}: holds no keys with values")
    return text, content


def shown(file: Path) -> Any:
    """Plain values of a YAML file that are only shown: unlike `read` not checked, in a tenth of the time."""
    return _parsed(file)[1]


@cache
def _loader() -> Any:
    """OmegaConf's reading of YAML, by libyaml where PyYAML has it: a tenth of the time; a start reads many files."""
    try:
        from omegaconf._yaml import get_yaml_loader  # type: ignore[import-not-found]
    except ImportError:  # before 2.4
        from omegaconf._utils import get_yaml_loader

        usual = get_yaml_loader()
    else:
        usual = get_yaml_loader(max_yaml_expanded_nodes=None)  # which `_parsed` has asked
    if not yaml.__with_libyaml__:
        return usual
    from yaml.cyaml import CParser  # type: ignore[import-untyped]

    if issubclass(usual, CParser):
        return usual

    class Loader(CParser, usual):  # type: ignore[misc, valid-type]
        def __init__(self, stream: str) -> None:
            CParser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    return Loader


def save(content: Any, path: Path) -> None:
    """Plain values as YAML, in the form that Hydra itself writes and reads. Raises StorageError."""
    form: dict[str, Any] = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    usual = get_omega_conf_dumper()
    try:
        text = yaml.dump(content, Dumper=usual, **form)
    except UnicodeEncodeError:  # of names in another encoding, which libyaml can't write, as OmegaConf does from 2.4 on
        plain = type("Plain", (yaml.SafeDumper,), {"yaml_representers": usual.yaml_representers})
        text = yaml.dump(content, Dumper=plain, **form)
    write_text(path, text)


def read(path: Path) -> Any:
    """What a YAML file holds that `save` wrote, or a stranger: plain values, of which nothing is resolved.

    Raises ConfigError for what is no YAML.
    """
    return OmegaConf.to_container(load(path)[1], resolve=False)


def _size(node: Any, sizes: dict[int, int]) -> int:
    """How many keys and values a node of a YAML text is, each alias counted as what it stands for."""
    if id(node) not in sizes:
        sizes[id(node)] = 1  # of an alias inside of what it names
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        sizes[id(node)] += sum(
            _size(each, sizes) for part in parts for each in (part if isinstance(part, tuple) else (part,))
        )
    return sizes[id(node)]


def content(file: Path) -> dict[str, Any]:
    """What a YAML file of `conf/` says, without its notes, not resolved; read it, don't change it."""
    return _read(file, file.stat().st_mtime_ns)[1]


@cache
def _read(file: Path, changed: int) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Header and content of a YAML file, without its notes; read once as long as it does not change.

    Raises ConfigError.
    """
    text, config = load(file)
    try:
        header = ConfigSource._get_header_dict(text[:512])
    except ValueError as error:
        raise ConfigError(f"{file}: {first_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{file}: holds no keys with values")
    for note in NOTES:
        config.pop(note, None)
    said = OmegaConf.to_container(config)
    assert isinstance(said, dict)
    return header, {str(key): value for key, value in said.items()}


@cache
def _node(file: Path, changed: int) -> bytes:
    """`content` as OmegaConf's, pickled: each composition gets one of its own, which is made in a tenth of the time."""
    return pickle.dumps(OmegaConf.create(_read(file, changed)[1]))


def _completed(user: DictConfig) -> DictConfig:
    """A user's `config.yaml` with what ptft's own says where it is silent; groups in the order of ptft's."""
    own = OmegaConf.load(conf_dir() / "config.yaml")
    assert isinstance(own, DictConfig)
    own_groups, listed = list(own.pop("defaults")), list(user.pop("defaults", None) or [])
    chosen = {_chosen(entry) for entry in listed}
    for at in reversed(range(len(own_groups))):
        if _chosen(own_groups[at]) not in chosen:
            later = {_chosen(entry) for entry in own_groups[at + 1 :]}
            before = next((i for i, entry in enumerate(listed) if _chosen(entry) in later), len(listed))
            listed.insert(before, own_groups[at])
    merged = OmegaConf.merge(own, user)
    assert isinstance(merged, DictConfig)
    merged.defaults = ListConfig(listed)
    return merged


def _chosen(entry: Any) -> str:
    """The group that an entry of a list of defaults chooses in, or its own text."""
    if not isinstance(entry, DictConfig):
        return str(entry)
    return re.sub(r"^(optional |override )*/?", "", str(next(iter(entry), "")))


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
