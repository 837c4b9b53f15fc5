"""CTC objective, connectionist temporal classification: transcripts without alignment (Graves et al. 2006).

Axes: B batch, T frames (tokens of the backbone), V symbols of the vocabulary, U symbols of a transcript.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.augment.views import views as random_views
from ptft.core import Backbone, Batch, Columns, Examples, Objective, Spec, Step
from ptft.data.audio.examples import PAD, MemoryRecordings, OnDemandRecordings
from ptft.data.audio.transcripts import join
from ptft.errors import ConfigError
from ptft.metrics.edit_distance import edits
from ptft.objectives.supervised.ctc_decoding import beam_search, greedy


class CTC(Objective):
    """The negative log-likelihood of the transcripts, over all ways to spread them over the frames.

    The loss is summed, and counted in symbols of the transcripts (its `count`), so cutting a batch changes nothing; a
    recording too short for its transcript has no such way, adds neither loss nor symbols, and is counted in
    `too_short`; how many there are is said before the training.

    beam: 1 decodes the likeliest symbol of every frame, more keeps so many prefixes (`ctc_decoding.beam_search`).
    dropout: before the head. views: options of the modality's random views, made in training only.
    Raises ConfigError where the dataset has no transcripts.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "target", "target_length"})

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        beam: int = 1,
        dropout: float = 0.0,
        views: Mapping[str, Any] | None = None,
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
        losses = F.ctc_loss(
            scores.transpose(0, 1), target.clamp(min=0), frames, count, self.blank, reduction="none", zero_infinity=True
        )
        fits = frames >= needed(target, count)
        sums, outputs, each = {"too_short": (~fits).sum()}, dict[str, Any](), dict[str, Tensor]()
        if not self.training:
            outputs = self._compared(scores, frames, target, count)
            each = {name: value.to(scores.device) for name, value in _counts(outputs).items()}
            sums.update({name: value.sum() for name, value in each.items()})
            outputs["loss"], outputs["symbols"] = losses.detach(), count * fits
            each.update(total=losses, count=count * fits, too_short=torch.zeros_like(count))
        return Step(losses.sum(), (count * fits).sum(), sums, outputs=outputs, each=each)

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
        true, heard = [join(row[:length], self.spec) for row, length in pairs], self.texts(scores, frames)
        words = edits([text.split() for text in true], [text.split() for text in heard])
        characters = edits([[*text] for text in true], [[*text] for text in heard])
        return {"true": true, "predicted": heard, "word_edits": words, "character_edits": characters}

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
        return {
            "wer": float(sums["word_edits"] / sums["words"]),
            "cer": float(sums["character_edits"] / sums["characters"]),
            "exact": float(sums["whole"] / sums["recordings"]),
            **too_short,
        }

    def texts(self, scores: Tensor, frames: Tensor) -> list[str]:
        """What is heard: scores [B, T, V + 1], of which `frames` (long [B]) are real -> B texts."""
        if self.beam == 1:
            decoded = greedy(scores, frames, self.blank)
        else:
            rows = zip(scores.cpu(), frames.tolist(), strict=True)
            decoded = [beam_search(row[:length], self.blank, self.beam)[0] for row, length in rows]
        return [join(tokens, self.spec) for tokens in decoded]

    def predict(self, batch: Batch, **options: Any) -> list[dict[str, str | float]]:
        """`text`, what is heard."""
        return [{"text": text} for text in self.texts(*self.log_probabilities(batch))]


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
