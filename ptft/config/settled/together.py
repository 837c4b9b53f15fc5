"""What a run can't be asked for at once: of what several processes do, whose weights are cut over them, and of what
may not depend on the clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptft.validators import COUNT, minutes_of

ELEMENTWISE = ("torch.optim.SGD", "torch.optim.Adam", "torch.optim.AdamW")
"""Optimizers that move each number of a weight by itself, so that a part of a weight moves as it does in the whole."""

ALONE = {
    "ema": "both average the weights; set one of them to null",
    "patience": "which evaluations are the last is not known beforehand; set one of them to null",
    "minutes": "which evaluations are the last is not known beforehand; give the budget in epochs or steps",
}
"""Why `train.average_last` and another key of `train` don't go together."""


def contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    """A line for each."""
    train = cfg.get("train", {})
    if COUNT[1](processes := train.get("processes", 1)) and processes > 1:
        yield from _of_several(cfg, processes)
    if train.get("parallel") == "fsdp":
        yield from _of_parts(cfg)
    if train.get("folds") is not None and train.get("pause") is not None:
        asked = f"train.folds={train['folds']} and train.pause={train['pause']}"
        yield f"{asked}: a cross-validation goes on where it is cut by itself; set one of them to null"
    if train.get("average_last") is not None:
        yield from _of_the_last(train)
    if train.get("deterministic") is True:
        yield from _without_a_clock(train)


def _of_the_last(train: Mapping[str, Any]) -> Iterator[str]:
    asked = f"train.average_last={train['average_last']}"
    for other, why in ALONE.items():
        if train.get(other) is not None:
            yield f"{asked} and train.{other}={train[other]}: {why}"
    if minutes_of(interval := train.get("every", {}).get("evaluate")):
        yield (
            f"{asked} and train.every.evaluate={interval}: which evaluations are the last is not known beforehand; "
            "type a number of steps, or epoch"
        )


def _without_a_clock(train: Mapping[str, Any]) -> Iterator[str]:
    asked = "train.deterministic=true"
    if train.get("minutes") is not None:
        yield (
            f"{asked} and train.minutes={train['minutes']}: how many steps that is, and with it every rate of the "
            "schedule, is another number each time; give the budget in epochs or steps"
        )
    if minutes_of(interval := train.get("every", {}).get("evaluate")):
        yield (
            f"{asked} and train.every.evaluate={interval}: which steps are measured, and so which are the best, is "
            "another each time; type a number of steps, or epoch"
        )


def _of_several(cfg: Mapping[str, Any], processes: int) -> Iterator[str]:
    train, device, batch_size = cfg["train"], str(cfg.get("device")), cfg["train"].get("batch_size")
    if COUNT[1](batch_size) and batch_size < processes and not train.get("tokens"):
        yield f"train.processes={processes}: must be at most train.batch_size={batch_size}, which is that of all"
    if device.startswith("cuda:") or device == "mps":
        yield f"device={device} and train.processes={processes}: each has a GPU of its own; type device=cuda or cpu"
    if train.get("cuda_graph") is True:
        yield f"train.cuda_graph=true and train.processes={processes}: gradients are exchanged between; set it to false"


def _of_parts(cfg: Mapping[str, Any]) -> Iterator[str]:
    train, finetune, optimizer = cfg["train"], cfg.get("finetune", {}), cfg.get("optimizer") or {}
    learns, name = finetune.get("train"), cfg.get("names", {}).get("optimizer")
    begun = "this run goes on with ddp" if cfg.get("resume") else "type contiguous"
    impossible = [
        ("train.compile", train.get("compile"), train.get("compile") is True, "set it to false"),
        ("train.cuda_graph", train.get("cuda_graph"), train.get("cuda_graph") is True, "set it to false"),
        ("train.layout", train.get("layout"), train.get("layout") == "channels_last", begun),
        ("train.accumulate", "auto", train.get("accumulate") == "auto", "type a number, e.g. train.accumulate=2"),
        ("precision", cfg.get("precision"), cfg.get("precision") == "fp16", "type bf16 or fp32"),
        ("device", cfg.get("device"), str(cfg.get("device")).startswith(("cuda:", "mps")), "type cuda or cpu"),
        ("finetune.head_init", "probe", finetune.get("head_init") == "probe", "type random or zero"),
        ("finetune.probe", finetune.get("probe"), learns == "head" and finetune.get("probe") != "steps", "type steps"),
        ("train.panel", train.get("panel"), train.get("panel") is not None, "leave it at null"),
        ("optimizer", name, optimizer.get("_target_") not in ELEMENTWISE, "type adamw, adam or sgd"),
    ]
    for key, value, wrong, remedy in impossible:
        if wrong:
            yield f"train.parallel=fsdp: not with {key}={value}, as no process has a weight as a whole; {remedy}"
