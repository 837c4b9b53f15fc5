"""`ptft report`: the page of a run, made again, or of several runs side by side, without torch."""

from __future__ import annotations

import os
from pathlib import Path

from ptft.cli.words import flags_of, folder_of
from ptft.config import yaml_files
from ptft.errors import ConfigError, first_line
from ptft.runtime.terminal import say

USAGE = "ptft report RUN|latest, or RUN RUN … [--output=FILE.html]"


@yaml_files.unchanging()
def report(words: list[str]) -> int:
    """`ptft report RUN`: its report.html, made again. Of several runs one page, in FILE (report.html here).

    A comparison's and a sweep's folder are runs as well.
    """
    from ptft.export.report import page  # only here: it knows how metrics are printed, by rich

    flags, names = flags_of(words, {"--output": True}, USAGE)
    if not names or ("--output" in flags and len(names) == 1):
        raise ConfigError(USAGE)
    folders = [folder_of(name, latest=True) for name in names]
    if len(folders) == 1:
        say(str(page.write(folders[0])))
        return 0
    place = Path(os.path.expanduser(flags.get("--output", page.NAME)))
    if place.suffix != ".html":
        raise ConfigError(f"--output={place}: must end in .html")
    if place.exists() and not _is_page(place):
        raise ConfigError(f"{place}: is there already and no page of ptft's; choose another --output")
    say(str(page.write_beside(folders, place)))
    return 0


def _is_page(place: Path) -> bool:
    """Whether it is a page that `ptft report` wrote, which may be replaced."""
    from ptft.export.report import page

    try:
        return page.MARK in place.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def of_sweep(folder: Path) -> None:
    """A sweep's page at its end; what goes wrong with it is said and costs the page alone."""
    from ptft.export.report import page

    try:
        page.write(folder)
    except Exception as error:
        say(f"{page.NAME}: can't be made ({first_line(error)}); the sweep has ended without it", error=True)
