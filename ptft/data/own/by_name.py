"""Files whose names say their class, and perhaps their split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ptft.data import files
from ptft.data.files import nfc
from ptft.data.folders import Listing, Media, Told, divided, refused
from ptft.data.own import foreign
from ptft.data.own.filename_pattern import Pattern, Rule
from ptft.data.splits import SPLIT_NAMES
from ptft.errors import ConfigError


def list_by_name(
    told: Told, root: Path, media: Media, pattern: Pattern | None, rules: Mapping[str, str | None], seed: int
) -> dict[str, Listing] | None:
    """Split -> the files anywhere below `root`, with the classes that `pattern` finds in their names.

    The rules say which are "test" and "val"; without any the folders of `root` do where they are called train, val or
    test, else the files are divided. None without a pattern. Raises DataError and ConfigError.
    """
    if pattern is None:
        for name in (name for name, rule in rules.items() if rule is not None):
            raise ConfigError(f"dataset.{name}_rule={rules[name]}: needs dataset.pattern, which names the fields")
        return None
    others: list[Path] = []
    paths = files.find(root, media.suffixes, others)
    if not paths:
        none = f"holds no {media.noun}{foreign.instead(others, media.noun)}"
        raise refused(root, none if root.exists() else "does not exist", media)
    foreign.tell(told, others, media.noun, root)
    if any(rules.values()):
        return _by_rules(pattern, paths, rules)
    above = {path.relative_to(root).parts[0] if root.is_dir() else "" for path in paths}
    if told.train in above and all(name.lower() in SPLIT_NAMES for name in above):
        return _listed(pattern, paths, sorted(above), lambda path, fields: path.relative_to(root).parts[0])
    return divided(told, root, _listed(pattern, paths, ["train"], lambda path, fields: "train")["train"], seed)


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
