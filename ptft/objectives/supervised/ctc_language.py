"""CTC decoding with a language model: prefixes are ranked by what is heard and by what is usually written.

Axes: B batch, T frames, V symbols; the blank is the last of V + 1 scores. A language model's ids are bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ptft.core import Backbone, Objective, Spec, TokenBackbone
from ptft.data.ragged import padded
from ptft.data.text.reader import text_spec, tokenizer_of
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError
from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.language.lm_head import embedding_of
from ptft.objectives.supervised.ctc_decoding import NEVER, Beams, grow, plus

LEAST = -7.0
"""Log-probability that a symbol has at a frame to begin a new prefix there."""
AT_ONCE = 128
"""Texts that the language model reads at a time."""
Network = Callable[[dict[str, Any], Spec], Backbone]
"""(a node of a model, a Spec) -> its backbone, if it may be built."""
Prefix = tuple[int, ...]


class Heard(NamedTuple):
    """A text that may have been said: its symbols, their logarithms by what is heard and by the language model."""

    symbols: Prefix
    sound: float
    language: float


@dataclass(frozen=True)
class Weights:
    """What a text's rank is made of: sound + alpha * language + beta * symbols (Hannun et al. 2014, equation 2)."""

    alpha: float
    beta: float

    def rank(self, sound: float, language: float, symbols: int) -> float:
        return sound + self.alpha * language + self.beta * symbols


class LanguageModel:
    """What a language model of bytes thinks of texts, a batch of them at a time; what it thought is kept.

    text_of: the text of symbols, of which that of a longer prefix is a continuation.
    """

    def __init__(self, net: TokenBackbone, about: dict[str, Any], text_of: Callable[[Prefix], str]) -> None:
        self.net, self.begin, self.end, self.window = net, int(about["begin"]), int(about["end"]), int(about["length"])
        self.text_of = text_of
        self.forget()

    def forget(self) -> None:
        """Begin anew, for other recordings."""
        self.texts: dict[Prefix, bytes] = {(): b""}
        self.totals: dict[Prefix, float] = {(): 0.0}
        self.next: dict[Prefix, list[float]] = {}

    def expect(self, prefixes: Iterable[Prefix]) -> None:
        """Find what follows these prefixes, log-probabilities of bytes, for those that are new."""
        self._read([prefix for prefix in dict.fromkeys(prefixes) if prefix not in self.next])

    def judge(self, prefixes: Iterable[Prefix]) -> None:
        """Find the totals of these prefixes, whose beginnings have theirs."""
        unread = []
        for prefix in dict.fromkeys(prefixes):
            if prefix in self.totals:
                continue
            before, after = self._text(prefix[:-1]), self._text(prefix)
            if len(after) == len(before) + 1 and prefix[:-1] in self.next:
                self.totals[prefix] = self.totals[prefix[:-1]] + self.next[prefix[:-1]][after[-1]]
            else:
                unread.append(prefix)
        self._read(unread)

    def whole(self, prefix: Prefix) -> float:
        """The logarithm of the text's probability, with its end. `expect` has read it."""
        return self.totals[prefix] + self.next[prefix][self.end]

    def _text(self, prefix: Prefix) -> bytes:
        if prefix not in self.texts:
            self.texts[prefix] = self.text_of(prefix).encode("utf-8", "replace")
        return self.texts[prefix]

    def _read(self, prefixes: Sequence[Prefix]) -> None:
        for start in range(0, len(prefixes), AT_ONCE):
            self._read_some(prefixes[start : start + AT_ONCE])

    @torch.no_grad()
    def _read_some(self, prefixes: Sequence[Prefix]) -> None:
        table = embedding_of(self.net).weight
        device = table.device
        rows = [torch.tensor([self.begin, *self._text(prefix)][-self.window :]) for prefix in prefixes]
        ids, mask = (part.to(device) for part in padded(rows))
        with torch.autocast(device.type, enabled=False):
            hidden = self.net(ids, mask).tokens
            scores = (hidden @ table.T).float().log_softmax(-1).cpu()
        for row, (prefix, read) in enumerate(zip(prefixes, rows, strict=True)):
            self.next[prefix] = scores[row, len(read) - 1].tolist()
            if prefix not in self.totals:
                more = min(len(self._text(prefix)) - len(self._text(prefix[:-1])), len(read) - 1)
                at = torch.arange(len(read) - 1 - more, len(read) - 1)
                self.totals[prefix] = self.totals[prefix[:-1]] + float(scores[row, at, read[at + 1]].sum())


def search(
    scores: Tensor, frames: Tensor, blank: int, width: int, model: LanguageModel, weights: Weights
) -> list[list[Heard]]:
    """For each recording the `width` best texts, best first: a beam search over prefixes with shallow fusion.

    scores: log-probabilities [B, T, V + 1], of which `frames` (long [B]) are real. All recordings go on together from
    frame to frame, so that the language model reads what is new in all of them at once. Symbols below LEAST begin
    nothing.
    """
    model.forget()
    rows, lengths = scores.cpu(), frames.tolist()
    likely = rows[..., :blank].topk(min(width + 1, blank))
    values, symbols, all_scores = likely.values.tolist(), likely.indices.tolist(), rows.tolist()
    beams: list[Beams] = [{(): (0.0, NEVER)} for _ in lengths]

    def rank(item: tuple[Prefix, tuple[float, float]]) -> float:
        prefix, ways = item
        return weights.rank(plus(*ways), model.totals[prefix], len(prefix))

    for place in range(max(lengths, default=0)):
        here = [number for number, length in enumerate(lengths) if place < length]
        begins = {
            number: {s for s, value in zip(symbols[number][place], values[number][place], strict=True) if value > LEAST}
            for number in here
        }
        model.expect(prefix for number in here if begins[number] for prefix in beams[number])
        grown = {number: grow(beams[number], all_scores[number][place], blank, begins[number]) for number in here}
        grown = {
            number: {
                prefix: ways
                for prefix, ways in found.items()
                if plus(*ways) > NEVER and (prefix in beams[number] or prefix[-1] in begins[number])
            }
            for number, found in grown.items()
        }
        model.judge(prefix for number in here for prefix in grown[number])
        for number in here:
            beams[number] = dict(sorted(grown[number].items(), key=rank, reverse=True)[:width])
    model.expect(prefix for kept in beams for prefix in kept)
    return [
        sorted(
            (Heard(prefix, plus(*ways), model.whole(prefix)) for prefix, ways in kept.items()),
            key=lambda text: weights.rank(text.sound, text.language, len(text.symbols)),
            reverse=True,
        )
        for kept in beams
    ]


def opened(path: str, built: Objective, spec: Spec) -> tuple[dict[str, Any], Tensor]:
    """What builds the language model of a checkpoint again, as plain values, and its weights in a row, float32 [n].

    Raises ConfigError naming `objective.lm` for what can't judge texts byte by byte.
    """
    if not isinstance(built, CausalLM):
        raise ConfigError(f"objective.lm={path}: holds no causal language model; objective=causal_lm trains one")
    net, tokenizer = built.backbone, tokenizer_of(spec)
    if tokenizer.kind != "bytes":
        raise ConfigError(
            f"objective.lm={path}: its alphabet is {tokenizer.kind} of {tokenizer.size:,} pieces, which is not the one "
            "of the transcripts; pretrain it with dataset.tokenizer=bytes, which spells any of them"
        )
    size = getattr(net, "size", None)
    if size is None:
        raise ConfigError(f"objective.lm={path}: is a {type(net).__name__}; model=gpt_tiny and gpt_small work")
    begin = tokenizer.cls if spec.shape.get("separate") else tokenizer.sep
    node = {"_target_": f"{type(net).__module__}.{type(net).__qualname__}", "causal": True, **size}
    weights = nn.utils.parameters_to_vector(net.parameters()).detach().float().clone()
    digest = hashlib.sha256(weights.cpu().numpy().tobytes()).hexdigest()[:12]
    about = {"model": node, "begin": begin, "end": tokenizer.sep, "length": int(spec.shape["length"]), "id": digest}
    return about, weights


def made(about: dict[str, Any], network: Network) -> TokenBackbone:
    """The network that `opened` described, whose weights are yet to come."""
    net = network(about["model"], text_spec(Tokenizer(), int(about["length"]), "none"))
    assert isinstance(net, TokenBackbone)
    return net.requires_grad_(False).eval()
