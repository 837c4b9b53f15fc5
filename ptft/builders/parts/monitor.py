"""The metric that decides `best.pt`, where one was typed."""

from __future__ import annotations

from ptft.errors import ConfigError, suggest
from ptft.train.loop import evaluate
from ptft.train.state import Training


def named(typed: dict[str, str]) -> dict[str, str]:
    """What decides, as it is called everywhere: metrics of the validation split need not be typed with `val/`."""
    return {**typed, "metric": f"val/{typed['metric'].removeprefix('val/')}"}


def check(t: Training) -> None:
    """Raises ConfigError where an evaluation does not give the monitored metric, which one batch of it shows."""
    if t.val is None:
        return
    metric, measured = t.monitor["metric"], evaluate(t.objective, t.val, t.autocast, stopped=lambda: True)[0]
    if metric.removeprefix("val/") not in measured:
        names = [f"val/{name}" for name in measured]
        raise ConfigError(
            f"train.monitor.metric={metric}: there is no such metric{suggest(metric, names)} ({', '.join(names)})"
        )
