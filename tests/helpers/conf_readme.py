"""The tables of conf/README.md, made from the YAML files: `make docs`, or `python -m tests.helpers.conf_readme`.

Prose stands outside the marked parts and is kept. The table of a group holds the first comment of each option; the
table of its keys holds what stands behind each key, a row for each meaning that it has. Names that begin with `_` are
no options and no keys.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from ptft.config.documented import Meanings, head, keys_in, keys_of, options, stage_keys

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
README = CONF / "README.md"
PART = re.compile(r"(<!-- made from (?P<name>\S+) by make docs -->\n).*?(<!-- end -->)", re.DOTALL)
FEW = 4
"""So many options are named beside a key; of more it says `many`."""


def cell(text: str) -> str:
    """Text for a table of Markdown."""
    return re.sub(r"([|*<])", r"\\\1", text)


def table(header: list[str], rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(row) + " |\n" for row in [header, ["---"] * len(header), *rows])


def config_part() -> str:
    rows = [
        [f"`{name}`", f"`{value}`" if value else "", cell(comment)]
        for name, value, comment in keys_in(CONF / "config.yaml")
        if not name.startswith("hydra")
    ]
    return table(["key", "default", "meaning"], rows)


def group_part(group: str, few: float) -> str:
    chosen = [[f"`{name}`", cell(head(CONF / group / f"{name}.yaml"))] for name in options(group)]
    made = table([f"`{group}=`", "what it is"], chosen)
    if group == "experiment":
        return made  # they set keys of the others
    keys = stage_keys() if group == "stage" else keys_of(group)
    rows = [
        [f"`{name if group == 'stage' else f'{group}.{name}'}`", _where(names, of, few), cell(comment)]
        for name, of in keys.items()
        for comment, names in of.items()
    ]
    return f"{made}\n{table(['key', 'of', 'meaning'], rows)}"


def _where(names: list[str], of: Meanings, few: float) -> str:
    return "many" if len(names) > few and len(of) == 1 else ", ".join(f"`{name}`" for name in names)


def part(name: str, few: float = math.inf) -> str:
    """The tables of a group with all names, or `many` in the place of more than `few`."""
    return config_part() if name == "config.yaml" else group_part(name, few)


def made(text: str) -> str:
    """`text` with every marked part made again."""
    return PART.sub(lambda match: f"{match[1]}\n{part(match['name'], FEW)}\n{match[3]}", text)


if __name__ == "__main__":
    README.write_text(made(README.read_text(encoding="utf-8")), encoding="utf-8")
