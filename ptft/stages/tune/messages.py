"""Messages of a search while it runs: what it will do, what that costs, and each trial where it is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ptft.config.config import model_name
from ptft.config.resolve import Job
from ptft.errors import counted, first_line
from ptft.loggers.console import Console, duration
from ptft.runtime import json_lines
from ptft.stages.compare.results import Measure
from ptft.stages.compare.table import number, share
from ptft.stages.messages import plan_details
from ptft.stages.tune.confirm import Again
from ptft.stages.tune.preflight import Tried
from ptft.stages.tune.search import FAILED, WHOLE, Plan, Trial
from ptft.stages.tune.space import Dimension, typed


def header(
    out: Console,
    job: Job,
    tried: Tried,
    plan: Plan,
    dimensions: Sequence[Dimension],
    there: int,
    folder: Path | None,
    notes: Iterable[str],
) -> None:
    """there: trials of an earlier start."""
    cfg, confirm = job.config, job.config.tune.confirm
    runs, whole = tried.config.names, f"of {counted(tried.steps, 'steps')} " if tried.steps else ""
    rungs = ", ".join(f"{100 * share:g} %" for share in plan.rungs)
    stops = f"; looked at after {rungs}, from where one of {plan.factor} goes on" if rungs else ", each to its end"
    rows = {
        "runs": f"stage={runs.stage}: {model_name(tried.config)} on {runs.dataset}, {runs.objective}",
        "search": "; ".join(each.described() for each in dimensions),
        "trials": f"{plan.count} {whole}with seed {cfg.seed}, the first with the defaults{stops}"
        + (f"; {there} of them there already" if there else ""),
        "judged by": f"{tried.monitor['metric']} ({tried.monitor['mode']}), the best of a run",
        "confirm": f"the best and the defaults once more, with {counted(confirm, 'other seeds')}" if confirm else "not",
        "start": cfg.ckpt or "fresh weights",
        "folder": str(folder) if folder else "none, this is a dry run",
    }
    latest = [job.checkpoint.latest] if job.checkpoint and job.checkpoint.latest else []
    title = f"ptft {'plan of ' if cfg.dry_run else ''}tune"
    out.plan(title, rows, [*latest, *notes], **plan_details(cfg, folder))


def cost(out: Console, tried: Tried, plan: Plan, confirm: int) -> dict[str, float]:
    """About how long all of it takes, by a step of the defaults: `seconds`, and `bytes`."""
    search, again, minutes = plan.cost(), 2.0 * confirm, tried.config.train.minutes
    limits = [tried.steps * tried.seconds if tried.steps else None, 60 * minutes if minutes else None]
    seconds = (search + again) * min((limit for limit in limits if limit is not None), default=0.0)
    whole = f"the search as much as {search:.1f} whole trainings, where {plan.count} would be without stopping"
    rows = {
        "time": f"about {duration(seconds)} of training: {whole}; {again:g} to confirm",
        "disk": f"up to about {plan.count * tried.size / 2**20:,.0f} MiB of checkpoints while it searches",
        "written": "nothing",
    }
    out.block("cost, from one step of the defaults", rows)
    return {"seconds": seconds, "bytes": float(plan.count * tried.size)}


def named(trial: Trial) -> str:
    return " ".join(typed(trial.settings)) if trial.settings else "the defaults"


def valued(value: float, by: Measure) -> str:
    return f"{by.split} {by.metric} {number(value, by)}{' %' if share(by) else ''}"


def progress(out: Console, trial: Trial, plan: Plan, by: Measure, seconds: float, begun: int, left: float) -> None:
    """A line about a trial that came to a rung or its end. begun: how many trials did; left: seconds that the rest
    takes, 0 where nobody knows."""
    json_lines.emit("run", **trial.to_dict())
    what = f"trial {trial.number}"
    if trial.status == FAILED:
        out.say(f"{what}  failed, {first_line(trial.message)}  ({named(trial)})", "red")
        return
    where = "at its end" if trial.status == WHOLE else f"at {100 * plan.rungs[len(trial.rungs) - 1]:g} %"
    value = valued(trial.rungs[-1].value, by)
    rest = f", about {duration(left)} left" if left >= 1 else ""
    settings = f"  {named(trial)}" if len(trial.rungs) == 1 or not plan.rungs else ""
    out.say(f"{what}  {where}: {value}  {seconds:.1f} s{settings}  ({begun} of {plan.count} began{rest})")


def confirmed(out: Console, run: Again, number_of: str, by: Measure) -> None:
    """A line about a run with another seed."""
    json_lines.emit("run", **vars(run))
    what = f"{number_of}  {run.who}, seed {run.seed}"
    if run.value is None:
        out.say(f"{what}: {run.status}, {first_line(run.message)}", "red")
    else:
        out.say(f"{what}: {valued(run.value, by)}  {run.seconds:.1f} s")


def table(
    trials: Sequence[Trial], plan: Plan, dimensions: Sequence[Dimension], by: Measure
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the trials, those that came farthest first."""
    order = sorted(
        (trial for trial in trials if trial.value is not None),
        key=lambda trial: (-len(trial.rungs), plan.rank(trial, len(trial.rungs) - 1)),
    )
    header = [
        "trial",
        f"{by.split} {by.metric}{' %' if share(by) else ''}",
        "steps",
        *(each.key for each in dimensions),
    ]
    rows = []
    for trial in order:
        shown = dict(text.split("=", 1) for text in typed(trial.settings))
        values = [shown.get(each.key, "default") for each in dimensions]
        rows.append([str(trial.number), number(trial.rungs[-1].value, by), f"{trial.steps:,}", *values])
    return header, rows
