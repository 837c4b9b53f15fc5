"""The device: which one, what it is called, its peak memory, and how it multiplies."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterable

import torch

import ptft
from ptft.errors import ConfigError, counted
from ptft.runtime.precision import ComputeFormat
from ptft.runtime.together.alone import current


def device_name(device: torch.device, compute_format: ComputeFormat, processes: int = 1) -> str:
    """The device with its name or threads, the precision and the layout, and how many processes have one each."""
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
    elif device.type == "cpu":
        name = f"cpu with {counted(torch.get_num_threads(), 'threads')}"
    else:
        name = str(device)
    several = f"{processes} processes, each on " if processes > 1 else ""
    return f"{several}{name}, {compute_format}"


def find_device(name: str) -> torch.device:
    """`auto` is cuda, then mps, then cpu; of several processes each has a GPU of its own. Raises ConfigError for one
    that is not there."""
    several = current().count > 1
    if name == "auto":
        mps = torch.backends.mps.is_available() and not several
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    device = torch.device(name)
    if several and device.type == "cuda":
        if (number := current().local_rank) >= (there := torch.cuda.device_count()):
            raise ConfigError(f"train.processes: each needs a GPU, and this machine has {there}; type at most {there}")
        device = torch.device("cuda", number)
    cuda_missing = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if cuda_missing or (device.type == "mps" and not torch.backends.mps.is_available()):
        raise ConfigError(f"device={name}: this machine has none that torch can use; device=auto takes what there is")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # else what names none takes memory of the first card, and asks that one
    return device


def tf32(enabled: bool, device: torch.device) -> bool:
    """Whether float32 is multiplied in TF32 from now on: on CUDA where it is wanted (GPUs before Ampere ignore it).

    The matrices' setting goes through the function that keeps torch's older and newer flags in agreement.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if enabled else "highest")
        torch.backends.cudnn.conv.fp32_precision = "tf32" if enabled else "ieee"  # type: ignore[attr-defined]
    return enabled and device.type == "cuda"


def deterministic(enabled: bool, device: torch.device) -> None:
    """Whether only kernels of a GPU that give the same bits each time are used from now on, before the first of them.

    A kernel that has no such twin raises RuntimeError then, which `ptft.runtime.system` turns into a ConfigError.
    """
    if device.type == "cuda":
        if enabled:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS documents to repeat itself
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(enabled)


def peak_memory(device: torch.device) -> int:
    """The most bytes taken so far: of the GPU's memory there, by this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def versions() -> dict[str, str]:
    return {"ptft": ptft.__version__, "torch": str(torch.__version__), "python": platform.python_version()}


LIBRARIES = (
    "numpy",
    "torchvision",
    "torchaudio",
    "timm",
    "transformers",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "datasets",
    "pyarrow",
    "PIL",
    "soundfile",
    "soxr",
    "scipy",
    "sklearn",
    "matplotlib",
    "hydra",
    "omegaconf",
)
"""Modules whose versions may change a result."""


def imported(others: Iterable[str] = ()) -> dict[str, str]:
    """The versions of those libraries, and of other modules, that this process has imported."""
    modules = {name: sys.modules[name] for name in (*LIBRARIES, *others) if name in sys.modules}
    numbers = {name: getattr(module, "__version__", None) for name, module in modules.items()}
    return {name: str(version) for name, version in numbers.items() if version}
