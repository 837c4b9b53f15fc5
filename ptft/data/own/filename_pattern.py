"""What the names of files say: fields such as label, speaker and index, and rules about them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ptft.data.files import nfc
from ptft.data.records import RowError
from ptft.errors import ConfigError, are, shortened, suggest


class Pattern:
    """`{label}_{speaker}_{index}`: fields and what stands between them, of a file's name without its suffix.

    A field holds anything but the character that follows it. group: `dataset.group`; where it is one of the fields,
    folders or rows may say the label. suffixes: of the files; one of them at the end of the text, or `.*`, means
    nothing. Raises ConfigError where there is no field `label` otherwise, and for folders.
    """

    def __init__(self, text: str, group: str | int | None = None, suffixes: Collection[str] = ()) -> None:
        self.text = text = nfc(text)
        if "/" in text:
            raise ConfigError(f"dataset.pattern={text}: is of names of files, without folders; null = folders say it")
        stem, dot, suffix = text.rpartition(".")
        parts = re.split(r"\{(\w+)\}", stem if f"{dot}{suffix.lower()}" in {*suffixes, ".*"} else text)
        self.fields = parts[1::2]
        self.has_label = "label" in self.fields
        if not (self.has_label or group in self.fields) or len(set(self.fields)) < len(self.fields):
            raise ConfigError(f"dataset.pattern={text}: names the field {{label}}, and no field twice")
        follows = [after[:1] for after in parts[2::2]]
        groups = [
            f"(?P<{name}>{f'[^{re.escape(end)}]+' if end else '.+'})"
            for name, end in zip(self.fields, follows, strict=True)
        ]
        between = [re.escape(literal) for literal in parts[0::2]]
        self.expression = re.compile("".join(a + b for a, b in zip(between, [*groups, ""], strict=True)))

    def read(self, path: Path) -> dict[str, str]:
        """Field -> its text, in the form NFC. Raises RowError for a file that has another form."""
        match = self.expression.fullmatch(nfc(path.stem))
        if match is None:
            raise RowError(str(path), f"its name is not of the form dataset.pattern={self.text}")
        return match.groupdict()


def proposed(paths: Sequence[Path]) -> str:
    """What to type where names say the classes: a pattern that all have, in whose {label} few values come again."""
    stems = [path.stem for path in paths]
    for mark in "_-. ":
        parts = [stem.split(mark) for stem in stems]
        count = min(map(len, parts), default=0)
        if count < 2:
            continue
        columns = [[each[place] for each in parts] for place in range(count - 1)]
        columns.append([mark.join(each[count - 1 :]) for each in parts])
        if not all(map(all, columns)):
            continue
        kinds = [len(set(column)) for column in columns]
        classes = [place for place in range(count) if 2 <= kinds[place] <= len(paths) // 2]
        if classes:
            best = min(classes, key=lambda place: (columns[place][0].isdecimal(), kinds[place]))
            names = ["{label}" if place == best else f"{{part{place + 1}}}" for place in range(count)]
            typed = f"dataset.pattern={mark.join(names)}"
            taken = f"of {paths[0].name} {columns[best][0]}, one of {kinds[best]} classes"
            return f"{shlex.quote(typed) if mark == ' ' else typed} takes it from their names ({taken})"
    return "dataset.pattern takes it from their names, where they say it"


class Rule:
    """`index:0-4`, `speaker:theo` or `speaker:theo+lucas`: a field, and the values or ranges that it must have.

    Raises ConfigError, naming `key`, for what is no rule or a field that does not exist.
    """

    def __init__(self, key: str, text: str, fields: list[str]) -> None:
        self.typed = f"{key}={text}"
        self.field, _, values = nfc(text).partition(":")
        if self.field not in fields or not values:
            listed = ", ".join(fields)
            raise ConfigError(f"{self.typed}: FIELD:VALUE, e.g. index:0-4 or speaker:anna+tom; the fields are {listed}")
        self.values = dict.fromkeys(values.split("+"))
        ranges = {value: re.fullmatch(r"(\d+)-(\d+)", value) for value in self.values}
        self.ranges = {value: (int(match[1]), int(match[2])) for value, match in ranges.items() if match}

    def holds(self, fields: dict[str, str]) -> bool:
        value = fields[self.field]
        inside = value.isdecimal() and any(low <= int(value) <= high for low, high in self.ranges.values())
        return inside or value in self.values

    def unmatched(self, files: Iterable[dict[str, str]]) -> list[str]:
        """A sentence for each value or range that none of the files, by their fields, has."""
        present = {fields[self.field] for fields in files}
        numbers = {int(value) for value in present if value.isdecimal()}
        ranges = {value for value, (low, high) in self.ranges.items() if any(low <= each <= high for each in numbers)}
        return [
            f"{self.typed}: no file has {value} as its {self.field}{_nearest(value, present)}"
            for value in self.values
            if value not in present and value not in ranges
        ]


def _nearest(value: str, present: Collection[str]) -> str:
    same = [each for each in sorted(present) if each.casefold() == value.casefold()]
    if same:
        return f"; did you mean {' or '.join(same)}?"
    return suggest(value, present) or f"; there {are(len(present))} {shortened(sorted(present), 8, last=True)}"
