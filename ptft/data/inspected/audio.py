"""Recordings: their headers, levels and silence, and log-mels brought to one length.

Axes: N recordings, B batch, n samples, F frames, M bands, T pieces of time.
"""

from __future__ import annotations

from collections import Counter

import torch
from PIL import Image
from torch import Tensor

from ptft.augment.views import Options, views
from ptft.core import Batch, Examples, Spec, length_mask
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.examples import OnDemandRecordings
from ptft.data.audio.log_mel import LogMel, normalized
from ptft.data.inspected import features, hashes
from ptft.data.inspected.reading import Encode, Seen, every
from ptft.data.inspected.subject import Subject
from ptft.loggers.console import Console

BANDS, PIECES = 32, 32
"""Bands and pieces of time of the picture of a recording."""
SILENT = -60.0
"""Decibels below full scale under which a whole recording counts as silent."""
CLIPPED = 0.01
"""Share of samples at full scale from which a recording counts as clipped."""
LONGER = 8.0
"""Lengths so many times the usual one, or as much shorter, are odd."""
FULL = 32767
FEATURES = f"the {features.WIDTH} main components of log-mels of {BANDS} bands in {PIECES} pieces of time"
HASH = "fingerprint of log-mels"
LEFT_OUT: tuple[str, ...] = ()
SHADES = 64
LEAST = 0.1
"""Deviation of log-mels, in nats, below which a recording is as good as constant."""


def read(subject: Subject, encode: Encode | None, out: Console) -> Seen:
    """Decode all recordings, look at their headers, and say what is odd."""
    rate = int(subject.source.spec.shape["rate"])
    mels = LogMel(rate, BANDS)

    def look(examples: Examples, batch: Batch) -> dict[str, Tensor]:
        return _look(mels, batch, rate)

    table, seen = every(subject, look, encode, out)
    seen.tensors = {"pictures": table.columns.pop("pictures")} if table.columns else {}
    seen.measures = table.columns
    if seen.measures:
        _odd(seen)
        _remarks(subject, seen)
        _headers(subject, seen)
    return seen


def _look(mels: LogMel, batch: Batch, rate: int) -> dict[str, Tensor]:
    waves, lengths = batch["input"], batch["length"]
    sound = waves.float() / audio_reader.FULL_SCALE
    power = sound.square().sum(1) / lengths.clamp(min=1)
    return {
        "content": waves.contiguous().view(torch.uint8),
        "length": 2 * lengths,
        "seconds": lengths / rate,
        "decibels": 10 * (power + 1e-10).log10(),
        "clipped": (waves.int().abs() >= FULL).sum(1) / lengths.clamp(min=1),
        "pictures": pictures(mels(sound), mels.frames(lengths)),
    }


def pictures(values: Tensor, frames: Tensor) -> Tensor:
    """Log-mels [B, F, M], of which `frames` (long [B]) are real -> float [B, T, M]: means of T pieces of each."""
    values = values.masked_fill(~length_mask(frames, values.shape[1]).unsqueeze(2), 0)
    sums = torch.nn.functional.pad(values.double().cumsum(1), (0, 0, 1, 0))
    piece = torch.arange(PIECES)
    first = (piece * frames.unsqueeze(1)).div(PIECES, rounding_mode="floor")
    last = torch.maximum(((piece + 1) * frames.unsqueeze(1)).div(PIECES, rounding_mode="floor"), first + 1)
    at = [place.unsqueeze(2).expand(-1, -1, values.shape[2]) for place in (first, last)]
    return ((sums.gather(1, at[1]) - sums.gather(1, at[0])) / (last - first).unsqueeze(2)).float()


def _odd(seen: Seen) -> None:
    seconds, level, clipped = (seen.measures[name] for name in ("seconds", "decibels", "clipped"))
    usual = seconds[~seconds.isnan()].median()
    for row in ((seconds > LONGER * usual) | (seconds * LONGER < usual)).nonzero().flatten().tolist():
        seen.odd[row] = f"lasts {float(seconds[row]):.3g} s, the others about {float(usual):.3g} s"
    for row in (clipped > CLIPPED).nonzero().flatten().tolist():
        seen.odd[row] = f"is clipped: {float(clipped[row]):.1%} of it is at full scale"
    for row in (level < SILENT).nonzero().flatten().tolist():
        seen.odd[row] = f"is silent ({float(level[row]):.0f} dB of full scale)"


def _remarks(subject: Subject, seen: Seen) -> None:
    """Why silent ones are: channels that cancel each other, say."""
    silent = (seen.measures["decibels"] < SILENT).nonzero().flatten().tolist()
    for row in silent:
        examples = subject.parts[subject.split_of(row)]
        if isinstance(examples, OnDemandRecordings):
            place = row - subject.starts[subject.split_of(row)]
            if said := examples.remark(place, examples.take(torch.tensor([place]))["input"][0]):
                seen.odd[row] = said


def _headers(subject: Subject, seen: Seen) -> None:
    files = {file for row in seen.readable.nonzero().flatten().tolist() if (file := subject.file(row))}
    if files:
        rates = Counter(audio_reader.info(file)[1] for file in sorted(files, key=str))
        seen.notes.append("rates: " + ", ".join(f"{rate:,} Hz {count:,}" for rate, count in rates.most_common()))


def near(seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> tuple[Tensor, Tensor]:
    """Pairs of near duplicates among the `rows`, as places among these, long [n, 2], and how far they are apart."""
    return hashes.near(hashes.frequencies(seen.tensors["pictures"][rows]), seed)


def alike(seen: Seen, rows: Tensor, pairs: Tensor, seed: int) -> Tensor:
    """Which pairs of the `rows` (long [n, 2], as `near` has them) that features found look alike too, bool [n]."""
    return hashes.alike(hashes.frequencies(seen.tensors["pictures"][rows]), pairs, seed)


def described(seen: Seen, rows: Tensor, seed: int, texts: list[str] | None) -> Tensor:
    """Features of the rows, float32 [n, W]: of log-mels of mean 0 and deviation 1, as models hear them."""
    values = seen.tensors["pictures"][rows].flatten(1)
    deviation, mean = torch.std_mean(values, 1, keepdim=True)
    return features.components((values - mean) / deviation.clamp(min=LEAST))


strange = None
"""Outliers are far from their neighbours by the features."""


def sheet(spec: Spec, batch: Batch, options: Options) -> list[Image.Image]:
    """Log-mels as a model is shown them in training, low bands below: random views, dark where it is loud."""
    mels = LogMel(int(spec.shape["rate"]), SHADES)
    values = mels(batch["input"].float() / audio_reader.FULL_SCALE)
    real = length_mask(mels.frames(batch["length"]), values.shape[1])
    shown = views(spec, options).train()(normalized(values, real, (1, 2)))
    shades = (255 - (shown.nan_to_num(-2) + 2).clamp(0, 4) * 63.75).to(torch.uint8)
    return [
        Image.fromarray(picture[: int(count)].T.flip(0).contiguous().numpy()).convert("RGB")
        for picture, count in zip(shades, real.sum(1), strict=True)
    ]
