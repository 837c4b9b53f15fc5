"""The tables of conf/README.md, made from the YAML files: `make docs`, or `python -m tests.helpers.conf_readme`.

Prose stands outside the marked parts and is kept. The table of a group holds the first comment of each option; the
table of its keys holds what stands behind each key, a row for each meaning that it has. Names that begin with `_` are
no options and no keys.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
README = CONF / "README.md"
LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#\s](?:[^#]|#(?! ))*?))? *(?:# (?P<comment>.*))?$")
PART = re.compile(r"(<!-- made from (?P<name>\S+) by make docs -->\n).*?(<!-- end -->)", re.DOTALL)
FEW = 4
"""So many options are named beside a key; of more it says `many`."""


Meanings = dict[str, list[str]]
"""Comment -> the options in whose files it stands behind a key."""


def groups() -> list[str]:
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


def head(path: Path) -> str:
    """The first comment of a file, without the commands that stand in it."""
    said = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or re.match(r"#\s+(\.\.\. |… )?(ptft |Then)", line):
            break
        if not line.startswith("# @package"):
            said.append(line.removeprefix("#").strip())
    return " ".join(said)


def keys_in(path: Path) -> list[tuple[str, str, str]]:
    """Every key of a file with its value and comment, dotted: `("train.every.log", "auto", "")`."""
    found, above = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        above = [(indent, key) for indent, key in above if indent < len(match["indent"])]
        above.append((len(match["indent"]), match["key"]))
        names = [key for _, key in above]
        if names[0] != "defaults" and not any(name.startswith("_") for name in names):
            found.append((".".join(names), match["value"] or "", match["comment"] or ""))
    return found


def keys_of(group: str) -> dict[str, Meanings]:
    """The keys of a group's options, those of the files they are based on (`_image`, say) among them.

    An option that has a key without a comment counts only where no other has one.
    """
    found: dict[str, Meanings] = {}
    for option in options(group):
        said: dict[str, str] = {}
        for name, _, comment in (entry for file in files_of(group, option) for entry in keys_in(file)):
            said[name] = said.get(name) or comment
        for name, comment in said.items():
            found.setdefault(name, {}).setdefault(comment, []).append(option)
    return {key: {c: names for c, names in of.items() if c or len(of) == 1} for key, of in found.items()}


def files_of(group: str, name: str) -> list[Path]:
    """The file of an option, and those that it is based on: the names of its own group in its `defaults`."""
    path = CONF / group / f"{name}.yaml"
    listed = re.search(r"^defaults:(.*\n(?: +-.*\n)*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    names = [re.sub(r"#.*", "", line) for line in listed[1].splitlines()] if listed else []
    bases = [base for line in names if ":" not in line for base in re.findall(r"\w+", line)]
    found = [base for base in bases if base != "_self_" and (CONF / group / f"{base}.yaml").exists()]
    return [path, *(file for base in found for file in files_of(group, base))]


def stage_keys() -> dict[str, Meanings]:
    """What stages have beside the keys of the configuration: those they only set anew are left out."""
    known = {name for name, _, _ in keys_in(CONF / "config.yaml")} | {"stage", *groups()}
    return {name: of for name, of in keys_of("stage").items() if name not in known and name.split(".")[0] not in known}


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
