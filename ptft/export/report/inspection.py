"""What the page of an inspection shows, taken from the files of its folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.config.settled import dataset, stored
from ptft.errors import are, counted
from ptft.export.report import media
from ptft.export.report.histograms import histogram
from ptft.runs.folder import read_json
from ptft.runtime.paths import relative

FILE, PREVIEWS = "inspect.json", "previews.json"
SHOWN = {"leaks": 24, "copies": 12, "near": 12, "label_errors": 24, "outliers": 18, "odd": 18, "unreadable": 50}
"""Of each kind so many findings; inspect.json has more of them."""
TOGETHER = 4
"""Examples of a group of copies."""
CLASSES = 60
SHEET = 1400
"""Pixels of the longer side of the contact sheet."""
KNOWS = 0.9
"""A probe that is right less often is said to know little."""
NOUNS = {"image": "images", "text": "texts", "audio": "recordings"}


def content(folder: Path) -> dict[str, Any]:
    """Values of the template `inspection.html`."""
    found, config = read_json(folder / FILE), stored.read(folder)
    previews = media.kept(folder / PREVIEWS)
    chosen = findings(found)
    sheet = media.picture(folder / "sheet.png", SHEET) if found.get("sheet") else None
    noun = "examples" if found.get("captioned") else NOUNS.get(str(found.get("modality")), "examples")
    missing = [key for key in wanted(found) if key not in previews] if previews else []
    return {
        "kind": "inspection",
        "title": f"inspect {_called(found)}",
        "sentences": list(_sentences(found, noun)),
        **chosen,
        "noun": noun,
        "shown": SHOWN,
        "counts": {name: int(value) for name, value in (found.get("counts") or {}).items()},
        "leakage": found.get("leakage") or {},
        "splits": found.get("splits") or {},
        "previews": previews,
        "sounds": any(uri.startswith("data:audio") for uri in previews.values()),
        "missing": len(missing),
        "probe": _probe(found),
        "outliers_by": found.get("outliers_by") or "",
        "copied": bool(chosen["copies"] or chosen["near"]),
        "labelled": bool(_probe(found)),
        "strange": bool(chosen["outliers"] or chosen["odd"]),
        "balance": _balance(found.get("balance") or {}),
        "histograms": list(filter(None, (histogram(*each) for each in (found.get("histograms") or {}).items()))),
        "notes": list(_notes(found)),
        "sheet": sheet,
        "commands": list(_commands(folder, found, config)),
        "folder": str(folder),
    }


def bare(content: Mapping[str, Any]) -> dict[str, Any]:
    """What takes the place of all that can be seen or heard."""
    return {"previews": {}, "sheet": None, "missing": len(content["previews"]), "sounds": False}


def findings(found: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What of inspect.json is shown, by section; copies and near copies as groups: how they are alike, and who is."""
    same = [_group(entry, "the same content") for entry in found.get("duplicates") or []]
    near = [
        _group(entry, f"{entry.get('by')}, {entry.get('distance', 0):.3f} apart")
        for entry in found.get("near_duplicates") or []
    ]
    parts = {
        "leaks": _both(*([group for group in part if group["leak"]] for part in (same, near))),
        "copies": [group for group in same if not group["leak"]],
        "near": [group for group in near if not group["leak"]],
        **{name: list(found.get(name) or []) for name in ("label_errors", "outliers", "odd", "unreadable")},
    }
    totals = {name: len(part) for name, part in parts.items()}
    return {**{name: part[: SHOWN[name]] for name, part in parts.items()}, "totals": totals}  # type: ignore[dict-item]


def _both(same: list[dict[str, Any]], near: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Copies and near copies, so that of both some are among the first that are shown."""
    most = SHOWN["leaks"]
    first = max(most // 2, most - len(near))
    return [*same[:first], *near[: max(most - first, most - len(same))], *same[first:], *near[most - first :]]


def _group(entry: Mapping[str, Any], how: str) -> dict[str, Any]:
    items = entry.get("items") or []
    many = int(entry.get("count", len(items)))
    spread = list({item["split"]: item for item in items}.values())  # one of each split, where it is in several
    chosen = [*spread, *(item for item in items if item not in spread)][:TOGETHER]
    return {
        "how": how,
        "items": chosen,
        "more": many - len(chosen),
        "leak": bool(entry.get("leak")),
        "labels_differ": bool(entry.get("labels_differ")),
    }


def wanted(found: Mapping[str, Any]) -> list[str]:
    """The examples that are shown, by the keys of previews.json, what matters most first."""
    chosen = findings(found)
    groups = [[key(item) for item in group["items"]] for name in ("leaks", "copies", "near") for group in chosen[name]]
    single = [[key(entry["item"])] for name in ("label_errors", "outliers", "odd") for entry in chosen[name]]
    most = max(map(len, (groups, single)), default=0)
    turns = [each for k in range(most) for each in (*groups[k : k + 1], *single[k : k + 1])]
    return list(dict.fromkeys(name for each in turns for name in each))


def key(item: Mapping[str, Any]) -> str:
    """An example in previews.json: its split and its place there."""
    return f"{item.get('split')} {item.get('index')}"


def _called(found: Mapping[str, Any]) -> str:
    """The dataset; of files the folder or file as well."""
    name = Path(str(found.get("root") or "")).name
    return f"{name} ({found.get('dataset')})" if name else str(found.get("dataset"))


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    yield from found.get("notes") or []
    for name, each in (found.get("histograms") or {}).items():
        if each.get("least") is not None and each["least"] == each["most"]:
            yield f"{name}: {each['least']:.4g} of all"
    yield from (f"not done: {what}" for what in found.get("omitted") or [])


def _sentences(found: Mapping[str, Any], noun: str) -> Iterator[str]:
    splits, counts = found.get("splits") or {}, found.get("counts") or {}
    sizes = ", ".join(f"{count:,} of {split}" for split, count in splits.items())
    yield f"{sum(splits.values()):,} {noun} of {_called(found)} were inspected: {sizes}."
    held = found.get("leakage") or {}
    if held:
        parts = " and ".join(f"{count:,} of {splits.get(split, 0):,} {split} examples" for split, count in held.items())
        yield f"Leakage: {parts} {are(sum(held.values()))} in another split too, as copies or nearly."
    elif len(splits) > 1:
        yield f"No leakage: no example of {' or '.join(list(splits)[1:])} is, or nearly is, in another split."
    names = {
        "unreadable": "unreadable examples",
        "label_errors": "likely wrong labels",
        "outliers": "outliers",
        "odd": "odd examples",
    }
    said = [counted(counts[name], what) for name, what in names.items() if counts.get(name)]
    yield f"Besides: {', '.join(said)}." if said else "Nothing else was found."


def _probe(found: Mapping[str, Any]) -> str:
    accuracy = found.get("probe_accuracy")
    if not isinstance(accuracy, int | float):
        return ""
    little = "; so it knows little, and many of these are its own mistakes (ckpt=… of one that knows more finds more)"
    said = f"A probe of {found.get('features')} is right about {accuracy:.1%} of labels it has not seen"
    return f"{said}{little if accuracy < KNOWS else ''}."


def _balance(balance: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """A row a class, the most frequent first: its examples in each split, and which share of the first these are."""
    if not balance:
        return {}
    splits = list(balance)
    first = balance[splits[0]]
    names = sorted(first, key=lambda name: -first[name])
    half = CLASSES // 2
    chosen = names if len(names) <= CLASSES else [*names[:half], *names[-half:]]
    most = max(first.values(), default=0) or 1
    rows = [
        {"name": name, "counts": [balance[split].get(name, 0) for split in splits], "share": first[name] / most}
        for name in chosen
    ]
    return {"splits": splits, "rows": rows, "left_out": len(names) - len(chosen)}


def _commands(folder: Path, found: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    words: Sequence[str] = dataset.words(config) if config.get("names") and config.get("dataset") else []
    before = [word for word in words if word.startswith("dataset.ignore=")]  # which the new list holds
    again, ignore = [word for word in words if word not in before], f"dataset.ignore={relative(folder)}/ignore.csv"
    ignored = _lines(folder / "ignore.csv")
    if ignored:
        what = counted(ignored, "examples")
        yield f"leave out the {what} that ignore.csv names, in any stage (look into it first)", shlex.join([ignore])
        if words:
            yield "see what is left without them", shlex.join(["ptft", "stage=inspect", *again, ignore])
    if words:
        yield "train on it", shlex.join(["ptft", "stage=pretrain", *again, *([ignore] if ignored else before)])
        yield "inspect it again", shlex.join(["ptft", "stage=inspect", *words])


def _lines(file: Path) -> int:
    """Rows of a CSV below its head."""
    import csv

    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return max(0, sum(1 for _ in csv.reader(lines)) - 1)
    except (OSError, csv.Error, UnicodeDecodeError):
        return 0
