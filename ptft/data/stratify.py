"""Which examples to take when not all are taken: by class, seeded, a function of the labels and the seed alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ptft.data.ragged import starts_of
from ptft.errors import ConfigError, DataError, counted

if TYPE_CHECKING:
    from ptft.data.hub.cells import Cell

_OF_TRAIN = 2**33
"""Added to the seed where a share of a split is drawn: other numbers than those that divided a whole dataset."""


COMMON = 10
"""So many examples have a set of labels that is kept in proportion by itself."""


def strata(vectors: Tensor) -> Tensor:
    """Long [N], what to keep in proportion of label sets uint8 [N, K]: sets that are common, each for itself, of the
    others the label that is rarest in all (as Sechidis et al. 2011 begin with these), and none at all.
    """
    _, inverse, sizes = torch.unique(vectors, dim=0, return_inverse=True, return_counts=True)
    counts = vectors.sum(0, dtype=torch.long)
    size = torch.where(vectors > 0, counts, len(vectors) + 1)
    rarest = size.argmin(1) if vectors.shape[1] else torch.zeros(len(vectors), dtype=torch.long)
    alone = sizes[inverse] >= COMMON
    chosen = torch.where(alone, inverse, len(sizes) + torch.where((vectors > 0).any(1), rarest, vectors.shape[1]))
    numbered: Tensor = torch.unique(chosen, return_inverse=True)[1]
    return numbered


def ranks(labels: Tensor) -> Tensor:
    """For every label (long [N], not negative) how many equal ones stand before it, long [N]."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = starts_of(counts)
    out = torch.empty_like(labels)
    out[order] = torch.arange(len(labels)) - starts[labels[order]]
    return out


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A random order of long [N] labels whose every beginning holds the classes in their proportions: indices [N].

    So the first n of it are a stratified choice of n, and a smaller choice is part of a larger one. Of label sets,
    uint8 [N, K], it is their `strata` that are kept in proportion.
    """
    labels = strata(labels) if labels.ndim == 2 else labels
    shuffled = _shuffle(len(labels), seed)
    return shuffled[in_proportion(labels[shuffled])]


def in_proportion(labels: Tensor) -> Tensor:
    """Indices [N] of long [N] labels so that every beginning holds the classes in their proportions, each class in the
    order in which its examples stand."""
    share = (ranks(labels) + 0.5) / labels.bincount()[labels]
    return share.argsort(stable=True)


def per_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` random examples of every class, or of all where there are fewer; sorted."""
    shuffled = _shuffle(len(labels), seed)
    return shuffled[ranks(labels[shuffled]) < count].sort().values


def _shuffle(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))


def numbers(digests: Iterable[bytes]) -> Tensor:
    """Long [N] from 8 bytes each, the same on every machine."""
    return torch.from_numpy(np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64))


def draws(keys: Iterable[str], seed: int) -> Tensor:
    """A number from 0 to 1 for every key, float64 [N]: a function of the key and the seed alone, on every machine."""
    salt = (seed % 2**64).to_bytes(8, "little")
    digests = (blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, salt=salt).digest() for key in keys)
    numbers = np.frombuffer(b"".join(digests), dtype="<u8")
    return torch.from_numpy((numbers >> 11).astype(np.float64) / 2**53)


def held_out(draw: Tensor, labels: Tensor, shares: Sequence[float]) -> Tensor:
    """Which part each example is in, long [N]: 0, 1, … for the shares that are held out, len(shares) for the rest.

    draw: a number from 0 to 1 each, float64 [N]; equal ones stay together. labels: long [N], not negative, or label
    sets uint8 [N, K], each of whose labels counts as a class. Each
    example's own number says where it is, so that others that come or go do not move it, with two exceptions: a class
    that had nothing in the rest gives it the example of the largest number, and a part without an example gets that of
    the smallest number which the rest, or else another part, can spare.
    """
    ends = torch.tensor(shares, dtype=torch.float64).cumsum(0)
    part, rest = torch.bucketize(draw, ends, right=True), len(shares)
    for label in (_counts(labels, part == rest) == 0).nonzero().flatten().tolist():
        if len(own := draw[labels[:, label] > 0 if labels.ndim == 2 else labels == label]):
            part[draw == own.max()] = rest
    for number in (number for number in range(rest) if not (part == number).any()):
        spare = _spare(draw, labels, part == rest)
        others = [set(draw[part == other].tolist()) for other in range(rest)]
        if spare is None and len(most := max(others, key=len)) > 1:
            spare = min(most)
        if spare is not None:
            part[draw == spare] = number
    return part


def _spare(draw: Tensor, labels: Tensor, rest: Tensor) -> float | None:
    """The smallest number of those in `rest` (bool [N]) without which every class has an example left there."""
    counts = _counts(labels, rest)
    for value in sorted(set(draw[rest].tolist())):
        chosen = rest & (draw == value)
        if ((counts > _counts(labels, chosen)) | (counts == 0)).all():
            return float(value)
    return None


def _counts(labels: Tensor, chosen: Tensor) -> Tensor:
    """How many of each label are `chosen` (bool [N]), long [K]."""
    if labels.ndim == 2:
        return labels[chosen].sum(0, dtype=torch.long)
    return labels[chosen].bincount(minlength=int(labels.max()) + 1 if len(labels) else 0)


def train_val_test(labels: Tensor, seed: int, keys: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Sorted rows of train, val and test, about 80, 10 and 10 percent, where data come undivided.

    keys: what each example is known by; its place depends on that alone. Without them it depends on all examples.
    """
    if keys is not None:
        part = held_out(draws(keys, seed), labels, (0.1, 0.1))
        return {name: (part == number).nonzero().flatten() for number, name in enumerate(("test", "val", "train"))}
    held = max(1, round(0.1 * len(labels)))
    parts = stratified_order(labels, seed).tensor_split((held, 2 * held))
    return {name: part.sort().values for name, part in zip(("test", "val", "train"), parts, strict=True)}


def without_shares(
    labels: Tensor, shares: Sequence[float], seed: int, keys: Sequence[str] | None = None
) -> list[Tensor]:
    """Sorted rows of the rest, and of each share that is held out. keys: as in `train_val_test`."""
    if keys is not None:
        part = held_out(draws(keys, seed + _OF_TRAIN), labels, shares)
        return [(part == number).nonzero().flatten() for number in (len(shares), *range(len(shares)))]
    ends = [round(sum(shares[: i + 1]) * len(labels)) for i in range(len(shares))]
    *held, rest = stratified_order(labels, seed).tensor_split(ends)
    return [part.sort().values for part in (rest, *held)]


def check_enough(labels: Tensor, names: Sequence[str], count: int, noun: str = "images") -> None:
    """Raises DataError if a class has fewer than `count` of the `labels` (long [N]) of so many `noun`."""
    counts = labels.bincount(minlength=len(names))
    least = int(counts.argmin())
    if counts[least] < count:
        has = f"class {names[least]} has only {counted(int(counts[least]), noun)} to train on"
        raise DataError(f"dataset.per_class={count}: {has}")


def check_amounts(limit: int | None, fraction: float | None, per_class: int | None) -> None:
    """Raises ConfigError for amounts that are out of range, or more than one."""
    amounts = {"limit": limit, "fraction": fraction, "per_class": per_class}
    typed = {key: value for key, value in amounts.items() if value is not None}
    if len(typed) > 1:
        named = " and ".join(f"dataset.{key}={value}" for key, value in typed.items())
        raise ConfigError(f"{named}: at most one of them can be set")
    for key, value in typed.items():
        if value <= 0 or (key == "fraction" and value > 1):
            raise ConfigError(f"dataset.{key}={value}: must be more than 0" + ", at most 1" * (key == "fraction"))


def check_shares(val: str | float | None, test: str | float | None, of: str = "training split") -> None:
    """Raises ConfigError for shares, of what is trained on, that are none, or leave nothing to train on."""
    shares = {key: own for key, own in (("val", val), ("test", test)) if own is not None and not isinstance(own, str)}
    for key, share in shares.items():
        if not 0 < share < 1:
            raise ConfigError(f"dataset.{key}={share}: the name of a split, a fraction between 0 and 1, or null")
    if sum(shares.values()) >= 1:
        raise ConfigError(
            f"dataset.val={val}, dataset.test={test}: shares of the {of}, which leave nothing to train on"
        )


def check_choices(on_error: str, divide_by: str, group_as: str = "text") -> None:
    """Raises ConfigError for values that no dataset can follow."""
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"dataset.on_error={on_error}: raise or skip")
    if divide_by not in ("name", "order"):
        raise ConfigError(f"dataset.divide_by={divide_by}: name or order")
    if group_as not in ("value", "text"):
        raise ConfigError(f"dataset.group_as={group_as}: value or text")


def contents(files: Iterable[tuple[Path | Cell, object]]) -> Tensor:
    """Long [n], a number for the whole content of each file and for what of it is meant: its span, say."""
    return numbers(_digest(path, part) for path, part in files)


def _digest(path: Path | Cell, part: object) -> bytes:
    digest = blake2b(repr(part).encode(), digest_size=8)
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError:
        digest.update(os.fsencode(str(path)))  # like no other
    return digest.digest()
