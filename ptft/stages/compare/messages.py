"""Messages of a comparison while it runs: what it will do, what that costs, and each run as it ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptft.config.config import model_name
from ptft.config.resolve import Job
from ptft.config.settled.dataset import noted
from ptft.errors import counted, first_line
from ptft.loggers.console import Console, duration
from ptft.runtime import json_lines
from ptft.stages.compare.design import AROUND, Cell, Design
from ptft.stages.compare.preflight import Trial
from ptft.stages.compare.results import Measure
from ptft.stages.compare.table import amount_text, number, share, unit_of
from ptft.stages.messages import plan_details


def header(
    out: Console, job: Job, design: Design, count: int, reused: int, folder: Path | None, notes: Iterable[str] = ()
) -> None:
    """What is compared, on what, in how many runs. notes: what was decided for the user."""
    cfg = job.config
    amounts = ", ".join(amount_text(design.key, amount) for amount in design.amounts)
    rates = "" if design.rates == [None] else f" × {len(design.rates)} rates"
    if design.tunes:
        rates = f", and {len(AROUND)} rates of each arm with seed {design.seeds[0]}"
    varied = {"arms": design.arms, "amounts": design.amounts, "seeds": design.seeds}
    sizes = " × ".join(counted(len(values), nouns) for nouns, values in varied.items()) + rates
    rows = {
        "model": model_name(cfg),
        "data": f"{cfg.names.dataset}: {amounts} {unit_of(design.key, design.amounts)}",
        "arms": f"{', '.join(design.arms)}; the first is what the others are compared with",
        "runs": f"{count} ({sizes})" + (f", {reused} of them there already" if reused else ""),
        "start": cfg.ckpt or "",
        "folder": str(folder) if folder else "none, this is a dry run",
    }
    latest = [job.checkpoint.latest] if job.checkpoint and job.checkpoint.latest else []
    notes = [*latest, *noted(cfg, job.overrides.typed, job.checkpoint), *notes]
    out.plan(f"ptft {'plan of ' if cfg.dry_run else ''}compare", rows, notes, **plan_details(cfg, folder))


def cost(out: Console, trials: dict[str, Trial], missing: list[Cell]) -> dict[str, float]:
    """How long what is missing takes, by a step of each arm with the most labels: `seconds`, and `bytes`."""
    seconds = sum((trials[cell.arm].steps or 0) * trials[cell.arm].seconds for cell in missing)
    size = sum(trials[cell.arm].size for cell in missing)
    rows = {
        "time": f"at most about {duration(seconds)} of training",
        "disk": f"{size / 2**20:,.0f} MiB of checkpoints",
        "written": "nothing",
    }
    out.block("cost, from one step of each arm", rows)
    return {"seconds": seconds, "bytes": size}


def progress(out: Console, cell: Cell, record: dict[str, Any], number_of: str, left: float) -> None:
    """A line about a run that ended, and how many seconds the others will take."""
    json_lines.emit("run", **record)
    rate = "" if cell.rate is None else f", lr {cell.rate:g}"
    what = f"{number_of}  {cell.arm}, {cell.amount:g}, seed {cell.seed}{rate}"
    if record["value"] is None:
        out.say(f"{what}: {record['status']}, {first_line(record['message'])}", "red")
        return
    by = Measure(record["metric"], record["mode"], record["split"])
    value = f"{by.split} {by.metric} {number(record['value'], by)}{' %' if share(by) else ''}"
    out.say(f"{what}: {value}  {record['seconds']:.1f} s" + (f"  about {duration(left)} left" if left else ""))
