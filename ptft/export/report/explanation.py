"""What the page of an explanation shows, taken from the files of its folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptft.errors import counted
from ptft.export.report import media
from ptft.export.report.numbers import plain
from ptft.runs.folder import read_json
from ptft.runtime.paths import relative

FILE, NEIGHBOURS = "explanations.json", "neighbours.json"
INPUTS = 60
"""So many inputs are on the page."""
SIDE = 448
"""Pixels of the longer side of a picture."""
ASIDE = 500_000
"""Bytes that are kept for pictures and sounds of neighbours."""
SOME = 0.15
"""From which share of the strongest word on a word is coloured."""
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 300, 150, 40, 10, 26
"""Of a deletion curve."""


def content(folder: Path) -> dict[str, Any]:
    """Values of the template `explanation.html`."""
    found = read_json(folder / FILE)
    rows = [row for row in found.get("inputs") or [] if isinstance(row, Mapping)]
    inputs = [_input(row, number) for number, row in enumerate(rows[:INPUTS])]
    previews = media.kept(folder / NEIGHBOURS)
    near = media.fitting(((key, previews.get(key)) for each in inputs for key in each["near_keys"]), ASIDE)
    uris = media.fitting(_uris(folder, rows[:INPUTS]), media.ROOM - sum(map(len, near.values())))
    expected = sum(len(files) for row in rows[:INPUTS] for files in _files(row).values())
    return {
        "kind": "explanation",
        "title": f"explain {found.get('model')} {found.get('objective')}",
        "sentences": list(_sentences(found, rows)),
        "methods": [_method(name, means) for name, means in (found.get("methods") or {}).items()],
        "inputs": inputs,
        "all": len(rows),
        "uris": {**uris, **near},
        "missing": expected - len(uris),
        "sounds": any(uri.startswith("data:audio") for uri in uris.values()),
        "unread": list(found.get("unread") or []),
        "commands": list(_commands(folder, found)),
        "folder": str(folder),
        "limits": {"least": SOME},
    }


def bare(content: Mapping[str, Any]) -> dict[str, Any]:
    """What takes the place of all that can be seen or heard."""
    return {"uris": {}, "missing": content["missing"] + len(content["uris"]), "sounds": False}


def _sentences(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    parent = found.get("parent") or {}
    of = f" of {relative(Path(parent['path']))}" if parent.get("path") else ""
    many = counted(len(rows), "inputs")
    yield f"Why {found.get('model')}{of} answers what it does for {many}, and whether that explanation means anything."
    said = [
        f"{means.get('means_something')} of {means.get('inputs')} by {_plain(name)}"
        for name, means in (found.get("methods") or {}).items()
    ]
    yield f"Explanations that mean something: {', '.join(said)}." if said else "No method could explain any of them."


def _plain(method: str) -> str:
    return method.replace("_", " ")


def _method(name: str, means: Mapping[str, Any]) -> dict[str, Any]:
    shown = ("inputs", "means_something", "area", "random_area", "correlation", "gap", "randomised")
    return {"name": _plain(name), **{key: means.get(key) for key in shown}}


def _input(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One input: its answer, each method's marks with their checks, and what it is near to."""
    near = {
        str(source): [{**each, "key": f"{source} {each.get('index')}"} for each in them]
        for source, them in (row.get("neighbours") or {}).items()
    }
    entries = [entry for entry in row.get("explanations") or [] if isinstance(entry, Mapping)]
    return {
        "number": number,
        "item": row.get("item"),
        "answer": answer(row),
        "other": other(row),
        "explanations": [_explanation(row, entry, number) for entry in entries],
        "near": list(near.items()),
        "near_keys": [each["key"] for them in near.values() for each in them],
    }


def answer(row: Mapping[str, Any]) -> str:
    """What is answered for an input, and how sure that is: a class, any number of labels, or a number."""
    given = row.get("answer") or {}
    if "labels" in given:
        return f"{given['labels']} ({given.get('probabilities')})" if given["labels"] else "no label"
    if row.get("target") is None:
        return plain(next(iter(given.values()), None))
    return _believed(given.get("class", row["target"]), given.get("probability", row.get("belief")))


def other(row: Mapping[str, Any]) -> str:
    """The class that is explained and how far it is believed, where that is not the whole answer; "" where it is."""
    target, given = row.get("target"), row.get("answer") or {}
    if target is None or target == given.get("labels", given.get("class", target)):
        return ""
    left_out = "" if row.get("answered", True) or "labels" not in given else ", which is not answered"
    return f"{_believed(target, row.get('belief'))}{left_out}"


def _believed(name: Any, sure: Any) -> str:
    return f"{name} ({sure:.3f})" if isinstance(sure, int | float) else str(name)


def _explanation(row: Mapping[str, Any], entry: Mapping[str, Any], number: int) -> dict[str, Any]:
    method = str(entry.get("method"))
    values, units = entry.get("values") or [], row.get("units") or {}
    deletion, randomised = entry.get("deletion") or {}, entry.get("randomised") or {}
    return {
        "method": _plain(method),
        "key": f"{number} {method}",
        "means_something": bool(entry.get("means_something")),
        "reasons": [str(reason) for reason in entry.get("reasons") or []],
        "words": _words(units.get("words"), values),
        "strongest": _strongest(units.get("grid"), values),
        "curves": _curves(row.get("random") or {}, deletion),
        "p": deletion.get("p"),
        "untrained": randomised.get("p"),
        "correlation": randomised.get("correlation"),
        "of": randomised.get("of"),
        "gap": entry.get("gap"),
    }


def _words(words: Any, values: Sequence[float]) -> list[tuple[str, float]]:
    """Each with its value as a share of the strongest one's; none where it is no text."""
    if not isinstance(words, list) or len(words) != len(values):
        return []
    whole = max(map(abs, values), default=0.0) or 1.0
    return [(str(word), value / whole) for word, value in zip(words, values, strict=True)]


def _strongest(grid: Any, values: Sequence[float]) -> str:
    """Where the most marked cell is, for who does not see it."""
    if not (isinstance(grid, list) and len(grid) == 2 and values):
        return ""
    row, column = divmod(max(range(len(values)), key=lambda k: values[k]), grid[1])
    return f"strongest in row {row + 1} of {grid[0]}, column {column + 1} of {grid[1]}"


def _curves(random: Mapping[str, Any], deletion: Mapping[str, Any]) -> dict[str, Any]:
    """Deletion as paths: what is marked first, what is least marked first, and at random with its deviation."""
    shares, mean, spread = (random.get(name) or [] for name in ("shares", "mean", "deviation"))
    first, last = deletion.get("curve") or [], deletion.get("last") or []
    if len(shares) < 2 or not len(shares) == len(mean) == len(spread) == len(first):
        return {}
    low = min(0.0, *first, *last, *mean)
    high = max(1.0 if low == 0 and max(*first, *mean) <= 1 else low, *first, *last, *mean)

    def corners(values: Sequence[float]) -> list[str]:
        xs = (LEFT + (WIDTH - LEFT - 8) * share for share in shares)
        ys = (HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / ((high - low) or 1) for value in values)
        return [f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True)]

    above, below = ([value + sign * s for value, s in zip(mean, spread, strict=True)] for sign in (1, -1))
    clipped = [[min(max(value, low), high) for value in each] for each in (above, below)]
    return {
        "first": "M" + "L".join(corners(first)),
        "last": "M" + "L".join(corners(last)) if len(last) == len(shares) else "",
        "mean": "M" + "L".join(corners(mean)),
        "band": "M" + "L".join([*corners(clipped[0]), *corners(clipped[1])[::-1]]) + "Z",
        "ticks": [(TOP, f"{high:.3g}"), (HEIGHT - BOTTOM, f"{low:.3g}")],
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - 8,
        "bottom": HEIGHT - BOTTOM,
        "said": f"belief while parts are deleted, from {first[0]:.3g}: what is marked first falls to {min(first):.3g}, "
        f"a mean of {deletion.get('area', 0):.3g}; at random a mean of {random.get('area', 0):.3g}",
    }


def _files(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The files of an input and of each method's marks, by method ("" of the input)."""
    entries = {str(entry.get("method")): entry.get("files") or {} for entry in row.get("explanations") or []}
    return {"": row.get("files") or {}, **entries}


def _uris(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """By `NUMBER METHOD KIND`; input after input, all of each."""
    for number, row in enumerate(rows):
        for method, files in _files(row).items():
            for kind, file in media.inside(folder, files).items():
                uri = media.sound(file) if kind == "sound" else media.picture(file, SIDE)
                yield f"{number} {method} {kind}", uri


def _commands(folder: Path, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    path = (found.get("parent") or {}).get("path")
    if path:
        ckpt = f"ckpt={relative(Path(path))}"
        yield "explain other files", shlex.join(["ptft", "stage=explain", ckpt]) + " input=FILES"
        more = shlex.join(["ptft", "stage=explain", ckpt, "explain.neighbours=5", "explain.index=true"])
        yield "with the training examples that are nearest", f"{more} input=FILES"
        yield "measure it", shlex.join(["ptft", "stage=evaluate", ckpt])
    yield "all that is known of it", shlex.join(["ptft", "show", relative(folder)])
