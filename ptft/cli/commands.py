"""Commands that run nothing: `ptft ls`, `ptft cp`, `ptft help`, the help, and the table of words."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import OmegaConf

from ptft.cli import help as manual
from ptft.cli.diff import diff
from ptft.cli.new import new
from ptft.cli.report import report
from ptft.cli.runs import lineage, rm, runs
from ptft.cli.schema import schema
from ptft.cli.show import show
from ptft.config import compose, yaml_files
from ptft.errors import ConfigError, suggest
from ptft.runtime.system import write_text, writing
from ptft.runtime.terminal import say


def show_help() -> int:
    """`ptft --help`. Hydra's own page reads every config, twice; this one reads their names."""
    text = OmegaConf.load(yaml_files.conf_dir() / "config.yaml").hydra.help
    groups = "\n".join(manual.hanging(f"  {group}", ", ".join(names), 13) for group, names in compose.listing().items())
    say(f"{text.header}\nGroups (GROUP=NAME):\n\n{groups}\n\n{text.footer}".removesuffix("\n"))
    return 0


def ls(words: list[str]) -> int:
    """`ptft ls [GROUP]`: what there is to choose from, and in a group what each is."""
    if wrong := next((word for word in words if word in WORDS and word not in compose.listing()), None):
        raise ConfigError(f"{wrong}: there is no such group; type ptft {wrong}")
    if words:
        say("\n".join(manual.listing(group) for group in words))
        return 0
    for group, names in compose.listing().items():
        say(manual.hanging(group, ", ".join(names), 11))
    return 0


def explain(words: list[str]) -> int:
    """`ptft help [KEY | GROUP/NAME | GROUP]`: what it is; alone it is `--help`."""
    for word in words:
        manual.show(word)
    return 0 if words else show_help()


def cp(words: list[str]) -> int:
    """`ptft cp GROUP/NAME | config [DIR]`: copy a config to DIR (default ./conf), where it wins over ptft's own."""
    source = words[0].removesuffix(".yaml") if words else ""
    if not 0 < len(words) <= 2 or (source != "config" and source.count("/") != 1):
        raise ConfigError("ptft cp GROUP/NAME [DIR]: name one config, e.g. ptft cp model/cnn, or ptft cp config")
    group, _, name = source.rpartition("/")
    own = yaml_files.conf_dir() / group / f"{name}.yaml"
    if not own.is_file():  # one whose name begins with _ is no option, but may be copied
        raise ConfigError(f"{words[0]}: there is no such config{suggest(name, compose.options(group))}")
    target = Path(os.path.expanduser(words[1]) if len(words) > 1 else "conf") / group / f"{name}.yaml"
    if target.exists():
        raise ConfigError(f"{target}: is there already; edit it, or remove it first")
    with writing(target, "choose another DIR"):
        target.parent.mkdir(parents=True, exist_ok=True)
    text = own.read_text(encoding="utf-8").partition("\n_test_:")[0]  # which is the last and says nothing to users
    write_text(target, f"{text.rstrip()}\n", "choose another DIR")
    say(str(target))
    return 0


WORDS = {
    "ls": ls,
    "cp": cp,
    "new": new,
    "help": explain,
    "schema": schema,
    "runs": runs,
    "show": show,
    "lineage": lineage,
    "diff": diff,
    "report": report,
    "rm": rm,
}
