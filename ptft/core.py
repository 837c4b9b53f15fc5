"""The nouns of ptft. Everything else is written in these words.

Axes: B batch, T tokens (patches, grid cells, words, frames), D width, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol
from unicodedata import normalize

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self

Batch = dict[str, Tensor]
"""`input` always; `label`, `mask`, `length`, `index` where they exist. The first axis of every tensor is B.

`label` is uint8 [B, K], 1 for each label that an example has, where `Spec.target` is "labels". `caption`: long [B, T].
`mask`: bool [B, T], True where `input` is real. `segments`: uint8 [B, H, W], the class of each pixel, 255 of none.
`document`: long [B, T], of texts that share a row, which of the row's a token is of, from 1; 0 behind the last.
`length`: long [B], of uneven recordings, how many samples are real; transcripts are `target` [B, U], `target_length`.
`box`: float [B, M, 4], left, top, right, bottom in pixels of `input`, `box_label` long [B, M], -1 behind the last.
"""

Columns = dict[str, list[Any]]
"""A table's columns by name, all of one length: texts, numbers, or None where there is nothing to say."""
EACH = "p_"  # how a column is called that has the probability of one class, which a terminal leaves out


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Bool [B, `size`], True at the first `lengths` (long [B]) positions of every row; on the device of `lengths`."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


@dataclass(frozen=True)
class Spec:
    """What the examples look like, and how a raw file becomes an input. Plain data, stored in every checkpoint.

    modality: the module of `ptft.data` that finds and reads raw items, e.g. "image" for `ptft/data/image/reader.py`.
    shape: what that module needs to turn a raw item into a tensor; its keys stand in `ptft.data.readers`.
    target: what the label is, e.g. "class" or "labels". classes: their names, if any; label i means `classes[i]`.
    mean, std: per channel, of values scaled to 0..1; what `Backbone.prepare` normalises with.
    """

    modality: str
    shape: dict[str, Any]
    target: str = "class"
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers only, fit for a checkpoint read with `weights_only=True`."""
        return {k: list(value) if isinstance(value, tuple) else value for k, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Spec:
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in plain.items()}
        if fields.get("target", "class") == "class":  # datasets give the form NFC, those of older versions gave any
            fields["classes"] = tuple(normalize("NFC", name) for name in fields.get("classes", ()))
        return cls(**fields)


class Examples(ABC):
    """One split of a source: a number of examples that are read a whole batch at a time."""

    labels: Tensor | None = None
    """The target of every example where it is known without reading them: long [N], or of label sets uint8 [N, K]."""
    lengths: Tensor | None = None
    """Long [N] on the CPU where examples are of uneven length, in tokens, samples or frames; batches are made by it."""
    notes: tuple[str, ...] = ()
    """Sentences a run says about them, e.g. how many files were left out."""
    unreadable = cached_property[set[int]](lambda _: set())  # those that `take` is known by now to leave out

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, indices: Tensor) -> Batch:
        """The examples at `indices` (long [B]) as one batch, always the same for the same indices.
        Raises DataError naming the file and index of an example that can't be read."""

    def score(self, lists: dict[str, Tensor]) -> Mapping[str, float | Table]:
        """Metrics and tables that only these examples can give; none by default. lists: of an evaluation, as in `Step`,
        first axis n; `index` (long [n]) says which examples they belong to."""
        return {}

    def table(self, columns: Columns) -> Columns:
        """What is written of an evaluation, from what `Objective.rows` gave; `index` says which examples. The same,
        unless only these examples can say what was asked; `item` says what a row is of, where it is no example."""
        return columns

    def shuffled(self, seed: int) -> Tensor:
        """An epoch: each example once, in an order that `seed` decides, long [N]; of texts cut elsewhere from N on."""
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))

    def to(self, device: torch.device) -> Examples:
        """The same examples, kept on `device` if they are tensors in memory; else unchanged."""
        return self

    @property
    def device(self) -> torch.device:
        """Where they are kept, and where `take` wants its indices: anything else costs a copy a batch."""
        return torch.device("cpu")

    @property
    def nbytes(self) -> int:
        """Bytes that all of them take in memory; 0 where that is not known."""
        return 0

    @property
    def in_memory(self) -> bool:
        """Whether `take` is one gather, so that worker processes would only cost time."""
        return False


class Source(ABC):
    """Where examples come from. Reads, decodes, resizes; never augments, never knows the objective."""

    spec: Spec
    notes: tuple[str, ...] = ()
    """Sentences a run says about the data, e.g. that images are resized to the checkpoint's size."""
    settled: Mapping[str, Any] = MappingProxyType({})
    """Options that were found when it was read; checkpoints keep them with those typed."""

    @abstractmethod
    def split(self, name: str) -> Examples | None:
        """The examples of "train", "val" or "test"; None where the source has no such split."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short hex digest that differs when the examples, their order or their labels do."""


class Features(NamedTuple):
    """What a backbone makes of a batch: `tokens` float [B, T, D]; `mask` bool [B, T], True where a token is real."""

    tokens: Tensor
    mask: Tensor | None = None


class Backbone(nn.Module, ABC):
    """The part of a model that later runs start from. Knows no task; sized from the Spec.

    width: D, the size of what `pool` returns.
    no_weight_decay: names of parameters of two or more axes that must not decay (positions, class tokens).
    lr_scales: names of parameters that learn at another rate than the rest, and the factor.
    settled: options that were found when it was built and rebuild it alone; checkpoints keep them with those typed.
    calibrates: how many training examples `calibrate` asks for, at most; 0 where it does nothing.
    """

    width: int
    no_weight_decay: ClassVar[frozenset[str]] = frozenset()
    lr_scales: Mapping[str, float] = MappingProxyType({})
    settled: Mapping[str, Any] = MappingProxyType({})
    calibrates: int = 0

    @abstractmethod
    def prepare(self, raw: Tensor) -> Tensor:
        """Raw input of the source (uint8 [B, C, H, W] for images) -> normalised float of the same shape."""

    def inputs(self, batch: Batch) -> Tensor:
        """The `input` of a raw batch, prepared; by a model that reads more of the batch (lengths), with that."""
        return self.prepare(batch["input"])

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Prepared input -> Features."""

    def pool(self, features: Features) -> Tensor:
        """Features -> one vector per example, [B, D]: the mean over real tokens unless a model says otherwise."""
        tokens, mask = features
        if mask is None:
            return tokens.mean(1)
        weight = mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Prepared images [B, C, H, W] -> feature maps [B, C', H / s, W / s], rounded up, of ever larger strides s;
        each cell is what is around the middle of its s x s pixels. Empty where a model has none."""
        return []

    def takes(self, size: tuple[int, int]) -> bool:
        """Whether it takes images of another size (H, W) than the Spec's as well, as smaller views of them."""
        return False

    def token_counts(self, lengths: Tensor) -> Tensor | None:
        """How many tokens raw examples of these lengths (long [B]) become, long [B]; None where it can't say."""
        return None

    def calibrate(self, sample: Tensor) -> None:
        """Take from data what is not learned by gradients: from prepared training examples, the first axis is theirs,
        once, without gradients, when a run starts from fresh weights; never where they come from a checkpoint."""

    @classmethod
    def published(cls, options: Mapping[str, Any], weights: Mapping[str, Tensor], path: str) -> Spec | None:
        """What the public weights of the network that `options` name expect of examples; None where it has none.
        Asked of weights that do not say it, of the file at `path`; `shape` may lack what they leave unknown."""
        return None

    @abstractmethod
    def layers(self) -> list[list[nn.Module]]:
        """Modules from input to output, by depth, for rates by layer and `last:N`; the first is of all other ones."""

    def adapt(self, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """A state dict of this family, fitted to this instance (positions, say), and the names of resized tensors."""
        return weights, []

    def adapt_from(self, weights: dict[str, Tensor], spec: Spec | None) -> tuple[dict[str, Tensor], list[str]]:
        """As `adapt`, of weights made for the examples of a Spec, if it is known: tensors may not say their grid."""
        return self.adapt(weights)


class TokenBackbone(Backbone):
    """A backbone in two steps, `embed` and `encode`; between them tokens may be left out or replaced.

    Masked modelling asks for this, and language modelling, which needs `token_embedding` as well.
    prefix: how many tokens `encode` puts before the given ones. causal: whether a token sees none of those behind it.
    cell: what of an input a token stands for: (rows, columns) of an image, (frames, bands) of a spectrogram, () of ids.
    separates: whether `document` of a batch can stand for its mask: then no text sees another, and each begins at 0.
    """

    prefix: int = 0
    cell: tuple[int, ...] = ()
    causal: bool = False
    separates: bool = False

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Prepared input -> [B, T, D]; patches of images lie row by row."""

    @abstractmethod
    def encode(self, tokens: Tensor, mask: Tensor | None = None) -> Features:
        """Any choice of embedded tokens [B, N, D], and which are real, bool [B, N] -> Features [B, prefix + N, D]."""

    def token_mask(self, x: Tensor) -> Tensor | None:
        """Which tokens of a prepared input are real, bool [B, T], where the input itself says so; else None."""
        return None

    def token_embedding(self) -> nn.Embedding | None:
        """The embedding of token ids [V, D], whose matrix heads over the vocabulary share; None if it reads no ids."""
        return None

    def decoder(self) -> IncrementalDecoder | None:
        """What decodes token by token with a cache of keys and values; None where the model has no such cache."""
        return None


class IncrementalDecoder(Protocol):
    """Texts that are read once and then continued token by token, without reading the earlier tokens again."""

    def prefill(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The beginnings, long [B, T] and bool [B, T] -> features of their last real tokens, [B, D]."""

    def step(self, ids: Tensor) -> Tensor:
        """One more token of each text, long [B] -> its features, [B, D]."""


@dataclass(frozen=True)
class Step:
    """What an objective says about a batch.

    total, count: the *summed* loss with gradient, and what it is summed over (images, tokens, frames), both scalars.
    sums: named sums of any shape, without gradient; they are added over batches and finished by `metrics`.
    lists: named values, first axis that of the examples, in evaluation only: they are joined over batches and stand
        among the sums in `metrics`, for what no sum can say (a rank correlation). `Examples.score` gets them too.
    outputs, each: in evaluation what `Objective.rows` makes rows of, and what examples add to total, count and sums.
    """

    total: Tensor
    count: Tensor
    sums: dict[str, Tensor]
    lists: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    each: dict[str, Tensor] = field(default_factory=dict)


class Table(NamedTuple):
    """A matrix of an evaluation, to show and keep: classes by classes, or for each class a count and measures."""

    rows: list[str]
    columns: list[str]
    values: list[list[float]]


LEAST_LOSS: Mapping[str, str] = MappingProxyType({"metric": "val/loss", "mode": "min"})  # where no other is named


class Objective(nn.Module, ABC):
    """What is asked of a batch, around a backbone. The one module that is trained, averaged, compiled and saved.

    Owns heads, decoders, masks and random views. Built as `Objective(backbone, spec, **options)`.
    monitor: decides `best.pt`: a metric, and whether more or less is better. settled, lr_scales: as of a Backbone.
    """

    backbone: Backbone
    monitor: dict[str, str]
    settled: Mapping[str, Any] = MappingProxyType({})
    lr_scales: Mapping[str, float] = MappingProxyType({})
    needs: ClassVar[frozenset[str]] = frozenset({"input"})  # keys every batch must have
    capturable: ClassVar[bool] = False
    """Whether `train.cuda_graph` may record a step: the same work whatever step and values, waiting for nothing."""
    fitted: frozenset[str] = frozenset()
    """Buffers that `settle` sets, and no gradient: thresholds, a temperature. Averages of weights leave them alone."""
    whole_batch: ClassVar[bool] = False
    """Whether the loss of an example depends on the others of its batch, so that `train.accumulate` can't cut it."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen: list[nn.Module] = []
        self.monitor = dict(LEAST_LOSS)

    @abstractmethod
    def forward(self, batch: Batch) -> Step:
        """A raw batch on the device -> Step. Random views are made in training mode only."""

    @abstractmethod
    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Sums over an epoch or a split -> named numbers. `sums` holds `count`, the sum of the counts, as well."""

    def evaluation_size(self, examples: int) -> int:
        """How many examples are computed to measure so many: more where others are computed beside them, or twice."""
        return examples

    def linear_head(self) -> nn.Linear | None:
        """The head, where a linear classifier of one class an example is all that there is beside the backbone."""

    @property
    def deterministic(self) -> bool:
        """Whether training asks what evaluation measures: nothing drawn at random, nothing weighted or smoothed."""
        return False

    def tables(self, sums: dict[str, Tensor]) -> dict[str, Table]:
        """Matrices worth keeping of an evaluation; none by default."""
        return {}

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, str | float]]:
        """The columns that `stage=predict` writes of each example of a batch; without an override it refuses to.
        options: those of `generate`, and where they are typed of `predict`, for objectives that name one of them."""
        raise NotImplementedError(f"{type(self).__name__} predicts nothing")

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """A row for each example that was measured, from the `outputs` of its batch's Step: `true`, `predicted`, what
        else the task has, and `loss`, the higher the more wrong. Empty where examples have no answer of their own."""
        return {}

    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """What a user must know of the examples before a training, a sentence each: that some can't be learned, say."""
        return []

    def settle(self, sums: dict[str, Tensor]) -> None:
        """Fit to the sums of the whole validation split, in a training, what `fitted` names: before its `metrics`."""

    def warnings(self, metrics: dict[str, float]) -> list[str]:
        """What a user must know of an evaluation's metrics, a sentence each: that features collapsed, say."""
        return []

    def describe(self, spec: Spec) -> Spec:
        """What a checkpoint says of the examples: the source's Spec, and what the objective knows of them besides."""
        return spec

    def begin(self) -> None:
        """Called once when a new run's weights are in place: copies of them start here. Not where a run continues."""

    def advance(self, step: int, steps: int) -> None:
        """Called once after every optimizer step: momentum encoders, temperatures, phases."""

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but parts that don't learn stay in evaluation mode (batch statistics, dropout)."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self
