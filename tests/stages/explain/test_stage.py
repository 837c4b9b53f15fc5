"""`ptft stage=explain`: what is marked is what was planted, and what marks nothing is said to mean nothing."""

import csv
import json
import random
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from ptft.data.image.glyphs import glyphs
from tests.conftest import command, refused, summary
from tests.helpers import processes, untrained

SIDE, GLYPH, RATE = 20, 10, 8000
CPU = ("device=cpu", "precision=fp32", "quiet=true", "train.safetensors=false", "predictions=none")
FEW = ("explain.steps=16", "explain.randomised=19", "device=cpu")


def trained(root, *typed):
    done = processes.run(command("stage=pretrain", "objective=classify", *CPU, *typed), cwd=root)
    assert done.returncode == 0, done.stderr
    return root / "run"


@pytest.fixture(scope="module")
def pasted(tmp_path_factory):
    """Zeros and ones pasted on noise, a classifier of them, and by a picture's name where its glyph begins."""
    root, noise = tmp_path_factory.mktemp("pasted"), np.random.default_rng(0)
    (forms, owners), corners = glyphs("01"), {}
    for split, count in (("train", 400), ("val", 40), ("test", 20)):
        for i in range(count):
            shape = forms[noise.choice((owners == i % 2).nonzero().flatten().numpy())].numpy()
            glyph = Image.fromarray(np.clip((shape + 1) * 127, 0, 255).astype(np.uint8)).crop((8, 8, 56, 56))
            pixels = noise.integers(0, 130, (SIDE, SIDE)).astype(np.uint8)
            y, x = noise.integers(0, SIDE - GLYPH, 2)
            place = pixels[y : y + GLYPH, x : x + GLYPH]
            place[:] = np.maximum(place, np.asarray(glyph.resize((GLYPH, GLYPH))))
            file = root / "data" / split / str(i % 2) / f"{i:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
            corners[file.name] = (y, x)
    net = ("model=convnet", "model.channels=[8,16,32]", "optimizer.lr=1e-2", "train.epochs=15")
    data = ("dataset=image_folder", f"dataset.root={root / 'data'}", "dataset.channels=1")
    return trained(root, *data, *net, "hydra.run.dir=run"), root / "data", corners


def explained(ptft, ckpt, *typed, folder="why"):
    done = ptft("stage=explain", f"ckpt={ckpt}", *FEW, f"hydra.run.dir={folder}", *typed)
    assert done.code == 0, done.text
    return done, json.loads(Path(folder, "explanations.json").read_text())


def test_marks_lie_on_what_was_pasted_and_random_weights_mark_nothing(ptft, pasted, tmp_path):
    run, data, corners = pasted
    done, found = explained(ptft, run, f"input={data / 'test'}")
    assert len(found["inputs"]) == summary(tmp_path / "why")["files"] == 20
    hits = []
    for row in found["inputs"]:
        y, x = corners[row["item"].rpartition("/")[2]]
        cells = np.array(entry(row, "integrated_gradients")["values"]).reshape(row["units"]["grid"])
        at = (np.array(np.unravel_index(cells.argmax(), cells.shape)) + 0.5) * SIDE / len(cells)
        hits.append(bool(np.all(np.abs(at - (y + GLYPH / 2, x + GLYPH / 2)) <= GLYPH / 2 + 1)))
        for files in (row["files"], entry(row, "integrated_gradients")["files"]):
            with Image.open(tmp_path / "why" / files["picture"]) as picture:
                assert picture.size == (240, 240)
    means = found["methods"]["integrated_gradients"]
    assert np.mean(hits) >= 0.9
    assert means["means_something"] >= 16
    assert means["area"] < means["random_area"] - 0.15
    assert abs(means["correlation"]) < 0.3
    assert means["gap"] < 0.05
    assert means["randomised"] <= 0.05  # explanations by random weights, judged in the same way
    assert f"{means['means_something']} of 20" in done.out


def entry(row, method):
    return next(one for one in row["explanations"] if one["method"] == method)


def test_of_a_model_that_was_never_trained_everything_means_nothing(ptft, pasted, tmp_path):
    data = ("dataset=image_folder", f"dataset.root={pasted[1]}", "dataset.channels=1")
    net = ("model=vit_tiny", "model.width=16", "model.depth=2", "model.heads=2", "objective=classify")
    ckpt = untrained.write(tmp_path / "best.pt", *data, *net)
    done, found = explained(ptft, ckpt, f"input={pasted[1] / 'test' / '0'}", "explain.limit=4")
    assert list(found["methods"]) == ["integrated_gradients", "grad_cam", "attention_rollout"]
    assert not sum(means["means_something"] for means in found["methods"].values())
    assert "means nothing here: the answer is the same without what is marked" in done.out
    assert "the first 4 are explained" in done.out


def test_neighbours_are_found_and_their_features_kept(ptft, pasted, tmp_path):
    run, data, _ = pasted
    file = data / "train" / "1" / "007.png"
    typed = (f"input={file}", "explain.neighbours=2", "explain.index=true", "explain.methods=grad_cam")
    _, found = explained(ptft, run, *typed, "explain.randomised=0")
    nearest = found["inputs"][0]["neighbours"]["image_folder"]
    assert nearest[0] | {"similarity": None} == {
        "index": nearest[0]["index"],
        "item": "train/1/007.png",
        "label": "1",
        "similarity": None,
    }
    assert nearest[0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert found["methods"]["grad_cam"]["randomised"] is None
    (kept,) = (run / "checkpoints").glob("best-neighbours-*.npz")
    with np.load(kept) as features:
        assert features["features"].shape == (400, 32)
    done, again = explained(ptft, run, *typed, "explain.randomised=0", folder="again")
    assert "are read from" in done.out
    assert again["inputs"][0]["neighbours"] == found["inputs"][0]["neighbours"]


def test_neighbours_of_the_pretraining_are_found_too(ptft, pasted, tmp_path):
    run, data, _ = pasted
    few = ("dataset.limit=40", "train.steps=1", *CPU)
    start = ("stage=finetune", f"ckpt={run}", "dataset=digits", "dataset.size=20", *few)
    assert ptft(*start, "hydra.run.dir=tuned").code == 0
    typed = (f"input={data / 'test' / '0' / '000.png'}", "explain.neighbours=1", "explain.methods=grad_cam")
    _, found = explained(ptft, "tuned", *typed)
    near = found["inputs"][0]["neighbours"]
    assert set(near) == {"digits", "image_folder (pretraining)"}
    assert near["image_folder (pretraining)"][0]["item"].startswith("train/")


def test_the_decisive_word_is_coloured(ptft, tmp_path):
    draw, decisive = random.Random(0), {"good": "superb", "bad": "awful"}
    for split, count in (("train", 300), ("val", 40), ("test", 12)):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("text", "label"))
            for i in range(count):
                label = ("good", "bad")[i % 2]
                words = [draw.choice(["the", "film", "was", "seen", "by", "many", "old", "friends"]) for _ in range(7)]
                words[draw.randrange(7)] = decisive[label]
                rows.writerow((" ".join(words), label))
    net = ("model=bert_tiny", "model.width=32", "model.depth=1", "model.heads=2", "train.epochs=10")
    data = ("dataset=table", f"dataset.root={tmp_path}", "dataset.text=text", "dataset.label=label")
    run = trained(tmp_path, *data, *net, "optimizer.lr=1e-2", "hydra.run.dir=run")
    _, found = explained(ptft, run, f"input={tmp_path / 'test.csv'}", "explain.randomised=0")
    told = [row for row in found["inputs"] if entry(row, "integrated_gradients")["means_something"]]
    assert len(told) >= 5  # without the word one of both classes is answered all the same
    for row in told:
        marked = entry(row, "integrated_gradients")
        strongest = row["units"]["words"][int(np.argmax(marked["values"]))]
        assert strongest == decisive[row["target"]]
        assert f"{strongest}[+" in marked["text"]
    done, found = explained(
        ptft, run, "text=the film was awful", "explain.target=good", "explain.randomised=0", folder="one"
    )
    assert "explained is good" in done.out
    assert found["inputs"][0]["target"] == "good"
    refused(ptft("stage=explain", f"ckpt={run}", *FEW, "text=superb"), 3, "fewer than two parts")


def test_of_labels_all_that_are_answered_are_told_or_that_none_is(ptft, tmp_path):
    rows = [f"{'good ' * (i % 2)}{'bad ' * (i % 3 == 0)}film number {i},{'good' * (i % 2)}" for i in range(24)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *(f"{row};bad" for row in rows)]) + "\n")
    data = ("dataset=table", f"dataset.root={tmp_path}", "dataset.label_separator=;", "dataset.tokenizer=bytes")
    net = ("model=bert_tiny", "model.width=8", "model.depth=1", "model.heads=2", "train.steps=2")
    done = ptft("stage=pretrain", "objective=multilabel", *CPU, *data, *net, "hydra.run.dir=run", "report=false")
    assert done.code == 0, done.text
    quick = ("text=a good film", "explain.methods=grad_cam", "explain.randomised=0")
    for threshold, folder in ((0.01, "all"), (0.99, "none")):
        done, found = explained(ptft, "run", *quick, f"objective.threshold={threshold}", folder=folder)
        (row,) = found["inputs"]
        assert row["answered"] == (folder == "all")
        sure, page = f"{row['target']} ({row['belief']:.3f})", Path(folder, "report.html").read_text()
        said = f"no label; explained is {sure}, which is not answered"
        if row["answered"]:
            said = f"{row['answer']['labels']} ({row['answer']['probabilities']}); explained is {sure}"
            assert set(row["answer"]["labels"].split(";")) == {"good", "bad"}
        assert f": {said}\n" in done.out
        assert f": {said.partition(';')[0]}</h3>" in page or row["answered"]
        assert f"Explained is {said.partition('explained is ')[2]}." in page


def test_what_is_marked_of_a_recording_can_be_heard(ptft, tmp_path):
    noise = np.random.default_rng(0)
    for split, count in (("train", 160), ("val", 20), ("test", 8)):
        for i in range(count):
            sound = 0.05 * noise.standard_normal(4800)
            at = int(noise.integers(0, 3200))
            sound[at : at + 1600] += 0.3 * np.sin(np.arange(1600) * (0.4, 1.6)[i % 2]) * np.hanning(1600)
            file = tmp_path / "data" / split / ("low", "high")[i % 2] / f"{i}_{at}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, sound, RATE)
    net = ("model=audio_cnn", "model.width=16", "model.channels=[8,16]", "train.batch_size=16")
    data = ("dataset=audio_folder", f"dataset.root={tmp_path / 'data'}")
    run = trained(tmp_path, *data, *net, "optimizer.lr=1e-2", "train.epochs=6", "hydra.run.dir=run")
    _, found = explained(ptft, run, f"input={tmp_path / 'data' / 'test'}", "explain.randomised=0")
    assert found["methods"]["integrated_gradients"]["means_something"] >= 6
    for row in found["inputs"]:
        at = int(row["item"].rpartition("_")[2].removesuffix(".wav"))
        with wave.open(str(tmp_path / "why" / entry(row, "integrated_gradients")["files"]["sound"])) as file:
            heard = np.frombuffer(file.readframes(RATE), "<i2").astype(float) ** 2
        assert len(heard) == 4800
        row["heard"] = heard[at : at + 1600].sum() / heard.sum()
    assert np.mean([row["heard"] for row in found["inputs"]]) > 0.7  # a third of the time


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["explain.methods=gradcam"], 2, "explain.methods=gradcam: one of integrated_gradients, grad_cam"),
        (["explain.target=cat"], 2, "explain.target=cat: the checkpoint's classes are 0, 1"),
        (["explain.orders=5"], 2, "explain.orders=5: at least 19"),
        (["explain.randomised=3"], 2, "explain.randomised=3: at least 19"),
        (["dataset.size=64"], 2, "dataset.size=64: without effect, as explain.neighbours=0"),
        (["input=nowhere"], 3, "input=nowhere: no files there"),
        (["predict.top=3"], 2, "predict.top: for stage=predict, not for stage=explain"),
    ],
)
def test_what_can_not_be_done_is_refused(typed, code, said, ptft, pasted):
    named = [] if typed[0].startswith("input") else [f"input={pasted[1]}"]
    refused(ptft("stage=explain", f"ckpt={pasted[0]}", *FEW, *named, *typed), code, said)


def test_what_answers_nothing_or_many_things_is_refused(ptft, tmp_path):
    data = ("dataset=grammar", "model=gpt_tiny", "model.width=16", "model.depth=1", "model.heads=2")
    ckpt = untrained.write(tmp_path / "best.pt", *data, "objective=causal_lm")
    done = ptft("stage=explain", f"ckpt={ckpt}", "text=the cat", "device=cpu")
    refused(done, 2, "objective=causallm gives no single answer for an example")


def test_a_dry_run_explains_nothing(ptft, pasted, tmp_path):
    done = ptft("stage=explain", f"ckpt={pasted[0]}", *FEW, f"input={pasted[1]}", "dry_run=true")
    assert done.code == 0
    assert "460 items" in done.out
    assert not list(tmp_path.iterdir())
