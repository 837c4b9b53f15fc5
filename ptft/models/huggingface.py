"""Models of Hugging Face's transformers, by name or from a folder (`pip install 'ptft[huggingface]'`).

Axes: B batch, T tokens, D width. What was found of a model is kept as its configuration (JSON), so that a checkpoint
rebuilds it without the name, the folder or a network.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ptft.core import Backbone, Features, Spec
from ptft.data.text import text_spec
from ptft.data.tokenizer import Tokenizer
from ptft.errors import CheckpointError, ConfigError, PtftError

BACKBONE = "HuggingFace"
"""The class that public weights are for."""
LONGEST = 512
"""Tokens of an example at most, where a model would take more."""
TIMEOUT = 10  # seconds to wait for an answer before a download


class HuggingFace(Backbone):
    """A text model without its head; `net` keeps the names of its parameters.

    name: a folder that `save_pretrained` wrote, or a name on the hub. Its configuration is read, not its weights, and
        the vocabulary becomes the tokenizer's; `ckpt=huggingface:NAME` brings the weights as well.
    config: the configuration as JSON, in place of reading it; kept in checkpoints.
    pooling: "mean" over real tokens, "cls" (the first) or "last" (the last real one); None is cls for models with
        token types (BERT), last for causal ones, else the mean.

    The second text of a pair begins after the first separator: token types follow from that where a model has some.
    """

    def __init__(self, spec: Spec, name: str, config: str | None = None, pooling: str | None = None) -> None:
        super().__init__()
        if spec.modality != "text":
            raise ConfigError(
                f"model=huggingface reads text, the dataset yields {spec.modality}: choose another model="
            )
        size, length = int(spec.shape["tokenizer"]["size"]), int(spec.shape["length"])
        made = _configuration(config) if config is not None else _found(name, "model.name=")
        if config is None:
            made.vocab_size = size
        _check(made, name, size, length, pooling)
        self.settled = {"config": json.dumps(made.to_dict(), default=str)}
        self.net: Any = _network(made)
        self.width, self.separator = int(made.hidden_size), int(spec.shape["tokenizer"]["sep"])
        takes = inspect.signature(self.net.forward).parameters
        self.has_types = "token_type_ids" in takes and getattr(made, "type_vocab_size", 0) > 1
        self.pooling = pooling or ("cls" if self.has_types else "mean" if _sees_both(made) else "last")

    def prepare(self, raw: Tensor) -> Tensor:
        """Ids long [B, T], as they are."""
        return raw

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Ids long [B, T] and their mask bool [B, T] -> Features [B, T, D]."""
        types = {"token_type_ids": second(x, self.separator)} if self.has_types else {}
        attention = None if mask is None else mask.long()
        return Features(self.net(input_ids=x, attention_mask=attention, **types).last_hidden_state, mask)

    def pool(self, features: Features) -> Tensor:
        """[B, D]: the mean over real tokens, the first token, or the last real one."""
        tokens, mask = features
        if self.pooling == "mean":
            return super().pool(features)
        if self.pooling == "cls" or mask is None:
            return tokens[:, 0 if self.pooling == "cls" else -1]
        last = (mask.sum(1) - 1).clamp(min=0).view(-1, 1, 1)
        return tokens.take_along_dim(last, 1).squeeze(1)

    def layers(self) -> list[list[nn.Module]]:
        """What stands before the blocks, each block, and what stands after them together with the last."""
        blocks = _blocks(self.net)
        inside = {id(inner) for block in blocks for inner in block.modules()}
        groups: list[list[nn.Module]] = [[], *([block] for block in blocks)]
        seen = False
        for module in self.net.modules():
            seen = seen or id(module) in inside
            own = next(iter(module.parameters(recurse=False)), None) is not None
            if own and id(module) not in inside:
                groups[-1 if seen else 0].append(module)
        return groups


def second(ids: Tensor, separator: int) -> Tensor:
    """Long [B, T]: 0 up to the first separator, which is of the first text, and 1 after it."""
    ends = (ids == separator).long()
    return ((ends.cumsum(1) - ends) > 0).long()


def public_weights(name: str) -> tuple[dict[str, Tensor], Spec]:
    """The weights in a folder or on the hub, named as in `HuggingFace`, and a Spec with the tokenizer beside them.

    Raises CheckpointError naming the folder or the name, within seconds where nobody answers.
    """
    library, made = _library(), _found(name, "ckpt=huggingface:")
    with _read(name, "ckpt=huggingface:"):
        net = _stripped(library.AutoModel.from_pretrained(_place(name), local_files_only=_is_local(name)))
        tokenizer = _tokenizer(library, _place(name))
    length = min(int(getattr(made, "max_position_embeddings", LONGEST)), LONGEST)
    if made.model_type in ("roberta", "xlm-roberta", "camembert"):
        length = min(length, made.max_position_embeddings - 2)  # positions count from the padding's id on
    weights = {f"net.{key}": value.detach().clone() for key, value in net.state_dict().items()}
    return weights, text_spec(tokenizer, length, "none")


def public_options(name: str) -> dict[str, Any]:
    """What builds the model that `public_weights` are for."""
    return {
        "name": name,
        "config": json.dumps(_found(name, "ckpt=huggingface:").to_dict(), default=str),
        "pooling": None,
    }


def _library() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import transformers
    except ImportError as error:
        raise ConfigError("huggingface: needs the package transformers: pip install 'ptft[huggingface]'") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _found(name: str, key: str) -> Any:
    """The configuration of a model. Raises CheckpointError where there is none, or nobody answers."""
    library = _library()
    with _read(name, key):
        if not _is_local(name):
            _ask(name, key)
        return library.AutoConfig.from_pretrained(_place(name), local_files_only=_is_local(name))


def _place(name: str) -> str:
    """A folder with ~ resolved, or the name as it is."""
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _is_local(name: str) -> bool:
    """Whether a model is a folder, or in the hub's cache already."""
    if Path(_place(name)).is_dir():
        return True
    from transformers.utils import cached_file

    try:
        return cached_file(name, "config.json", local_files_only=True) is not None
    except (OSError, ValueError):
        return False


def _ask(name: str, key: str) -> None:
    """Whether the hub answers at all, which its own client asks several times and for long."""
    from huggingface_hub import constants

    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except OSError as error:
        raise CheckpointError(
            f"{key}{name}: is no folder and not in the cache ({constants.HF_HUB_CACHE}), and can't be downloaded "
            f"({error})"
        ) from error


@contextlib.contextmanager
def _read(name: str, key: str) -> Iterator[None]:
    """The library's errors as one line."""
    try:
        yield
    except PtftError:
        raise
    except Exception as error:  # it raises anything at all of files that are missing or broken
        said = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointError(f"{key}{name}: can't be read ({said})") from error


def _configuration(text: str) -> Any:
    plain: Mapping[str, Any] = json.loads(text)
    return _library().AutoConfig.for_model(**plain)


def _network(config: Any) -> Any:
    return _stripped(_library().AutoModel.from_config(config))


def _stripped(net: Any) -> Any:
    """The encoder where there is a decoder too, in float32, without a pooler, whose place a head takes."""
    net = net.get_encoder() if getattr(net.config, "is_encoder_decoder", False) else net
    if getattr(net, "pooler", None) is not None:
        net.pooler = None
    return net.float()


def _sees_both(config: Any) -> bool:
    """Whether tokens see those after them: so in all models that know a mask token's task."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES or bool(getattr(config, "is_encoder_decoder", False))


def _tokenizer(library: Any, name: str) -> Tokenizer:
    """The model's own, as ptft keeps one."""
    found = library.AutoTokenizer.from_pretrained(name, local_files_only=True)
    with tempfile.TemporaryDirectory() as folder:
        found.save_pretrained(folder)
        return Tokenizer.load(folder)


def _blocks(net: nn.Module) -> list[nn.Module]:
    """The repeated part: the longest list of modules."""
    lists = [list(module) for module in net.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])


def _check(config: Any, name: str, size: int, length: int, pooling: str | None) -> None:
    if config.vocab_size < size:
        raise ConfigError(
            f"model.name={name}: has {config.vocab_size} ids, the tokenizer {size}; dataset.tokenizer=null"
        )
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and length > longest:
        raise ConfigError(f"dataset.length={length}: {name} takes {longest} tokens at most")
    if pooling not in (None, "mean", "cls", "last"):
        raise ConfigError(f"model.pooling={pooling}: one of null, mean, cls, last")
