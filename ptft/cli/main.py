"""The console entry: words (`ls`, `cp`) or a run. Composes, checks, claims the folder, calls the stage, exits.

No torch is imported here before a stage starts or a checkpoint is read, and rich only for a run.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ptft import __version__
from ptft.cli.commands import WORDS, show_help
from ptft.config import compose, resolve
from ptft.config.overrides import Arguments, expand, parse, parse_overrides, quote, typed_values
from ptft.errors import ConfigError, Interrupted, PtftError, suggest
from ptft.launch import job, sweep
from ptft.runs.folder import RunFolder, new_name
from ptft.runtime import process


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
    args = parse(argv or ["--help"])
    if args.words and not args.completes:
        raise ConfigError(_hint(args.words[0]))
    if args.flags in (["--help"], ["-h"]):
        return show_help()
    if "--version" in args.flags:
        print(f"ptft {__version__}")
        return 0
    if args.shows:
        return _show(args)
    args.overrides = resolve.again(args.overrides)
    jobs = expand(args.overrides) if args.multirun else [args.overrides]
    if not args.multirun:
        _refuse_sweep(args.overrides)
    configs = [resolve.prepare(each) for each in jobs]
    if args.multirun:
        return _run_sweep(args.overrides, len(configs))
    return _run_one(configs[0], args.overrides)


def _hint(word: str) -> str:
    stages = compose.options("stage")
    if word in stages:
        return f"{word}: a stage is typed as ptft stage={word}"
    return f"{word}: what is it? Type key=value, or one of: {', '.join(WORDS)}{suggest(word, [*stages, *WORDS])}"


def _refuse_sweep(overrides: list[str]) -> None:
    for override in parse_overrides(overrides):
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: several values need -m, e.g. ptft -m {' '.join(overrides)}")


def _show(args: Arguments) -> int:
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
        if said := resolve.complete(config, overrides):
            print(said)
            return 0
        folder = RunFolder.reopen(Path(config["resume"]).parent.parent)
    elif not config["dry_run"]:
        goes_on = config["names"]["stage"] if config.get("compare", {}).get("reuse") else None
        folder = RunFolder.claim(_folder_of(config, overrides), goes_on)
    code = int(job.execute(config, folder, overrides)["exit_code"])
    if folder and code == ConfigError.exit_code and not (folder.checkpoints.exists() or folder.goes_on):
        folder.discard()
    return code


def _folder_of(config: dict[str, Any], overrides: list[str]) -> Path:
    typed = typed_values(overrides).get("hydra.run.dir")
    if typed is not None:
        return Path(os.path.expanduser(str(typed)))
    names = config["names"]
    return new_name(Path("outputs"), names["stage"], names["model"], names["dataset"])


def _run_sweep(overrides: list[str], count: int) -> int:
    """All jobs through Hydra's launcher, then the table; 0 if every job finished."""
    typed = typed_values(overrides).get("hydra.sweep.dir")
    folder = Path(os.path.expanduser(str(typed))) if typed else sweep.new_folder(Path("outputs/sweeps"))
    sweep.claim(folder)
    rest = [text for text in overrides if not text.startswith("hydra.sweep.dir=")]
    sys.argv = ["ptft", "--multirun", *rest, quote(f"hydra.sweep.dir={folder.absolute()}")]
    os.environ["PTFT_SWEEP_JOBS"] = str(count)
    code = 0
    try:
        hydra.main(config_path=str(compose.conf_dir()), config_name="config", **compose.VERSION)(_job)()
    except (KeyboardInterrupt, Interrupted) as error:
        code = getattr(error, "exit_code", 130)
    return sweep.finish(folder, overrides, count) or code


def _job(cfg: DictConfig) -> dict[str, Any]:
    """One job of a sweep, called by Hydra with its own composition; the overrides are what counts."""
    launched = HydraConfig.get()
    overrides = list(launched.overrides.task)
    number = int(launched.job.num)
    print(f"\n[{number + 1}/{os.environ.get('PTFT_SWEEP_JOBS', '?')}] {' '.join(overrides)}", flush=True)
    folder = RunFolder.claim(Path(launched.runtime.output_dir))
    status = job.execute(resolve.prepare(overrides), folder, overrides)
    if status["exit_code"] in (130, 143):
        raise KeyboardInterrupt
    return status
