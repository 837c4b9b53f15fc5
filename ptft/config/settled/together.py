"""What a run can't be asked for that several processes do, or whose weights are cut over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptft.validators import COUNT

ELEMENTWISE = ("torch.optim.SGD", "torch.optim.Adam", "torch.optim.AdamW")
"""Optimizers that move each number of a weight by itself, so that a part of a weight moves as it does in the whole."""


def contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    """A line for each."""
    train = cfg.get("train", {})
    if COUNT[1](processes := train.get("processes", 1)) and processes > 1:
        yield from _of_several(cfg, processes)
    if train.get("parallel") == "fsdp":
        yield from _of_parts(cfg)


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
