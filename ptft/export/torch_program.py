"""format=torch: a program of `torch.export`, which torch alone runs, compiles and serves, without ptft."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ptft.core import Batch
from ptft.export import program
from ptft.export.subject import Subject

NEEDS: Mapping[str, str] = {}
FILE = "model.pt2"


def write(folder: Path, subject: Subject) -> dict[str, Any]:
    """model.pt2, loaded again and compared; as `ptft.export.subject.Format.write`."""
    with program.quiet():
        traced, sizes = program.traced(subject)
        says = {"classes": list(subject.spec.classes), "spec": subject.spec.to_dict()}
        extra = {f"{name}.json": json.dumps(value) for name, value in says.items()}
        torch.export.save(traced, folder / FILE, extra_files=extra)
        loaded = torch.export.load(folder / FILE).module()

        def answers(batch: Batch) -> Any:
            with torch.no_grad():
                return loaded(**batch)

        return {"largest_difference": program.difference(subject, answers, sizes)}


def usage(subject: Subject) -> str:
    feed = ", ".join(f"{name}=torch.from_numpy({code})" for name, code in program.example(subject).items())
    classes = f"classes = {list(subject.spec.classes)!r}\n" if subject.classifies else ""
    answer = f"module({feed})"
    last = f"classes[{answer}.argmax(1)[0]]" if classes else answer
    return f"""\
import numpy, torch

{classes}module = torch.export.load("{FILE}").module()
{last}"""
