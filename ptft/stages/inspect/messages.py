"""What stands on the terminal: what leaks between splits first, then what can't be read, then the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptft.data.inspected.reading import Seen
from ptft.data.inspected.subject import Subject
from ptft.data.own.unusable import Unread
from ptft.errors import are, counted, shortened
from ptft.loggers.console import Console
from ptft.stages.inspect.findings import Findings, leakage, leaks
from ptft.stages.inspect.probe import KNOWS
from ptft.stages.inspect.written import balance

SHOWN = 5
"""Rows of a table; inspect.json has the others."""
WIDE = 48
"""Characters of a name or a text in a table."""


def tell(subject: Subject, seen: Seen, found: Findings, out: Console) -> None:
    """Tables and sentences of all that was found."""
    _leaks(subject, found, out)
    _unreadable(subject, found, out)
    _copies(subject, found, out)
    _labels(subject, found, out)
    _outliers(subject, found, out)
    for row, why in list(found.odd.items())[:SHOWN]:
        out.say(f"odd: {_called(subject, row)} {why}")
    if len(found.odd) > SHOWN:
        out.say(f"odd: {len(found.odd) - SHOWN:,} more in inspect.json")
    for sentence in (*_balance(subject), *seen.notes):
        out.note(sentence)
    for sentence in found.omitted:
        out.note(f"not done: {sentence}")


def _leaks(subject: Subject, found: Findings, out: Console) -> None:
    held = leakage(subject, found)
    if not held:
        if len(subject.sizes) > 1:
            out.say(
                f"no leakage: no example of {' or '.join(list(subject.sizes)[1:])} is, or nearly is, in another split"
            )
        return
    parts = [f"{count:,} of {subject.sizes[split]:,} {split} examples" for split, count in held.items()]
    out.say(
        f"leakage: {' and '.join(parts)} {are(sum(held.values()))} in another split too, as copies or nearly", "red"
    )
    pairs = [
        (group[0], next(row for row in group if subject.split_of(row) != subject.split_of(group[0])), "the same")
        for group in found.copies
        if leaks(subject, group)
    ]
    pairs += [(a, b, f"{by}, {distance:.3f} apart") for a, b, distance, by in found.near if leaks(subject, (a, b))]
    rows = [
        [cell for row in pair[:2] for cell in (subject.split_of(row), _called(subject, row))] + [pair[2]]
        for pair in pairs[:SHOWN]
    ]
    out.table(f"in two splits{_of(len(pairs))}", ["split", "example", "split", "example", "how"], rows)


def _unreadable(subject: Subject, found: Findings, out: Console) -> None:
    files = unread(subject)
    if found.unreadable or files:
        rows = [[subject.split_of(row), _called(subject, row), why] for row, why in found.unreadable.items()]
        rows += [[split, _short(name), why] for name, split, why in files]
        out.say(unreadable_files(subject, found), "red")
        shown = [[*names, why[: 2 * WIDE]] for *names, why in rows[:SHOWN]]
        out.table(f"unreadable{_of(len(rows))}", ["split", "example", "why"], shown)
    told = {(name, why) for name, _, why in files}
    unusable = [pair for pair in getattr(subject.source, "unusable", ()) if pair not in told]
    for name, why in unusable[:SHOWN]:
        out.say(f"not used: {name}: {why}")
    if len(unusable) > SHOWN:
        out.say(f"not used: {len(unusable) - SHOWN:,} more in inspect.json")


def unreadable_files(subject: Subject, found: Findings) -> str:
    """How many can't be read, and of how many examples they are where a file has several (captions, say)."""
    files, examples = len({subject.names[row] for row in found.unreadable}), len(found.unreadable)
    others = len(unread(subject))
    said = f"{counted(files + others, 'files')} can't be {'used' if others else 'read'}"
    return said if files == examples else f"{said}, which {examples:,} examples are of"


def unread(subject: Subject) -> Sequence[Unread]:
    """The files that could not be used when the source was made, and are no examples."""
    return getattr(subject.source, "unread", ())


def _copies(subject: Subject, found: Findings, out: Console) -> None:
    within = [group for group in found.copies if not leaks(subject, group)]
    near = [pair for pair in found.near if not leaks(subject, pair[:2])]
    if within:
        extra = sum(len(group) - 1 for group in within)
        first = " and ".join(_called(subject, row) for row in within[0][:2])
        out.say(f"{counted(extra, 'examples')} {are(extra)} there again in the same split, e.g. {first}")
    if near:
        a, b, distance, by = near[0]
        pair = f"{_called(subject, a)} and {_called(subject, b)} ({by}, {distance:.3f} apart)"
        out.say(f"{counted(len(near), 'pairs')} of near duplicates in one split, e.g. {pair}")
    if found.alone:
        a, b, distance, by = found.alone[0]
        pair = f"{_called(subject, a)} and {_called(subject, b)} ({distance:.3f} apart)"
        out.note(f"{counted(len(found.alone), 'pairs')} near by {by}, e.g. {pair}: shown, and not counted as copies")
    labels = subject.labels
    if labels is not None:
        disputed = [group for group in found.copies if len({int(labels[row]) for row in group}) > 1]
        if disputed:
            pair = " and ".join(f"{_called(subject, row)} ({subject.label(row)})" for row in _two(subject, disputed[0]))
            out.say(
                f"{counted(len(disputed), 'examples')} {are(len(disputed))} there under two classes, e.g. {pair}",
                "yellow",
            )


def _two(subject: Subject, group: list[int]) -> tuple[int, int]:
    return group[0], next(row for row in group if subject.label(row) != subject.label(group[0]))


def _labels(subject: Subject, found: Findings, out: Console) -> None:
    if found.accuracy is None:
        return
    probe = f"a probe of {found.described} is right about {found.accuracy:.1%} of labels it has not seen"
    if not found.errors:
        out.note(f"no label is likely wrong; {probe}")
        return
    classes = subject.source.spec.classes
    rows = [
        [
            subject.split_of(row),
            _called(subject, row),
            str(subject.label(row)),
            classes[likely],
            f"{sure:.2f}",
            _text(subject, row),
        ]
        for row, likely, sure in found.errors[:SHOWN]
    ]
    header = ["split", "example", "label", "likely", "sure", "text"]
    kept = len(header) if subject.texts is not None else len(header) - 1
    out.table(f"likely wrong labels{_of(len(found.errors))}", header[:kept], [row[:kept] for row in rows])
    out.note(f"{counted(len(found.errors), 'labels')} {are(len(found.errors))} likely wrong; {probe}")
    if found.accuracy < KNOWS:
        out.note(
            "so it knows little, and many of these are its own mistakes; ckpt=… of a model that knows more finds more"
        )


def _outliers(subject: Subject, found: Findings, out: Console) -> None:
    if found.outliers:
        rows = [
            [subject.split_of(row), _called(subject, row), f"{score:.1f}", _text(subject, row)]
            for row, score in found.outliers[:SHOWN]
        ]
        header = ["split", "example", "deviations", "text"]
        kept = len(header) if subject.texts is not None else len(header) - 1
        out.table(
            f"outliers{_of(len(found.outliers))}, by {found.outliers_by}", header[:kept], [row[:kept] for row in rows]
        )


def _balance(subject: Subject) -> list[str]:
    """How the classes of the split that is trained on, or of the only one, are spread."""
    counts = balance(subject)
    if not counts:
        return []
    split, of_class = next(iter(counts.items()))
    least, most = min(of_class, key=lambda name: of_class[name]), max(of_class, key=lambda name: of_class[name])
    shares = f"{least} {of_class[least]:,} to {most} {of_class[most]:,} in {split}"
    absent = [f"{name} ({split})" for split, each in counts.items() for name, count in each.items() if not count]
    return [f"classes: {shares}" + (f"; none of {shortened(absent, 8)}" if absent else "")]


def _of(count: int) -> str:
    return f" ({SHOWN} of {count:,}, all in inspect.json)" if count > SHOWN else ""


def _called(subject: Subject, row: int) -> str:
    return _short(subject.names[row])


def _short(name: str) -> str:
    return name if len(name) <= WIDE else f"…{name[-WIDE + 1 :]}"


def _text(subject: Subject, row: int) -> str:
    text = "" if subject.texts is None else " ".join(subject.texts[row].split())
    return text if len(text) <= WIDE else f"{text[: WIDE - 1]}…"


def written(folder: Path, ignored: int, before: int, sheet: bool) -> str:
    """before: how many more the list holds that was in use already."""
    listed = f"{counted(ignored + before, 'examples')}{f', {before:,} of them of dataset.ignore' if before else ''}"
    names = ["inspect.json", f"ignore.csv ({listed})", *(["sheet.png"] if sheet else [])]
    return f"{', '.join(names)} in {folder}"
