"""A process that does jobs: one JSON object a line in, its status a line out, until its input ends.

When the input ends while a job trains (who asked for it was stopped, or is gone), the job saves and stops.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ptft.runtime import process
from ptft.runtime.terminal import Writer, guarded

AGAIN = 0.2
"""Seconds between signals to a run that has to stop: it hears them only once it trains."""


def main() -> None:
    """Serve until the input ends. Only replies go to standard output; what a job prints goes to standard error."""
    process.start()
    replies = Writer(os.fdopen(os.dup(1), "w"))  # nobody may be there any more to read them
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    done = threading.Event()
    threading.Thread(target=_read, args=(tasks, done), daemon=True).start()
    from ptft.launch.job import run_or_continue

    with guarded():
        while (task := tasks.get()) is not None:
            status = run_or_continue(task["overrides"], task["description"], Path(task["folder"]))
            replies.write(json.dumps(status) + "\n")
            replies.flush()
    done.set()
    process.leave(0)


def _read(tasks: queue.SimpleQueue[dict[str, Any] | None], done: threading.Event) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    tasks.put(None)
    while not done.wait(AGAIN):
        os.kill(os.getpid(), signal.SIGINT)
