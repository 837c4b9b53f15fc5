"""HuBERT: which unit of speech is hidden here? (Hsu et al. 2021, "Self-Supervised Speech Representation Learning by
Masked Prediction of Hidden Units".)

Axes: B batch, F frames, M mel bands, T tokens, K units, D width of features, P of projections, N tokens of a sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptft.core import Backbone, Examples, Spec, Step
from ptft.errors import ConfigError
from ptft.objectives.self_supervised.masked_audio import Coded
from ptft.objectives.self_supervised.units.clusters import Clusters
from ptft.objectives.self_supervised.units.features import (
    Cepstra,
    Described,
    Layer,
    Network,
    Rebuild,
    described,
)

AT_ONCE = 64
"""Recordings that are read at a time for the sample."""


class HuBERT(Coded):
    """Units are clusters of what is heard in every token, found once, before the training: of cepstra at first, or of
    a layer of an earlier model, whose units are better (section IV.C). The loss counts hidden tokens alone.

    Scores are cosines of a projection of the encoder's token and of each unit's embedding (equation 3). Whatever
    decides the units (centres, the earlier model up to the layer) is saved with the rest.

    units: a checkpoint of a `Layered` model, None for cepstra. layer: of its blocks, from 1; None for the middle one.
    units_model: what builds its network again; set when it is opened. clusters: K. sample: N at most.
    temperature: divides the cosines. out: P.
    reference: training examples that the sample is drawn from. rebuild: makes the objective of another checkpoint;
        None where a trained one is made again. network: makes a backbone of a model's node.
    options: those of `MaskedAudio`.
    Raises ConfigError or CheckpointError naming the key of what does not fit.
    """

    def __init__(
        self,
        backbone: Backbone,
        spec: Spec,
        *,
        units: str | None = None,
        layer: int | None = None,
        units_model: Described | None = None,
        clusters: int = 100,
        sample: int = 50_000,
        temperature: float = 0.1,
        out: int = 256,
        reference: Examples | None = None,
        rebuild: Rebuild | None = None,
        network: Network | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, spec, reference=reference, **options)
        if clusters < 2 or not temperature > 0 or out < 1 or sample < clusters:
            raise ConfigError(
                f"objective.clusters={clusters}, objective.sample={sample}, objective.temperature={temperature}, "
                f"objective.out={out}: at least 2 clusters, a sample of no fewer tokens, and the others above 0"
            )
        if layer is not None and units is None:
            raise ConfigError(
                f"objective.layer={layer}: is of the checkpoint that objective.units names, which is null"
            )
        self.units, self.sample, self.temperature = units, sample, temperature
        self.reference, self.rebuild = reference, rebuild
        self.heard = self._heard(units, layer, units_model, spec, network)
        self.clusters = Clusters(clusters, self.heard.width)
        self.project = nn.Linear(backbone.width, out)
        self.embeddings = nn.Parameter(torch.randn(clusters, out))

    def _heard(
        self, units: str | None, layer: int | None, about: Described | None, spec: Spec, network: Network | None
    ) -> Cepstra | Layer:
        """What the units are clusters of; `about` counts where it is of what is asked for, else it is found."""
        size, bands = self.backbone.cell
        if units is None:
            self.opened = False
            return Cepstra(size, bands)
        self.opened = about is None or (about["of"], about["layer"]) != (units, layer)
        if about is None or self.opened:
            assert self.rebuild is not None  # a trained one knows
            built, theirs = self.rebuild(units, "objective.units")
            about = described(units, layer, built.backbone, theirs, self.backbone, spec)
        self.settled = {"units_model": about}
        assert network is not None
        found = Layer(network(dict(about["model"]), spec), size)
        self.frozen.append(found)
        return found

    def examine(self, splits: Mapping[str, Examples]) -> list[str]:
        """What the units are clusters of."""
        source = f"{self.heard.width // 3} cepstra and their slopes"
        if isinstance(self.heard, Layer):
            source = f"{self.heard.width} values behind block {self.heard.depth} of {self.units}"
        return [f"{len(self.clusters.centres)} units, clusters of {source}; kept in the checkpoints"]

    @torch.no_grad()
    def begin(self) -> None:
        """Find the units, unless the weights that the run starts from bring theirs."""
        if self.clusters.known and not self.opened:
            return
        if isinstance(self.heard, Layer):
            assert self.units is not None
            assert self.rebuild is not None
            self.heard.take(self.rebuild(self.units, "objective.units")[0].backbone)
        seed = int(torch.randint(2**31, ()))
        self.clusters.fit(self._sample(), seed)

    def _sample(self) -> Tensor:
        """Features of the tokens of so many training recordings, drawn at random, as the sample takes: float [N, D]."""
        assert self.reference is not None
        device, parts, count = self.hidden_token.device, list[Tensor](), 0
        for chosen in torch.split(torch.randperm(len(self.reference)), AT_ONCE):
            batch = self.reference.take(chosen.sort().values.to(self.reference.device))
            x = self.backbone.inputs({name: value.to(device) for name, value in batch.items()})
            real = self.backbone.token_mask(x)
            assert real is not None
            parts.append(self.heard(x, real.shape[1])[real].float())
            count += len(parts[-1])
            if count >= self.sample:
                break
        return torch.cat(parts)[: self.sample]

    def ask(self, x: Tensor, real: Tensor, hidden: Tensor) -> Step:
        encoded = self.encoded(self.backbone.embed(x), real, hidden)
        projected = F.normalize(self.project(encoded).float(), dim=2)
        with torch.autocast(x.device.type, enabled=False):
            logits = projected @ F.normalize(self.embeddings.float(), dim=1).T / self.temperature
        return self.asked(logits, self.codes(x, hidden.shape[1]), hidden)

    @torch.no_grad()
    def codes(self, x: Tensor, tokens: int) -> Tensor:
        """Prepared [B, F, M] -> the unit of each of so many tokens, long [B, T]."""
        found: Tensor = self.clusters(self.heard(x, tokens))
        return found
