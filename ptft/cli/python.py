"""ptft.run: a stage from Python, as the command runs it."""

from __future__ import annotations

from typing import Any

from ptft import errors
from ptft.cli import main
from ptft.config.overrides import Overrides
from ptft.config.resolve import resolve
from ptft.config.resume import again
from ptft.errors import ConfigError, Interrupted, PtftError
from ptft.runs.folder import read_json
from ptft.runtime import signals, terminal
from ptft.runtime.process import OneAtATime


def _waits() -> None:
    terminal.say("a run waits for another one of this process, as they share its random numbers", error=True)


_alone = OneAtATime(_waits)
"""Around a run: generators of random numbers, signals and what kernels are used are the whole process's."""


def run(*overrides: str) -> dict[str, Any]:
    """As `ptft.run`."""
    with _alone:
        return _run(overrides)


def _run(overrides: tuple[str, ...]) -> dict[str, Any]:
    typed, continued = again(Overrides.parse(overrides))
    if typed.swept or continued == "sweep":
        raise ConfigError(f"{', '.join(typed.swept) or 'resume'}: a sweep is run by the command, ptft -m")
    with signals.interrupting():
        status, folder = main.run_one(resolve(typed), continued == "repeated", raised=True)
    if status["exit_code"]:
        raise _error(status)
    return {**(read_json(folder / "summary.json") if folder else status), "folder": str(folder) if folder else None}


def _error(status: dict[str, Any]) -> BaseException:
    """What ended the run, as it was raised there."""
    name, message = str(status.get("error")), str(status.get("message"))
    if name == Interrupted.__name__:
        return Interrupted(message, status["exit_code"])
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, PtftError):
        return kind(message)
    return PtftError(f"{name}: {message}")
