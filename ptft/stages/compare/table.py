"""The table of a comparison, and one sentence that answers the question."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ptft.errors import counted
from ptft.metrics.properties import is_share
from ptft.metrics.uncertainty.statistics import Estimate
from ptft.runtime.system import write_text
from ptft.runtime.terminal import decimal
from ptft.stages.compare.design import AROUND, Design
from ptft.stages.compare.results import LEAST_SEEDS, LEVEL, Measure, Row

NO_ANSWER = f"Too few seeds to say whether pretraining helped: a difference needs at least {LEAST_SEEDS}"


def amount_text(key: str, amount: float) -> str:
    """5, or 10 % of a fraction."""
    return f"{amount:g}" if key == "per_class" else f"{100 * amount:g} %"


def unit_of(key: str, amounts: Sequence[float] = ()) -> str:
    if key != "per_class":
        return "of the training examples"
    return "label per class" if list(amounts) == [1] else "labels per class"


def share(by: Measure) -> bool:
    """Whether the metric is shown in percent, and differences of it in points."""
    return is_share(by.metric)


def number(value: float, by: Measure, *, signed: bool = False) -> str:
    """93.33 for a share, in percent; 0.1234 for anything else; signed with a true minus."""
    text = f"{100 * value:{'+' if signed else ''}.2f}" if share(by) else decimal(value, signed=signed)
    return text.replace("-", "−")


def spread(estimate: Estimate | None, by: Measure, *, signed: bool = False) -> str:
    """93.33 ± 1.20, `± ?` for one value, nothing for none."""
    if estimate is None:
        return "—"
    return f"{number(estimate.mean, by, signed=signed)} ± {'?' if estimate.half is None else number(estimate.half, by)}"


def worth(row: Row) -> str:
    """4.2×, >4×, <0.5× the labels; — where the baseline's curve can't be read."""
    if row.worth is None:
        return "—"
    sign, factor = row.worth
    return f"{sign.strip('=')}{factor:.2g}×" if factor < 10 else f"{sign.strip('=')}{factor:.0f}×"


def table(design: Design, rows: list[Row], by: Measure) -> tuple[list[str], list[list[str]]]:
    """Header and cells, without a column for what was not asked for."""
    tuned, failed = design.chooses, any(row.failed for row in rows)
    unit = "%" if share(by) else ""
    header = ["per class" if design.key == "per_class" else "of train", "arm", f"{by.split} {by.metric} {unit}".strip()]
    header += [f"beside {design.baseline}", "worth", *(["lr"] if tuned else []), *(["failed seeds"] if failed else [])]
    return header, [_cells(design, row, by, tuned, failed) for row in rows]


def _cells(design: Design, row: Row, by: Measure, tuned: bool, failed: bool) -> list[str]:
    base = row.arm == design.baseline
    mark = "*" if row.verdict in CLAIMS else " "
    cells = [amount_text(design.key, row.amount), f"{row.arm} {DOUBTS[row.doubt][0]}".strip(), spread(row.mean, by)]
    cells += ["", ""] if base else [f"{spread(row.difference, by, signed=True)} {mark}", worth(row)]
    cells += ["—" if row.rate is None else f"{row.rate:g}"] if tuned else []
    return [*cells, *([", ".join(map(str, row.failed))] if failed else [])]


def legend(design: Design, rows: list[Row], by: Measure) -> list[str]:
    """How to read the table, a sentence each."""
    tested = sum(row.chance is not None for row in rows)
    unit = "points of " if share(by) else ""
    holm = f"; * beyond chance at {LEVEL:.0%}, corrected for {tested} comparison{'s' * (tested != 1)} (Holm)"
    sentences = [
        f"± 95 % intervals (Student's t) over {counted(len(design.seeds), 'seeds')}; beside {design.baseline}: the "
        f"difference in {unit}{by.metric}, paired by seed{holm if tested else ''}",
        f"worth: how many times the labels {design.baseline} would need, read off its own curve",
        "a seed decides the examples, their order and the first weights, the same for every arm",
    ]
    if by.split == "test":
        sentences.append("the best weights of a run are chosen on the whole validation split, the same for every arm")
    else:
        sentences.append("measured on the validation split, which also chose the best weights: there is no test split")
    if design.tunes:
        sentences.append(
            f"lr: each arm's best of {len(AROUND)} at each amount, on the validation split with seed "
            f"{design.seeds[0]}; — where a head is fitted to convergence, or a rate was typed"
        )
    elif design.rates != [None]:
        sentences.append(
            "lr: each arm's best at each amount, by the mean over seeds on the validation split, for all arms"
        )
    doubts = [DOUBTS[doubt] for doubt in DOUBTS if doubt and any(row.doubt == doubt for row in rows)]
    return sentences + [f"{mark} {why.format(design.untuned)}" for mark, why in doubts]


def answer(design: Design, rows: list[Row], by: Measure, pretrained: Iterable[str]) -> str:
    """One sentence: whether pretraining helped, where, by how much, and how sure that is."""
    started = [arm for arm in design.arms if arm in set(pretrained) and arm != design.baseline]
    others = [arm for arm in design.arms if arm != design.baseline and arm not in started]
    verdicts = {row.verdict for row in rows if row.arm in started}
    counts = sorted({row.difference.size for row in rows if row.difference})
    if not counts:
        return f"No answer: no seed has both {design.baseline} and another arm."
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    ranked = sorted([*started, *others], key=lambda arm: -sum(row.arm == arm and row.verdict in CLAIMS for row in rows))
    clauses = [clause for arm in ranked if (clause := _clause(design, rows, by, arm))]
    clauses[0] = clauses[0].replace(" (", f" {unit_of(design.key, design.amounts)} (", 1)
    unit = f"points of {by.split} {by.metric}" if share(by) else f"{by.split} {by.metric}"
    how = f"{unit}, {seeds} {'seed' if seeds == '1' else 'seeds'}, paired, 95 % intervals"
    headline = _headline(verdicts) if started else "No arm starts from pretrained weights"
    return f"{headline}: beside {design.baseline}, {'; '.join(clauses)} ({how})."


def _headline(verdicts: set[str]) -> str:
    if verdicts <= {"unknown"}:
        return NO_ANSWER
    if verdicts <= {"unknown", "unjudged"}:
        return "No answer, as the arms or what they are compared with were still improving or not tuned"
    better, worse = "better" in verdicts, "worse" in verdicts
    if better:
        return "Pretraining helped in some cases and hurt in others" if worse else "Pretraining helped"
    return "Pretraining hurt" if worse else "Pretraining made no difference beyond the noise"


VERDICTS = {
    "better": "is better",
    "worse": "is worse",
    "noise": "is within the noise",
    "unjudged": "is not judged",
    "unknown": "differs",
}
DOUBTS = {
    "": ("", ""),
    "improving": (
        "†",
        "still improving in the last fifth of its runs: more steps would change it; not judged",
    ),
    "untuned": ("‡", "its learning rate was not tuned, as {}; not judged"),
}
"""Why a row is not judged: its mark, and what that means."""
CLAIMS = ("better", "worse")


def _clause(design: Design, rows: list[Row], by: Measure, arm: str) -> str:
    """What is said about one arm, its amounts grouped by verdict."""
    clauses = []
    for verdict, text in VERDICTS.items():
        matching = [row for row in rows if row.arm == arm and row.verdict == verdict and row.difference]
        if matching:
            amounts = _listed([amount_text(design.key, row.amount) for row in matching])
            how = ("by " if verdict in CLAIMS else "") + ", ".join(_difference(row, by) for row in matching)
            clauses.append(f"{text} with {amounts} ({how})")
    return f"{arm} {' and '.join(clauses)}" if clauses else ""


def _difference(row: Row, by: Measure) -> str:
    assert row.difference
    if row.verdict in CLAIMS:  # which way is said in words
        return spread(row.difference._replace(mean=abs(row.difference.mean)), by)
    return spread(row.difference, by, signed=True)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def write_csv(path: Path, key: str, records: list[dict[str, Any]]) -> None:
    """A line a run: what it was, how it ended, what it gave. Raises StorageError."""
    columns = ("arm", "amount", "seed", "lr", "status", "split", "metric", "value", "val", "steps", "seconds", "folder")
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow([key if name == "amount" else name for name in columns])
    for each in records:
        writer.writerow(["" if each.get(name) is None else each[name] for name in columns])
    write_text(path, table.getvalue())
