"""Starts the processes of a run on this machine by torch's own launcher, `torch.distributed.run`'s, and watches them.

It finds a free port, gives each process its rank, and ends all where one fails. Which signals reach them is for the
caller to say: each is a session of its own.
"""

from __future__ import annotations

import logging
import sys
import threading
import uuid

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

LOOK = 0.1
"""Seconds between looks at the processes."""


class Launch:
    """Processes of a Python program, and how those of them ended that failed.

    codes: exit code by rank, of the first that failed; below 0 the number of a signal. error: why they could not run.
    """

    def __init__(self, count: int, arguments: list[str]) -> None:
        for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.")]:
            logging.getLogger(name).disabled = True  # what went wrong is said by the process that it went wrong in
        self.config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            monitor_interval=LOOK,
        )
        self.codes: dict[int, int] = {}
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(arguments,), daemon=True)
        self.thread.start()

    def _run(self, arguments: list[str]) -> None:
        try:
            elastic_launch(self.config, sys.executable)(*arguments)
        except ChildFailedError as error:
            self.codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        except Exception as error:
            self.error = error

    def ended(self, seconds: float) -> bool:
        """Whether all are gone, after at most so long a wait."""
        self.thread.join(seconds)
        return not self.thread.is_alive()
