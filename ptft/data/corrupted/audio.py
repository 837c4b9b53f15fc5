"""Corruptions of recordings: white noise, and others that talk at the same time, at a stated ratio of signal to noise.

Axes: B batch, n samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptft.core import Batch, Examples, Spec, length_mask
from ptft.data.corrupted.examples import Corruption, normal
from ptft.runtime.together.splitmix import mix

SNR = (20.0, 15.0, 10.0, 5.0, 0.0)
"""Decibels of the signal above the noise."""
TALKERS = 3
"""So many other recordings of the split are heard besides."""
LARGEST = 2**15 - 1


def noise(batch: Batch, severity: int, spec: Spec, examples: Examples) -> Batch:
    """White Gaussian noise."""
    wave = batch["input"]
    return _mixed(batch, normal(batch["index"].to(wave.device), wave.shape[1], severity), severity)


def babble(batch: Batch, severity: int, spec: Spec, examples: Examples) -> Batch:
    """Other recordings of the split, each again and again as long as this one; one that can't be read is silent."""
    index, count = batch["index"], batch["input"].shape[1]
    total = torch.zeros(len(index), count, device=index.device)
    for talker in range(1, TALKERS + 1):
        step = 1 + (mix(index + talker) % max(1, len(examples) - 1)).abs()  # never itself, where there are others
        wanted = (index + step) % len(examples)
        others = examples.take(torch.unique(wanted).to(examples.device))
        if not len(others["index"]):
            continue
        read = others["index"].to(index.device)  # in rising order
        row = torch.searchsorted(read, wanted).clamp(max=len(read) - 1)
        there = (read[row] == wanted).unsqueeze(1)
        lengths = others["length"].to(index.device)[row].clamp(min=1).unsqueeze(1)
        place = torch.arange(count, device=index.device) % lengths
        total += there * others["input"].to(index.device)[row].float().gather(1, place)
    return _mixed(batch, total, severity)


def _mixed(batch: Batch, noise: Tensor, severity: int) -> Batch:
    """The noise [B, n] added at the severity's ratio, where the recording is real; silence stays as it is."""
    wave = batch["input"].float()
    real = length_mask(batch["length"].to(wave.device), wave.shape[1])
    noise = noise.to(wave.device) * real
    power = [each.double().square().sum(1, keepdim=True) for each in (wave, noise)]
    scale = (power[0] / power[1].clamp(min=1e-9) / 10 ** (SNR[severity - 1] / 10)).sqrt().float()
    mixed = (wave + scale * noise).round().clamp(-LARGEST - 1, LARGEST)
    return {**batch, "input": mixed.to(batch["input"].dtype)}


KINDS: dict[str, Corruption] = {"noise": noise, "babble": babble}
