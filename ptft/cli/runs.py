"""`ptft runs` and `ptft rm`: the runs below `outputs/`, and those that are not wanted any more."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ptft.cli.words import fits, flags_of, folder_of, table
from ptft.config import mistakes
from ptft.config.settled import stored
from ptft.errors import CheckpointError, ConfigError, shortened
from ptft.runs import references, remove
from ptft.runs.lineage import Relative, exported_from, family, stored_digest
from ptft.runs.listing import Listed, check_key, get, listed, matching, ordered
from ptft.runs.registry import OUTPUTS, folders_below, runs_below, short_name, state, sweep_command
from ptft.runtime.paths import short
from ptft.runtime.system import finite
from ptft.runtime.terminal import decimal, say

COLUMNS = "run,status,stage,model,dataset,best,seconds,when"
LESS = ("seconds", "when", "stage")
"""Columns that a narrow terminal may have no room for, the first to be left out first, where nobody chose any."""
USAGE = "ptft runs [KEY=VALUE …] [--sort KEY] [--columns KEY,KEY] [--all] [--json]"
USAGE_LINEAGE = "ptft lineage RUN|CKPT|latest"
USAGE_RM = "ptft rm RUN… | --failed [--yes]"


def runs(words: list[str]) -> int:
    """`ptft runs [KEY=VALUE …] [--sort KEY] [--columns KEY,KEY] [--all] [--json]`: what there is, the newest first;
    sorted by a metric the best first, by anything else the least, and by -KEY the other way round.

    Keys are columns, metrics (test/accuracy) and any of a run's own. A terminal shows as many as it has lines for.
    """
    flags, rest = flags_of(words, {"--sort": True, "--columns": True, "--all": False, "--json": False}, USAGE)
    if unknown := [word for word in rest if "=" not in word]:
        raise ConfigError(f"{unknown[0]}: what is it? {USAGE}")
    filters = dict(word.split("=", 1) for word in rest)
    every = listed(OUTPUTS, stored.read)
    for key in filters:
        _check_key(every, key)
    chosen = matching(every, filters)
    if "--sort" in flags:
        _check_key(chosen, flags["--sort"].removeprefix("-"))
        chosen = ordered(chosen, flags["--sort"])
    typed = flags.get("--columns")
    columns = (typed or COLUMNS).split(",")
    if not typed and "--sort" in flags and (key := flags["--sort"].removeprefix("-")) not in columns:
        columns.insert(columns.index("seconds"), key)
    for key in columns:
        _check_key(chosen, key)
    if "--json" in flags:
        shown = [{key: get(run, key) for key in columns} if typed else run.row for run in chosen]
        say(json.dumps(finite(shown), indent=2, ensure_ascii=False))
    elif chosen:
        _print(chosen, columns, every="--all" in flags, chosen_columns=bool(typed))
    else:
        say(f"no {'such ' if rest else ''}run below {OUTPUTS.absolute()}")
    return 0


def _print(chosen: Sequence[Listed], columns: list[str], *, every: bool, chosen_columns: bool) -> None:
    """The table; on a terminal as many runs as it has lines for, and of the usual columns as many as fit."""
    size = shutil.get_terminal_size()
    terminal = sys.stdout.isatty()
    shown = chosen[: max(1, size.lines - 3)] if terminal and not every else chosen
    rows = [columns, *([_text(key, get(run, key)) for key in columns] for run in shown)]
    if terminal and not chosen_columns:
        rows = _narrowed(rows, size.columns)
    table(rows)
    if len(shown) < len(chosen):
        say(f"and {len(chosen) - len(shown):,} more: --all shows them, KEY=VALUE chooses some")


def _narrowed(rows: list[list[str]], width: int) -> list[list[str]]:
    """Without the columns that can be missed, as far as the terminal needs it."""
    for key in LESS:
        if fits(rows, width) or key not in rows[0]:
            continue
        at = rows[0].index(key)
        rows = [[*row[:at], *row[at + 1 :]] for row in rows]
    return rows


def _check_key(some: Sequence[Listed], key: str) -> None:
    """As `check_key`, which is told how what other programs call so is called here."""
    try:
        check_key(some, key)
    except ConfigError:
        if remedy := mistakes.type_instead(key):
            raise ConfigError(f"{key}: no run has it{remedy}") from None
        raise


def _text(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "seconds":
        return f"{value:.1f}"
    return decimal(value) if isinstance(value, float) and "/" in key else str(value)


def rm(words: list[str], ask: Callable[[str], str] = input) -> int:
    """`ptft rm RUN… | --failed [--yes]`: remove what these runs wrote, after listing it and asking."""
    flags, names = flags_of(words, {"--failed": False, "--yes": False}, USAGE_RM)
    if bool(names) == ("--failed" in flags):
        raise ConfigError(f"name the runs, or type --failed: {USAGE_RM}")
    folders = [folder_of(name) for name in names] or [
        folder for folder, status in runs_below(OUTPUTS) if state(folder, status) == "failed"
    ]
    folders = list({folder.resolve(): folder for folder in folders}.values())
    if not folders:
        say(f"no failed run below {OUTPUTS.absolute()}")
        return 0
    remove.check(folders)
    for folder in folders:
        say(f"{remove.size(folder) / 2**20:9.1f} MiB  {short(folder)}")
    _say_children(folders)
    if "--yes" not in flags and not _agreed(len(folders), ask):
        say("nothing was removed")
        return 0
    for sweep in sorted({folder.absolute().parent for folder in folders if sweep_command(folder.absolute().parent)}):
        say(f"its tables keep what is removed of a sweep, and resume={short(sweep)} would run it again")
    for folder in folders:
        if kept := remove.remove(folder):
            say(f"{short(folder)}: {shortened(kept)} stays, as no run wrote it")
    return 0


def lineage(words: list[str]) -> int:
    """`ptft lineage RUN|CKPT`: what it started from, and what was made of that, back to the first pretraining.

    An export stands for the checkpoint that it was made of.
    """
    if len(words) != 1 or words[0].startswith("-"):
        raise ConfigError(USAGE_LINEAGE)
    path = Path(os.path.expanduser(words[0]))
    source = exported_from(path)
    digest = source.get("sha256") or (stored_digest(path) if path.is_file() else None)
    if path.is_file() and digest is None:
        raise CheckpointError(f"{words[0]}: is no checkpoint of ptft")
    if source.get("run"):
        folder = Path(source["run"])
    else:
        folder = path.absolute().parent.parent if path.is_file() else folder_of(words[0], latest=True)
    if digest is None and not (folder / "status.json").is_file():
        raise CheckpointError(f"{words[0]}: is no run's folder")
    first, run = family(folder, digest, folders_below(OUTPUTS))
    lines = list(_tree(first, run, "", "", _where))
    if sys.stdout.isatty() and max(map(len, lines)) > shutil.get_terminal_size().columns:
        lines = list(_tree(first, run, "", "", _called))
    say("\n".join(lines))
    return 0


def _where(relative: Relative) -> str:
    return short(relative.name) if relative.folder else relative.name


def _called(relative: Relative) -> str:
    """As `ptft show` finds it, where there is no room for its folder."""
    return short_name(relative.folder) if relative.folder else relative.name


def _tree(
    relative: Relative, named_one: Relative, before: str, below: str, name: Callable[[Relative], str]
) -> Iterator[str]:
    """A line a run: where it lies, what it is, its metric; an arrow at the one that was named."""
    summary, best = relative.summary, relative.summary.get("best") or {}
    what = " ".join(str(summary[key]) for key in ("stage", "model", "dataset") if summary.get(key))
    value = best.get("value")
    metric = f"{best['metric']} {decimal(value)}" if isinstance(value, float) else ""
    gone = "" if relative.folder else "(not found here)"
    changed = "(what it started from has other weights now)" if relative.changed else ""
    parts = [name(relative), what, metric, gone, changed, "◀" if relative is named_one else ""]
    yield before + "  ".join(filter(None, parts))
    for child in relative.children:
        last = child is relative.children[-1]
        inner = below + ("   " if last else "│  ")
        yield from _tree(child, named_one, below + ("└─ " if last else "├─ "), inner, name)


def _say_children(folders: Iterable[Path]) -> None:
    """What other runs refer to them: they keep their weights, and lose what they came from or go on with."""
    gone = {folder.resolve() for folder in folders}
    gone |= {job.resolve() for folder in folders if sweep_command(folder) for job in remove.jobs(folder)}
    runs = listed(OUTPUTS, stored.read)
    known = references.by_digest(run.folder for run in runs)
    for run in runs:
        if gone & {(own := run.folder.resolve()), *own.parents}:
            continue
        for key, place, changed in references.of(run, known):
            if gone & {place, *place.parents}:
                how = f"started from {short(place)}" if key == "ckpt" else f"has {key}={short(place)}"
                say(f"{run.folder} {how}{', which has other weights now' if changed else ''}")


def _agreed(count: int, ask: Callable[[str], str]) -> bool:
    if not sys.stdin or not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here; type --yes to remove them")
    try:
        return ask(f"remove {'it' if count == 1 else f'these {count}'}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
