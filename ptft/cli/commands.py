"""Commands that run nothing: `ptft ls`, `ptft cp`, the help, and the table of words."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import OmegaConf

from ptft.cli.runs import rm, runs
from ptft.config import compose, yaml_files
from ptft.errors import ConfigError, suggest
from ptft.runtime.system import write_text, writing
from ptft.runtime.terminal import say


def show_help() -> int:
    """`ptft --help`. Hydra's own page reads every config, twice; this one reads their names."""
    text = OmegaConf.load(yaml_files.conf_dir() / "config.yaml").hydra.help
    groups = "\n".join(f"  {group:<10} {', '.join(names)}" for group, names in compose.listing().items())
    say(f"{text.header}\nGroups (GROUP=NAME):\n\n{groups}\n\n{text.footer}".removesuffix("\n"))
    return 0


def ls(words: list[str]) -> int:
    """`ptft ls [GROUP]`: what there is to choose from."""
    if words:
        say("\n".join(name for group in words for name in compose.options(group)))
        return 0
    for group, names in compose.listing().items():
        say(f"{group:<10} {', '.join(names)}")
    return 0


def cp(words: list[str]) -> int:
    """`ptft cp GROUP/NAME [DIR]`: copy a config to DIR (default ./conf), where it wins over ptft's own."""
    if not words or len(words) > 2 or words[0].count("/") != 1:
        raise ConfigError("ptft cp GROUP/NAME [DIR]: name one config, e.g. ptft cp model/cnn")
    group, name = words[0].split("/")
    names, own = compose.options(group), yaml_files.conf_dir() / group / f"{name}.yaml"
    if not own.is_file():  # one whose name begins with _ is no option, but may be copied
        raise ConfigError(f"{words[0]}: there is no such config{suggest(name, names)}")
    target = Path(os.path.expanduser(words[1]) if len(words) > 1 else "conf") / group / f"{name}.yaml"
    if target.exists():
        raise ConfigError(f"{target}: is there already; edit it, or remove it first")
    with writing(target, "choose another DIR"):
        target.parent.mkdir(parents=True, exist_ok=True)
    text = own.read_text(encoding="utf-8").partition("\n_test_:")[0]  # which is the last and says nothing to users
    write_text(target, f"{text.rstrip()}\n", "choose another DIR")
    say(str(target))
    return 0


WORDS = {"ls": ls, "cp": cp, "runs": runs, "rm": rm}
