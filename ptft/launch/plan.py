"""The plan of a sweep: each job is built and takes a step as in a dry run of its own; nothing is trained or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ptft.config import compose
from ptft.config.overrides import Overrides
from ptft.config.resolve import Job, Opened, resolve
from ptft.errors import ConfigError, Interrupted, PtftError, first_line, shortened
from ptft.launch.job import execute
from ptft.runtime import json_lines, signals
from ptft.runtime.terminal import say


@dataclass(frozen=True)
class Planned:
    """A job of the sweep: what was typed for it, how its dry run ended, and its configuration where there is one."""

    overrides: Overrides
    status: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fails(self) -> bool:
        return bool(self.status["exit_code"])

    @property
    def facts(self) -> dict[str, str]:
        """What its stage says of it, by name."""
        return dict(self.status.get("plan", {}).get("facts", {}))

    def cost(self, what: str) -> float | None:
        """`seconds` of training or `bytes` of checkpoints; None where the stage knows nothing of them."""
        cost = self.status.get("plan", {}).get(what)
        return None if cost is None else float(cost)


def typed(jobs: Sequence[Overrides]) -> bool:
    """Whether `dry_run=true` was typed for them. Raises ConfigError where it was for some and not for others."""
    return _same({job.typed.get("dry_run") is True for job in jobs})


def composed(jobs: Sequence[Job]) -> bool:
    """Whether a YAML that they are composed of says so. Raises ConfigError as `typed` does."""
    return _same({bool(job.config.dry_run) for job in jobs})


def _same(dry: set[bool]) -> bool:
    if len(dry) > 1:
        raise ConfigError(
            "dry_run: some jobs of this sweep are to be planned and others to be run; type dry_run=true, or "
            "dry_run=false, for all of them"
        )
    return dry == {True}


def show(jobs: Sequence[Overrides], swept: Sequence[str]) -> int:
    """Plan them all, a line each, what they share and what they cost together; the exit code of the first that fails.

    swept: the keys that were given several values. Raises Interrupted where a signal ends it.
    """
    from ptft.loggers.console import Console, duration

    report = Console()
    planned = _planned(jobs, swept, report)
    good = [each for each in planned if not each.fails]
    names = list(dict.fromkeys(name for each in good for name in each.facts))
    equal = [name for name in names if len({each.facts.get(name) for each in good}) == 1]
    shared = {name: good[0].facts[name] for name in equal}
    rows = {"jobs": f"{len(planned):,}", "equal": _equal(planned, swept), "differs": _differs(planned), **shared}
    report.block("ptft plan of a sweep", rows)
    differing = [name for name in names if name not in equal]
    header = ["job", *swept, *differing, "time", "disk"]
    report.table("", header, [_row(n, each, swept, differing) for n, each in enumerate(planned)])
    seconds, size = (_total(good, what) for what in ("seconds", "bytes"))
    cost = {
        "time": "" if seconds is None else f"about {duration(seconds)} of training, one job after another",
        "disk": "" if size is None else f"{size / 2**20:,.1f} MiB of checkpoints",
        "written": "nothing",
    }
    report.block("cost of all, from one step of each", cost)
    failed = any(each.fails for each in planned)
    result = {"status": "failed" if failed else "planned", "jobs": len(planned), "seconds": seconds, "bytes": size}
    json_lines.emit("result", **result, folder=None)
    return _say_failures(planned)


def _tell(number: int, each: Planned) -> None:
    """With `--json`: an object for a job."""
    with json_lines.labelled({"job": number, "overrides": each.overrides.texts}):
        if each.fails:
            json_lines.emit("error", code=each.status["exit_code"], message=each.status["message"])
        else:
            json_lines.emit("plan", **each.status.get("plan", {}), config=each.config)


def _line(number: int, count: int, each: Planned, swept: Sequence[str]) -> str:
    """What is said of a job as soon as it is planned, as `ranking.line` does of one that ran."""
    from ptft.loggers.console import duration

    keys = "".join(f" {key}={_text(each.overrides.typed.get(key))}" for key in swept)
    seconds, size = each.cost("seconds"), each.cost("bytes")
    costs = [
        f"can't be: {first_line(each.status['message'])}" if each.fails else "planned",
        "" if seconds is None else f"about {duration(seconds)} of training",
        "" if size is None else f"{size / 2**20:,.1f} MiB",
    ]
    return f"[{number + 1}/{count}]{keys}  {', '.join(filter(None, costs))}"


def _planned(jobs: Sequence[Overrides], swept: Sequence[str], report: Any) -> list[Planned]:
    """Each job planned, and said as soon as it is: what was planned before a signal stays to be read."""
    planned: list[Planned] = []
    opened: Opened = {}
    try:
        with report.reading("planning") as progress:
            for number, each in enumerate(jobs):
                job = _plan(each, opened)
                if (code := job.status["exit_code"]) in signals.CODES.values():
                    raise Interrupted("", code)
                planned.append(job)
                report.say(_line(number, len(jobs), job, swept))
                _tell(number, job)
                progress(len(planned), len(jobs))
    except KeyboardInterrupt as error:
        code = getattr(error, "exit_code", 130)
        raise Interrupted(f"stopped; {len(planned)} of {len(jobs)} jobs were planned", code) from error
    return planned


def _plan(overrides: Overrides, opened: Opened) -> Planned:
    try:
        job = resolve(overrides, opened)
    except PtftError as error:
        return Planned(overrides, {"exit_code": error.exit_code, "message": str(error)})
    return Planned(overrides, execute(job, None, quiet=True), job.config.plain())


def _row(number: int, each: Planned, swept: Sequence[str], facts: Sequence[str]) -> list[str]:
    from ptft.loggers.console import duration

    seconds, size = each.cost("seconds"), each.cost("bytes")
    time = "can't be" if each.fails else "" if seconds is None else duration(seconds)
    disk = "" if size is None else f"{size / 2**20:,.1f} MiB"
    return [
        str(number),
        *(_text(each.overrides.typed.get(key)) for key in swept),
        *(each.facts.get(name, "") for name in facts),
        time,
        disk,
    ]


def _equal(planned: Sequence[Planned], swept: Sequence[str]) -> str:
    """The options that all have, and what was typed for all."""
    configs = [each.config["names"] for each in planned if each.config]
    options = {
        group: configs[0][group]
        for group in dict.fromkeys(("stage", *compose.GROUPS))
        if configs and configs[0].get(group) and all(names.get(group) == configs[0][group] for names in configs)
    }
    typed = {
        key: value
        for key, value in planned[0].overrides.typed.items()
        if key not in (*swept, *options, "dry_run") and not key.startswith("hydra")
    }
    return " ".join(f"{key}={_text(value)}" for key, value in {**options, **typed}.items())


def _differs(planned: Sequence[Planned]) -> str:
    """The keys whose values are not the same in all jobs, those that follow from others included."""
    configs = [_flat(each.config) for each in planned if each.config]
    keys = dict.fromkeys(key for config in configs for key in config)
    different = [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]
    return shortened(different, 8)


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        if prefix or key != "names":
            leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _total(planned: Sequence[Planned], what: str) -> float | None:
    costs = [cost for each in planned if (cost := each.cost(what)) is not None]
    return sum(costs) if costs else None


def _say_failures(planned: Sequence[Planned]) -> int:
    """Each with its reason; the exit code of the first, 0 if there is none."""
    code = 0
    for number, each in enumerate(planned):
        if each.fails:
            code = code or int(each.status["exit_code"])
            bug = f"{each.status['error']}: " if each.status["exit_code"] == 1 else ""
            for line in f"{bug}{each.status['message']}".splitlines():
                say(f"ptft: job {number} can't be: {line}", error=True)
    return code
