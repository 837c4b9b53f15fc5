"""The numbers of a run, as `summary.json` holds them."""

from __future__ import annotations

import platform
import resource
import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import ptft
from ptft.assemble import Run

Metrics = dict[str, dict[str, float]]
"""Split -> name -> value."""


def summarise(r: Run, status: str, metrics: Metrics) -> dict[str, Any]:
    """Plain data; every key is there at an interruption too."""
    t, names, p = r.training, r.cfg.names, r.training.progress
    return {
        "stage": names.stage,
        "status": status,
        "model": names.model,
        "dataset": names.dataset,
        "objective": names.objective,
        "seed": r.cfg.seed,
        "device": str(r.device),
        "precision": r.kernels.precision,
        "layout": r.kernels.layout,
        "steps": p.step,
        "epochs": p.epoch,
        "samples": p.samples,
        "seconds": round(p.seconds, 3),
        "data_seconds": round(p.waited, 3),
        "samples_per_second": round(p.samples / p.seconds, 1) if p.seconds else None,
        "peak_memory_bytes": peak_memory(r.device),
        "parameters": sum(q.numel() for q in t.objective.parameters()),
        "trainable_parameters": sum(q.numel() for q in t.parameters),
        "flops": flops_per_example(r) * p.samples,
        "metrics": metrics,
        "best": {**t.monitor, "value": p.best, "step": p.best_step},
        "checkpoints": {"best": "checkpoints/best.pt", "last": "checkpoints/last.pt"},
        "parent": r.parent,
        "transfer": r.transfer,
        "versions": versions(),
    }


def flops_per_example(r: Run) -> int:
    """Floating point operations of a training step per example: three times those of the forward pass.

    The backward pass counts twice the forward one (Kaplan et al. 2020, section 2.1). Of examples of uneven length it is
    one in the middle.
    """
    train = r.splits["train"]
    chosen = 0 if train.lengths is None else int(train.lengths.argsort()[len(train) // 2])
    example = {name: value.to(r.device) for name, value in train.take(torch.tensor([chosen])).items()}
    r.objective.eval()
    counted = _Flops()
    with counted, torch.no_grad():
        r.objective(example)
    r.objective.train()
    return 3 * counted.total


class _Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Two operations for each product that matrix products, convolutions and attention sum up; the rest is little.

    torch's own counter imports its compiler, a second at the end of every run, and leaves a CPU's attention out.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and to say that it should not be imports the compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            self.total += 2 * out.numel() * args[-1].shape[-2]
        elif name == "convolution":
            self.total += 2 * out.numel() * args[1][0].numel()
        elif name.startswith("_scaled_dot_product"):
            query, key = args[:2]
            self.total += 4 * query.numel() * key.shape[-2]
        return out


def peak_memory(device: torch.device) -> int:
    """The most bytes taken so far: of the GPU's memory there, by this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    return {"ptft": ptft.__version__, "torch": str(torch.__version__), "python": platform.python_version()}
