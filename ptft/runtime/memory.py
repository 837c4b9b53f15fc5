"""Memory that this process can still have: of the machine, or of the container where that has less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

V2 = ("memory.max", "memory.current", "inactive_file")
"""Files of a control group, version 2: its limit, what it holds, and of its statistics what can be dropped."""
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that can be taken without swapping. root: where `proc` and `sys` are."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**30
    available = _number(root / "proc/meminfo", "MemAvailable:")
    machine = pages if available is None else available * 1024
    left = [_left(folder, names) for folder, names in _groups(root)]
    left.append(_left_to_process(root))
    return max(0, min([machine, *(count for count in left if count is not None)]))


def _left_to_process(root: Path) -> int | None:
    """Of the address space that `ulimit -v` grants; None where it sets no limit."""
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    limit, pages = resource.getrlimit(resource.RLIMIT_AS)[0], _number(root / "proc/self/statm")
    if limit == resource.RLIM_INFINITY or pages is None:
        return None
    return limit - pages * resource.getpagesize()


def _left(folder: Path, names: tuple[str, str, str]) -> int | None:
    """What a group may still take; None where it has no limit. What it keeps of files makes room where it must."""
    limit, used = _number(folder / names[0]), _number(folder / names[1])
    if limit is None or used is None:
        return None
    return limit - used + (_number(folder / "memory.stat", f"{names[2]} ") or 0)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """The group that this process is in, and those that it is part of, of both versions: each may have a limit.

    In a container the path that the system tells is often not mounted, and the top is the container's own.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    paths = {
        controllers: path for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") > 1)
    }
    own = next((path for controllers, path in paths.items() if "memory" in controllers.split(",")), "/")
    mount = root / "sys/fs/cgroup"
    for top, path, names in ((mount, paths.get("", "/"), V2), (mount / "memory", own, V1)):
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:depth]), names


def _number(path: Path, name: str = "") -> int | None:
    """The first number of the file, or of its line that begins with `name`; None where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith(name)), [])
    return next((int(word) for word in words if word.isdigit()), None)
