"""Paths of the process: the cache folder, and how a path is shown."""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def relative(path: str | Path) -> str:
    """The path as it is called where the user stands."""
    full = Path(path).absolute()
    return str(full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full)


def short(path: str | Path) -> str:
    """The path as the user would type it where they stand, quoted for the shell."""
    return shlex.quote(relative(path))


def cache_dir() -> Path:
    """Where ptft keeps what it can make again: `$PTFT_CACHE`, else `ptft` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("PTFT_CACHE"):
        return Path(os.path.expanduser(own)).absolute()
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")).absolute() / "ptft"
