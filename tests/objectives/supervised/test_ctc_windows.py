"""Recordings longer than the training's: windows whose frames are those of the whole, and what predict answers."""

import csv
import json
from itertools import pairwise

import pytest
import torch

import ptft as package
from ptft.data.audio import reader as audio_reader
from ptft.objectives.supervised.ctc_windows import heard, starts

STEP, REACH = 4, 6
"""Samples from a frame to the next, and how many samples a frame is made of."""


class Frames:
    """Frames that are the mean of REACH samples, STEP apart: what stands around them changes none."""

    def token_counts(self, lengths):
        return (lengths - REACH).clamp(min=0).div(STEP, rounding_mode="floor") + 1

    def hear(self, batch):
        waves = batch["input"].float()
        return waves.unfold(1, REACH, STEP).mean(2, keepdim=True), self.token_counts(batch["length"])


@pytest.mark.parametrize("length", [60, 61, 63, 64, 65, 100, 179, 180, 3000])
def test_windows_hear_what_is_heard_of_the_whole(length):
    lengths = torch.tensor([length, 7, 60])
    waves = torch.randint(-1000, 1000, (3, length), generator=torch.Generator().manual_seed(length)).short()
    batch = {"input": waves.masked_fill(torch.arange(length) >= lengths.unsqueeze(1), 0), "length": lengths}
    net = Frames()
    (whole, counts), (scores, frames) = net.hear(batch), heard(net.hear, net, batch, 60)
    assert frames.tolist() == counts.tolist()
    for row, joined, count in zip(whole, scores, counts.tolist(), strict=True):
        assert torch.equal(row[:count], joined[:count])


def test_windows_overlap_and_end_with_the_recording():
    for length in range(61, 500):
        begins = starts(length, 60, STEP)
        assert begins[0] == 0
        assert length - STEP < begins[-1] + 60 <= length + STEP - 1
        assert begins[-1] + 60 >= length
        assert all(STEP <= b - a <= 40 for a, b in pairwise(begins))


NET = ("model=audio_cnn", "model.channels=[4,8]", "model.width=12")
SHORT = ("train.batch_size=4", "train.steps=2", "device=cpu", "precision=fp32", "dataset.seconds=0.5")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Transcribed recordings of 0.5 s, two of them of 2 s that are left out."""
    folder = tmp_path_factory.mktemp("speech")
    rows = ["path,text,split"]
    for i in range(8):
        seconds = 2 if i in (0, 6) else 0.5
        sound = 5000 * torch.sin(torch.arange(int(8000 * seconds)) / (4 + i))
        audio_reader.write(folder / f"{i}.wav", sound.short(), 8000)
        rows.append(f"{i}.wav,{'ab ba' if i % 2 else 'ba'},{'train' if i < 6 else 'val'}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


def test_predict_hears_all_of_a_long_recording(speech, ptft, tmp_path):
    data = ("dataset=audio_manifest", f"dataset.root={speech}/list.csv", "dataset.test=null")
    done = ptft("stage=pretrain", *NET, *SHORT, *data, "objective=ctc", "hydra.run.dir=run")
    assert done.code == 0, done.text
    said = ptft("stage=predict", "ckpt=run", f"input={speech}/list.csv", "predict.times=true", "hydra.run.dir=said")
    assert said.code == 0, said.text
    assert "of 2 of 8 items overlapping windows of 0.5 s are heard" in said.out
    with (tmp_path / "said" / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    model = package.load(tmp_path / "run")
    model.objective.head.weight.data.zero_()  # it hears one long "a"
    model.objective.head.bias.data[:] = torch.tensor([9.0 * (name == "a") for name in (*model.classes, "")])
    with pytest.warns(UserWarning, match="overlapping windows of 0.5 s"):
        long = model(speech / "0.wav", times=True)
    wave = torch.zeros(16_000)
    with pytest.warns(UserWarning, match="overlapping windows of 0.5 s"):
        held = model(wave, times=True)
    for row, seconds in ((long, 2), (held, 2), (model(speech / "1.wav", times=True), 0.5)):
        (word,) = json.loads(row["words"])
        assert (word["word"], word["from"], word["to"]) == ("a", 0, seconds)


def test_it_is_said_where_only_the_middle_counts(speech, ptft, tmp_path):
    rows = [f"{speech}/{i}.wav,{'ab'[i % 2]},{'train' if i < 6 else 'val'}" for i in range(8)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    data = ("dataset=audio_manifest", "dataset.root=list.csv", "dataset.test=null")
    done = ptft("stage=pretrain", *NET, *SHORT, *data, "objective=classify", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "train: of 1 of 6 recordings only the middle 0.5 s are heard (dataset.seconds)" in done.out
    assert "val: of 1 of 2 recordings only the middle 0.5 s are heard (dataset.seconds)" in done.out
    for stage in ("predict", "embed"):
        said = ptft(f"stage={stage}", "ckpt=run", f"input={speech}/list.csv", f"hydra.run.dir={stage}")
        assert said.code == 0, said.text
        assert "of 2 of 8 items only the middle 0.5 s are heard (dataset.seconds)" in said.out
    with pytest.warns(UserWarning, match="only the middle 0.5 s are heard"):
        package.load(tmp_path / "run")(torch.zeros(16_000))
