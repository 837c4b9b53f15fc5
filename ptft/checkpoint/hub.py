"""Files of public weights: where they come from, and how they are read."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptft.errors import CheckpointError, first_line

TIMEOUT = 10  # seconds to wait for an answer before a download


def cached(url: str) -> Path:
    """The file of `url` in torch's cache (`$TORCH_HOME/hub/checkpoints`), downloaded if it is not there.

    A download is checked against the digest in the file's name, where it has one; a file that is there already is used
    as it is, as torch.hub does. Raises CheckpointError naming the file and the address, within seconds where nobody
    answers.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_reachable(url)
        digest = match[1] if (match := re.search(r"-([0-9a-f]{8,})$", path.stem)) else None
        torch.hub.download_url_to_file(url, str(path), digest, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"ckpt: {path} is missing and can't be downloaded ({error}); put {url} there") from error
    return path


def of_hub(name: str, repository: str, file: str | None = None) -> Path:
    """The weights of a repository ("owner/name" or "owner/name@revision") on the Hugging Face hub.

    The file `NAME.safetensors` (.pth, .bin) in torch's cache, put there by hand, else that in the hub's own cache, else
    downloaded into it. file: its name there, if it is none of the usual ones. Raises CheckpointError, within seconds
    where nobody answers, saying what to put where.
    """
    import huggingface_hub as hub

    folder = Path(torch.hub.get_dir(), "checkpoints")
    by_hand = [folder / f"{name}{suffix}" for suffix in (".safetensors", ".pth", ".bin")]
    repository, _, revision = repository.partition("@")
    options: dict[str, Any] = {"revision": revision or None}
    names = [file] if file else ["model.safetensors", "pytorch_model.bin"]
    cached_files = [hub.try_to_load_from_cache(repository, name, **options) for name in names]
    files = [path for path in by_hand if path.exists()] + [Path(path) for path in cached_files if isinstance(path, str)]
    if files:
        return files[0]
    try:
        check_reachable(hub.constants.ENDPOINT)
        return Path(hub.hf_hub_download(repository, names[0], **options))
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"ckpt: the weights {name} are not in {hub.constants.HF_HUB_CACHE} and can't be downloaded "
            f"({first_line(error, 100)}); put {names[0]} of {repository} on the Hugging Face hub at {by_hand[0]}"
        ) from error


def check_reachable(url: str) -> None:
    """Raises OSError within seconds where nobody answers; those who download set no time limit themselves."""
    urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU, read without running code. Raises CheckpointError naming the file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise anything at all
        raise CheckpointError(f"ckpt: {path} is damaged or no file of weights: remove it and run again") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"ckpt: {path} holds no state dict: remove it and run again")
    return dict(state)
