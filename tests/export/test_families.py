"""Every model of `conf/model`, found by itself: traced as a program, and expressed for transformers or refused by name.

Of several options of a class one is tried: the others differ in their sizes.
"""

from pathlib import Path

import pytest
import torch

import ptft as package
from ptft.errors import ConfigError
from ptft.export import program
from ptft.export.huggingface import folder
from ptft.export.subject import Subject
from tests.helpers import options, untrained

SMALL = {
    "Airbench": ("model.widths=[8,8,8]",),
    "AudioCNN": ("model.channels=[4,4]", "model.width=8"),
    "AudioTransformer": ("model.width=8", "model.depth=1", "model.heads=2", "model.channels=4"),
    "CNN": ("model.channels=[2,4]", "model.width=8"),
    "Conformer": ("model.width=8", "model.depth=1", "model.heads=2", "model.channels=4"),
    "Convnet": ("model.channels=[4,4,4,8]",),
    "Transformer": ("model.width=8", "model.depth=1", "model.heads=2"),
    "VisionTransformer": ("model.width=8", "model.depth=1", "model.heads=2"),
}
"""What makes a model of a class quick to trace."""
QUICK = {"TorchvisionBackbone": "resnet18"}
"""Class -> the option that is tried, where the first one takes long."""
TRACED = {"AudioCNN", "VisionTransformer", "AudioTransformer"}
"""Classes whose programs are tried in `test_modalities.py`, or are parts of another's (the conformer's)."""
EXPRESSED = {"VisionTransformer", "Transformer"}
"""Classes of ptft's own that transformers has an architecture for."""


def one_of_each_class() -> dict[str, str]:
    """Class -> the first option of it that is not large."""
    found: dict[str, str] = {}
    for name in options.of("model"):
        if not options.note(f"model/{name}").get("large"):
            found.setdefault(str(options.node(f"model/{name}")["_target_"]).rpartition(".")[2], name)
    return found | QUICK


FAMILIES = one_of_each_class()


def test_every_option_is_of_a_class_that_is_tried():
    classes = {str(options.node(f"model/{name}")["_target_"]).rpartition(".")[2] for name in options.of("model")}
    assert classes == FAMILIES.keys()
    assert SMALL.keys() <= classes


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_exported_or_refused_by_name(family, tmp_path):
    name = FAMILIES[family]
    typed = options.typed(f"model/{name}") or []
    data = () if options.typed_dataset(f"model/{name}") else ("dataset=digits", "dataset.limit=4")
    written = untrained.write(tmp_path / "best.pt", f"model={name}", *typed, *data, *SMALL.get(family, ()))
    predictor = package.load(written, device="cpu")
    subject = Subject(predictor, "torch")
    if family not in TRACED:
        is_traced(subject)
    aside = tmp_path / "aside"
    aside.mkdir()
    if family in EXPRESSED:
        assert folder.write(aside, Subject(predictor, "huggingface"))["architecture"]
        return
    with pytest.raises(
        ConfigError, match=f"format=huggingface: model={predictor.card['model']}: .*or safetensors work"
    ):
        folder.write(aside, Subject(predictor, "huggingface"))
    assert not list(Path(aside).iterdir())


def is_traced(subject):
    """It is a program for all batches and lengths, which answers as the model does."""
    with program.quiet():
        traced, sizes = program.traced(subject)
        module = traced.module()
        assert program.difference(subject, lambda batch: module(**batch), sizes) <= program.TOLERANCE
    free = {str(size) for node in traced.graph.nodes for size in shape_of(node) if isinstance(size, torch.SymInt)}
    axes = program.axes_of(subject.spec, sizes)
    assert len(free) >= len({axis for named in axes.values() for axis in named.values()})


def shape_of(node) -> tuple:
    """The shape of what a node of a graph takes in."""
    value = node.meta.get("val") if node.op == "placeholder" else None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
