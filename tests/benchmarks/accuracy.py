"""What speed costs in accuracy, and how long a good one takes."""

from __future__ import annotations

import math
import statistics

from tests.benchmarks.common import Options, ptft, script, table


def gap(options: Options) -> str:
    """Test accuracy of the survey's task after an epoch, `auto` beside fp32 with the same seeds."""
    task = ("stage=pretrain", "experiment=mnist_survey", f"dataset.root={options.root}", "train.epochs=1")
    rows, differences = [], []
    for seed in range(options.seeds):
        exact, fast = (
            100 * ptft(options, *task, f"seed={seed}", f"precision={precision}")["metrics"]["test"]["accuracy"]
            for precision in ("fp32", "auto")
        )
        differences.append(fast - exact)
        rows.append([seed, f"{exact:.2f}", f"{fast:.2f}", f"{fast - exact:+.2f}"])
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    mean = [f"{statistics.mean(differences):+.3f} ± {error:.3f} (standard error)"]
    return table(["seed", "fp32, %", "auto, %", "points"], [*rows, ["mean", "", "", *mean]])


def recipe(options: Options) -> str:
    """The default recipe for MNIST from the shell, beside ten epochs of the plain script, of which one is timed."""
    plain = script(options, "plain.py", options.root, "--test")
    whole = plain["wall"] + 9 * plain["seconds"]
    rows = []
    for seed in range(1000, 1000 + options.seeds):
        run = ptft(options, "stage=pretrain", "experiment=mnist_fast", f"dataset.root={options.root}", f"seed={seed}")
        rows.append((seed, 100 * run["metrics"]["test"]["accuracy"], run["wall"]))
    accuracy, wall = (statistics.mean(row[i] for row in rows) for i in (1, 2))
    lines = [[seed, f"{found:.2f}", f"{seconds:.1f}", f"1/{whole / seconds:.0f}"] for seed, found, seconds in rows]
    mean = ["mean", f"{accuracy:.2f}", f"{wall:.1f}", f"1/{whole / wall:.0f}"]
    said = f"The plain script: {plain['seconds']:.1f} s an epoch, {100 * plain['accuracy']:.2f} % after one; ten take "
    return table(["seed", "test, %", "s from the shell", "of ten plain epochs"], [*lines, mean]) + (
        f"\n{said}{whole:.0f} s.\n"
    )
