"""The audio modality: from a path to int16 [n], mono. Sources and `stage=predict` read through the same functions.

`Spec.shape` is `{"rate": samples a second, "seconds": the longest clip or None}`. Channels are mixed, other rates are
resampled, and of a longer clip the middle is taken, unless `whole` says otherwise. WAV, FLAC, OGG and what else
libsndfile reads. Floats beyond -1..1 are scaled by their peak.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptft.core import Batch, Spec
from ptft.data import files, records
from ptft.data.audio.clips import Clip, Span, clip_of, shown, time_notes
from ptft.data.audio.decoding import libraries
from ptft.data.audio.length import fit, longer_than, max_samples
from ptft.data.audio.length import whole as whole
from ptft.data.hub.cells import Cell, File
from ptft.data.hub.items import rows_at
from ptft.data.own import foreign
from ptft.data.ragged import pad
from ptft.data.readers import of_rows
from ptft.errors import ConfigError, DataError

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"})
FULL_SCALE = 32768
"""The int16 value of an amplitude of 1."""
LOUDEST = FULL_SCALE - 1
"""The largest int16 value; an amplitude of 1 is one more."""


UNKNOWN = 2**62
"""Samples from which on a header says that it does not know how many there are."""
FLOATS = ("FLOAT", "DOUBLE")
"""Kinds of samples that may be beyond -1..1, or be no number."""
QUIET, LOUDER = 16, 32
"""Below which int16 value all of a recording is silence, and how many times louder a channel is that was cancelled."""
CANCELLED = "the channels cancel each other (opposite phase), so that their mean is silence"
SLOWEST = 256
"""How many times lower than the wanted rate that of a file may be."""


def find(path: Path | str) -> list[Path]:
    """The recordings at `path` (a file, a folder with everything below it, or a glob), sorted; as `files.find`."""
    return files.find(path, SUFFIXES)


def items(path: str, spec: Spec) -> Sequence[Any]:
    """As `find`; of a table (path, and perhaps start and end) the recordings that it lists; of Parquet files those in
    their rows."""
    file = Path(os.path.expanduser(path))
    if not (file.is_file() and file.suffix.lower() in records.SUFFIXES):
        found = foreign.items(path, SUFFIXES, "recordings")
        in_tables = rows_at(path, "audio", spec, bool(found))
        return found if in_tables is None else in_tables
    rows = of_rows(file, spec, SUFFIXES, partial(clip_of, file.parent))
    rows.notes += time_notes(file)
    return rows


def shape(rate: int, seconds: float | None) -> dict[str, object]:
    """The `Spec.shape` of recordings at `rate` of at most `seconds`. Raises ConfigError for what can't be."""
    if isinstance(rate, bool) or not isinstance(rate, int) or not 1_000 <= rate <= 400_000:
        raise ConfigError(f"dataset.rate={rate}: a whole number of samples a second, from 1000 to 400000")
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"dataset.seconds={seconds}: more than 0, or null for recordings of any length")
    return {"rate": rate, "seconds": seconds}


def info(path: File | str) -> tuple[int, int]:
    """(samples, samples a second) as the file's header says; counted where it does not know.

    Raises DataError naming the file.
    """
    try:
        with libraries.quiet(path):
            header = libraries.soundfile_library().info(libraries.openable(path))
        samples = int(header.frames)
        if samples >= UNKNOWN:
            with libraries.quiet(path), libraries.opened(path) as file:
                samples = sum(len(block) for block in libraries.blocks(file, samples))
    except (OSError, RuntimeError) as error:
        raise DataError(_unreadable(path, error)) from error
    return samples, int(header.samplerate)


def rates(paths: Sequence[File]) -> Counter[int]:
    """How many of the recordings have which samples a second; those that can't be read do not count."""
    counts: Counter[int] = Counter()
    for path in paths:
        with suppress(OSError, RuntimeError), libraries.quiet(path):
            counts[int(libraries.soundfile_library().info(libraries.openable(path)).samplerate)] += 1
    return counts


def read(path: File | str | Clip, spec: Spec, span: Span | None = None) -> Tensor:
    """The recording at `path` as int16 [n], at the rate and no longer than `spec.shape` says.

    span: its part from one second to another, or to the end; None is all of it.
    Raises DataError naming the file if it is missing, empty, truncated or no recording, or holds what is no number.
    """
    if isinstance(path, Clip):
        path, span = path
    wanted = spec.shape["rate"]
    try:
        with libraries.quiet(path), libraries.opened(path) as file:
            rate, begin, end, cut = file.samplerate, 0, file.frames, libraries.is_cut(file.extra_info)
            unknown, floats = end >= UNKNOWN, file.subtype in FLOATS
            if span is not None:
                whole, (first, last) = end, span
                begin = min(whole, max(0, round(first * rate)))
                end = whole if last is None else min(whole, round(last * rate))
            values = libraries.values_of(file, begin, end, unknown)
    except (OSError, RuntimeError) as error:
        raise DataError(_unreadable(path, error)) from error
    if cut or (len(values) < end - begin and not unknown):
        raise DataError(f"{path}: is truncated")
    if len(values) == 0:
        where = "" if span is None else f" {shown(span)}"
        raise DataError(f"{path}: holds no sound{where}")
    if wanted > SLOWEST * rate:
        raise DataError(
            f"{path}: says that it has {rate} samples a second, which dataset.rate={wanted} is too far from"
        )
    mixed = values.mean(1)
    if floats:
        mixed = _scaled(path, mixed)
    return fit(resampled(torch.from_numpy(mixed), rate, wanted), spec)


def remark(item: File | str | Clip, wave: Tensor, spec: Spec | None = None) -> str | None:
    """What to say of a recording that was read as int16 [n]: it is silent because its channels cancel each other, or
    longer than those of `spec`."""
    said = _cancelled(item, wave), None if spec is None else longer(item, wave, spec)
    return ", and ".join(filter(None, said)) or None


def longer(item: File | str | Clip, wave: Tensor, spec: Spec) -> str | None:
    """What to say of a recording that is longer than `Spec.shape` has them; wave: what was read of it."""
    longest = max_samples(spec)
    if longest is None or len(wave) < longest or (len(wave) == longest and not _samples(item, spec) > longest):
        return None
    return longer_than(spec)


def _samples(item: File | str | Clip, spec: Spec) -> int:
    """How long a recording that could be read is by its header, at the Spec's rate."""
    path, (first, last) = (item.path, item.span or (0.0, None)) if isinstance(item, Clip) else (item, (0.0, None))
    samples, rate = info(path)
    end = samples / rate if last is None else min(last, samples / rate)
    return round((end - first) * int(spec.shape["rate"]))


def _cancelled(item: File | str | Clip, wave: Tensor) -> str | None:
    quiet = int(wave.abs().max()) if len(wave) else 0
    if not 0 <= quiet < QUIET:
        return None
    path, span = item if isinstance(item, Clip) else (item, None)
    try:
        with libraries.quiet(path), libraries.opened(path) as file:
            if file.channels == 1 or file.frames >= UNKNOWN:
                return None
            first, last = span or (0.0, None)
            begin = min(file.frames, round(first * file.samplerate))
            end = file.frames if last is None else min(file.frames, round(last * file.samplerate))
            values = libraries.values_of(file, begin, end, False)
    except (OSError, RuntimeError):
        return None
    loud = float(np.abs(values).max()) * FULL_SCALE if len(values) else 0.0
    return CANCELLED if loud > LOUDER * max(1, quiet) else None


def _scaled(path: File | str, values: np.ndarray) -> np.ndarray:
    """Amplitudes [n] within -1..1, by their peak where it is beyond. Raises DataError for what is no number."""
    peak = np.abs(values).max()
    if not np.isfinite(peak):
        place = int((~np.isfinite(values)).argmax())
        raise DataError(f"{path}: sample {place} is {values[place]}, which is no finite number")
    return values / peak if peak > 1 else values


def scale_note(paths: Sequence[File]) -> str | None:
    """What to say of recordings whose floats are beyond -1..1: the first, and how many."""
    notes = []
    for path in paths:
        with suppress(OSError, RuntimeError), libraries.quiet(path):  # reading it says so, or leaves it out
            if libraries.soundfile_library().info(libraries.openable(path)).subtype in FLOATS:
                with libraries.opened(path) as file:
                    parts = libraries.blocks(file, file.frames)
                    peak = max((float(np.abs(part).max()) for part in parts), default=0.0)
                if peak > 1:
                    scaled = "recordings beyond -1..1 are scaled by their peak"
                    notes.append(f"{path} has amplitudes up to {peak:g}; {scaled}")
    return f"{notes[0]} ({len(notes)} of {len(paths)} that were looked at)" if notes else None


def resampled(values: Tensor, rate: int, wanted: int) -> Tensor:
    """Amplitudes float32 [n] at one rate -> int16 [m] at another."""
    if rate != wanted:
        values = torch.from_numpy(libraries.soxr_library().resample(values.numpy(), rate, wanted).astype(np.float32))
    return (values * FULL_SCALE).round().clamp(-FULL_SCALE, LOUDEST).to(torch.int16)


def describe(spec: Spec) -> str:
    """As the header of a run shows it: "8,000 Hz, up to 2 s"."""
    seconds = spec.shape["seconds"]
    return f"{spec.shape['rate']:,} Hz" + ("" if seconds is None else f", up to {seconds:g} s")


def collate(items: Sequence[Tensor], spec: Spec) -> Batch:
    """Recordings int16 [n] of any lengths as one batch: `input` int16 [B, N] padded with 0, `length` long [B]."""
    waves, lengths = pad(items)
    return {"input": waves, "length": lengths}


def encoded(values: Tensor, rate: int) -> bytes:
    """int16 [n] as the bytes of a WAV file."""
    libraries.soundfile_library().write(file := io.BytesIO(), values.numpy(), rate, format="WAV")
    return file.getvalue()


def write(path: Path, values: Tensor, rate: int) -> None:
    """int16 [n] as a file of the kind that the name's suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    libraries.soundfile_library().write(str(path), values.numpy(), rate)


def _unreadable(path: File | str, error: BaseException) -> str:
    if not isinstance(path, Cell) and not os.path.exists(path):
        return f"{path}: no such file"
    if not isinstance(path, Cell) and os.path.isfile(path) and os.path.getsize(path) == 0:
        return f"{path}: the file is empty"
    reason = re.sub(r"^Error opening ('.*?'|<.*?>): ", "", str(error).split("\n")[0])
    return f"{path}: not readable as a recording ({reason or type(error).__name__})"
