"""Files whose names say their class, and perhaps their split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ptft.data import files
from ptft.data.files import nfc
from ptft.data.own.filename_pattern import Pattern, Rule
from ptft.data.own.listing import Listing, Media, Told, divided, refused
from ptft.data.splits import SPLIT_NAMES
from ptft.errors import ConfigError


def list_by_name(
    told: Told, root: Path, media: Media, pattern: Pattern | None, rules: Mapping[str, str | None], seed: int
) -> dict[str, Listing] | None:
    """Split -> the files anywhere below `root`, with the classes that `pattern` finds in their names.

    The rules say which are "test" and "val"; without any the folders of `root` do where they are called train, val or
    test, else the files are divided. None without a pattern that names the label. Raises DataError and ConfigError.
    """
    if pattern is None or not pattern.has_label:
        for name in (name for name, rule in rules.items() if rule is not None):
            lacks = "dataset.pattern, which names the fields" if pattern is None else "{label} in dataset.pattern"
            raise ConfigError(f"dataset.{name}_rule={rules[name]}: needs {lacks}")
        return None
    paths = files.find(root, media.suffixes)
    if not paths:
        raise refused(root, f"holds no {media.noun}" if root.exists() else "does not exist", media)
    if any(rules.values()):
        return {split: _grouped(told, found, root) for split, found in _by_rules(pattern, paths, rules).items()}
    above = {path.relative_to(root).parts[0] if root.is_dir() else "" for path in paths}
    if told.train in above and all(name.lower() in SPLIT_NAMES for name in above):
        listings = _listed(pattern, paths, sorted(above), lambda path, fields: path.relative_to(root).parts[0])
        return {split: _grouped(told, found, root / split) for split, found in listings.items()}
    every = _listed(pattern, paths, ["train"], lambda path, fields: "train")["train"]
    return divided(told, root, _grouped(told, every, root), seed)


def _grouped(told: Told, listing: Listing, base: Path) -> Listing:
    return listing.grouped(told.grouping, lambda path, name: base)


def _by_rules(pattern: Pattern, paths: list[Path], rules: Mapping[str, str | None]) -> dict[str, Listing]:
    parsed = {
        split: Rule(f"dataset.{split}_rule", text, pattern.fields) for split, text in rules.items() if text is not None
    }

    def split_of(path: Path, fields: dict[str, str]) -> str:
        return next((name for name, rule in parsed.items() if rule.holds(fields)), "train")

    return _listed(pattern, paths, ["train", *parsed], split_of)


def _listed(
    pattern: Pattern, paths: list[Path], splits: Iterable[str], split_of: Callable[[Path, dict[str, str]], str]
) -> dict[str, Listing]:
    listings: dict[str, Listing] = {split: Listing([], []) for split in splits}
    for path in paths:
        fields = pattern.read(path)
        listing = listings[split_of(path, fields)]
        listing.paths.append(path)
        listing.names.append(nfc(fields["label"]))
    return listings
