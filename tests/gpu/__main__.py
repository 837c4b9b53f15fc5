"""`make gpu`: what has to be right on a GPU, and how fast it is there, within eight minutes.

    python -m tests.gpu [NAME ...] [--device cuda] [--root DIR] [--out FILE]

NAME is one of the checks, all by default. Without a GPU it says what it would do and ends with 0; `--device cpu` does
what needs none, in the smallest sizes. `--root` holds CIFAR-10. FILE (gpu.json) gets all that was seen. Ends with 1
where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.common import machine
from tests.gpu import predict, recipe, speed, tasks
from tests.gpu.checks import CHECKS, Check
from tests.gpu.report import table
from tests.gpu.setting import Setting, Skipped

ALL = {
    **CHECKS,
    "predict": Check("a loaded model answers as on the CPU", list(predict.MODELS), predict.answers),
    "tasks": Check("every objective: cut and continued, measured on both", tasks.TASKS, tasks.trained),
    "read": Check("stages that start from a checkpoint", list(tasks.READS), tasks.read),
    "cifar10_fast": Check("eight epochs of experiment=cifar10_fast", ["false", "true"], recipe.cifar10_fast),
    "speed": Check("fit beside a loop by hand over the same network, in turn", list(speed.CASES), speed.measure),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu for what needs no GPU")
    parser.add_argument("--root", type=Path, help="CIFAR-10 in torchvision's layout; random bytes without it")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="where everything is written")
    given = parser.parse_args(argv)
    if unknown := [name for name in given.names if name not in ALL]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(ALL)}")
    chosen, device = given.names or list(ALL), torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(f"no GPU here that torch {torch.__version__} can use; on one this would check and measure:")
        print("\n".join(f"  {name:<13} {ALL[name].about} ({'; '.join(ALL[name].cases)})" for name in chosen))
        return 0
    found: dict[str, Any] = {"machine": machine(), "device": str(device), "checks": {}}
    with tempfile.TemporaryDirectory(prefix="ptft-gpu-") as folder:
        setting = Setting(device, Path(folder), given.root.expanduser().absolute() if given.root else None)
        for name in chosen:
            found["checks"][name] = {case: examined(name, case, setting) for case in ALL[name].cases}
            given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(found['checks'])}\n{found['machine']}; all of it in {given.out}")
    return int(any(case["outcome"] == "failed" for cases in found["checks"].values() for case in cases.values()))


def examined(name: str, case: str, setting: Setting) -> dict[str, Any]:
    """Whether it passed, what was seen, and how long that took; a failure is no end of the others."""
    began = time.perf_counter()
    try:
        result: dict[str, Any] = {"outcome": "passed", "seen": ALL[name].of(setting, case)}
    except Skipped as reason:
        result = {"outcome": "skipped", "seen": str(reason)}
    except Exception as error:
        result = {"outcome": "failed", "seen": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    result["seconds"] = round(time.perf_counter() - began, 1)
    print(f"{name}, {case}: {result['outcome']}, {result['seen']} ({result['seconds']} s)", flush=True)
    return result


if __name__ == "__main__":
    raise SystemExit(main())
