"""Writing a page: one file with its style, its script and all it shows; nothing of the data is ever HTML.

What a folder holds is taken from its files, so that `ptft report` makes the page again as the run itself made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.errors import CheckpointError
from ptft.export.report import explanation, inspection, one_run, several
from ptft.runs.folder import read_json
from ptft.runs.registry import FOLDS
from ptft.runtime.system import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"
MARK = '<meta name="generator" content="ptft">'
"""By which a page is known as one of these."""
LARGEST = 3_000_000
"""Bytes of a page; pictures and sounds of examples are left out where they would make it larger."""
SECTIONS = {
    "run": [
        ("metrics", "results", "Results"),
        ("charts", "curves", "Curves"),
        ("panel", "panel", "Earlier tasks"),
        ("by_class", "classes", "Classes"),
        ("confusing", "confusion", "Confusion"),
        ("rival", "against", "Against"),
        ("calibration", "calibration", "Calibration"),
        ("slices", "slices", "Slices"),
        ("corruptions", "corruptions", "Corruptions"),
        ("mistakes", "mistakes", "Mistakes"),
        ("lineage", "origin", "Origin"),
        ("kind", "settings", "Settings"),
        ("cost", "cost", "Cost"),
        ("commands", "commands", "Commands"),
    ],
    "several": [
        ("answer", "answer", "Answer"),
        ("runs", "runs", "Runs"),
        ("effects", "effects", "Effects"),
        ("charts", "curves", "Curves"),
        ("settings", "settings", "Settings"),
        ("commands", "commands", "Commands"),
    ],
    "inspection": [
        ("kind", "leakage", "Leakage"),
        ("unreadable", "broken", "Broken files"),
        ("copied", "copies", "Copies"),
        ("labelled", "labels", "Labels"),
        ("strange", "outliers", "Outliers"),
        ("balance", "balance", "Balance"),
        ("histograms", "shapes", "Shapes"),
        ("sheet", "sheet", "Views"),
        ("commands", "commands", "Next"),
    ],
    "explanation": [
        ("methods", "methods", "Methods"),
        ("inputs", "inputs", "Inputs"),
        ("unread", "unread", "Not explained"),
        ("commands", "commands", "Commands"),
    ],
}
"""Of each kind of page its sections: what of the content they need, where they are, what they are called."""
BARE: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "run": lambda content: one_run.without_previews(content.get("mistakes")),
    "inspection": inspection.bare,
    "explanation": explanation.bare,
}
"""Of kinds of pages with heavy parts what takes the place of these."""
TEMPLATES = Path(__file__).parent / "template"


def write(folder: Path) -> Path:
    """Make `report.html` of what lies in a run's folder, in that folder, and return where it is.

    Raises CheckpointError for another folder, StorageError.
    """
    page = folder / NAME
    write_text(page, _fitting(_content(folder)), "choose another hydra.run.dir, or type report=false")
    return page


def write_beside(folders: Sequence[Path], page: Path) -> Path:
    """Several runs side by side on one page. Raises CheckpointError, StorageError."""
    write_text(page, _fitting(several.of_runs(folders)), "choose another --output")
    return page


def _content(folder: Path) -> dict[str, Any]:
    if (folder / "results.json").is_file():
        return several.of_sweep(folder)
    if (folder / "compare.json").is_file():
        return several.of_comparison(folder)
    if (folder / FOLDS).is_file():
        return several.of_folds(folder)
    if (folder / inspection.FILE).is_file():
        return inspection.content(folder)
    if (folder / explanation.FILE).is_file():
        return explanation.content(folder)
    if read_json(folder / "summary.json").get("metrics") is not None:
        return one_run.content(folder)
    raise CheckpointError(
        f"{folder}: holds no training, evaluation, comparison, sweep, inspection or explanation that has ended"
    )


def _fitting(content: Mapping[str, Any]) -> str:
    """The page; without its heavy parts where it is too large with them."""
    page = render(content)
    if len(page.encode()) > LARGEST and content["kind"] in BARE:
        page = render({**content, **BARE[content["kind"]](content)})
    return page


def render(content: Mapping[str, Any]) -> str:
    """content: of which kind of page it is (`kind`), and what its template shows."""
    environment = _environment()
    parts = {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "script.js")}
    return environment.get_template(f"{content['kind']}.html").render(
        **content, sections=_sections(content), style=parts["style.css"], script=parts["script.js"]
    )


def _sections(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchor and name of those that have something to show; the first of each is what they show."""
    return [(anchor, name) for key, anchor, name in SECTIONS[content["kind"]] if content.get(key)]


@cache
def _environment() -> Environment:
    """Every value is escaped where it is put into the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from ptft.export.report import numbers

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"metric": numbers.metric, "brief": numbers.brief, "plain": numbers.plain}
    return environment
