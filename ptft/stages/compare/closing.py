"""Closing a comparison: its runs judged, written to files, drawn and printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptft.config.config import Config
from ptft.errors import counted
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import write_json
from ptft.stages import messages
from ptft.stages.compare import forecast, plot, table
from ptft.stages.compare.design import Design
from ptft.stages.compare.results import Measure, Row, compared, measure

NAMES = ("stage", "model", "dataset", "objective", "seconds", "versions")


def close(
    out: Console,
    cfg: Config,
    folder: Path,
    design: Design,
    records: list[dict[str, Any]],
    description: dict[str, Any],
    noted: list[str],
) -> dict[str, Any]:
    """Write results.csv, compare.json, summary.json and the picture, say the table and the answer.

    noted: what is to be said of the comparison itself. Returns what `status.json` adds to the status: a failure where
    a run failed.
    """
    table.write_csv(folder / "results.csv", design.key, records)
    by, failed = measure(records), [each for each in records if each["value"] is None]
    rows = compared(design, records, by) if by else []
    pretrained = [name for name, arm in description["arms"].items() if arm["pretrained"]]
    answer = table.answer(design, rows, by, pretrained) if by else "No answer: every run failed."
    notes = [*noted, *table.legend(design, rows, by), *uneven(design, records)] if by else noted
    ahead = forecast.forecast(design, rows, by, description["arms"]) if by and cfg.compare.forecast else None
    said = forecast.sentences(design, ahead, by) if by and ahead else []
    result = {
        "status": "failed" if failed else "finished",
        "answer": answer,
        "measure": vars(by) if by else None,
        "rows": [row.to_dict() for row in rows],
        "notes": notes + said,
        **({"forecast": ahead.to_dict()} if ahead else {}),
        "runs": {
            "all": len(records),
            "reused": sum(each.get("reused", False) for each in records),
            "failed": len(failed),
        },
    }
    write_json(folder / "compare.json", {**description, **result, "cells": records})
    write_json(folder / "summary.json", {**{name: description[name] for name in NAMES}, **result})
    if by:
        title = (
            f"{description['dataset']}, {description['model']}, {counted(len(design.seeds), 'seeds')}, 95 % intervals"
        )
        plot.save(plot.draw(design, rows, by, title), folder)
        out.table(f"\n{design.baseline} and what is compared with it", *table.table(design, rows, by), result=True)
        if ahead and ahead.lines:
            out.table("\nforecast", *forecast.table(design, ahead, by), result=True)
    messages.report(cfg, out, folder)
    _say(out, folder, answer, notes + said, failed)
    if by:
        ckpt = best(design, rows, records, by)
        messages.ending(out, folder, following.predict(ckpt, cfg.trusted))
    if failed:
        return {
            "exit_code": 1,
            "status": "failed",
            "message": f"{len(failed)} of {counted(len(records), 'runs')} failed",
        }
    return {"answer": answer}


def _say(out: Console, folder: Path, answer: str, notes: list[str], failed: list[dict[str, Any]]) -> None:
    for note in notes:
        out.say(note, "dim")
    for each in failed:
        out.say(f"{each['arm']}, {each['amount']:g}, seed {each['seed']} {each['status']}: {each['message']}", "red")
    out.say(f"\n{answer}\n", "bold", result=True)
    out.say(f"picture {folder / 'compare.png'}")


def uneven(design: Design, records: list[dict[str, Any]]) -> list[str]:
    """A sentence where the arms did not train for equally many steps, or not with equally many weights."""
    notes = []
    for name, what in (("steps", "steps"), ("parameters", "parameters")):
        counts = {arm: {each[name] for each in records if each["arm"] == arm and each.get(name)} for arm in design.arms}
        if len({frozenset(values) for values in counts.values() if values}) > 1:
            known = {arm: values for arm, values in counts.items() if values}
            shown = "; ".join(f"{arm} {', '.join(f'{v:,}' for v in sorted(values))}" for arm, values in known.items())
            notes.append(f"the arms differ in their number of {what}: {shown}")
    return notes


def best(design: Design, rows: list[Row], records: list[dict[str, Any]], by: Measure) -> Path:
    """The folder of the run to go on with: of the best arm at the most labels, the best on the validation split."""
    amount = max(row.amount for row in rows if row.mean)
    row = max((row for row in rows if row.mean and row.amount == amount), key=lambda row: by.sign * row.mean.mean)  # type: ignore[union-attr]
    candidates = [
        e for e in records if (e["arm"], e["amount"], e["lr"]) == (row.arm, amount, row.rate) and e["value"] is not None
    ]
    return Path(max(candidates, key=lambda each: by.sign * (each["val"] if each["val"] is not None else 0.0))["folder"])
