"""The console entry: words (`ls`, `cp`) or a run. Composes, checks, claims the folder, calls the stage, exits.

No torch is imported here before a stage starts or a checkpoint is read, and rich only for a run.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ptft import argv as arguments
from ptft import compose, plan, process, runs, sweep
from ptft.argv import suggest
from ptft.errors import CheckpointError, ConfigError, DataError, Interrupted, PtftError, ResourceError
from ptft.words import WORDS, show_help

if TYPE_CHECKING:
    from ptft.report import Report

REFUSED = (ConfigError.exit_code, DataError.exit_code, CheckpointError.exit_code)
"""Exit codes of what fails before any training."""


def entry() -> NoReturn:
    """The `ptft` command as a process of its own: `main`, with a fast start and a fast end."""
    process.start()
    code: int | str | None = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    process.leave(code if isinstance(code, int) else 0)


def main(argv: list[str] | None = None) -> None:
    """The `ptft` command. Ends the process with the exit codes that README lists."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = run(sys.argv[1:] if argv is None else argv)
    except PtftError as error:
        code = _failed(error)
    except KeyboardInterrupt:
        print("ptft: interrupted; nothing had to be saved", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _terminated(number: int, frame: object) -> None:
    raise Interrupted("terminated outside of training; what was saved before is whole", 143)


def _failed(error: PtftError) -> int:
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        traceback.print_exception(error)
    for line in str(error).splitlines():
        print(f"ptft: {line}", file=sys.stderr)
    return error.exit_code


def run(argv: list[str]) -> int:
    """Do what `argv` asks for and return the exit code."""
    if argv and argv[0] in WORDS:
        return WORDS[argv[0]](argv[1:])
    args = arguments.parse(argv or ["--help"])
    if args.words and not args.completes:
        raise ConfigError(_hint(args.words[0]))
    if args.flags in (["--help"], ["-h"]):
        return show_help()
    if args.shows:
        return _show(args)
    jobs = compose.expand(args.overrides) if args.multirun else [args.overrides]
    if not args.multirun:
        _refuse_sweep(args.overrides)
    configs = [plan.prepare(job) for job in jobs]
    if args.multirun:
        return _run_sweep(args.overrides, len(configs))
    return _run_one(configs[0], args.overrides)


def _hint(word: str) -> str:
    stages = compose.options("stage")
    if word in stages:
        return f"{word}: a stage is typed as ptft stage={word}"
    return f"{word}: what is it? Type key=value, or one of: {', '.join(WORDS)}{suggest(word, [*stages, *WORDS])}"


def _refuse_sweep(overrides: list[str]) -> None:
    for override in compose.parse_overrides(overrides):
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: several values need -m, e.g. ptft -m {' '.join(overrides)}")


def _show(args: arguments.Arguments) -> int:
    """Hydra's own: help, the composed configuration, completion. What can't be composed is said in ptft's words."""
    if args.overrides and not args.completes:
        compose.compose(args.overrides)
    sys.argv = ["ptft", *args.flags, *args.words, *args.overrides]
    hydra.main(config_path=str(compose.conf_dir()), config_name="config", **compose.VERSION)(_nothing)()
    return 0


def _nothing(cfg: DictConfig) -> None:
    """What Hydra would call if its flags did not end the matter."""


def _run_one(config: dict[str, Any], overrides: list[str]) -> int:
    folder = None
    if config["resume"]:
        if said := plan.complete(config, overrides):
            print(said)
            return 0
        folder = runs.RunFolder.reopen(Path(config["resume"]).parent.parent)
    elif not config["dry_run"]:
        folder = runs.RunFolder.claim(_folder_of(config, overrides))
    code = int(execute(config, folder, overrides)["exit_code"])
    if folder and code == ConfigError.exit_code and not folder.checkpoints.exists():
        folder.discard()
    return code


def _folder_of(config: dict[str, Any], overrides: list[str]) -> Path:
    typed = compose.typed(overrides).get("hydra.run.dir")
    if typed is not None:
        return Path(os.path.expanduser(str(typed)))
    names = config["names"]
    return runs.new_name(Path("outputs"), names["stage"], names["model"], names["dataset"])


def execute(config: dict[str, Any], folder: runs.RunFolder | None, overrides: list[str]) -> dict[str, Any]:
    """Run one job to its end, whatever it is, and return its status: `status`, `exit_code` and more.

    A failure is returned, not raised, so that a sweep goes on. A continuation that is refused leaves the run's status.
    """
    from ptft.report import Report

    report = Report(folder.path if folder else None)
    if folder and not config["resume"]:
        _write_config(folder.path, config, overrides)
    base = {"stage": config["names"]["stage"], "overrides": overrides}
    before = runs.read_json(folder.path / "status.json") if folder and config["resume"] else {}
    began = time.perf_counter()
    if folder:
        folder.status(**base, status="running")
    status = {**base, **_outcome(config, report, folder)}
    status["seconds"] = round(time.perf_counter() - began, 3)
    if folder:
        folder.status(**(before if before and status["exit_code"] in REFUSED else _without_trace(status)))
        folder.release()
    _say_failure(status, report, folder)
    report.close()
    return _without_trace(status)


def _without_trace(status: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key != "trace"}


def _outcome(config: dict[str, Any], report: Report, folder: runs.RunFolder | None) -> dict[str, Any]:
    """What the stage returned, or how it failed."""
    try:
        return _stage(config, report, folder)
    except PtftError as error:
        return _failure(error, error.exit_code)
    except KeyboardInterrupt:
        return _failure(Interrupted("interrupted outside of training; what was saved before is whole"), 130)
    except Exception as error:  # a bug of ours or the user's own code: the traceback is what helps
        return _failure(*_understood(error))


def _stage(config: dict[str, Any], report: Report, folder: runs.RunFolder | None) -> dict[str, Any]:
    from ptft import build

    if config["trusted"] and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the installed command does not look here by itself; last, it hides nothing
    stage = build.stage(config["stage"], tuple(config["trusted"]))
    process.settle()
    result = stage(OmegaConf.create(config), report, folder)
    return {"exit_code": 0, "status": "finished", **result}


def _failure(error: BaseException, code: int) -> dict[str, Any]:
    kind = "interrupted" if isinstance(error, Interrupted) else "failed"
    trace = "".join(traceback.format_exception(error))
    return {"status": kind, "exit_code": code, "error": type(error).__name__, "message": str(error), "trace": trace}


def _understood(error: Exception) -> tuple[BaseException, int]:
    """Limits of the machine and of batch statistics, which torch says in its own words; everything else is a bug."""
    text, name = str(error), type(error).__name__
    known: PtftError | None = None
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text:
        said = "out of memory; lower train.batch_size, or raise train.accumulate to cut each batch into parts"
        known = ResourceError(said)
    elif "more than 1 value per channel when training" in text:
        said = "a batch of one image has no batch statistics; raise train.batch_size or lower train.accumulate"
        known = ConfigError(said)
    if known is None:
        return error, 1
    known.__cause__ = error
    return known, known.exit_code


def _say_failure(status: dict[str, Any], report: Report, folder: runs.RunFolder | None) -> None:
    report.stop_bar()
    trace = status.get("trace", "")
    report.write(trace.rstrip())
    if status["exit_code"] == 0 or "message" not in status:
        return
    if status["exit_code"] == 1 or os.environ.get("HYDRA_FULL_ERROR") == "1":
        print(trace, file=sys.stderr)
    for line in str(status["message"]).splitlines():
        report.write(f"ptft: {line}")
        print(f"ptft: {line}", file=sys.stderr)
    if folder and status["exit_code"] != ConfigError.exit_code:
        print(
            f"ptft: {status['status']} after {status['seconds']:.1f} s; its log is {folder.path / 'run.log'}",
            file=sys.stderr,
        )


def _write_config(folder: Path, config: dict[str, Any], overrides: list[str]) -> None:
    hidden = folder / ".hydra"
    hidden.mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create(config), hidden / "config.yaml")
    OmegaConf.save(OmegaConf.create(overrides), hidden / "overrides.yaml")


def _run_sweep(overrides: list[str], count: int) -> int:
    """All jobs through Hydra's launcher, then the table; 0 if every job finished."""
    typed = compose.typed(overrides).get("hydra.sweep.dir")
    folder = Path(os.path.expanduser(str(typed))) if typed else sweep.new_folder(Path("outputs/sweeps"))
    sweep.claim(folder)
    rest = [text for text in overrides if not text.startswith("hydra.sweep.dir=")]
    sys.argv = ["ptft", "--multirun", *rest, arguments.quote(f"hydra.sweep.dir={folder.absolute()}")]
    os.environ["PTFT_SWEEP_JOBS"] = str(count)
    code = 0
    try:
        hydra.main(config_path=str(compose.conf_dir()), config_name="config", **compose.VERSION)(_job)()
    except (KeyboardInterrupt, Interrupted) as error:
        code = getattr(error, "exit_code", 130)
    return sweep.finish(folder, overrides, count) or code


def _job(cfg: DictConfig) -> dict[str, Any]:
    """One job of a sweep, called by Hydra with its own composition; the overrides are what counts."""
    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    number = int(job.job.num)
    print(f"\n[{number + 1}/{os.environ.get('PTFT_SWEEP_JOBS', '?')}] {' '.join(overrides)}", flush=True)
    folder = runs.RunFolder.claim(Path(job.runtime.output_dir))
    status = execute(plan.prepare(overrides), folder, overrides)
    if status["exit_code"] in (130, 143):
        raise KeyboardInterrupt
    return status
