"""The tables of what was seen on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.benchmarks.common import table as drawn

Cases = Mapping[str, Mapping[str, Any]]


def table(checks: Mapping[str, Cases]) -> str:
    """In Markdown: what was checked, and the speeds beside the loops by hand. checks: name -> case -> what was seen."""
    cases = [(name, case, result) for name, found in checks.items() for case, result in found.items()]
    rows = [[name, case, _seen(result)] for name, case, result in cases if isinstance(result["seen"], str)]
    speeds = [row for _, case, result in cases if isinstance(result["seen"], dict) for row in _measured(case, result)]
    parts = [drawn(["check", "of", "seen"], rows)] if rows else []
    return "\n".join(parts + ([drawn(["trained", "by", "a second", "ratio"], speeds)] if speeds else []))


def _seen(result: Mapping[str, Any]) -> str:
    said = result["seen"].split("\n")[0]
    return said if result["outcome"] == "passed" else f"**{result['outcome']}**: {said}"


def _measured(case: str, result: Mapping[str, Any]) -> list[list[str]]:
    seen = result["seen"]
    rows = [
        ["" if number else case, side, f"{rate:,.0f} {seen['unit']}", f"{seen['ratio'][side]:.2f}"]
        for number, (side, rate) in enumerate(seen["median"].items())
    ]
    if "share" in seen:
        found = f"{seen['teraflops']:.0f} of {seen['peak']:.0f} TFLOP/s"
        rows.append(["", "of what a bf16 product of 8,192 x 8,192 matrices reaches", found, f"{seen['share']:.0%}"])
    return rows
