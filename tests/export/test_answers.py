"""What comes out of an exported program for tasks other than classes: words' tags, numbers, next tokens, symbols."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import ptft as package
from ptft.data.audio import manifest
from ptft.data.text import conll
from ptft.export.subject import Subject
from tests.helpers import untrained

TEXTS = ("dataset.length=32", "model.width=8", "model.depth=1", "model.heads=2")


def subject(root: Path, *typed: str) -> Subject:
    return Subject(package.load(untrained.write(root / "best.pt", *typed), device="cpu"), "torch")


def batch(text: str) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[258, *text.encode(), 259]])
    return {"input": ids, "mask": torch.ones(ids.shape, dtype=torch.bool)}


def test_a_number_is_in_its_own_unit(tmp_path):
    rows = [f"a day number {i},{100 + i}" for i in range(8)]
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,number", *rows]))
    data = ("dataset=table", f"dataset.root={tmp_path}", "dataset.tokenizer=bytes", "dataset.label=number")
    made = subject(tmp_path, *data, "dataset.target=number", "model=gpt_tiny", "objective=regress", *TEXTS)
    assert made.answers == "values"
    found = made.module(**batch("a day")).detach()
    assert found.tolist() == pytest.approx([made.predictor("a day")["value"]], abs=1e-4)
    assert 90 < float(found) < 120


def test_every_token_has_a_tag(tmp_path):
    conll.sample(tmp_path / "data")
    data = ("dataset=conll", f"dataset.root={tmp_path / 'data'}", "dataset.tokenizer=bytes")
    made = subject(tmp_path, *data, "model=bert_tiny", "objective=tag", *TEXTS)
    found = made.module(**batch("Anna"))
    assert (made.answers, tuple(found.shape)) == ("probabilities", (1, 6, len(made.spec.classes)))
    assert made.predictor(["Anna"])[0]["tags"] == made.spec.classes[int(found[0, 1].argmax())]


def test_a_model_that_writes_says_what_follows(tmp_path):
    data = ("dataset=grammar", "dataset.sentences=30", "dataset.held_out=10")
    made = subject(tmp_path, *data, "model=gpt_tiny", "objective=causal_lm", *TEXTS)
    ids = torch.tensor([[*b"a dog"]])
    found = made.module(input=ids, mask=torch.ones(ids.shape, dtype=torch.bool))
    assert (made.answers, tuple(found.shape)) == ("logits", (1, 5, 261))
    likeliest = made.predictor("a dog", length=1, temperature=0)["continuation"]
    assert likeliest == bytes([int(found[0, -1, :256].argmax())]).decode("utf-8", "replace")


def test_what_is_heard_is_read_off_the_frames(tmp_path):
    manifest.sample(tmp_path / "data")
    net = ("model=audio_cnn", "model.channels=[4,4]", "model.width=8", "objective=ctc")
    made = subject(tmp_path, "dataset=audio_manifest", f"dataset.root={tmp_path / 'data'}", *net)
    rate = int(made.spec.shape["rate"])
    sound = torch.randint(-9000, 9000, (2, rate), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    length = torch.tensor([rate, rate // 2])
    sound[1, rate // 2 :] = 0
    with torch.no_grad():
        found = made.module(input=sound, length=length)
    blank = len(made.spec.classes)
    for row, item in zip(found, (sound[0], sound[1, : rate // 2]), strict=True):
        best = torch.unique_consecutive(row.argmax(1)).tolist()
        assert "".join(made.spec.classes[i] for i in best if i != blank) == made.predictor([item])[0]["text"]
    assert bool((found[1, -1].argmax() == blank) & (found[1, -1].max() == 1))


def test_a_picture_is_looked_at_twice_where_the_model_does(tmp_path, ptft):
    data = ("dataset=digits", "dataset.limit=8", "model=cnn", "model.width=8", "model.channels=[4,4]")
    checkpoint = untrained.write(tmp_path / "best.pt", *data, "objective=classify", "objective.tta=flip")
    model = package.load(checkpoint, device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (5, 1, *model.spec.shape["size"]), np.uint8)
    expected = [[row[f"p_{name}"] for name in model.classes] for row in model(list(images), top=10)]
    once = model.module(torch.from_numpy(images)).detach()
    assert once.numpy() == pytest.approx(np.array(expected), abs=1e-5)
    assert ptft("stage=export", f"ckpt={checkpoint}", "format=onnx", "output=out").code == 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert session.run(["probabilities"], {"input": images})[0] == pytest.approx(np.array(expected), abs=1e-5)
    mirrored = session.run(["probabilities"], {"input": np.ascontiguousarray(images[..., ::-1])})[0]
    assert mirrored == pytest.approx(np.array(expected), abs=1e-5)
