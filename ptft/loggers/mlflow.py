"""Logger of MLflow (`pip install 'ptft[mlflow]'`), and what stands for its server in the teller's process."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ptft.errors import first_line
from ptft.loggers.logger import plain_options
from ptft.loggers.services.service import ServiceLogger
from ptft.loggers.services.teller import Event, Refused

AT_ONCE = 1000
"""Metrics, as parameters 100, that the server takes in one request."""
LONGEST = 6000
"""Characters of a parameter."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""The teller tries again by itself."""


class MlflowLogger(ServiceLogger):
    """A run of MLflow in an experiment, with the sweep or comparison that it is part of as its tag `group`.

    uri: of the server, or a folder; None is $MLFLOW_TRACKING_URI, else a store in the folder that the user stands in.
    """

    package, sink = "mlflow", "ptft.loggers.mlflow:MlflowSink"

    def __init__(self, uri: str | None = None, experiment: str = "ptft", **run: Any) -> None:
        super().__init__({"uri": uri or default_uri(), "experiment": experiment}, **run)


def default_uri() -> str:
    """MLflow's own database where what it needs is installed, which its smaller package (mlflow-skinny) lacks."""
    own = "sqlite:///mlflow.db" if importlib.util.find_spec("sqlalchemy") else "mlruns"
    return os.environ.get("MLFLOW_TRACKING_URI") or own


class MlflowSink:
    """A `Sink`. Metrics go in pieces, as many as a request may hold."""

    def __init__(self, uri: str, experiment: str, warn: Callable[[str], None]) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        if "://" not in uri or uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient

        self.uri, self.experiment = uri, experiment
        self.client = MlflowClient(uri, registry_uri=uri if uri.startswith("http") else "mlruns")
        self.id, self.reached = "", 0

    def open(self, run: Mapping[str, Any], known: str | None) -> str:
        with self._answers():
            if known and self._is_there(known):
                self.id = known
                self.client.update_run(self.id, status="RUNNING")
                self.reached = max((point.step for point in self.client.get_metric_history(self.id, "lr")), default=0)
            else:
                self.id = self._new(run)
        return self.id

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """Inside, a server that does not answer is a ConnectionError of one line, one that says no is Refused."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if 400 <= error.get_http_status_code() < 500:
                raise Refused(str(error)) from error
            reason = re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed? ?out)", str(error))
            said = next(filter(None, reason.groups())) if reason else first_line(error, 100)
            raise ConnectionError(f"{self.uri} does not answer ({said}), which is tried again") from error

    def _is_there(self, known: str) -> bool:
        """Whether the run is still at this server, and not at another or removed."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self.client.get_run(known).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _new(self, run: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        experiment = self.client.get_experiment_by_name(self.experiment)
        number = experiment.experiment_id if experiment else self.client.create_experiment(self.experiment)
        tags = {"folder": run["folder"], **({"group": run["group"]} if run["group"] else {})}
        made = self.client.create_run(number, run_name=run["name"], tags=tags)
        params = [Param(_name(key), str(value)[:LONGEST]) for key, value in plain_options(run["config"]).items()]
        for i in range(0, len(params), AT_ONCE // 10):
            self.client.log_batch(made.info.run_id, params=params[i : i + AT_ONCE // 10])
        return str(made.info.run_id)

    def take(self, events: Sequence[Event]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        rows = [event for event in events if event["kind"] == "row" and event["step"] >= self.reached]
        metrics = [
            Metric(_name(key), float(v), now, row["step"]) for row in rows for key, v in _numbers(row["metrics"])
        ]
        with self._answers():
            for i in range(0, len(metrics), AT_ONCE):
                self.client.log_batch(self.id, metrics=metrics[i : i + AT_ONCE])
            for event in events:
                self._other(event)

    def _other(self, event: Event) -> None:
        file = _name(str(event.get("name"))).replace("/", "_")
        if event["kind"] == "text":
            self.client.log_text(self.id, event["text"], f"{file}.md")
        elif event["kind"] == "picture":
            from PIL import Image

            self.client.log_image(self.id, Image.open(io.BytesIO(base64.b64decode(event["png"]))), f"{file}.png")
        elif event["kind"] == "summary":
            self.client.log_dict(self.id, event["summary"], "summary.json")

    def end(self, status: str) -> None:
        with self._answers():
            self.client.set_terminated(self.id, "FINISHED" if status == "finished" else "KILLED")


def _numbers(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in metrics.items() if isinstance(value, int | float)]


def _name(name: str) -> str:
    """As MLflow takes it."""
    return re.sub(r"[^\w\-. :/]", "_", name)
