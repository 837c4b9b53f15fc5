"""What a run learns from: the device, the checkpoint to start from, the splits, and loaders over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ptft.builders import components, composition
from ptft.builders.parts import tower as towers
from ptft.builders.parts.own_classes import names_class
from ptft.builders.parts.own_transform import transformed
from ptft.builders.restore import check_spec
from ptft.checkpoint.load import PUBLIC, Checkpoint
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.config.settled.dataset import noted
from ptft.core import Examples, Source, Spec
from ptft.data.cache import policy
from ptft.data.image.listed.images import MEAN
from ptft.data.label_sets.balanced import BALANCED, Balanced, Repeated, balanced
from ptft.data.labels import check_range
from ptft.data.loader import Loader
from ptft.data.replay.examples import Replayed
from ptft.data.source import DividedSource
from ptft.data.splits import SPLITS
from ptft.data.text.corpus import CorpusSource
from ptft.data.user_dataset.transformed import Transformed
from ptft.errors import ConfigError, DataError
from ptft.loggers.console import Console
from ptft.runtime import process
from ptft.runtime.device import deterministic, find_device
from ptft.runtime.memory import free_memory
from ptft.runtime.rng import seed_everything
from ptft.runtime.together.alone import Share, current

if TYPE_CHECKING:
    from ptft.builders.parts.replay import Replay

TO_CHANGE = "; dataset.mean, dataset.std and dataset.size change it"
LARGEST = 256 * 3 * 224 * 224
"""So many bytes of examples are measured at once at the most, unless a batch of training has more."""
FREE = 2048
"""So many tokens a batch for measuring may always hold, whatever a training step takes."""
DRY = 5000
"""A dry run of more examples decodes those alone that it takes a step with."""


@dataclass(frozen=True)
class Inputs:
    """What a run learns from, and where.

    start: the checkpoint whose weights it starts from or continues; None for fresh ones.
    origin: who says how examples are prepared, in a few words. note: what was supposed where nobody does, or "".
    replay: examples of an earlier training that are among those to train on. drawn_anew: whether a function changes
    images that come several times in an epoch, each time otherwise; a run of before this was so is another one.
    tower: what is to read captions, where it begins with weights.
    """

    device: torch.device
    start: Checkpoint | None
    source: Source
    splits: dict[str, Examples]
    origin: str = ""
    note: str = ""
    replay: Replay | None = None
    drawn_anew: bool = False
    tower: towers.Tower | None = None

    @property
    def fingerprint(self) -> str:
        """The source's; behind it that of what is replayed."""
        return self.source.fingerprint() + self._more

    def is_known_by(self, fingerprint: str | None) -> bool:
        """Whether a run that stored this fingerprint, perhaps with an earlier version, learned from the same."""
        if fingerprint == self.fingerprint or not isinstance(self.source, DividedSource):
            return fingerprint == self.fingerprint
        return fingerprint == self.source.earlier_fingerprint() + self._more

    @property
    def _more(self) -> str:
        return (f"+{self.replay.fingerprint}" if self.replay else "") + "+draws" * self.drawn_anew


def read_inputs(job: Job, out: Console) -> Inputs:
    """The device, the weights to start from and the data, read as the checkpoint's inputs are."""
    cfg, checkpoint, like = job.config, job.checkpoint, expected(job)
    device = find_device(cfg.device)
    deterministic(cfg.train.deterministic, device)
    if cfg.train.parallel == "fsdp":
        process.return_freed_memory()
    elif cfg.train.keep_memory and device.type == "cpu":
        process.keep_freed_memory()
    seed_everything(cfg.seed)
    check_spec(checkpoint)
    labelled = "label" in components.needs(cfg.objective, cfg.trusted)
    fresh = cfg.finetune.weights == "fresh" and not cfg.resume  # model and inputs are the checkpoint's all the same
    tower = towers.opened(cfg, None if fresh else checkpoint)
    reads = tower.spec if tower else None
    source = components.source(cfg.dataset, like, cfg.trusted, labelled=labelled, model=cfg.model, tower=reads)
    if isinstance(source, DividedSource) and not cfg.resume:
        source.check_held_out()
    if labelled and source.spec.target == "class" and len(source.spec.classes) == 1:
        what = f"the dataset has one class ({source.spec.classes[0]}), and at least 2 are needed"
        raise ConfigError("; ".join([f"objective={cfg.names.objective}: {what}", *source.notes]))
    splits = read_splits(source, SPLITS, cfg, device, out)
    if not splits.get("train"):
        raise DataError("the training split is empty; check dataset.root and dataset.train")
    start = None if fresh else checkpoint
    note = _supposed(job, like, source) or " ".join(noted(cfg, job.overrides.typed, checkpoint))
    anew = cfg.dataset.get("sampler") == "balanced" and names_class(cfg.dataset.get("transform"))
    return Inputs(device, start, source, splits, _origin(job, like, source.spec), note, drawn_anew=anew, tower=tower)


def expected(job: Job) -> Spec | None:
    """What the weights that a job starts from expect of examples: what the checkpoint says, else, of plain weights,
    what is known of the public ones of the same network. None where neither is known, or nothing is started from.
    """
    checkpoint = job.checkpoint
    if checkpoint is None or checkpoint.config is not None:
        return checkpoint.spec if checkpoint else None
    return components.published(job.config.model, checkpoint.weights, checkpoint.path, job.config.trusted)


def _origin(job: Job, like: Spec | None, spec: Spec) -> str:
    """Who says what mean and std are."""
    if any(job.config.dataset.get(key) is not None for key in ("mean", "std")):
        return "typed"
    if job.checkpoint is None or like is None or not like.mean:
        return _unasked(spec)
    kind, _, name = job.checkpoint.path.partition(":")
    return _library(job) or (kind if name and kind in PUBLIC else "as in the checkpoint")


def _unasked(spec: Spec) -> str:
    """Whose mean and std are those that neither a command nor a checkpoint says: nobody computes them from photos."""
    if spec.mean == MEAN:
        return "ImageNet's"
    return "the usual ones" if set(spec.mean) | set(spec.std) == {0.5} else "the dataset's own"


def _library(job: Job) -> str:
    """The library whose network plain weights are for; "" of weights that say what they expect."""
    plain_weights = job.checkpoint is not None and job.checkpoint.config is None
    return str(job.config.model["_target_"]).split(".")[-2] if plain_weights else ""


def _supposed(job: Job, like: Spec | None, source: Source) -> str:
    """What is said of plain weights, which do not say of which images they are."""
    if job.checkpoint is None or not _library(job) or source.spec.modality != "image":
        return ""
    preparation = (
        f"mean and std are {_unasked(source.spec)}{TO_CHANGE}"
        if like is None
        else f"they are prepared as {_library(job)} does for {job.config.model['name']}{TO_CHANGE}"
    )
    return f"{Path(job.checkpoint.path).name} does not say which images it was trained on: {preparation}"


def read_splits(
    source: Source, names: Iterable[str], cfg: Config, device: torch.device, out: Console
) -> dict[str, Examples]:
    """The splits that the source has, kept as `dataset.cache` says; which way that is becomes a note of the source."""
    unread = {name: examples for name in names if (examples := source.split(name)) is not None}
    for name, examples in unread.items():
        _check_labels(name, examples, source.spec)
    group = current()  # of which each process reads for itself, all in the same way
    memory = free_memory() // group.local_count if group.local_count > 1 else None
    mode, sentence = group.same(policy.choose(cfg.dataset.get("cache", "auto"), list(unread.values()), memory))
    if cfg.dry_run and (mode == "disk" or (mode == "memory" and sum(map(len, unread.values())) > DRY)):
        mode = "off"  # nothing is written, and little read
        sentence += "; a dry run reads those of its step alone, so it can't say which of the others are unreadable"
    read = {}
    for name, examples in unread.items():
        with out.reading(f"reading {name}") as progress:
            try:
                read[name] = components.examples(examples, device, mode, progress)
            except DataError as error:
                raise DataError(f"{name}: {error}") from error
        for note in read[name].notes:
            out.say(f"{name}: {note}", "yellow")
    ignored = source.ignore_notes() if isinstance(source, DividedSource | CorpusSource) else []
    source.notes = (*source.notes, *ignored, *composition.notes(source, read), *([sentence] if sentence else []))
    return read


def _check_labels(split: str, examples: Examples, spec: Spec) -> None:
    """Raises DataError for the first label that is no class; losses would fail later, or leave it out in silence."""
    if examples.labels is None or spec.target != "class":
        return
    check_range(examples.labels, len(spec.classes), split, "dataset")


def same_channels(checkpoint: Checkpoint, source: Source) -> None:
    """Raises ConfigError where images were asked for with other channels than the checkpoint's model takes."""
    channels = source.spec.shape.get("channels")
    expected = checkpoint.spec.shape.get("channels") if checkpoint.spec else None
    if expected is not None and channels != expected:
        raise ConfigError(
            f"dataset.channels={channels}: {checkpoint.path} takes {expected}; without dataset.channels the images are "
            "adapted"
        )


def train_loader(cfg: Config, inputs: Inputs) -> Loader:
    """Batches to train on, in another order each epoch; `dataset.sampler` says what an epoch is."""
    options, examples, spec = cfg.train, inputs.splits["train"], inputs.source.spec
    if cfg.dataset.get("sampler") == "balanced":
        if options.get("tokens") is not None:
            raise ConfigError(
                f"{BALANCED}: epochs differ in tokens then, so train.tokens={options['tokens']} can't hold; "
                "set train.batch_size"
            )
        examples = balanced(examples, spec.classes)
    if inputs.replay:
        examples = inputs.replay.among(examples, options.batch_size)
    examples = transformed(examples, cfg.dataset.get("transform"), spec, cfg.trusted)
    return components.loader(
        examples,
        options.batch_size,
        cfg.seed,
        inputs.device,
        options.workers,
        shuffle=True,
        tokens=options.get("tokens"),
        share=_share(cfg),
    )


def sampler_notes(cfg: Config, inputs: Inputs, loader: Loader) -> list[str]:
    """What an epoch is, where it is not every example once, and what of a batch is replayed."""
    examples = loader.examples.examples if isinstance(loader.examples, Transformed) else loader.examples
    examples = examples.new if isinstance(examples, Replayed) else examples
    replayed = [inputs.replay.note(cfg.train.batch_size)] if inputs.replay else []
    return [*replayed, *(examples.notes if isinstance(examples, Balanced | Repeated) else [])]


def eval_loader(
    cfg: Config,
    examples: Examples,
    device: torch.device,
    trained: Mapping[str, Any] | None = None,
    *,
    shared: bool = False,
) -> Loader:
    """Batches for measuring, larger than in training: there is no backward pass to keep activations for.

    Of large images no more than LARGEST bytes at once. Examples that have lengths are no more tokens than a training
    step holds: their longest ones alone may take more memory than all that is kept for a backward pass. trained: how
    they were trained, `cfg.train` unless it is given.
    shared: whether all processes of a run measure together, each its part.
    """
    train = cfg.train if trained is None else trained
    size, tokens = max(4 * train["batch_size"], 256), train.get("tokens")
    each = examples.nbytes // max(1, len(examples))
    if each:
        size = max(train["batch_size"], min(size, LARGEST // each))
    if examples.lengths is not None and tokens is None:
        tokens = max(FREE, step_examples(train) * max(1, int(examples.lengths.max())))
    share = _share(cfg) if shared else Share()
    return components.loader(
        examples, size, cfg.seed, device, cfg.train.workers, shuffle=False, tokens=tokens, share=share
    )


def _share(cfg: Config) -> Share:
    """This process's rows of every batch; in a dry run, which one process does, the first one's."""
    return Share(current().rank, cfg.train.processes if cfg.dry_run else current().count)


def step_examples(train: Mapping[str, Any]) -> int:
    """How many examples are computed at once in training: a batch, or a part of one."""
    return -(-int(train["batch_size"]) // int(train.get("accumulate") or 1))
