"""The pages for readers say what is so. What is new need not stand in them; what is gone must not."""

import re
from pathlib import Path

import pytest

from ptft.config import documented
from tests.helpers import conf_readme, shown_commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "conf/README.md", "ptft/README.md", "tests/benchmarks/README.md", "tests/faults/README.md"]
EXPERIMENTS = sorted((ROOT / "conf" / "experiment").glob("*.yaml"))


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


COMMANDS = sorted(
    {command for name in PAGES for command in shown_commands.in_markdown(ROOT / name)}
    | {command for path in EXPERIMENTS for command in shown_commands.in_yaml(path)}
)


def test_the_first_page_stays_short():
    lines = page("README.md").splitlines()
    assert len(lines) <= 130
    assert max(map(len, lines)) <= 200


def test_the_tree_names_every_package_and_nothing_else():
    tree = page("README.md").split("## Where things are")[1].split("```")[1]
    packages = {path.parent.name for path in (ROOT / "ptft").glob("*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/", tree, re.MULTILINE)) == packages
    assert len(tree.strip().splitlines()) <= 25
    for name in re.findall(r"^(\w+)/", tree, re.MULTILINE):
        assert (ROOT / name).is_dir()
    for name in re.findall(r"\w+\.py", tree):
        assert (ROOT / "ptft" / name).exists()


def test_every_group_is_named():
    groups = documented.groups()
    assert not [group for group in groups if f"`{group}`" not in page("README.md")]
    assert not [group for group in groups if f"## `{group}`" not in page("conf/README.md")]


def test_the_options_in_the_table_of_choices_exist():
    table = page("README.md").split("## What can be pretrained and finetuned")[1].split("\n\n")[1]
    known = {name for group in ("model", "dataset", "objective") for name in documented.options(group)}
    named = set(re.findall(r"`(\w+)`", table))
    assert named
    assert not named - known


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page(name)):
        assert target.startswith("https://") or ((ROOT / name).parent / target).exists(), target


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name):
    for path in re.findall(r"`((?:ptft|conf|tests)/[\w/.]+\.(?:py|yaml|md))`", page(name)):
        assert "NAME" in path or (ROOT / path).exists(), path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_shown_composes(command):
    from ptft.config.compose import compose

    typed, later = shown_commands.overrides(command), []
    if "ckpt=somewhere" in typed:  # keys of what comes from the checkpoint are checked once it is read
        chosen = compose([text for text in typed if text.split("=")[0] in documented.groups()]).names
        filled = tuple(f"{group}." for group, name in chosen.items() if name == "from_ckpt")
        later = [text for text in typed if filled and text.startswith(filled)]
    compose([text for text in typed if text not in later])  # raises for a key or an option that is not there
    for key in (text.split("=")[0] for text in later):
        group, _, name = key.partition(".")
        assert name in documented.keys_of(group), key


def test_commands_are_found():
    assert len(COMMANDS) > 40


def test_the_words_of_the_command_exist():
    from ptft.cli.commands import WORDS

    for command in COMMANDS:
        word = command.split()[1]
        assert "=" in word or word.startswith("-") or word in WORDS, command


def rows(text: str) -> dict[tuple[str, str], set[str]]:
    """Rows of tables, by their first cell and their last: what stands in the cells between."""
    found = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {(cells[0], cells[-1]): set(re.findall(r"`([^`]+)`", " ".join(cells[1:-1]))) for cells in found}


@pytest.mark.parametrize("name", re.findall(r"made from (\S+) by make docs", page("conf/README.md")))
def test_the_tables_of_settings_are_those_of_the_files(name):
    """An option that is new may be missing until `make docs` is run; what stands there must be so."""
    shown = next(match for match in conf_readme.PART.finditer(page("conf/README.md")) if match["name"] == name)
    there, made = rows(shown[0]), rows(conf_readme.part(name))
    assert there
    commented = {key for key, meaning in made if meaning}
    gone = {(key, said) for key, said in there.keys() - made.keys() if said or key not in commented}
    assert not gone, "run make docs"
    assert not {row for row in there.keys() & made.keys() if not there[row] <= made[row]}, "run make docs"


def test_every_part_of_the_configuration_has_its_table():
    parts = re.findall(r"made from (\S+) by make docs", page("conf/README.md"))
    assert sorted(parts) == sorted(["config.yaml", *documented.groups()])


def test_the_tests_of_faults_exist():
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    text = page("tests/faults/README.md")
    for name, rest in re.findall(r"`(test_\w+)(…?)`", text):
        assert name in defined or (rest and any(other.startswith(name) for other in defined)), name
    rows = {number for name in defined for number in re.findall(r"^test_rows?_(\d+)", name)}
    assert not {row for row in rows if not re.search(rf"^\| (\d+, )?{row}(, \d+)? \|", text, re.MULTILINE)}


def test_the_levels_in_the_text_are_those_of_the_test():
    from tests.test_architecture import LEVELS

    part = page("ptft/README.md").split("## Who may import whom")[1].split("\n## ")[0]
    shown = re.findall(r"^\| (\d) \| (.*) \|$", part, re.MULTILINE)
    assert {int(level): set(re.findall(r"`(\w+)`", names)) for level, names in shown} == dict(enumerate(LEVELS))


def test_the_gate_calls_the_command_that_it_gives():
    assert "make test" in page("README.md")
    assert re.search(r"^make test", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
