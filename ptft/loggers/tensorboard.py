"""Logger of curves for TensorBoard, in the run's folder (`pip install 'ptft[tensorboard]'`), and what writes them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptft.loggers.logger import plain_options
from ptft.loggers.services.service import ServiceLogger
from ptft.loggers.services.teller import Event


class TensorBoardLogger(ServiceLogger):
    """Curves, texts and pictures, and at the end a row of hyperparameters.

    A run that continues goes on in the same curves: what was written after its step is dropped, and what its end
    measured on test, which the next end measures anew.
    """

    package, sink = "tensorboard", "ptft.loggers.tensorboard:TensorBoardSink"

    def __init__(self, **run: Any) -> None:
        super().__init__({}, **run)


class TensorBoardSink:
    """A `Sink` that writes files of events, by TensorBoard's own writer and without torch."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.run: Mapping[str, Any] = {}
        self.writer: Any = None

    def open(self, run: Mapping[str, Any], known: str | None) -> str:
        self.run = run
        if run["step"]:
            for file in sorted(Path(run["folder"], "tensorboard").glob("*tfevents*")):
                _forget_test(file)
        self._begin(run["step"] + 1 if run["step"] else None)
        self._text("configuration", f"```json\n{json.dumps(run['config'], indent=2)}\n```", run["step"])
        self.writer.flush()
        return str(run["name"])

    def _begin(self, purge: int | None) -> None:
        """A new file; what the ones before it hold from step `purge` on is not shown."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(f"{self.run['folder']}/tensorboard")
        if purge is not None:
            self.writer.add_event(Event(step=purge, session_log=SessionLog(status=SessionLog.START)))

    def take(self, events: Sequence[Event]) -> None:
        """One that could not be written is the first in a new file, once there is room again."""
        if self.writer is None:
            self._begin(min((e["step"] for e in events if e["kind"] == "row" and not e["held_out"]), default=None))
        try:
            for event in events:
                self._add(event)
            self.writer.flush()
        except OSError:
            with suppress(OSError):
                self.writer.close()
            self.writer = None
            raise

    def _add(self, event: Event) -> None:
        kind = event["kind"]
        if kind == "row":
            self._write(event["step"], *({"tag": tag, "simple_value": v} for tag, v in event["metrics"].items()))
        elif kind == "text":
            self._text(event["name"], event["text"], event["step"])
        elif kind == "picture":
            self._write(event["step"], {"tag": event["name"], "image": _image(base64.b64decode(event["png"]))})
        elif kind == "summary":
            self._hyperparameters(event["summary"])

    def _write(self, step: int, *values: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value) for value in values])
        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def _text(self, name: str, text: str, step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=shape)
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        self._write(step, {"tag": f"{name}/text_summary", "metadata": metadata, "tensor": tensor})

    def _hyperparameters(self, summary: Mapping[str, Any]) -> None:
        """The run's row, whose metrics are the last points of the curves."""
        from tensorboard.plugins.hparams import api_pb2 as api
        from tensorboard.plugins.hparams import metadata as tags
        from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo, SessionStartInfo

        begun, infos = SessionStartInfo(), []
        for name, value in plain_options(self.run["config"]).items():
            field = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
            setattr(begun.hparams[name], f"{field}_value", value)
            kind = api.DataType.Value(f"DATA_TYPE_{'FLOAT64' if field == 'number' else field.upper()}")
            infos.append(api.HParamInfo(name=name, type=kind))
        curves = [f"{split}/{name}" for split, values in summary["metrics"].items() for name in values]
        shown = [api.MetricInfo(name=api.MetricName(tag=curve)) for curve in curves]
        ended = SessionEndInfo(status=api.Status.Value("STATUS_SUCCESS"))
        experiment = api.Experiment(hparam_infos=infos, metric_infos=shown)
        self._of_plugin(tags.EXPERIMENT_TAG, experiment=experiment)
        self._of_plugin(tags.SESSION_START_INFO_TAG, session_start_info=begun)
        self._of_plugin(tags.SESSION_END_INFO_TAG, session_end_info=ended)

    def _of_plugin(self, tag: str, **content: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
        from tensorboard.plugins.hparams.metadata import PLUGIN_DATA_VERSION, PLUGIN_NAME
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        data = HParamsPluginData(version=PLUGIN_DATA_VERSION, **content).SerializeToString()
        plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=data)
        self._write(0, {"tag": tag, "metadata": SummaryMetadata(plugin_data=plugin)})

    def end(self, status: str) -> None:
        self.writer.close()


def _forget_test(file: Path) -> None:
    """Write a file of events anew without points, pictures and texts of test, where it has some."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    records = list(RawEventFileLoader(str(file)).Load())
    tags = [[value.tag.split("/") for value in Event.FromString(record).summary.value] for record in records]
    kept = [record for record, of in zip(records, tags, strict=True) if not any("test" in parts for parts in of)]
    if len(kept) == len(records):
        return
    aside = file.with_name(f".{file.name.replace('tfevents', 'new')}")  # no name that TensorBoard looks for
    with aside.open("wb") as to:
        writer = RecordWriter(to)
        for record in kept:
            writer.write(record)
        writer.flush()
    aside.replace(file)


def _image(png: bytes) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=3)
