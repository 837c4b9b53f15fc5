"""Values as the page shows them: plain text, which the template escapes."""

from __future__ import annotations

import json
import math
from typing import Any

from ptft.metrics.properties import is_share
from ptft.runtime.terminal import decimal

LONGEST = 200
"""Characters of a value of the configuration or of an example's text."""


def metric(value: Any, name: str = "") -> str:
    """Shares in percent, all else with four decimals; a dash where there is none. name: `val/accuracy`, `accuracy`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else plain(value)
    if not math.isfinite(value):
        return str(value)
    if is_share(name.split("/")[-1]):
        return f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else decimal(value)


def brief(value: Any) -> str:
    """A value of the configuration on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def plain(value: Any) -> str:
    """A cell of a table of examples."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
