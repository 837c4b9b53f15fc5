"""Boxes: images a second of `fit` beside a loop over torchvision's own FCOS on the same backbone, in one process."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import resnet18
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from ptft.data.image.boxes.shapes import Shapes
from ptft.data.loader import Loader
from ptft.models.hub.torchvision import TorchvisionBackbone
from ptft.objectives.detection.detect import Detect
from ptft.runtime import process
from ptft.runtime.precision import autocast
from ptft.train.state import Training
from tests.benchmarks.common import Options, fitted, in_turn, rates, training

CPU, SIZE, BATCH, STEPS = torch.device("cpu"), 256, 8, 3
WIDTH, DEPTH = 96, 2


def reference(classes: int) -> FCOS:
    """torchvision's detector with heads as wide and deep as ours."""
    maps, strides = {"layer2": "0", "layer3": "1", "layer4": "2"}, ((8,), (16,), (32,), (64,), (128,))
    backbone = BackboneWithFPN(
        resnet18(weights=None), maps, [128, 256, 512], WIDTH, extra_blocks=LastLevelP6P7(WIDTH, WIDTH)
    )
    return FCOS(
        backbone,
        classes,
        min_size=SIZE,
        max_size=SIZE,
        head=FCOSHead(WIDTH, 1, classes, DEPTH),
        anchor_generator=AnchorGenerator(strides, ((1.0,),) * len(strides)),
        _skip_resize=True,
    ).train()


def listed(box: Tensor, label: Tensor) -> list[dict[str, Tensor]]:
    """As torchvision wants them: one dict an image, without what only fills up the rows."""
    return [{"boxes": b[own >= 0], "labels": own[own >= 0]} for b, own in zip(box, label, strict=True)]


def plain(loader: Loader, model: FCOS) -> float:
    """What people write: images in a list, the losses' sum, backward, clip, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    batches = loader.epoch()
    began = time.perf_counter()
    for _ in range(STEPS):
        batch = next(batches)
        losses: OrderedDict[str, Tensor] = model(
            [image.float() / 255 for image in batch["input"]], listed(batch["box"], batch["box_label"])
        )
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return STEPS * BATCH / (time.perf_counter() - began)


def prepared(source: Shapes) -> Training:
    backbone = TorchvisionBackbone(source.spec, "resnet18", stem="original")
    task = Detect(backbone, source.spec, width=WIDTH, depth=DEPTH)
    return training(task, source.split("train"), BATCH)  # type: ignore[arg-type]


def ours(t: Training, precision: str, folder: Path) -> float:
    """Images a second of `fit`, with views, and with everything that it counts, logs and watches."""
    t.autocast = autocast(precision, CPU)
    return STEPS * BATCH / fitted(t, folder, STEPS)


def run(options: Options) -> str:
    """A ResNet-18 on drawn figures of 256 pixels, batches of 8, in float32 and as a CPU with bf16 does it."""
    process.keep_freed_memory()
    source = Shapes(images=STEPS * BATCH, held_out=BATCH, size=SIZE)
    t, model = prepared(source), reference(len(source.spec.classes))
    sides = {
        "torchvision's FCOS": lambda: plain(Loader(source.split("train"), BATCH, shuffle=True), model),  # type: ignore[arg-type]
        "ptft fp32": lambda: ours(t, "fp32", options.work / "boxes"),
        "ptft bf16": lambda: ours(t, "bf16", options.work / "boxes"),
    }
    for measure in sides.values():
        measure()
    return rates(in_turn(options.rounds, **sides), "torchvision's FCOS", "images/s")
