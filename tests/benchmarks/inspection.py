"""What `stage=inspect` finds of faults that were planted, and what it takes on many small images."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional

from tests.benchmarks.common import ROOT, Options
from tests.helpers import planted

MANY = 100_000
DATASETS = {"digits": "image_folder", "texts": "table", "tones": "audio_folder"}


def run(options: Options) -> str:
    """Precision and recall of what was planted, and CPU seconds and memory of 10^5 images of 32 pixels."""
    lines = [
        "| planted in | wrong labels | copies | near copies | broken | outliers |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, dataset in DATASETS.items():
        root = options.work / kind
        truth = getattr(planted, kind)(root)
        report, _ = inspected(options.work / f"{kind}-run", dataset, root)
        found = planted.found(report)
        cells = [
            f"{len(expected)}: {100 * precision:.0f} / {100 * recall:.0f}" if expected else "–"
            for expected, got in zip(vars(truth).values(), vars(found).values(), strict=True)
            for precision, recall in [planted.shares(expected, got)]
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    many(options.work / "many", MANY)
    usage = inspected(options.work / "many-run", "image_folder", options.work / "many")[1]
    cpu, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20
    return "\n".join([*lines, "", f"{MANY:,} images of 32 pixels: {cpu:.0f} CPU seconds, {memory:.2f} GiB at most"])


def inspected(folder: Path, dataset: str, root: Path) -> tuple[dict, resource.struct_rusage]:
    """inspect.json, and what the process and its workers used."""
    typed = ["stage=inspect", f"dataset={dataset}", f"dataset.root={root}", f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ptft", *typed], stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, typed
    return json.loads((folder / "inspect.json").read_text()), usage


def many(root: Path, count: int) -> None:
    """Coloured characters on smooth backgrounds, all different, as JPEG in ROOT/SPLIT/CLASS."""
    from ptft.data.image.glyphs import Glyphs

    source, generator = Glyphs(images=count, held_out=10, size=32), torch.Generator().manual_seed(0)
    examples = source.split("train")
    assert examples is not None
    for rows in torch.arange(count).split(1000):
        batch = examples.take(rows)
        ground = functional.interpolate(
            120 * torch.rand(len(rows), 3, 4, 4, generator=generator), (32, 32), mode="bicubic"
        )
        pixels = (ground + 0.45 * batch["input"].float()).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for row, image, label in zip(rows.tolist(), pixels, batch["label"].tolist(), strict=True):
            split = {8: "val", 9: "test"}.get(row // 10 % 10, "train")
            path = root / split / str(label) / f"{row:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=90)
