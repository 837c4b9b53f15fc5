"""Files of public weights: where they come from, and how they are read."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ptft.errors import CheckpointError

TIMEOUT = 10  # seconds to wait for an answer before a download


def cached(url: str) -> Path:
    """The file of `url` in torch's cache (`$TORCH_HOME/hub/checkpoints`), downloaded if it is not there.

    A download is checked against the digest in the file's name; a file that is there already is used as it is, as
    torch.hub does. Raises CheckpointError naming the file and the address, within seconds where nobody answers.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # torch.hub sets no time limit, so ask first whether anyone answers.
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
        digest = path.stem.rsplit("-", 1)[1]
        torch.hub.download_url_to_file(url, str(path), digest, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"ckpt: {path} is missing and can't be downloaded ({error}); put {url} there") from error
    return path


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU, read without running code. Raises CheckpointError naming the file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise anything at all
        raise CheckpointError(f"ckpt: {path} is damaged or no file of weights: remove it and run again") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"ckpt: {path} holds no state dict: remove it and run again")
    return dict(state)
