"""Worker processes that do one job after another."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ptft.errors import ResourceError

STOPPED = (130, 143)
"""Exit codes of a run that a signal ended."""


START = """
import sys
sys.path = [entry for entry in sys.path if entry]
from ptft.launch.worker import main
main()
"""
"""A worker's program. Python looks in the folder that the user stands in first, and nothing there is to be imported."""


class Worker:
    """A process that does jobs, one at a time, with `threads` of the machine's."""

    def __init__(self, threads: int) -> None:
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self.environment = {**os.environ, **counts, "PYTHONPATH": path}
        self.closed = False
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,  # Ctrl-C reaches it through its input, once it is closed
        )

    def run(self, overrides: list[str], description: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Have `launch.job.run_or_continue` called with these, and wait for the status."""
        assert self.process.stdin
        assert self.process.stdout
        task = {"overrides": overrides, "description": description, "folder": str(folder)}
        with contextlib.suppress(OSError, ValueError):  # it died, or was closed: then it does not answer
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
        if line := self.process.stdout.readline():
            status: dict[str, Any] = json.loads(line)
            return status
        if self.closed:
            return {"status": "interrupted", "exit_code": STOPPED[0], "message": "stopped before it began"}
        self.end()
        code = self.process.returncode
        self._start()
        message = f"its process died ({code}); with too little memory lower compare.processes or train.batch_size"
        return {"status": "failed", "exit_code": ResourceError.exit_code, "message": message}

    def close(self) -> None:
        """Let it save what it trains, and stop; it still answers."""
        assert self.process.stdin
        self.closed = True
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def end(self) -> None:
        """Wait until it is gone, after `close`."""
        assert self.process.stdout
        self.process.wait()
        self.process.stdout.close()
