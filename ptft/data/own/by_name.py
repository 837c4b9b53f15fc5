"""Files whose names say their class, and perhaps their split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ptft.data import files
from ptft.data.files import nfc
from ptft.data.own import foreign
from ptft.data.own.filename_pattern import Pattern, Rule
from ptft.data.own.listing import Listing, Media, divided, refused
from ptft.data.own.unusable import UnusableRows
from ptft.data.records import RowError
from ptft.data.splits import SPLIT_NAMES, folders_by_name
from ptft.errors import ConfigError, absent, are, counted

if TYPE_CHECKING:
    from ptft.data.source import DividedSource


def list_by_name(
    source: DividedSource, root: Path, media: Media, pattern: Pattern | None, rules: Mapping[str, str | None], seed: int
) -> dict[str, Listing] | None:
    """Split -> the files anywhere below `root`, with the classes that `pattern` finds in their names.

    The rules say which are "test" and "val"; without any the folders of `root` do where they are called train, val or
    test, else the files are divided. Files of other names are left out, as `source.on_error` says. None without a
    pattern that names the label. `source` is told what of the rules no file has. Raises DataError and ConfigError.
    """
    if pattern is None or not pattern.has_label:
        for name in (name for name, rule in rules.items() if rule is not None):
            lacks = "dataset.pattern, which names the fields" if pattern is None else "{label} in dataset.pattern"
            raise ConfigError(f"dataset.{name}_rule={rules[name]}: needs {lacks}")
        return None
    others: list[Path] = []
    paths = files.find(root, media.suffixes, others)
    if not paths:
        none = f"holds no {media.noun}{foreign.instead(others, media.noun)}"
        raise refused(root, none if root.exists() else absent(root), media)
    foreign.tell(source, others, media.noun, root)
    read = _read(source, pattern, paths, str(root))
    if any(rules.values()):
        ruled = _by_rules(source, pattern, read, rules)
        return {split: _grouped(source, listing, root) for split, listing in ruled.items()}
    above = {path.relative_to(root).parts[0] if root.is_dir() else "" for path in paths}
    if all(name.lower() in SPLIT_NAMES for name in above):
        named = folders_by_name((root / name for name in sorted(above)), (source.train, source.val, source.test))
        splits = {folder.name: split for split, folder in named.items()}
        if source.train in named:
            listings = _listed(read, list(named), lambda path, fields: splits[path.relative_to(root).parts[0]])
            return {split: _grouped(source, listing, named[split]) for split, listing in listings.items()}
    every = _listed(read, ["train"], lambda path, fields: "train")["train"]
    return divided(source, root, _grouped(source, every, root), seed)


def _grouped(source: DividedSource, listing: Listing, base: Path) -> Listing:
    return listing.grouped(source.grouping, lambda path, name: base)


def _read(source: DividedSource, pattern: Pattern, paths: list[Path], root: str) -> list[tuple[Path, dict[str, str]]]:
    """The files whose names have the pattern's form, with its fields."""
    unusable, matches = UnusableRows(source.on_error, "file"), []
    for path in paths:
        try:
            matches.append((path, pattern.read(path)))
        except RowError as error:
            unusable(error)
    for sentence in unusable.notes(len(matches), root):
        source.note(sentence)
    source.unusable += unusable.named()
    return matches


def _by_rules(
    source: DividedSource,
    pattern: Pattern,
    read: list[tuple[Path, dict[str, str]]],
    rules: Mapping[str, str | None],
) -> dict[str, Listing]:
    """Where all that there is is measured, a split that holds no file is none: a rule may be of the data trained on."""
    parsed = {
        split: Rule(f"dataset.{split}_rule", text, pattern.fields) for split, text in rules.items() if text is not None
    }
    for rule in parsed.values():
        source.tell_without_effect(rule.unmatched(fields for _, fields in read))
    if both := sum(all(rule.holds(fields) for rule in parsed.values()) for _, fields in read if len(parsed) > 1):
        typed, first = " and ".join(rule.typed for rule in parsed.values()), next(iter(parsed))
        source.note(f"{counted(both, 'files')} {are(both)} of {typed}: {'it is' if both == 1 else 'they are'} {first}")

    def split_of(path: Path, fields: dict[str, str]) -> str:
        return next((name for name, rule in parsed.items() if rule.holds(fields)), "train")

    listings = _listed(read, ["train", *parsed], split_of)
    return {split: listing for split, listing in listings.items() if listing.paths or not source.whole}


def _listed(
    read: list[tuple[Path, dict[str, str]]], splits: Iterable[str], split_of: Callable[[Path, dict[str, str]], str]
) -> dict[str, Listing]:
    listings: dict[str, Listing] = {split: Listing([], []) for split in splits}
    for path, fields in read:
        listing = listings[split_of(path, fields)]
        listing.paths.append(path)
        listing.names.append(nfc(fields["label"]))
    return listings
