"""How long it takes until something is said, and until the first optimizer step."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.common import ROOT, Options, table

SAYS = {
    "ptft --help": ["--help"],
    "ptft ls": ["ls"],
    "ptft stage=pretrain optimzer.lr=1 (an error)": ["stage=pretrain", "optimzer.lr=1"],
    "ptft -sc query=bash (completion)": ["-sc", "query=bash"],
    "ptft stage=pretrain --cfg job": ["stage=pretrain", "--cfg", "job"],
}


def run(options: Options) -> str:
    """Seconds, from the start of the process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def said(arguments: list[str]) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ptft", *arguments], capture_output=True, env=environment)
        return time.perf_counter() - began

    def stepped() -> float:
        return first_step(options.root, options.work / "first", environment)

    measures = {name: (lambda words=words: said(words)) for name, words in SAYS.items()}
    measures["first optimizer step of the cnn on MNIST"] = stepped
    rows = []
    for name, measure in measures.items():
        found = [measure() for _ in range(options.rounds + 1)][1:]
        rows.append([name, f"{statistics.median(found):.2f}", f"{min(found):.2f} to {max(found):.2f}"])
    return table(["", "s", "of rounds"], rows)


def first_step(root: Path, folder: Path, environment: dict[str, str]) -> float:
    """Until the row of the first step was written, by the clock of the file."""
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["stage=pretrain", "dataset=mnist", f"dataset.root={root}", "train.steps=1"]
    arguments += ["dataset.val=null", "dataset.test=null"]
    began = time.time()
    subprocess.run(
        [sys.executable, "-m", "ptft", *arguments, f"hydra.run.dir={folder}"],
        check=True,
        capture_output=True,
        env=environment,
    )
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1, "later rows would move the file's clock"
    return (folder / "metrics.jsonl").stat().st_mtime - began
