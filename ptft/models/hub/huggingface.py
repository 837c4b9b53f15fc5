"""Models of Hugging Face's transformers, by name or from a folder (`pip install 'ptft[huggingface]'`).

Axes: B batch, T tokens, D width, N samples, F frames, M mel bands. What was found of a model is kept as its
configuration (JSON), so that a checkpoint rebuilds it without the name, the folder or a network.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ptft.checkpoint.hub import check_reachable
from ptft.core import Backbone, Batch, Features, Spec
from ptft.data.text.reader import text_spec
from ptft.errors import CheckpointError, ConfigError, PtftError, not_imported
from ptft.models.hub import huggingface_audio as sound
from ptft.models.hub import huggingface_image as sight
from ptft.models.hub.huggingface_kinds import blocks, check_kind, modality_of, stripped
from ptft.models.hub.huggingface_text import (
    BY_MASK,
    SENTENCES,
    Texts,
    as_stored,
    embedding_of,
    longest,
    sentences_of,
    tokenizer_of,
)

BACKBONE = "HuggingFace"
"""The class that public weights are for."""
LONGEST = 512
"""Tokens of an example at most, where a model would take more."""


class HuggingFace(Backbone):
    """A model of text, a speech encoder or an image transformer, without its head; `net` keeps its parameters' names.

    name: a folder that `save_pretrained` wrote, or a name on the hub. Its configuration is read, not its weights;
        `ckpt=huggingface:NAME` brings the weights as well. Of a text model the vocabulary becomes the tokenizer's.
    config: the configuration as JSON, in place of reading it; kept in checkpoints.
    pooling: "mean" over real tokens, "cls" (the first) or "last" (the last real one); None is cls for models with
        token types (BERT) and images with a class token, last for causal ones, else the mean; where nothing else is
        asked of public weights that embed sentences, as these say.
    normalize: whether each recording has mean 0 and variance 1, for models that hear samples (wav2vec 2.0, HuBERT,
        WavLM); None is what lies beside the model (`do_normalize`), and yes where nothing does.
    """

    def __init__(
        self,
        spec: Spec,
        name: str,
        config: str | None = None,
        pooling: str | None = None,
        normalize: bool | None = None,
    ) -> None:
        super().__init__()
        if pooling not in (None, "mean", "cls", "last"):
            raise ConfigError(f"model.pooling={pooling}: one of null, mean, cls, last")
        loaded = _configuration(config) if config is not None else _load_config(name, "model.name=")
        check_kind(loaded, name, spec, normalize)
        if loaded.model_type in sound.WAVES and normalize is None:
            normalize = config is not None or _normalizes(name, "model.name=")
        if spec.modality == "text" and config is None:
            loaded.vocab_size = int(spec.shape["tokenizer"]["size"])
        if spec.modality == "audio":
            sound.check(loaded, spec, name)
        by_mask = spec.modality == "text" and (config is None or BY_MASK in json.loads(config))
        self.settled = {"config": as_stored(loaded, by_mask)}
        self.net: Any = _network(loaded)
        self.width = int(loaded.hidden_size)
        if spec.modality == "image":
            self.reader: sight.Images | Texts | sound.Waves | sound.Mels = sight.Images(self.net, loaded, spec, name)
            self.pooling = pooling or ("cls" if self.reader.has_class else "mean")
        elif spec.modality == "audio":
            self.settled |= {"normalize": normalize}
            self.reader = sound.frontend(self.net, loaded, bool(normalize))
            self.no_weight_decay = frozenset(f"net.{name}" for name in self.reader.no_weight_decay)  # type: ignore[misc]
            self.pooling = pooling or "mean"
        else:
            self.reader = Texts(self.net, loaded, spec, name, by_mask)
            usual = "cls" if self.reader.has_types else "mean" if _sees_both(loaded) else "last"
            self.pooling = pooling or spec.shape.get("pooling") or usual

    @classmethod
    def published(cls, options: Mapping[str, Any], weights: Mapping[str, Tensor], path: str) -> Spec | None:
        """Of images, what the processor beside the model says; the rest is asked of it when it is built."""
        name = str(options.get("name"))
        if options.get("config") is not None:  # then the name need not be there
            return None
        config = _load_config(name, "model.name=")
        return _image_spec(name, config, "model.name=") if config.model_type in sight.KINDS else None

    def prepare(self, raw: Tensor) -> Tensor:
        """Ids long [B, T], as they are; images; recordings int16 [B, N], all of them real, as in `inputs`."""
        return self.inputs({"input": raw})

    def inputs(self, batch: Batch) -> Tensor:
        """Ids long [B, T]; images [B, C, H, W]; recordings [B, N, 1] or spectrograms [B, F, M], NaN behind the end."""
        return self.reader.inputs(batch)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Prepared input, and of ids a mask bool [B, T] -> Features [B, T, D]."""
        return self.reader(self.net, x, mask)  # type: ignore[no-any-return]

    def token_counts(self, lengths: Tensor) -> Tensor | None:
        return self.reader.tokens(lengths) if isinstance(self.reader, sound.Waves | sound.Mels) else None

    def maps(self, x: Tensor) -> list[Tensor]:
        return self.reader.maps(self.net, x) if isinstance(self.reader, sight.Images) else super().maps(x)

    def takes(self, size: tuple[int, int]) -> bool:
        return isinstance(self.reader, sight.Images) and self.reader.takes(size)

    def pool(self, features: Features) -> Tensor:
        """[B, D]: the mean over real tokens, the first token, or the last real one."""
        if self.pooling == "mean":
            return super().pool(features)
        tokens, mask = features
        if self.pooling == "cls" or mask is None:
            return tokens[:, 0 if self.pooling == "cls" else -1]
        last = (mask.sum(1) - 1).clamp(min=0).view(-1, 1, 1)
        return tokens.take_along_dim(last, 1).squeeze(1)

    @property
    def causal(self) -> bool:
        """Of texts: whether a token sees none of those behind it."""
        return not _sees_both(self.net.config)

    def token_embedding(self) -> nn.Embedding | None:
        """As `huggingface_text.embedding_of`; None of what reads no ids."""
        return embedding_of(self.net, self.width, self.causal) if isinstance(self.reader, Texts) else None

    def decoder(self) -> None:
        """It keeps nothing between tokens here."""

    def layers(self) -> list[list[nn.Module]]:
        """What stands before the blocks, each block, and what stands after them together with the last."""
        repeated = blocks(self.net)
        block_modules = {id(inner) for block in repeated for inner in block.modules()}
        groups: list[list[nn.Module]] = [[], *([block] for block in repeated)]
        late = [] if isinstance(self.reader, Texts) else self.reader.late
        seen = False
        for module in self.net.modules():
            seen = seen or id(module) in block_modules
            own = next(iter(module.parameters(recurse=False)), None) is not None
            if own and id(module) not in block_modules:
                groups[-1 if seen or module in late else 0].append(module)
        return groups


def public_weights(name: str) -> tuple[dict[str, Tensor], Spec]:
    """The weights in a folder or on the hub, named as in `HuggingFace`, and a Spec with the tokenizer beside them.

    Raises CheckpointError naming the folder or the name, within seconds where nobody answers.
    """
    package, config = library(), _load_config(name, "ckpt=huggingface:")
    modality = modality_of(config)
    with _read(name, "ckpt=huggingface:"):
        model = package.AutoModel.from_pretrained(_place(name), config=config, **_options(name))
        net = stripped(model)
        tokenizer, more = tokenizer_of(package, _place(name)) if modality == "text" else (None, {})
    weights = {f"net.{key}": value.detach().clone() for key, value in net.state_dict().items()}
    if tokenizer is None:
        return weights, sound.spec(config) if modality == "audio" else _image_spec(name, config, "ckpt=huggingface:")
    more |= sentences_of(*(_beside(name, file, "ckpt=huggingface:") for file in SENTENCES))
    return weights, text_spec(tokenizer, min(longest(net, config) or LONGEST, LONGEST), "none", **more)


def public_options(name: str) -> dict[str, Any]:
    """What builds the model that `public_weights` are for."""
    config = _load_config(name, "ckpt=huggingface:")
    normalize = _normalizes(name, "ckpt=huggingface:") if config.model_type in sound.WAVES else None
    stored = as_stored(config, modality_of(config) == "text")
    return {"name": name, "config": stored, "pooling": None, "normalize": normalize}


def library() -> Any:
    """The package transformers, which says nothing. Raises ConfigError where it is missing."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import transformers
    except ImportError as error:
        needs = "huggingface: needs the package transformers"
        raise not_imported(needs, "transformers", "'ptft[huggingface]'", error) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _load_config(name: str, key: str) -> Any:
    """The configuration of a model. Raises CheckpointError where there is none, or nobody answers."""
    package = library()
    with _read(name, key):
        if not _is_local(name):
            _ask(name, key)
        config = package.AutoConfig.from_pretrained(_place(name), **_options(name))
        return sound.prepared(config) if config.model_type in sound.KINDS else config


def _normalizes(name: str, key: str) -> bool:
    """Whether the preprocessor beside a model normalises recordings; without one yes, as in transformers."""
    for file, part in (("preprocessor_config.json", None), ("processor_config.json", "feature_extractor")):
        whole = _beside(name, file, key)
        settings = whole.get(part, {}) if part else whole
        if settings.get("sampling_rate", sound.RATE) != sound.RATE:
            raise ConfigError(f"{key}{name}: hears {settings['sampling_rate']} samples a second, not {sound.RATE}")
        if "do_normalize" in settings:
            return bool(settings["do_normalize"])
    return True


def _image_spec(name: str, config: Any, key: str) -> Spec:
    """What the model's image processor does, where one lies beside it."""
    found = [_beside(name, f"{kind}_config.json", key) for kind in ("preprocessor", "processor")]
    with _read(name, key):
        processor = library().AutoImageProcessor.from_pretrained(_place(name), **_options(name)) if any(found) else None
        return sight.spec(config, processor.to_dict() if processor is not None else {})


def _beside(name: str, file: str, key: str) -> Any:
    """What a file of JSON beside a model says; nothing where there is none."""
    from transformers.utils import cached_file

    with _read(name, key):
        options = {"local_files_only": _is_local(name), "_raise_exceptions_for_missing_entries": False}
        path = cached_file(_place(name), file, **options)
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else {}


def _place(name: str) -> str:
    """A folder with ~ resolved, or the name as it is."""
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _options(name: str) -> dict[str, bool]:
    """How a library may read it: never with code that lies beside the weights, and never asking whether to."""
    return {"local_files_only": _is_local(name), "trust_remote_code": False}


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
        check_reachable(constants.ENDPOINT)
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
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CheckpointError(f"{key}{name}: can't be read ({reason})") from error


def _configuration(text: str) -> Any:
    return library().AutoConfig.for_model(**{key: value for key, value in json.loads(text).items() if key != BY_MASK})


def _network(config: Any) -> Any:
    return stripped(library().AutoModel.from_config(config, trust_remote_code=False))


def _sees_both(config: Any) -> bool:
    """Whether tokens see those after them: so in all models that know a mask token's task."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES or bool(getattr(config, "is_encoder_decoder", False))
