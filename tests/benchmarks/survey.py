"""The survey's task: MNIST, the cnn, batches of 64, Adam, one epoch."""

from __future__ import annotations

import importlib.util

from tests.benchmarks.common import Options, in_turn, ptft, rates, script

TASK = ("stage=pretrain", "experiment=mnist_survey", "dataset.test=null", "train.epochs=1")


def run(options: Options) -> str:
    """Images a second of training, in processes of their own: a plain script, Lightning where it is, ptft."""
    here = (f"dataset.root={options.root}", f"dataset.limit={options.images}")

    def plain() -> float:
        return float(script(options, "plain.py", options.root, "--images", options.images)["rate"])

    def lightning(precision: str) -> float:
        given = ("--images", options.images, "--precision", precision)
        return float(script(options, "lightning_loop.py", options.root, *given)["rate"])

    def ours(precision: str) -> float:
        return float(ptft(options, *TASK, *here, f"precision={precision}")["samples_per_second"])

    sides = {"plain script": plain}
    if importlib.util.find_spec("lightning"):
        sides |= {"Lightning fp32": lambda: lightning("32-true"), "Lightning bf16": lambda: lightning("bf16-mixed")}
    sides |= {"ptft precision=fp32": lambda: ours("fp32"), "ptft precision=auto": lambda: ours("auto")}
    return rates(in_turn(options.rounds, **sides), "plain script", "images/s")
