"""`ptft new model|dataset|objective NAME`: a class of one's own to begin with, its YAML, and a test that passes."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
from pathlib import Path
from string import Template

from ptft.cli.templates import TEMPLATES
from ptft.config import compose
from ptft.errors import ConfigError, suggest
from ptft.runtime.system import write_text, writing
from ptft.runtime.terminal import say

USAGE = "ptft new model|dataset|objective NAME"


def new(words: list[str]) -> int:
    """`ptft new model|dataset|objective NAME`: write a class to begin with, its YAML and a test; say what to type next.

    They are NAME.py, conf/KIND/NAME.yaml and test_NAME.py in the folder that one stands in.

    Raises ConfigError where one of them is there already, or Python or ptft knows another thing by that name.
    """
    if len(words) != 2:
        raise ConfigError(f"what is it, and what is it called? {USAGE}")
    kind, name = words
    if kind not in TEMPLATES:
        raise ConfigError(f"{kind}: can't be begun{suggest(kind, TEMPLATES)}; {USAGE}")
    _check_name(kind, name)
    template = TEMPLATES[kind]
    names = {"kind": kind, "name": name, "cls": _class_name(name)}
    files = {
        Path(f"{name}.py"): template.python,
        Path("conf", kind, f"{name}.yaml"): template.yaml,
        Path(f"test_{name}.py"): template.test,
    }
    if existing := [file for file in files if os.path.lexists(file)]:
        raise ConfigError(f"{existing[0]}: is there already, and is not written over; choose another name")
    for file, text in files.items():
        with writing(file, "choose another folder"):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, Template(text).substitute(names), "choose another folder")
        say(f"written  {file}")
    say(f"try      ptft stage=pretrain {kind}={name} 'trusted=[{name}]' {template.try_with}")
    say(f"test     python -m pytest test_{name}.py")
    return 0


def _check_name(kind: str, name: str) -> None:
    """Raises ConfigError for a name that is no module's, or already another's."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII) or keyword.iskeyword(name):
        raise ConfigError(f"{name}: must be a name in Python, of letters, digits and _, e.g. my_{kind}")
    if name in compose.options(kind):
        raise ConfigError(f"{name}: there is a {kind} of that name; choose another, e.g. my_{name}")
    if importlib.util.find_spec(name) is not None and not Path(f"{name}.py").exists():
        raise ConfigError(
            f"{name}: Python has a module of that name, which would be taken; choose another, e.g. my_{name}"
        )


def _class_name(name: str) -> str:
    """my_net -> MyNet."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
