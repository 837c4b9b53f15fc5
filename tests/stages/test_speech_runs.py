"""Whole runs on recordings: an exact continuation for every objective, predictions, the hand-over, what is refused."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.data.audio import folder as audio_folder
from ptft.data.audio import reader as audio_reader
from tests.conftest import refused, summary, transfer

SMALL = ("train.batch_size=8", "train.every.evaluate=4", "train.every.save=3", "device=cpu", "precision=fp32")
NET = ("model=audio_cnn", "model.channels=[4,8]", "model.width=12")
ENCODER = ("model=audio_transformer", "model.width=12", "model.heads=2", "model.depth=1", "model.channels=4")
TONES = ("dataset=tones", "dataset.count=40", "dataset.held_out=12")
VIEWS = ("dataset.views.shift=2", "dataset.views.speed=0.1", "dataset.views.time_masks=1", "dataset.views.noise=0.1")
RUNS = {
    "classify": (*NET, *TONES, *VIEWS, "train.accumulate=2"),
    "ctc": (*ENCODER, *TONES, *VIEWS, "objective=ctc", "dataset.words=[1,2]", "train.accumulate=2"),
    "wav2vec2": (*ENCODER, *TONES, *VIEWS, "objective=wav2vec2"),
    "spectrogram_mae": (*ENCODER, *TONES, *VIEWS, "objective=spectrogram_mae", "train.tokens=12000"),
    "best_rq": (*ENCODER, *TONES, *VIEWS, "objective=best_rq", "objective.codes=32"),
    "simclr_audio": (*NET, *TONES, "objective=simclr_audio"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_continued_run_is_the_whole_one(name, ptft, tmp_path):
    run = ("stage=pretrain", *RUNS[name], *SMALL)
    whole = ptft(*run, "train.steps=6", "schedule=constant", "hydra.run.dir=whole")
    part = ptft(*run, "train.steps=4", "schedule=constant", "hydra.run.dir=part")
    rest = ptft("resume=part", "train.steps=6")
    assert [done.code for done in (whole, part, rest)] == [0, 0, 0], whole.text + part.text + rest.text
    one, other = (
        checkpoint_file.read(tmp_path / d / "checkpoints" / "last.pt")[0]["weights"] for d in ("whole", "part")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_classes_and_transcripts_for_new_files(ptft, tmp_path):
    audio_folder.sample(tmp_path / "words")
    made = (*NET, *SMALL, "train.steps=4", "dataset.root=words")
    assert ptft("stage=pretrain", "dataset=audio_folder", *made, "hydra.run.dir=named").code == 0
    strings = ("dataset=audio_strings", "dataset.strings=16", "dataset.held_out=8", "objective=ctc")
    assert ptft("stage=pretrain", *strings, *made, "hydra.run.dir=heard").code == 0
    (tmp_path / "words" / "broken.wav").write_text("no sound")
    tone = (5000 * torch.sin(torch.arange(8000) / 4)).to(torch.int16)
    audio_reader.write(tmp_path / "new.flac", tone, 16_000)  # another rate, one file
    for run, column in (("named", "class"), ("heard", "text")):
        done = ptft("stage=predict", f"ckpt={run}", "input=words", f"hydra.run.dir={run}-answers")
        assert done.code == 0, done.text
        assert "broken.wav" in done.out
        with (tmp_path / f"{run}-answers" / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 25
        assert [Path(row["path"]).name for row in rows if not row[column]] == ["broken.wav"]
        assert ptft("stage=predict", f"ckpt={run}", "input=new.flac", f"hydra.run.dir={run}-new").code == 0
    found = ptft("stage=evaluate", "ckpt=heard", "hydra.run.dir=measured")
    assert found.code == 0, found.text
    assert {"wer", "cer"} <= json.loads((tmp_path / "measured" / "summary.json").read_text())["metrics"]["val"].keys()


def test_a_backbone_learned_without_labels_is_finetuned(ptft, tmp_path):
    hidden = ("objective=wav2vec2", "train.steps=3", "hydra.run.dir=hidden")
    assert ptft("stage=pretrain", *ENCODER, *TONES, *SMALL, *hidden).code == 0
    tuned = ptft("stage=finetune", "ckpt=hidden", *TONES, *SMALL, "train.steps=3", "hydra.run.dir=tuned")
    assert tuned.code == 0, tuned.text
    found = summary(tmp_path / "tuned")
    assert found["transfer"]["loaded"]["parameters"] > 0
    assert "head.weight" in transfer(tmp_path / "tuned")["reinitialised"]["tensors"]


def test_pieces_of_words_travel_in_the_checkpoint(ptft, tmp_path, monkeypatch):
    rows = ["path,text,split"]
    for i, text in enumerate(("the cat sat", "a cat sat there", "the hat", "that cat", "the cat", "a hat sat")):
        sound = (5000 * torch.sin(torch.arange(4000 + 400 * i) / (4 + i))).to(torch.int16)
        audio_reader.write(tmp_path / "sounds" / f"{i}.wav", sound, 8000)
        rows.append(f"{i}.wav,{text},{'train' if i < 4 else 'val'}")
    (tmp_path / "sounds" / "list.csv").write_text("\n".join(rows))
    pieces = ("dataset=audio_manifest", "dataset.root=sounds/list.csv", "dataset.units=bpe", "dataset.vocabulary=20")
    short = ("train.batch_size=4", "train.steps=2", "device=cpu", "precision=fp32")
    heard = ptft("stage=pretrain", *NET, *pieces, *short, "objective=ctc", "hydra.run.dir=heard")
    assert heard.code == 0, heard.text
    spec = checkpoint_file.read(tmp_path / "heard" / "checkpoints" / "last.pt")[0]["spec"]
    assert len(spec["classes"]) == spec["shape"]["tokenizer"]["size"] == 20
    found = ptft("stage=evaluate", "ckpt=heard", "hydra.run.dir=measured")
    assert found.code == 0, found.text
    trained, measured = (summary(tmp_path / folder)["metrics"]["val"] for folder in ("heard", "measured"))
    assert measured == pytest.approx({name: trained[name] for name in measured})
    assert {"wer", "cer"} <= measured.keys()
    (tmp_path / "sounds" / "other.csv").write_text("path,text,split\n0.wav,a tea,train\n1.wav,tea,val\n")
    tuned = ("stage=finetune", "ckpt=heard", *pieces, "dataset.root=sounds/other.csv", "dataset.vocabulary=99", *short)
    kept = ptft(*tuned, "objective=ctc", "finetune.head=keep", "hydra.run.dir=tuned")
    assert kept.code == 0, kept.text
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # the classes are enough to write what is heard
    said = ptft("stage=predict", "ckpt=tuned", "input=sounds", "hydra.run.dir=said")
    assert said.code == 0, said.text
    assert "text" in (tmp_path / "said" / "predictions.csv").read_text().splitlines()[0]
    refused(ptft("stage=pretrain", *NET, *pieces, "objective=ctc", "dataset.units=syllables"), 2, "dataset.units")
    refused(ptft("stage=pretrain", *NET, *pieces, "objective=ctc", "dataset.vocabulary=3"), 2, "dataset.vocabulary=3")


def test_what_does_not_fit_is_refused(ptft, tmp_path):
    refused(ptft("stage=pretrain", *TONES), 2, "model=", "audio")
    refused(ptft("stage=pretrain", *NET, *TONES, "objective=ctc"), 2, "objective=ctc: needs transcripts")
    refused(ptft("stage=pretrain", *NET, "dataset=digits"), 2, "hears audio")
    refused(ptft("stage=pretrain", *NET, *TONES, "dataset.rate=10"), 2, "dataset.rate=10")
    audio_folder.sample(tmp_path / "words")
    path = tmp_path / "words" / "train" / "low" / "0.wav"
    path.write_bytes(path.read_bytes()[:500])
    broken = ptft(
        "stage=pretrain",
        *NET,
        *SMALL,
        "dataset=audio_folder",
        "dataset.root=words",
        "dataset.on_error=raise",
        "train.steps=2",
    )
    refused(broken, 3, str(path), "truncated", "dataset.on_error=skip")


def test_recordings_that_are_too_short_for_their_transcripts_are_said_and_change_no_step(ptft, tmp_path):
    rows = []
    for i in range(8):
        audio_reader.write(tmp_path / f"{i}.wav", (5000 * torch.sin(torch.arange(4000) / (4 + i))).short(), 8000)
        rows.append({"path": f"{i}.wav", "text": "ab ba" if i % 2 else "ba", "split": "train" if i < 6 else "val"})
    (tmp_path / "long.jsonl").write_text("\n".join(json.dumps({**row, "text": "ab" * 400}) for row in rows))
    run = ("stage=pretrain", *NET, *SMALL, "objective=ctc", "dataset=audio_manifest", "dataset.test=null")
    done = ptft(*run, "dataset.root=long.jsonl", "train.steps=1", "hydra.run.dir=all")
    assert "train: 6 of 6 recordings are too short for their transcripts and teach nothing" in done.text
    one = [{**rows[0], "text": "ab" * 400}, *rows[1:]]
    (tmp_path / "one.jsonl").write_text("\n".join(map(json.dumps, one)))
    done = ptft(*run, "dataset.root=one.jsonl", "train.steps=1", "hydra.run.dir=one")
    assert done.code == 0, done.text
    said = "train: 1 of 6 recordings are too short for their transcripts and teach nothing; the first takes 800 frames"
    assert said in done.out
    trained = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert next(row for row in trained if row["split"] == "train")["loss"] > 1  # a mean over what can be learned
