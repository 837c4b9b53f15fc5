"""The `ptft` command: a word (`ls`, `cp`) or jobs, which are resolved, given a folder, and executed.

No torch is imported here before a stage starts or a checkpoint is read, and rich only for a run.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from contextlib import suppress
from inspect import cleandoc
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from omegaconf import DictConfig

from ptft import __version__
from ptft.cli import completion, hydra_sweep, report
from ptft.cli.commands import WORDS, show_help
from ptft.config import compose, documented, mistakes, yaml_files
from ptft.config.config import model_name
from ptft.config.overrides import FLAGS, PATH_KEYS, Arguments, Overrides, parse, quote
from ptft.config.resolve import Job, Opened, resolve
from ptft.config.resume import again, complete
from ptft.config.settled import idle
from ptft.config.validate import rule_of
from ptft.errors import ConfigError, Interrupted, suggest
from ptft.launch import job, plan, rank, ranking, sweep
from ptft.runs.folder import RunFolder, new_name
from ptft.runtime import json_lines, process, signals, terminal
from ptft.runtime.system import understood


def entry() -> NoReturn:
    """The `ptft` command as a process of its own: `main`, with a fast start and a fast end."""
    process.start()
    code: int | str | None = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    process.leave(code if isinstance(code, int) else int(code is not None))


def main(argv: list[str] | None = None) -> None:
    """The `ptft` command. Ends the process with the exit codes that README lists, whatever becomes of its output."""
    words = sys.argv[1:] if argv is None else argv
    with terminal.guarded(), json_lines.only(json_lines.FLAG in words and words[0] not in WORDS):
        try:
            with signals.interrupting():
                code = run(words)
        except KeyboardInterrupt as error:
            code = _interrupted(error)
        except Exception as error:
            code = _failed(error)
    sys.exit(code)


def _interrupted(error: KeyboardInterrupt) -> int:
    message, code = str(error) or job.INTERRUPTED, error.exit_code if isinstance(error, Interrupted) else 130
    terminal.say(f"ptft: {message}", error=True)
    json_lines.emit("error", code=code, status="interrupted", message=message)
    return code


def _failed(error: Exception) -> int:
    """Say it in one line where it is understood; else it is a bug, and its traceback helps."""
    ptft_error = understood(error)
    if ptft_error is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
        terminal.say("".join(traceback.format_exception(error)).rstrip(), error=True)
    for line in str(ptft_error or "").splitlines():
        terminal.say(f"ptft: {line}", error=True)
    code, shown = ptft_error.exit_code if ptft_error else 1, ptft_error or error
    json_lines.emit("error", code=code, status="failed", error=type(shown).__name__, message=str(shown))
    return code


def run(argv: list[str]) -> int:
    """Do what `argv` asks for and return the exit code; of several processes that were started the first one does."""
    return rank.joined(lambda: _run(argv)) if rank.is_one() else _run(argv)


def _run(argv: list[str]) -> int:
    if argv and argv[0] in WORDS:
        if {"--help", "-h"} & {*argv[1:]}:
            terminal.say(cleandoc(str(WORDS[argv[0]].__doc__)).partition("\n\n")[0].replace("`", ""))
            return 0
        return WORDS[argv[0]](argv[1:])
    _refuse_flags(argv)
    args = parse(argv or ["--help"])
    if args.words and not args.completes:
        raise ConfigError(_hint(args.words[0]))
    if args.json and args.flags:
        raise ConfigError(f"{json_lines.FLAG}: is for what runs, and {args.flags[0]} runs nothing; drop one of them")
    if args.flags in (["--help"], ["-h"]):
        return show_help()
    if "--version" in args.flags:
        terminal.say(f"ptft {__version__}")
        return 0
    if args.shows:
        return _show(args)
    typed = Overrides.parse(args.overrides)
    for sentence in () if typed.typed.get("quiet") is True else idle.overridden(typed):
        terminal.say(f"ptft: {sentence}", error=True)
    overrides, continued = again(typed)
    if args.multirun and continued != "sweep":
        _refuse_single(typed)
    if args.multirun or continued == "sweep":
        return _run_sweep(overrides)
    _refuse_sweep(overrides)
    return int(run_one(resolve(overrides), continued == "repeated")[0]["exit_code"])


def _refuse_flags(argv: list[str]) -> None:
    """Raises ConfigError for what other programs take as a flag and is a key here, with what to type."""
    for word, following in zip_longest(argv, argv[1:], fillvalue=""):
        if word.startswith("--") and word.partition("=")[0] not in FLAGS:
            keys = {key: meanings[0].default for key, meanings in documented.keys().items()}
            if remedy := mistakes.flag(word, following, {**dict.fromkeys(compose.GROUPS, ""), **keys}):
                raise ConfigError(f"{word}: there is no such flag{remedy}")


def _hint(word: str) -> str:
    stages = compose.options("stage")
    if word in stages:
        return f"{word}: a stage is typed as ptft stage={word}"
    if word in WORDS:
        return f"{word}: comes first: ptft {word} …"
    if flag := mistakes.FLAGS.get(word):
        return f"{word}: type ptft {flag}"
    keys = documented.keys()
    if "." in word and word in keys:
        return f"{word}: ptft help {word} says what it means; type {word}=VALUE to set it"
    return f"{word}: what is it? Type key=value, or one of: {', '.join(WORDS)}{suggest(word, [*stages, *WORDS])}"


def _refuse_sweep(overrides: Overrides) -> None:
    for text, override in zip(overrides.texts, overrides.parsed, strict=True):
        if override.is_sweep_override():
            if remedy := mistakes.advice(str(override.key_or_group), text.partition("=")[2]):
                raise ConfigError(f"{text}: can't be several values in one run{remedy}")
            as_list = _as_list(override, text, overrides)
            if as_list and not as_list[1]:
                raise ConfigError(f"{text}: a list is typed in brackets: {as_list[0]}")
            or_list = f"; one list is {as_list[0]}" if as_list else ""
            raise ConfigError(f"{text}: several values need -m, e.g. ptft -m {_typed(overrides)}{or_list}")


def _refuse_single(overrides: Overrides) -> None:
    """Raises ConfigError for what means one run, where a sweep was asked for."""
    for text, key in zip(overrides.texts, overrides.keys, strict=True):
        value = text.partition("=")[2].strip("'\"")
        if key == "resume" and overrides.typed.get("resume") is not None:
            raise ConfigError("resume= with -m: a run goes on alone; type ptft resume=RUN for each, without -m")
        if key == "hydra.run.dir":
            raise ConfigError(f"hydra.run.dir={value} with -m: is the folder of one run; type hydra.sweep.dir={value}")


def _typed(overrides: Overrides) -> str:
    """What was typed, as a shell takes it: paths without Hydra's quotes."""
    words = []
    for text, key in zip(overrides.texts, overrides.keys, strict=True):
        path = f"{key}={overrides.typed.get(key)}"
        words.append(path if key in PATH_KEYS and quote(path) == text else text)
    return shlex.join(words)


def _as_list(override: Override, text: str, overrides: Overrides) -> tuple[str, bool] | None:
    """Several values as the one list that the key may have, and whether it may have one of them as well; else None."""
    if not isinstance(values := override.value(), ChoiceSweep):
        return None
    key, swept = str(override.key_or_group), overrides.swept
    typed = shlex.quote(f"{key}=[{text.partition('=')[2]}]")
    if key in compose.SEVERAL:
        return typed, False
    with suppress(ConfigError):
        fits = rule_of(compose.compose(overrides.where(lambda other: other not in swept)), key).fits
        if fits(listed := [_plain(each) for each in values.list]):
            return typed, fits(listed[0])
    return None


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, QuotedString) else value


def _show(args: Arguments) -> int:
    """Hydra's own: help, the composed configuration, completion. What can't be composed is said in ptft's words."""
    if (args.overrides or yaml_files.user_conf()) and not args.completes:
        compose.compose(args.overrides)
    if args.completes and completion.answer(WORDS):
        return 0
    asked = " ".join([*args.flags, *args.words, *args.overrides])
    if args.completes and "query=" in asked and "COMP_LINE" not in os.environ:
        raise ConfigError(
            f"{asked}: is what a shell asks, with the line in COMP_LINE; ptft -sc install=bash sets it up"
        )
    sys.argv = ["ptft", *args.flags, *args.words, *args.overrides]
    hydra.main(config_path=str(yaml_files.conf_dir()), config_name="config", **compose.VERSION)(_nothing)()
    return 0


def _nothing(cfg: DictConfig) -> None:
    """What Hydra would call if its flags did not end the matter."""


def run_one(planned: Job, continues: bool, raised: bool = False) -> tuple[dict[str, Any], Path | None]:
    """The status of a job that was run, and its folder. continues: whether that holds what of it was done before.

    raised: as in `execute`.
    """
    cfg, folder = planned.config, None
    if cfg.resume and (sentence := complete(planned)):
        terminal.say(sentence)
        finished = {"exit_code": 0, "status": "finished"}
        job.tell(finished, Path(cfg.resume).parent.parent)
        return finished, Path(cfg.resume).parent.parent
    typed = None if cfg.resume else planned.folder is not None
    with signals.held():
        if cfg.resume:
            folder = RunFolder.reopen(Path(cfg.resume).parent.parent)
        elif not cfg.dry_run:
            goes_on = continues or cfg.stage.get("reuses")
            stage, typed_texts = cfg.names.stage if goes_on else None, planned.overrides.texts
            folder = RunFolder.claim(_folder_of(planned), stage, typed_texts)
        return job.execute(planned, folder, typed=typed, raised=raised), folder.path if folder else None


def _folder_of(planned: Job) -> Path:
    names = planned.config.names
    if planned.folder is not None:
        return Path(planned.folder)
    return new_name(Path(compose.RUNS["dir"]), names.stage, model_name(planned.config), names.dataset)


def _run_sweep(overrides: Overrides) -> int:
    """All jobs through Hydra's launcher, then the table; 0 if every job finished. In a dry run their plan."""
    folder = _folder_of_sweep(overrides)
    opened: Opened = {}
    jobs = sweep.pinned(folder, overrides.jobs())
    without_folder = overrides.where(lambda key: key != "hydra.sweep.dir")
    typed = without_folder.texts
    if plan.typed(jobs):
        return plan.show(jobs, overrides.swept)
    planned = [resolve(each, opened) for each in jobs]
    if plan.composed(planned):
        return plan.show(jobs, overrides.swept)
    with sweep.claimed(folder, typed, planned), hydra_sweep.composed_before():
        for sentence in sweep.other_starts(folder, planned):
            terminal.say(sentence)
        sys.argv = ["ptft", "--multirun", *without_folder.for_hydra(), quote(f"hydra.sweep.dir={folder.absolute()}")]
        code = 0
        try:
            hydra.main(config_path=str(yaml_files.conf_dir()), config_name="config", **compose.VERSION)(
                lambda cfg: _job(planned, overrides.swept)
            )()
        except KeyboardInterrupt as error:
            code = getattr(error, "exit_code", 130)
        failed = ranking.finish(folder, planned, overrides.swept, typed)
        if any(job.config.report for job in planned):
            report.of_sweep(folder)
        return code or failed


def _folder_of_sweep(overrides: Overrides) -> Path:
    """What `hydra.sweep.dir` means, where it was said. What Hydra composes for the whole is checked, too."""
    if yaml_files.user_conf() is None and not any(key.startswith("hydra") for key in overrides.keys):
        return sweep.new_folder(Path(compose.SWEEPS))
    swept = overrides.swept
    cfg = compose.compose(overrides.where(lambda key: key not in swept))
    if "hydra.sweep.dir" in overrides.typed or compose.raw(cfg, "hydra.sweep")["dir"] != compose.SWEEPS:
        return Path(compose.place(cfg, "hydra.sweep.dir"))
    return sweep.new_folder(Path(compose.SWEEPS))


def _job(planned: list[Job], swept: list[str]) -> dict[str, Any]:
    """One job of a sweep, as Hydra launches it; what was resolved before is what counts, not its own composition."""
    launched = HydraConfig.get()
    number, folder = int(launched.job.num), Path(launched.sweep.dir)
    with json_lines.labelled({"job": number}):
        status = sweep.run_job(folder, number, planned[number], Path(launched.runtime.output_dir))
        job.tell(status, sweep.place(folder, number))
    if not planned[number].config.quiet:
        terminal.say(ranking.line(folder, number, planned, swept, status))
    if status["exit_code"] in signals.CODES.values():
        raise Interrupted("stopped", status["exit_code"])
    return status
