"""Token masks of language modelling.

They are a function of the example, the position and the step: cutting a batch into parts changes no mask, evaluation
disturbs no generator, and a continued run masks what it would have masked.

Axes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptft.core import Batch, Spec
from ptft.data.text.reader import tokenizer_of
from ptft.runtime.together.splitmix import mix, uniform

LONGEST = 2**20
"""More than a text has tokens."""


class TokenMasks(nn.Module):
    """Chooses `share` of the real, ordinary tokens; with `whole_words` all tokens of a word or none.

    step, seed: buffers that a run's masks follow from. Evaluation masks the same tokens whatever the run.
    """

    seed: Tensor
    step: Tensor
    ordinary: Tensor
    is_ordinary: Tensor

    def __init__(self, spec: Spec, share: float, whole_words: bool = False) -> None:
        super().__init__()
        self.tokenizer, self.share, self.whole_words = tokenizer_of(spec), share, whole_words
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("is_ordinary", self.tokenizer.byte_lengths > 0, persistent=False)
        self.register_buffer("ordinary", self.is_ordinary.nonzero().flatten(), persistent=False)

    def advance(self) -> None:
        self.step += 1

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mask bool [B, T] of the chosen tokens, and three more numbers in 0..1 for each token, [3, B, T]."""
        ids, real = batch["input"], batch["mask"]
        key = mix(self.seed ^ mix(self.step)) if self.training else mix(torch.zeros_like(self.step))
        cells = batch["index"].unsqueeze(1) * LONGEST + torch.arange(ids.shape[1], device=ids.device)
        chances = uniform(mix(cells ^ key).flatten(), 4).view(4, *ids.shape)
        choice = chances[0]
        if self.whole_words:
            begins = self.tokenizer.starts_word(ids)
            if "document" in batch:
                begins[:, 1:] |= batch["document"][:, 1:] != batch["document"][:, :-1]
            word = begins.cumsum(1) - 1
            choice = choice.gather(1, word.clamp(min=0))
        return (choice < self.share) & real & self.is_ordinary[ids], chances[1:]

    def random_ids(self, chance: Tensor) -> Tensor:
        """Numbers in 0..1 -> ordinary ids, each as likely."""
        return self.ordinary[(chance * len(self.ordinary)).long().clamp(max=len(self.ordinary) - 1)]
