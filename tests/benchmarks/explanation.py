"""How often explanations pass the tests of `stage=explain`: a trained model's, and those of random weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from ptft.data.image.glyphs import glyphs
from tests.benchmarks.common import ROOT, Options
from tests.helpers import untrained

SIDE, GLYPH, NAMES, RATE = 32, 14, "0147", 8000
COUNTS = {"train": 1200, "val": 200, "test": 50}
KINDS = {
    "glyphs": ("dataset=image_folder", "dataset.channels=1", "model=convnet", "model.channels=[16,32,64]"),
    "tones": ("dataset=audio_folder", "model=audio_cnn", "model.width=32", "model.channels=[16,32]"),
}
TRAINED = ("objective=classify", "optimizer.lr=1e-2", "train.epochs=12", "precision=fp32", "train.layout=contiguous")


def run(options: Options) -> str:
    """A table: of the trained model's explanations, of those by random weights tested among these, and of those of a
    checkpoint with random weights, the share that passes for meaning something."""
    lines = ["| method | trained | by random weights | of random weights |", "| --- | --- | --- | --- |"]
    for kind, typed in KINDS.items():
        root = options.work / kind
        {"glyphs": _glyphs, "tones": _tones}[kind](root)
        data = (*typed, f"dataset.root={root}", TRAINED[0])
        _ptft("stage=pretrain", *data, *TRAINED[1:], f"hydra.run.dir={options.work / kind}-run")
        found = _explained(options.work / f"{kind}-run", root)
        fresh = _explained(untrained.write(options.work / f"{kind}.pt", *data), root)
        for method, means in found.items():
            shares = [_share(means), means["randomised"], _share(fresh.get(method, means | {"means_something": 0}))]
            lines.append(f"| {kind}, {method} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")
    return "\n".join(lines)


def _share(means: dict) -> float:
    return means["means_something"] / means["inputs"]


def _explained(ckpt: Path, root: Path) -> dict:
    """What the summary says of each method."""
    folder = ckpt.with_name(f"{ckpt.stem}-why")
    _ptft("stage=explain", f"ckpt={ckpt}", f"input={root / 'test'}", f"hydra.run.dir={folder}", "report=false")
    return json.loads((folder / "summary.json").read_text())["methods"]


def _ptft(*typed: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "ptft", *typed, "device=cpu", "quiet=true"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _glyphs(root: Path) -> None:
    """Digits pasted on noise, somewhere."""
    draw, (forms, owners) = np.random.default_rng(0), glyphs(NAMES)
    for split, count in COUNTS.items():
        for i in range(count):
            label = i % len(NAMES)
            form = forms[draw.choice((owners == label).nonzero().flatten().numpy())].numpy()
            shape = Image.fromarray(np.clip((form + 1) * 127, 0, 255).astype(np.uint8)).crop((8, 8, 56, 56))
            pixels = draw.integers(0, 140, (SIDE, SIDE)).astype(np.uint8)
            y, x = draw.integers(0, SIDE - GLYPH, 2)
            place = pixels[y : y + GLYPH, x : x + GLYPH]
            place[:] = np.maximum(place, np.asarray(shape.resize((GLYPH, GLYPH))))
            Image.fromarray(pixels).save(_placed(root / split / NAMES[label] / f"{i:04}.png"))


def _tones(root: Path) -> None:
    """A fifth of a second of a low, a middle or a high tone in a second of noise, somewhere."""
    draw, names = np.random.default_rng(0), ("low", "middle", "high")
    length = RATE // 5
    for split, count in COUNTS.items():
        for i in range(count // 3):
            sound = 0.05 * draw.standard_normal(RATE)
            at, pitch = int(draw.integers(0, RATE - length)), 500 * 2 ** (i % 3) * draw.uniform(0.9, 1.1)
            tone = np.sin(2 * np.pi * pitch / RATE * np.arange(length)) * np.hanning(length)
            sound[at : at + length] += 0.3 * tone
            soundfile.write(_placed(root / split / names[i % 3] / f"{i:04}.wav"), sound, RATE)


def _placed(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
