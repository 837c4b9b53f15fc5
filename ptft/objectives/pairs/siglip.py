"""SigLIP: does this caption belong to this picture? (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training".)

Axes: B batch, W batch of all processes, n examples of an evaluation, D width of projections, T tokens of a caption.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.augment.views import views as random_views
from ptft.core import Backbone, Batch, Examples, Spec, Step, length_mask
from ptft.data.image.captions.examples import Captions, amounts, spec_of_captions, unread
from ptft.data.text.reader import describe
from ptft.distributed.gather import gathered
from ptft.errors import ConfigError
from ptft.objectives.pairs.retrieval import MOST, retrieval
from ptft.train.gradient_cache import InHalves

Network = Callable[[dict[str, Any], Spec], Backbone]
"""(a node of a model, a Spec) -> its backbone, if it may be built."""
PRETRAINED = 0.1
"""Of the rate, what a tower that has read texts learns at, as in a finetune (`finetune.rates`)."""
UNKNOWN = 0.02
"""A share of tokens that is worth a word."""
TOWER = "ptft.models.text.transformer.Transformer"


class SigLIP(InHalves):
    """Each of the B x B pairs of a batch is a question of its own, answered by t * cosine + b; their losses are summed,
    and divided by B (algorithm 1 of the paper). Each caption of a picture belongs to it, where several are in a batch.

    The backbone, which later runs start from, reads pictures; a tower of the objective's own reads captions, and is
    saved with it. Both learn from nothing unless their weights come from checkpoints.

    text_ckpt: whose weights the tower begins with, which a run fills in (`builders/parts/tower.py`); text_model: the
        node of its network as JSON, from which a checkpoint makes it again; text_pooling: how it pools.
    text_train: "all", or "none": the tower is locked, as one of both is in LiT (Zhai et al. 2022). text_rate: the
        factor of its learning rate; None is 1, of one that begins with weights PRETRAINED.
    text_width, text_depth, text_heads: of a tower that begins with nothing, a bidirectional transformer whose real
        tokens are averaged.
    out: D. temperature, bias: t and b at the start. views: random views of the pictures, in training.
    network: makes a backbone of a model's node.
    Raises ConfigError where the pictures have no captions.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input", "caption"})
    apart: ClassVar[str] = "each fold finds among its own pictures and captions, and no run compares those of another's"

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        text_ckpt: str | None = None,
        text_model: str | None = None,
        text_pooling: str | None = None,
        text_train: str = "all",
        text_rate: float | None = None,
        text_width: int = 128,
        text_depth: int = 2,
        text_heads: int = 4,
        out: int = 128,
        temperature: float = 10.0,
        bias: float = -10.0,
        views: Mapping[str, Any] | None = None,
        network: Network | None = None,
    ) -> None:
        super().__init__()
        captions = spec_of_captions(spec)
        if captions is None:
            raise ConfigError("objective=siglip: needs images with captions, as dataset=captions and scenes are")
        if min(text_width, text_depth, text_heads, out) < 1 or text_width % text_heads:
            raise ConfigError(
                f"objective.text_width={text_width}, objective.text_depth={text_depth}, objective.text_heads="
                f"{text_heads}, objective.out={out}: above 0, and heads must divide width"
            )
        if not temperature > 0:
            raise ConfigError(f"objective.temperature={temperature}: must be above 0")
        self.monitor = {"metric": "val/recall", "mode": "max"}
        self.backbone, self.views = backbone, random_views(spec, views)
        assert network is not None
        size = {"_target_": TOWER, "width": text_width, "depth": text_depth, "heads": text_heads}
        self.captions, self.begins_with, self.fresh = captions, text_ckpt, text_model is None
        self.text_train, self.text_rate = text_train, text_rate or (1.0 if text_model is None else PRETRAINED)
        self.text = network(size if text_model is None else json.loads(text_model), captions)
        if text_train == "none":
            self.text.requires_grad_(False)
            self.frozen = [self.text]
        self.lr_scales = {f"text.{name}": self.text_rate for name, _ in self.text.named_parameters()}
        self.see, self.read = nn.Linear(backbone.width, out), nn.Linear(self.text.width, out)
        self.log_temperature = nn.Parameter(torch.tensor([math.log(temperature)]))
        self.bias = nn.Parameter(torch.tensor([float(bias)]))

    def forward(self, batch: Batch) -> Step:
        embedded = self.embed(batch)
        step = self.compare(embedded, batch)
        if self.training:
            return step
        image, text = F.normalize(embedded.float(), dim=2).unbind(1)
        lists = {"image": image, "text": text, "said": batch["said"], "picture": batch["picture"]}
        return Step(step.total, step.count, step.sums, lists)

    def embed(self, batch: Batch) -> Tensor:
        x = self.backbone.inputs(batch)
        image = self.see(self.backbone.pool(self.backbone(self.views(x) if self.training else x)))
        mask = length_mask(batch["caption_length"], batch["caption"].shape[1])
        text = self.read(self.text.pool(self.text(self.text.prepare(batch["caption"]), mask)))
        return torch.stack([image, text], 1)

    def compare(self, embedded: Tensor, batch: Batch) -> Step:
        """Projections [B, 2, D] of pictures and captions; with several processes captions of all are candidates."""
        image, text = F.normalize(embedded.float(), dim=2).unbind(1)
        everyone, pictures = gathered(text)[0], gathered(batch["picture"])[0]
        with torch.autocast(image.device.type, enabled=False):
            logits = image @ everyone.T * self.log_temperature.exp() + self.bias
        belongs = batch["picture"][:, None] == pictures
        total = -F.logsigmoid(torch.where(belongs, logits, -logits)).sum()
        found = belongs.gather(1, logits.argmax(1, keepdim=True)).sum()
        return Step(total, torch.full((), len(image), device=image.device), {"found": found})

    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """Among how many recall is measured, and how much of the captions is read."""
        counts = {name: many for name, each in splits.items() if (many := amounts(each)) is not None}
        several = [f"{name} {n:,} of {pictures:,} pictures" for name, (pictures, n) in counts.items() if n > pictures]
        among = " and ".join(_among(name, *count) for name, count in counts.items() if name != "train")
        own = "one of its captions" if several else "its caption"
        measured = f"recall: a picture finds {own}, and a caption its picture, as the first among {among}"
        read = f"captions: {describe(self.captions)}{self._tower()}"
        more = [f"captions: {', '.join(several)}"] if several else []
        return [read, *more, *self._unread(splits), *([measured] if among else [])]

    def _unread(self, splits: Mapping[str, Examples]) -> list[str]:
        """What of the captions is not read, where that is some."""
        found = {name: unread(each, self.captions) for name, each in splits.items()}
        cut = [f"{name} {count:,}" for name, (count, _) in found.items() if count]
        strange = [f"{name} {share:.0%}" for name, (_, share) in found.items() if share >= UNKNOWN]
        said = [f"captions that are longer than what is read of them: {', '.join(cut)}"] if cut else []
        return said + ([f"unknown to the tokenizer of captions: {', '.join(strange)} of the tokens"] if strange else [])

    def compared(self, batch: Batch, texts: bool) -> Tensor:
        """What pictures, or texts, are compared by: a raw batch of one of both -> [B, D] of length 1."""
        if texts:
            read = self.text(self.text.prepare(batch["input"]), batch.get("mask"))
            return F.normalize(self.read(self.text.pool(read)).float(), dim=1)
        features = self.backbone(self.backbone.inputs(batch), batch.get("mask"))
        return F.normalize(self.see(self.backbone.pool(features)).float(), dim=1)

    @torch.no_grad()
    def named(self, said: Sequence[Sequence[str]], pooled: Tensor) -> tuple[Tensor, Tensor]:
        """A linear classifier of what the backbone pools, weight [K, D'] and bias [K], from what may be said of each
        class, of which the mean counts.

        pooled: of some pictures, [n, D']: each projection is taken to be as long as theirs are in the mean. So classes
        are in the order of their cosines, and all logits of a picture larger or smaller than they would be.
        """
        towards = torch.stack([F.normalize(self._read(texts).mean(0), dim=0) for texts in said])
        towards = towards * self.log_temperature.exp() / self.see(pooled).norm(dim=1).mean()
        return towards @ self.see.weight, towards @ self.see.bias + self.bias

    def _read(self, texts: Sequence[str]) -> Tensor:
        """Float [n, D] of length 1."""
        batch = Captions.of(texts, self.captions, torch.zeros(len(texts))).batch(torch.arange(len(texts)))
        ids, lengths = batch["caption"].to(self.bias.device), batch["caption_length"].to(self.bias.device)
        return self.compared({"input": ids, "mask": length_mask(lengths, ids.shape[1])}, texts=True)

    def _tower(self) -> str:
        """What reads them, where it did not begin with nothing."""
        parameters = sum(parameter.numel() for parameter in self.text.parameters())
        learns = f"learning at {self.text_rate:g} of the rate" if self.text_train == "all" else "which is locked"
        begins = f" of {self.begins_with}" if self.begins_with else ""
        return "" if self.fresh else f"; they are read by a tower{begins} of {parameters:,} parameters, {learns}"

    def metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """In training accuracy, the share of pairs whose picture finds one of its captions as the likeliest of the
        batch. In evaluation `retrieval` among all that are measured."""
        if "image" not in sums:
            return {"accuracy": float(sums["found"] / sums["count"])}
        return retrieval(*(sums[name] for name in ("image", "text", "said", "picture")))


def _among(name: str, pictures: int, captions: int) -> str:
    """Among how many of a split recall is measured: all pictures or the first, with their captions."""
    many = f"{min(pictures, MOST):,}{' pictures' if captions > pictures else ''} of {name}"
    first = "first " if pictures > MOST else ""
    return f"the {first}{many}" + (f" and their {captions:,} captions" if pictures < captions and not first else "")
