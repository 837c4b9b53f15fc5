"""Classifiers by names: their classes are in the order of cosines by hand, and they are checkpoints like others."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ptft.builders.predictor import Predictor
from ptft.builders.restore import rebuilt
from ptft.config.resolve import resolve
from ptft.core import length_mask
from ptft.data.image.captions.examples import Captions
from ptft.data.image.reader import read
from ptft.errors import ConfigError
from ptft.export.validation import measure
from ptft.loggers.console import Console
from tests.conftest import refused, summary, transfer
from tests.data.image.captions.test_captions import listed  # noqa: F401
from tests.objectives.pairs.test_siglip import RUN

SMALL = ("dataset.images=64", "dataset.held_out=16", "train.steps=3")
NAMES = ["red circle", "a_b", "white"]


@pytest.fixture
def siglip(ptft):
    assert ptft(*RUN, *SMALL, "hydra.run.dir=siglip").code == 0
    return "siglip"


def cosines(ckpt, files, prompts):
    """[n, K] of files and what may be said of each class, by hand."""
    objective, spec = rebuilt(ckpt, "ckpt")
    objective.eval()
    with torch.no_grad():
        image = objective.see(objective.backbone.pool(objective.backbone(objective.backbone.prepare(
            torch.stack([read(file, spec) for file in files])))))  # fmt: skip
        towards = []
        for texts in prompts:
            coded = Captions.of(texts, objective.captions, torch.zeros(len(texts))).batch(torch.arange(len(texts)))
            mask = length_mask(coded["caption_length"], coded["caption"].shape[1])
            said = objective.read(objective.text.pool(objective.text(coded["caption"], mask)))
            towards.append(F.normalize(F.normalize(said, dim=1).mean(0), dim=0))
        return F.normalize(image, dim=1) @ torch.stack(towards).T, objective.log_temperature.exp()


def test_names_are_answered_in_the_order_of_cosines(ptft, siglip, listed):  # noqa: F811
    typed = (f"zero_shot.names=[{','.join(NAMES)}]", 'zero_shot.template=["a {}","one {} there"]')
    done = ptft("stage=zero_shot", "ckpt=siglip", *typed, "device=cpu", "hydra.run.dir=named")
    assert done.code == 0, done.text
    assert 'a_b: "a a b"; 2 templates' in " ".join(done.out.split())
    assert summary(Path("named"))["classes"]["a_b"] == ["a a b", "one a b there"]
    files = sorted(listed.parent.glob("1*.png"))
    done = ptft("stage=predict", "ckpt=named", f"input={listed.parent}/1*.png", "output=found.csv", "device=cpu",
                "precision=fp32")  # fmt: skip
    assert done.code == 0, done.text
    assert "ptft stage=evaluate ckpt=named/checkpoints/best.pt dataset=image_folder dataset.root=FILES" in done.out
    rows = list(csv.DictReader(Path("found.csv").read_text().splitlines()))
    prompts = [[text.replace("{}", name.replace("_", " ")) for text in ("a {}", "one {} there")] for name in NAMES]
    expected, scale = cosines(siglip, files, prompts)
    assert [row["class"] for row in rows] == [NAMES[i] for i in expected.argmax(1).tolist()]
    given = torch.tensor([[float(row[f"p_{name}"]) for name in NAMES] for row in rows]).log()
    ratio = (given - given.mean(1, keepdim=True)) / (expected - expected.mean(1, keepdim=True)) / scale
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-2, atol=1e-2)
    assert ((ratio > 0.5) & (ratio < 2)).all()  # of pictures that are like those that were looked at


def test_pictures_and_texts_are_embedded_in_one_space(ptft, siglip, listed):  # noqa: F811
    texts = ["a red circle", "one white square above a blue cross"]
    Path("said.txt").write_text("\n".join(texts) + "\n")
    pictures = (f"input={listed.parent}/1*.png", "embed.compared=pictures", "output=pictures.npz")
    for typed in (pictures, ("input=said.txt", "embed.compared=texts", "output=texts.npz")):
        done = ptft("stage=embed", "ckpt=siglip", *typed, "device=cpu", "precision=fp32")
        assert done.code == 0, done.text
    seen, said = (torch.from_numpy(np.load(f"{name}.npz")["features"]) for name in ("pictures", "texts"))
    expected, _ = cosines(siglip, sorted(listed.parent.glob("1*.png")), [[text] for text in texts])
    torch.testing.assert_close(seen @ said.T, expected, rtol=1e-4, atol=1e-5)
    refused(ptft("stage=embed", "ckpt=siglip", "text=a", "device=cpu"), 2, "text=a", "embed.compared=texts")


def test_a_datasets_names_make_a_checkpoint_like_others(ptft, siglip):
    data = ("dataset=digits", "dataset.limit=60", "device=cpu")
    done = ptft("stage=zero_shot", "ckpt=siglip", *data, "hydra.run.dir=outputs/named")
    assert done.code == 0, done.text
    assert "ptft stage=evaluate ckpt=outputs/named/checkpoints/best.pt" in done.out
    done = ptft("stage=evaluate", "ckpt=latest", "device=cpu", "evaluate.intervals=null", "hydra.run.dir=measured")
    assert done.code == 0, done.text
    found = summary(Path("measured"))
    assert (found["dataset"], found["objective"]) == ("digits", "classify")
    assert 0 <= found["metrics"]["test"]["accuracy"] <= 1
    kept = ("finetune.head=keep", "train.steps=1", "hydra.run.dir=tuned")
    done = ptft("stage=finetune", "ckpt=outputs/named", *data, *kept)
    assert done.code == 0, done.text
    assert {"head.weight", "head.bias"} <= transfer(Path("tuned"))["loaded"]["tensors"].keys()
    assert "zero_shot" in ptft("lineage", "outputs/named").out


def test_data_without_classes_measure_no_classifier(ptft, siglip):
    words = ("dataset.images=64", "dataset.held_out=16", "device=cpu")
    assert (
        ptft("stage=zero_shot", "ckpt=siglip", "zero_shot.names=[a,b]", "device=cpu", "hydra.run.dir=named").code == 0
    )
    asked = ptft("stage=evaluate", "ckpt=named", "device=cpu", "hydra.run.dir=measured")
    what = "objective=classify needs the label of every example, and dataset=scenes gives none"
    refused(asked, 2, f"{what}; type dataset=image_folder dataset.root=FILES")
    panel = ("train.panel=named", "train.steps=1", "hydra.run.dir=tuned")
    done = ptft("stage=pretrain", "objective=siglip", "dataset=scenes", "ckpt=siglip", *words, *panel)
    refused(done, 2, "train.panel=named: its dataset has no label to fit a probe to; leave it out")
    predictor = Predictor(resolve(["stage=export", "ckpt=named", "format=onnx", "quantize=dynamic"]))
    with pytest.raises(ConfigError, match=r"quantize=.*own dataset, scenes, which has no label; leave it null"):
        measure(predictor.job, predictor, Console())


def test_names_alone_need_pictures_and_any_do(ptft, listed):  # noqa: F811
    data = ("dataset=captions", f"dataset.root={listed}", "dataset.on_error=skip", "dataset.tokenizer=bytes")
    model = [key for key in RUN if not key.startswith("dataset")]
    assert ptft(*model, *data, "train.steps=1", "hydra.run.dir=siglip").code == 0
    listed.rename("moved.csv")
    typed = ("stage=zero_shot", "ckpt=siglip", "zero_shot.names=[black,white]", "device=cpu")
    done = ptft(*typed, "hydra.run.dir=none")
    refused(done, 3, "list.csv does not exist", "any do: dataset=image_folder dataset.root=FILES")
    Path("any").mkdir()
    for i in range(8):
        Image.new("RGB", (8, 8), (i, i, i)).save(f"any/{i}.png")
    done = ptft(*typed, "dataset=image_folder", "dataset.root=any", "hydra.run.dir=named")
    assert done.code == 0, done.text


def test_an_export_of_what_answers_nothing_is_to_be_finetuned(ptft, siglip):
    done = ptft("stage=export", "ckpt=siglip", "format=safetensors", "hydra.run.dir=exported")
    assert done.code == 0, done.text
    assert "ptft stage=finetune ckpt=exported/export-safetensors\n" in done.out


def test_what_can_name_nothing_is_refused(ptft, siglip):
    start = ("stage=zero_shot", "ckpt=siglip", "device=cpu")
    refused(ptft(*start), 2, "zero_shot.names=null: dataset=scenes has no class an example")
    refused(
        ptft(*start, "zero_shot.names=[a,b]", "zero_shot.template=a photo"), 2, "zero_shot.template=a photo: has no {}"
    )
    refused(ptft(*start, "zero_shot.names=[a,a]"), 2, "zero_shot.names=", "a")
    same = 'of a_b and a b the same is said ("a photo of a a b")'
    refused(ptft(*start, 'zero_shot.names=[a_b,"a b"]'), 2, "zero_shot.names", same)
    refused(ptft(*start, "zero_shot.names=[a]"), 2, "zero_shot.names=", "2")
    Image.new("RGB", (8, 8)).save("x.png")
    refused(ptft("stage=predict", "ckpt=siglip", "input=x.png", "device=cpu"), 2, "stage=zero_shot names classes")


def test_a_class_may_be_called_otherwise_than_in_the_template(ptft, siglip):
    done = ptft(
        "stage=zero_shot", "ckpt=siglip", "zero_shot.names={0: blue, 1: red}", "device=cpu", "hydra.run.dir=named"
    )
    assert done.code == 0, done.text
    assert summary(Path("named"))["classes"] == {"0": ["a photo of a blue"], "1": ["a photo of a red"]}
