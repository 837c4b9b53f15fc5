"""Prefetching: batches copied to the device while it still computes the one before."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch

from ptft.core import Batch


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`, in their order; on a CPU they are passed on as they are. Leaving early closes `batches`.

    On cuda they are copied from pinned memory over a stream of their own. The loop never waits for the device, so it
    asks for a batch while the device still computes the one before: the copy then runs beside it, and no batch is read
    before it is asked for, so an unreadable example is an error at its own step. What is there already is not copied.
    """
    copying = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    try:
        for batch in batches:
            if copying is None:
                yield {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            else:
                yield _copied(batch, device, copying)
    finally:  # Python 3.12 leaves a generator open where the one that reads from it is closed
        if isinstance(batches, Generator):
            batches.close()


def _copied(batch: Batch, device: torch.device, copying: torch.cuda.Stream) -> Batch:
    """The batch on `device`, ready for whatever its current stream does next."""
    absent = {name: value for name, value in batch.items() if not value.is_cuda}
    if not absent:
        return batch
    with torch.cuda.stream(copying):
        moved = {name: value.pin_memory().to(device, non_blocking=True) for name, value in absent.items()}
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(copying)
    for value in moved.values():
        # Its memory belongs to the copying stream, which must not reuse it before the computing one is done with it.
        value.record_stream(computing)
    return {**batch, **moved}
