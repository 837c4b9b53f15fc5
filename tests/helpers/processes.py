"""Real processes that need not start: Python with torch imported, forked where a test asks for one.

Importing torch takes seconds; most processes of a test take less. `Process` is `subprocess.Popen` and `run` is
`subprocess.run`: an id, handles, folder, environment, signals and end of its own, a child of this process. What a fork
can't give (limits, a session, other variables that are read while something is imported, another system than Linux)
starts as ever. A test that is about the start itself calls `subprocess`.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which a process is one of several that train together."""
READ_LATE = {
    "PTFT_CACHE",
    "PTFT_DATA",
    "TORCH_HOME",
    "KILL_AT",
    "COMP_LINE",
    "COMP_POINT",
    "TERM",
    "COLUMNS",
    "NO_COLOR",
    "TORCHINDUCTOR_CACHE_DIR",
    *RANK,
}
"""Variables that nothing reads while it is imported: a fork may have others than its server."""
GIVEN = {"stdin", "stdout", "stderr", "text", "cwd", "env"}
"""Options of Popen that a fork can have."""
USUAL: dict[str, str] = {}
"""The server's environment: this process's before any test, and after what they import was imported."""
PR_SET_CHILD_SUBREAPER = 36


class Server:
    """The process of `fork_server.py`, started when the first fork is asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.line: socket.socket | None = None

    def start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(theirs.fileno())]
        nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self.process = subprocess.Popen(program, pass_fds=[theirs.fileno()], env=USUAL, cwd=ROOT, **nothing)
        self.line = ours
        theirs.close()
        atexit.register(self.stop)
        return ours

    def stop(self) -> None:
        if self.line:
            self.line.close()
            self.process.wait()

    def fork(self, arguments: list[str], folder: str, environment: dict[str, str], handles: list[int]) -> int | None:
        """The id of a new child of this process; None where it would not be what Popen starts."""
        if early(environment) != early(USUAL):
            return None
        with self.lock:
            line = self.line or self.start()
            request = {"arguments": arguments, "folder": folder, "environment": environment}
            adopts(True)
            try:
                socket.send_fds(line, [json.dumps(request).encode()], handles)
                return int(line.recv(32))
            finally:
                adopts(False)


def early(environment: dict[str, str]) -> dict[str, str]:
    """What of an environment may be read while something is imported."""
    return {name: value for name, value in environment.items() if name not in READ_LATE and "PYTEST" not in name}


def adopts(whether: bool) -> None:
    """Whether processes below this one become its children when their own parents end."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(whether), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


SERVER = Server()


def begin() -> None:
    """Before the first test: forks have the environment that there is now."""
    USUAL.update(os.environ, PYTHONPATH=str(ROOT))


class Process(subprocess.Popen):
    """`subprocess.Popen` of `[sys.executable, "-m", "ptft", …]` or `[sys.executable, "-c", code, …]`.

    env: what is added to this process's environment, in which the repository's ptft is found.
    """

    def __init__(self, args: list[str], env: dict[str, str] | None = None, **options) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        self.forks = sys.platform == "linux" and options.keys() <= GIVEN
        super().__init__(args, env=environment, **options)

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest):
        pipes = rest[3:9]  # of stdin, stdout and stderr, the end to read from before the one to write to
        handles = [number if end == -1 else end for number, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        pid = SERVER.fork(args[1:], str(cwd or os.getcwd()), env, handles) if self.forks else None
        if pid is None:
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest)
        else:
            self.pid, self._child_created = pid, True
            self._close_pipe_fds(*pipes)


def run(args: list[str], *, timeout: float = 300, **options) -> subprocess.CompletedProcess:
    """`subprocess.run` of a `Process`; what it printed is text."""
    with Process(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """`run` of Python code."""
    return run([sys.executable, "-c", code, *arguments], **options)


def together(args: list[str], count: int = 2, **options) -> list[subprocess.CompletedProcess]:
    """`run` in `count` processes that are started together, as `torchrun` starts them, each with its rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in map(str, range(count)):
        place = dict(zip(RANK, (rank, rank, str(count), "127.0.0.1", port), strict=True))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(Process(args, env=place, **pipes, **options))
    ended = []
    for process in started:
        out, err = process.communicate(timeout=300)
        ended.append(subprocess.CompletedProcess(args, process.returncode, out, err))
    return ended
