"""The process that a run lives in: how it imports, what it does with freed memory, how it ends. No torch here."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import resource
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from ptft.runtime.terminal import keep_standard_handles, safe

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names for what mallopt(3) sets."""
LARGEST = 32 * 2**20
"""Bytes of the largest block that glibc lets one keep in its own heap."""


SPIN = "30000"
"""How long a thread of OpenMP watches for work before it sleeps: some 0.1 ms, which is enough for the next operation.
GNU's own choice is much longer, and then two processes on the same cores wait for each other's watching threads."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OneAtATime:
    """`with` it one thread of the process at a time does what is inside, and may do so again inside; others wait.

    A process that is forked has none of the other threads, and waits for none of them.
    """

    def __init__(self, waits: Callable[[], None] = lambda: None) -> None:
        """waits: called once by a thread that has to wait, before it does."""
        self._lock, self._owner, self._waits = threading.RLock(), 0, waits
        os.register_at_fork(after_in_child=self._in_child)

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waits()
            self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _in_child(self) -> None:
        if self._owner != threading.get_ident():
            self._lock = threading.RLock()


def start() -> None:
    """Collect nothing while modules are imported: they make many objects and no garbage, and looking takes a third.

    Must come before torch, whose threads read their settings once. Standard handles that are closed lead nowhere.
    """
    keep_standard_handles()
    gc.disable()
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)


def settle() -> None:
    """Collect again from here on, without looking once more at what is there by now.

    Once is enough: a later run of the same process must not keep what an earlier one left.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def keep_freed_memory() -> bool:
    """Let the C library keep blocks of up to 32 MB that a step frees, for the next step; whether it can.

    By itself glibc gives such a block back to the system, and the next step pays for fresh pages, zeroed one by one,
    again and again. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def return_freed_memory() -> bool:
    """Have the C library give blocks of a megabyte and more back as they are freed; whether it can.

    By itself glibc keeps ever larger ones, and weights that are gathered and given up again would stay, in pieces.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**20))


_earlier = [0]
"""The peak of before `taken_by` set it back."""


def begin_peak() -> None:
    """From here on `peak` tells what is taken anew: where the system can, without what an earlier run has freed."""
    _set_back()
    _earlier[:] = [0]


def _set_back() -> bool:
    """Whether the system told from here on what is taken anew."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc's: what it keeps for later counts as taken
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # which sets the most pages back to those that are there (proc(5))
        return True
    return False


def taken_by(work: Callable[[], object]) -> int | None:
    """The most bytes of memory that `work` took beside what was there before; None, and it is not done, where the
    system does not tell. `peak` counts them."""
    _earlier[:] = [peak()]
    if not _set_back():
        return None
    before = _highest()
    work()
    return _highest() - before


def peak() -> int:
    """The most bytes of memory that this process had since `begin_peak`, or else since it started."""
    return max(_earlier[0], _highest())


def _highest() -> int:
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status", encoding="utf-8") as file:
        return int(next(line for line in file if line.startswith("VmHWM:")).split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def leave(code: int) -> NoReturn:
    """End the process with `code`, its exit handlers run and its output flushed, without taking every object apart."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        safe(stream).flush()
    os._exit(code)
