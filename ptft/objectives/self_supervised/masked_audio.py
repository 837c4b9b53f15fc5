"""Masked audio objectives: spans of a recording are hidden, and identified (wav2vec 2.0) or reconstructed (MAE).

Axes: B batch, F frames, M mel bands, T tokens (S frames each), D the backbone's width, P width of projections.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import LEAST_LOSS, Backbone, Spec, Step, TokenBackbone
from ptft.errors import ConfigError
from ptft.objectives.self_supervised.base import Unlabelled
from ptft.runtime.together.draws import rand, randint
from ptft.runtime.together.splitmix import noise, normal


class MaskedAudio(Unlabelled):
    """Hides pieces of every recording and asks for them; the loss counts hidden tokens (its `count`).

    mask_share: about what share of the tokens is hidden; span: in pieces of so many. At least one piece is hidden.
    options: those of `Unlabelled`.
    Raises ConfigError for a backbone that can't encode tokens with pieces replaced, and options that can't work.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"audio"})
    backbone: TokenBackbone

    def __init__(
        self, backbone: Backbone, spec: Spec, *, mask_share: float = 0.5, span: int = 5, **options: Any
    ) -> None:
        super().__init__(backbone, spec, **options)
        self.monitor = dict(LEAST_LOSS)  # kNN tells little of how it finetunes (He et al. 2021, section 4.3)
        if not isinstance(backbone, TokenBackbone):
            raise ConfigError(
                f"objective={self.name}: {type(backbone).__name__} can't encode a recording with "
                "pieces replaced; choose model=audio_transformer or model=conformer_small"
            )
        if not 0 < mask_share < 1 or isinstance(span, bool) or not isinstance(span, int) or span < 1:
            raise ConfigError(
                f"objective.mask_share={mask_share}, objective.span={span}: a share between 0 and 1, and a whole "
                "number of tokens"
            )
        # A token is shown if none of the `span` places that a piece over it could begin at begins one.
        self.begins, self.span = 1 - (1 - mask_share) ** (1 / span), span
        self.hidden_token = nn.Parameter(torch.empty(backbone.width).uniform_())

    def learn(self, x: Tensor) -> Step:
        x = self.views(x) if self.training else x
        real = self.backbone.token_mask(x)
        assert real is not None  # recordings are of uneven length
        return self.ask(x, real, self.hidden(real))

    @abstractmethod
    def ask(self, x: Tensor, real: Tensor, hidden: Tensor) -> Step:
        """Prepared [B, F, M], which tokens are real and which of them are hidden, bool [B, T]."""

    def hidden(self, real: Tensor) -> Tensor:
        """Which tokens are hidden: bool [B, T], none that is not real, at least one in every recording."""
        keys = randint(2**62, len(real), device=real.device)
        begins = noise(keys, real.shape[1]) < 2 * self.begins - 1
        first = rand(len(real), 1, device=real.device) * real.sum(1, keepdim=True)
        begins.scatter_(1, first.long(), True)
        pieces = F.max_pool1d(F.pad(begins.float(), (self.span - 1, 0)).unsqueeze(1), self.span, stride=1).bool()
        return pieces.squeeze(1) & real

    def encoded(self, tokens: Tensor, real: Tensor, hidden: Tensor) -> Tensor:
        """The hidden ones of [B, T, D] replaced by a learned token, all encoded: [B, T, D]."""
        replaced = torch.where(hidden.unsqueeze(2), self.hidden_token.to(tokens.dtype), tokens)
        return self.backbone.encode(replaced, real).tokens


class Wav2Vec2(MaskedAudio):
    """Which of the recording's hidden tokens stood here? (Baevski et al. 2020.)

    What the encoder makes of a hidden place is compared, by cosine, with projections of all hidden tokens of the same
    recording as they were before they were hidden, and must find its own. Targets are not quantised (their ablation of
    table 4 in the paper), and all hidden tokens are candidates instead of a random choice.

    temperature: divides the cosines. out: P. The rest as in `MaskedAudio`.
    """

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        temperature: float = 0.1,
        out: int = 128,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        if not temperature > 0 or out < 1:
            raise ConfigError(f"objective.temperature={temperature}, objective.out={out}: must be above 0")
        self.temperature = temperature
        self.context = nn.Linear(backbone.width, out)
        self.target = nn.Sequential(nn.LayerNorm(backbone.width), nn.Linear(backbone.width, out))

    def ask(self, x: Tensor, real: Tensor, hidden: Tensor) -> Step:
        tokens = self.backbone.embed(x)
        predicted = F.normalize(self.context(self.encoded(tokens, real, hidden)).float(), dim=2)
        candidates = F.normalize(self.target(tokens).float(), dim=2)
        with torch.autocast(x.device.type, enabled=False):
            logits = (predicted @ candidates.transpose(1, 2) / self.temperature).masked_fill(
                ~hidden.unsqueeze(1), -torch.inf
            )
        scores = logits.log_softmax(2)
        # A shown place asks nothing: its own score, which may be of no candidate, is left out before it is summed.
        own = scores.diagonal(dim1=1, dim2=2).masked_fill(~hidden, 0)
        correct = (logits.argmax(2) == torch.arange(logits.shape[1], device=x.device)) & hidden
        return Step(-own.sum(), hidden.sum(), {"found": correct.sum()})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """accuracy: share of hidden places that find their own token; in evaluation the probe's."""
        return {"accuracy": float(sums["found"] / sums["count"]), **super().metrics(sums)}


class Coded(MaskedAudio):
    """Which of K codes has a hidden token? What the codes are is for a subclass to say."""

    def asked(self, logits: Tensor, codes: Tensor, hidden: Tensor) -> Step:
        """Float32 scores [B, T, K], the right codes long [B, T], and which tokens are asked for, bool [B, T]."""
        loss = F.cross_entropy(logits.transpose(1, 2), codes, reduction="none") * hidden
        found = (logits.argmax(2) == codes) & hidden
        asked = torch.zeros(logits.shape[2], device=logits.device).scatter_add(
            0, codes.flatten(), hidden.flatten().float()
        )
        return Step(loss.sum(), hidden.sum(), {"found": found.sum(), "asked": asked})

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """accuracy: share of hidden tokens whose code is found. code_perplexity: among how many equally frequent codes
        would be as hard to choose, those of the hidden tokens; near 1 there is nothing to learn."""
        shares = sums["asked"].double() / sums["asked"].sum().clamp(min=1)
        perplexity = float(torch.special.entr(shares).sum().exp())
        accuracy = float(sums["found"] / sums["count"])
        return {"accuracy": accuracy, "code_perplexity": perplexity, **super().metrics(sums)}


class BestRQ(Coded):
    """Which code do the hidden pieces have? (Chiu et al. 2022.)

    Codes are made by a projection and a codebook that are drawn at random and never learn: a token's frames are
    projected, and its code is the entry whose direction is nearest. Hidden frames are noise for the encoder.

    codes: entries of the codebook. code_width: of its entries. noise: standard deviation of what hidden frames become,
        of normalised values. The rest as in `MaskedAudio`.
    """

    projection: Tensor
    codebook: Tensor

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        codes: int = 512,
        code_width: int = 16,
        noise: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, **options)
        if codes < 2 or code_width < 1 or noise < 0:
            raise ConfigError(
                f"objective.codes={codes}, objective.code_width={code_width}, objective.noise={noise}: at least 2 "
                "codes, a width above 0 and a deviation of at least 0"
            )
        self.noise = noise
        projection = torch.empty(math.prod(self.backbone.cell), code_width)
        self.register_buffer("projection", nn.init.xavier_uniform_(projection))
        self.register_buffer("codebook", F.normalize(torch.randn(codes, code_width), dim=1))
        self.answer = nn.Linear(backbone.width, codes)

    def ask(self, x: Tensor, real: Tensor, hidden: Tensor) -> Step:
        frames = hidden.repeat_interleave(self.backbone.cell[0], 1)[:, : x.shape[1], None] & ~x.isnan()
        random = normal(randint(2**62, len(x), device=x.device), x.shape[1] * x.shape[2]).view_as(x)
        shown = torch.where(frames, self.noise * random, x)
        logits = self.answer(self.encoded(self.backbone.embed(shown), real, hidden)).float()
        return self.asked(logits, self.codes(x, hidden.shape[1]), hidden)

    @torch.no_grad()
    def codes(self, x: Tensor, tokens: int) -> Tensor:
        """Prepared [B, F, M] -> the code of each of so many tokens, long [B, T]."""
        padded = F.pad(x.float(), (0, 0, 0, tokens * self.backbone.cell[0] - x.shape[1]), value=torch.nan)
        values = padded.nan_to_num(0).reshape(len(x), tokens, -1)
        with torch.autocast(x.device.type, enabled=False):
            return (values @ self.projection @ self.codebook.T).argmax(2)


class SpectrogramMAE(MaskedAudio):
    """The spectrogram of the hidden pieces, from what is around them: the mean squared error of its values.

    A masked autoencoder (He et al. 2021; for audio Huang et al. 2022, "Masked Autoencoders that Listen") with masks of
    time only, and the simple form of Xie et al. 2021 (SimMIM): the encoder sees the hidden tokens' places, and a Linear
    is the decoder. The frames are hidden before the first convolution, which would see past the edges.
    """

    def __init__(self, backbone: Backbone, spec: Spec, **options: Any) -> None:
        super().__init__(backbone, spec, **options)
        self.values = nn.Linear(backbone.width, math.prod(self.backbone.cell))

    def ask(self, x: Tensor, real: Tensor, hidden: Tensor) -> Step:
        size = self.backbone.cell[0]
        padded = F.pad(x, (0, 0, 0, hidden.shape[1] * size - x.shape[1]), value=torch.nan)
        shown = torch.where(hidden.repeat_interleave(size, 1)[:, : x.shape[1], None] & ~x.isnan(), 0, x)
        predicted = self.values(self.encoded(self.backbone.embed(shown), real, hidden)).float()
        target = padded.reshape(*hidden.shape, predicted.shape[2])
        real_values = ~target.isnan() & hidden.unsqueeze(2)
        error = (predicted - target.nan_to_num(0)).square() * real_values
        total = (error.sum(2) / real_values.sum(2).clamp(min=1)).sum()
        return Step(total, hidden.sum(), {})
