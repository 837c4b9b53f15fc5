"""CTC objective, connectionist temporal classification: transcripts without alignment (Graves et al. 2006).

Axes: B batch, T frames (tokens of the backbone), V symbols of the vocabulary, U symbols of a transcript.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.augment.views import Options
from ptft.augment.views import views as random_views
from ptft.core import Backbone, Batch, Columns, Examples, Objective, Spec, Step
from ptft.data.audio.examples import PAD, MemoryRecordings, OnDemandRecordings
from ptft.data.audio.length import max_samples
from ptft.data.audio.transcripts import join
from ptft.errors import ConfigError
from ptft.metrics.edit_distance import edits
from ptft.objectives.supervised.ctc_decoding import beam_search, greedy
from ptft.objectives.supervised.ctc_language import Heard, LanguageModel, Network, Weights, made, opened, search
from ptft.objectives.supervised.ctc_ranking import chosen, ranked, with_language
from ptft.objectives.supervised.ctc_windows import heard as heard_whole
from ptft.objectives.supervised.ctc_words import words_of
from ptft.objectives.teachers import Rebuild, check_same

if TYPE_CHECKING:
    from typing_extensions import Self

LM_BEAM = 8
"""Prefixes that are kept where a language model ranks them, at least."""
LANGUAGE = "language"
"""What of a Spec's shape says how the language model is built again."""


class CTC(Objective):
    """The negative log-likelihood of the transcripts, over all ways to spread them over the frames.

    The loss is summed, and counted in symbols of the transcripts (its `count`), so cutting a batch changes nothing; a
    recording too short for its transcript has no such way, adds neither loss nor symbols, and is counted in
    `too_short`; how many there are is said before the training.

    beam: 1 decodes the likeliest symbol of every frame, more keeps so many prefixes (`ctc_decoding.beam_search`).
    lm: a checkpoint of a causal language model of bytes that ranks the prefixes as well (`ctc_language.search`), at
        least LM_BEAM of them; it is kept in the checkpoints. How much it counts is fitted to the validation split.
    lm_model: which one a run began with, `of` and the `sha256` of its weights; set when it is opened.
    rebuild: makes the objective of another checkpoint; None where a trained one is made again. network: makes a
        backbone of a model's node.
    dropout: before the head. views: options of the modality's random views, made in training only.
    Raises ConfigError where the dataset has no transcripts, CheckpointError where the language model is another one.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "target", "target_length"})
    answers_whole: ClassVar[bool] = True
    lm_weights: Tensor
    lm: tuple[LanguageModel] | None

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        beam: int = 1,
        lm: str | None = None,
        lm_model: Mapping[str, str] | None = None,
        dropout: float = 0.0,
        views: Options = None,
        rebuild: Rebuild | None = None,
        network: Network | None = None,
    ) -> None:
        super().__init__()
        if spec.target != "transcript":
            raise ConfigError(f"objective=ctc: needs transcripts, and the target of the dataset is a {spec.target}")
        if isinstance(beam, bool) or not isinstance(beam, int) or beam < 1:
            raise ConfigError(f"objective.beam={beam}: a whole number of at least 1")
        self.monitor = {"metric": "val/wer", "mode": "min"}
        self.backbone, self.spec, self.beam = backbone, spec, beam
        self.blank = len(spec.classes)
        self.head = nn.Linear(backbone.width, self.blank + 1)
        nn.init.zeros_(self.head.bias)
        self.dropout = nn.Dropout(dropout)
        self.views = random_views(spec, views)
        self._open(lm, lm_model, rebuild, network)

    def _open(
        self, lm: str | None, before: Mapping[str, str] | None, rebuild: Rebuild | None, network: Network | None
    ) -> None:
        """Get the language model: the one that is named, or in a trained objective the one that it was trained with."""
        self.lm, self.about = None, None if lm is None else self.spec.shape.get(LANGUAGE)
        if lm is None:
            return
        weights = None
        if rebuild is not None:
            self.about, weights = opened(lm, *rebuild(lm, "objective.lm"))
            known = before["sha256"] if before and before["of"] == lm else None
            check_same(lm, known, self.about["id"], "objective.lm")
            self.settled = {"lm_model": {"of": lm, "sha256": self.about["id"]}}
        if self.about is None:
            raise ConfigError(f"objective.lm={lm}: the checkpoint holds no language model, and a training takes one")
        assert network is not None
        net, self.beam = made(self.about, network), max(self.beam, LM_BEAM)
        size = sum(parameter.numel() for parameter in net.parameters())
        # In a row, and outside of the modules: what is a parameter of a child would be trained and averaged. Its name
        # says which one it is, so that a checkpoint with another brings that to no training.
        self.kept = f"language_{self.about['id']}"
        self.register_buffer(self.kept, torch.zeros(size) if weights is None else weights)
        self.register_buffer("lm_weights", torch.tensor([0.5, 0.0]))
        self.fitted = frozenset({self.kept, "lm_weights"})
        self.lm = (LanguageModel(net, self.about, lambda symbols: join(symbols, self.spec)),)

    def describe(self, spec: Spec) -> Spec:
        return spec if self.about is None else replace(spec, shape={**spec.shape, LANGUAGE: self.about})

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """The language model goes to the same device."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.lm is not None:
            self.lm[0].net.to(self.lm_weights.device)
        return self

    @property
    def weights(self) -> Weights:
        return Weights(*self.lm_weights.tolist())

    def log_probabilities(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """float32 [B, T, V + 1], the blank last, and how many frames are real, long [B]."""
        x = self.backbone.inputs(batch)
        tokens, mask = self.backbone(self.views(x) if self.training else x, batch.get("mask"))
        logits = self.head(self.dropout(tokens)).float()
        frames = torch.full((logits.shape[0],), logits.shape[1], device=logits.device) if mask is None else mask.sum(1)
        return logits.log_softmax(-1), frames

    def forward(self, batch: Batch) -> Step:
        scores, frames = self.log_probabilities(batch)
        target, count = batch["target"], batch["target_length"]
        losses = self._losses(scores, target, frames, count)
        fits = frames >= needed(target, count)
        sums, outputs, each = {"too_short": (~fits).sum()}, dict[str, Any](), dict[str, Tensor]()
        lists = dict[str, Tensor]()
        if not self.training:
            outputs = self._compared(scores, frames, target, count)
            lists = outputs.pop("lists", {})
            each = {name: value.to(scores.device) for name, value in _counts(outputs).items()}
            sums.update({name: value.sum() for name, value in each.items()})
            outputs["loss"], outputs["symbols"] = losses.detach(), count * fits
            each.update(total=losses, count=count * fits, too_short=torch.zeros_like(count))
        return Step(losses.sum(), (count * fits).sum(), sums, lists, outputs, each)

    def _losses(self, scores: Tensor, target: Tensor, frames: Tensor, count: Tensor) -> Tensor:
        """Of each recording, [B]; torch's refuses to be asked of none, which a process may have of a batch."""
        if not len(scores):
            return scores.sum((1, 2))
        return F.ctc_loss(
            scores.transpose(0, 1), target.clamp(min=0), frames, count, self.blank, reduction="none", zero_infinity=True
        )

    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """How many recordings of each split are too short, by the lengths that they have before any view."""
        return [f"{split}: {note}" for split, examples in splits.items() if (note := self._too_short(examples))]

    def _too_short(self, examples: Examples) -> str | None:
        if not isinstance(examples, MemoryRecordings | OnDemandRecordings) or examples.targets.tokens is None:
            return None
        tokens, frames = examples.targets.tokens, self.backbone.token_counts(examples.lengths)
        if frames is None:
            return None
        wanted = needed(tokens, (tokens != PAD).sum(1))
        short = (frames < wanted).nonzero().flatten().tolist()
        if not short:
            return None
        i = short[0]
        text = join([token for token in tokens[i].tolist() if token != PAD], self.spec)
        return (
            f"{len(short):,} of {len(examples):,} recordings are too short for their transcripts and teach nothing; "
            f"the first takes {int(wanted[i]):,} frames and has {int(frames[i]):,}: {text[:40]!r}"
        )

    def _compared(self, scores: Tensor, frames: Tensor, target: Tensor, count: Tensor) -> dict[str, Any]:
        """What was said and what is heard, B texts each, and how many words and characters lie between, long [B]."""
        pairs = zip(target.tolist(), count.tolist(), strict=True)
        true = [join(row[:length], self.spec) for row, length in pairs]
        if self.lm is not None:
            return ranked(true, self.heard(scores, frames), lambda symbols: join(symbols, self.spec), self.beam)
        heard = self.texts(scores, frames)
        words = edits([text.split() for text in true], [text.split() for text in heard])
        characters = edits([[*text] for text in true], [[*text] for text in heard])
        return {"true": true, "predicted": heard, "word_edits": words, "character_edits": characters}

    def settle(self, sums: dict[str, Tensor]) -> None:
        """How much the language model counts: what has the fewest wrong words among the texts that were found."""
        if self.lm is not None:
            found = chosen(sums)
            self.lm_weights.copy_(torch.tensor([found.alpha, found.beta]))

    def rows(self, batch: Batch, outputs: dict[str, Any]) -> Columns:
        """`true` and `predicted` transcripts, edits of words and of characters between them; `loss` of a symbol, None
        of a recording that is too short for its transcript."""
        pairs = zip(outputs["loss"].tolist(), outputs["symbols"].tolist(), strict=True)
        return {
            "true": outputs["true"],
            "predicted": outputs["predicted"],
            "word_edits": outputs["word_edits"].tolist(),
            "character_edits": outputs["character_edits"].tolist(),
            "loss": [loss / symbols if symbols else None for loss, symbols in pairs],
        }

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """wer, cer: edits to the transcript over its words, characters; exact: share of transcripts without an edit."""
        too_short = {"too_short": float(sums["too_short"])} if bool(sums["too_short"]) else {}
        if "words" not in sums:
            return too_short
        without: dict[str, float] = {}
        if "sound" in sums:
            sums, without = with_language(sums, self.weights)
        return {
            "wer": float(sums["word_edits"] / sums["words"]),
            "cer": float(sums["character_edits"] / sums["characters"]),
            "exact": float(sums["whole"] / sums["recordings"]),
            **without,
            **too_short,
        }

    def warnings(self, metrics: dict[str, float]) -> list[str]:
        if metrics.get("lm_alpha") != 0:
            return []
        return ["objective.lm: val is best without it (lm_alpha 0); was it trained on texts written as these are?"]

    def texts(self, scores: Tensor, frames: Tensor) -> list[str]:
        """What is heard: scores [B, T, V + 1], of which `frames` (long [B]) are real -> B texts."""
        return [join(tokens, self.spec) for tokens in self.symbols(scores, frames)]

    def symbols(self, scores: Tensor, frames: Tensor) -> list[list[int]]:
        """As `texts`, the symbols that they are made of."""
        if self.lm is not None:
            decoded = [[*row[0].symbols] for row in self.heard(scores, frames)]
        elif self.beam == 1:
            decoded = greedy(scores, frames, self.blank)
        else:
            rows = zip(scores.cpu(), frames.tolist(), strict=True)
            decoded = [beam_search(row[:length], self.blank, self.beam)[0] for row, length in rows]
        return decoded

    def heard(self, scores: Tensor, frames: Tensor) -> list[list[Heard]]:
        """What may have been said in each recording, the likeliest first, by sound and language model."""
        assert self.lm is not None
        model = self.lm[0]
        nn.utils.vector_to_parameters(self.get_buffer(self.kept), model.net.parameters())
        return search(scores, frames, self.blank, self.beam, model, self.weights)

    def _whole(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As `log_probabilities`, also of recordings that are longer than those of the training."""
        longest, waves = max_samples(self.spec), batch["input"]
        if longest is None or waves.shape[1] <= longest:
            return self.log_probabilities(batch)
        lengths = batch.get("length", torch.full((len(waves),), waves.shape[1], device=waves.device))
        return heard_whole(self.log_probabilities, self.backbone, {"input": waves, "length": lengths}, longest)

    def predict(self, batch: Batch, *, times: bool = False, **options: Any) -> list[dict[str, str | float]]:
        """`text`, what is heard; with times `words` as well, JSON of when each is said (`ctc_words.words_of`)."""
        scores, frames = self._whole(batch)
        decoded = self.symbols(scores, frames)
        rows: list[dict[str, str | float]] = [{"text": join(tokens, self.spec)} for tokens in decoded]
        if not times:
            return rows
        samples = batch.get("length", torch.full_like(frames, batch["input"].shape[1]))
        seconds = samples.double() / self.spec.shape["rate"] / frames
        parts = zip(rows, decoded, scores, frames.tolist(), seconds.tolist(), strict=True)
        for row, tokens, heard, count, step in parts:
            row["words"] = json.dumps(words_of(heard[:count], tokens, self.spec, step), ensure_ascii=False)
        return rows


def _counts(compared: dict[str, Any]) -> dict[str, Tensor]:
    """Of each recording edits of words and of characters, and how many there are of both, [B] each."""
    true, characters = compared["true"], compared["character_edits"]
    return {
        "word_edits": compared["word_edits"],
        "words": torch.tensor([len(text.split()) for text in true]),
        "character_edits": characters,
        "characters": torch.tensor([*map(len, true)]),
        "whole": characters == 0,
        "recordings": torch.ones_like(characters),
    }


def _totals(compared: dict[str, Any]) -> dict[str, Tensor]:
    """Of all recordings."""
    return {name: value.sum() for name, value in _counts(compared).items()}


def needed(target: Tensor, count: Tensor) -> Tensor:
    """Frames that transcripts [B, U] of `count` (long [B]) symbols take: one each, and a blank between equal ones."""
    places = torch.arange(1, target.shape[1], device=target.device)
    repeated = (target[:, 1:] == target[:, :-1]) & (places < count.unsqueeze(1))
    return count + repeated.sum(1)
