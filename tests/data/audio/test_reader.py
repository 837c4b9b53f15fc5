"""Reading recordings: kinds of files, rates, channels, parts, and what is wrong with a file."""

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch

from ptft.core import Spec
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.decoding import libraries
from ptft.errors import ConfigError, DataError


def spec(rate=8000, seconds=None):
    return Spec("audio", audio_reader.shape(rate, seconds), "class", ("a", "b"))


def tone(seconds=0.5, rate=8000, pitch=440):
    return (10_000 * torch.sin(2 * torch.pi * pitch * torch.arange(int(seconds * rate)) / rate)).to(torch.int16)


@pytest.mark.parametrize(("suffix", "most"), [("wav", 0), ("flac", 0), ("ogg", 3000)])
def test_a_file_comes_back_as_it_was_written(tmp_path, suffix, most):
    audio_reader.write(tmp_path / f"a.{suffix}", tone(), 8000)
    read = audio_reader.read(tmp_path / f"a.{suffix}", spec())
    assert read.dtype == torch.int16
    assert len(read) == 4000
    assert (read.int() - tone().int()).abs().max() <= most


def test_another_rate_keeps_pitch_and_duration(tmp_path):
    audio_reader.write(tmp_path / "a.wav", tone(rate=16_000), 16_000)
    read = audio_reader.read(tmp_path / "a.wav", spec(8000)).float()
    assert len(read) == 4000
    assert torch.fft.rfft(read).abs().argmax() == 440 * 0.5
    assert abs(read.abs().max() - 10_000) < 300


def test_channels_are_mixed(tmp_path):
    both = torch.stack([tone(), -tone()], dim=1)
    audio_reader.write(tmp_path / "a.wav", both, 8000)
    assert audio_reader.read(tmp_path / "a.wav", spec()).abs().max() <= 1


def test_a_part_and_the_middle(tmp_path):
    values = torch.arange(4000, dtype=torch.int16)
    audio_reader.write(tmp_path / "a.wav", values, 8000)
    assert audio_reader.read(tmp_path / "a.wav", spec(), (0.1, 0.2)).tolist() == values[800:1600].tolist()
    assert audio_reader.read(tmp_path / "a.wav", spec(seconds=0.25)).tolist() == values[1000:3000].tolist()
    with pytest.raises(DataError, match="holds no sound from 2 to 3 s"):
        audio_reader.read(tmp_path / "a.wav", spec(), (2, 3))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    audio_reader.write(path, torch.randint(-3000, 3000, (20_000,)).to(torch.int16), 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=str(path)):
        audio_reader.read(path, spec())


def test_what_is_no_recording_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.wav").write_bytes(b"")
    for name, said in (("text.wav", "not readable as a recording"), ("empty.wav", "empty"), ("no.wav", "no such file")):
        with pytest.raises(DataError, match=rf"{name}.*{said}"):
            audio_reader.read(tmp_path / name, spec())


def test_rates_and_lengths_that_can_not_be():
    with pytest.raises(ConfigError, match=r"dataset\.rate=10"):
        audio_reader.shape(10, None)
    with pytest.raises(ConfigError, match=r"dataset\.seconds=0"):
        audio_reader.shape(8000, 0)


def floats(path, values, subtype="FLOAT"):
    soundfile.write(str(path), np.asarray(values, dtype=np.float64), 8000, subtype=subtype)
    return path


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_beyond_the_usual_amplitudes_keep_their_shape(tmp_path, subtype):
    wave = np.sin(np.arange(2400) / 5)
    path = floats(tmp_path / "a.wav", 3000 * wave, subtype)
    read = audio_reader.read(path, spec()).double()
    assert (read - torch.from_numpy(wave / np.abs(wave).max()) * 32768).abs().max() <= 1.5
    assert audio_reader.scale_note([path]).startswith(f"{path} has amplitudes up to 3000; recordings beyond -1..1")
    usual = floats(tmp_path / "b.wav", 0.5 * wave, subtype)
    assert audio_reader.read(usual, spec()).tolist() == (torch.from_numpy(wave) * 16384).round().tolist()
    assert audio_reader.scale_note([tmp_path / "none.wav", usual]) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_named(tmp_path, value):
    wave = np.zeros(800)
    wave[7] = value
    with pytest.raises(DataError, match=r"a\.wav: sample 7 is -?(nan|inf), which is no finite number"):
        audio_reader.read(floats(tmp_path / "a.wav", wave), spec())


def flac(path, count=20_000, said=0):
    """A FLAC whose header says that it has `said` samples; 0 is what a recorder writes that does not know."""
    audio_reader.write(path, torch.arange(count).remainder(997).to(torch.int16), 8000)
    raw = bytearray(path.read_bytes())
    raw[21] = (raw[21] & 0xF0) | (said >> 32)
    raw[22:26] = (said & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(raw)
    return path


def test_a_flac_that_does_not_know_its_length_is_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "BLOCK", 3000)
    path = flac(tmp_path / "a.flac")
    assert audio_reader.info(path) == (20_000, 8000)
    whole = torch.arange(20_000).remainder(997).tolist()
    assert audio_reader.read(path, spec()).tolist() == whole
    assert audio_reader.read(path, spec(), (0.5, 1.0)).tolist() == whole[4000:8000]
    assert audio_reader.read(path, spec(), (2.0, 9.0)).tolist() == whole[16_000:]


def test_a_header_that_promises_more_than_the_file_holds_costs_no_memory(tmp_path):
    path = flac(tmp_path / "a.flac", said=2**36 - 1)
    tracemalloc.start()
    with pytest.raises(DataError, match="is truncated"):
        audio_reader.read(path, spec())
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_a_rate_that_would_make_a_recording_enormous_is_refused(tmp_path):
    audio_reader.write(tmp_path / "a.wav", tone(), 8000)
    raw = bytearray((tmp_path / "a.wav").read_bytes())
    raw[24:28] = (1).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(raw)
    with pytest.raises(DataError, match=r"says that it has 1 samples a second, which dataset\.rate=8000"):
        audio_reader.read(tmp_path / "a.wav", spec())


def test_the_decoder_of_broken_mp3_files_says_nothing_past_the_tool(tmp_path, capfd):
    for i in range(8):
        (tmp_path / f"{i}.MP3").write_bytes(b"\xff\xfb\x90\x00" + bytes(3000))
    with ThreadPoolExecutor(4) as pool:
        errors = list(pool.map(_unreadable, sorted(tmp_path.iterdir())))
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"
    assert all(str(tmp_path) in error for error in errors)


def _unreadable(path):
    with pytest.raises(DataError) as error:
        audio_reader.read(path, Spec("audio", audio_reader.shape(8000, None), "class", ("a", "b")))
    return str(error.value)


def test_channels_that_cancel_each_other_are_said_in_training_and_prediction(ptft, tmp_path):
    tone = 9000 * torch.sin(torch.arange(800) / 5)
    for i in range(8):
        right = -tone if i in (1, 5) else tone if i % 2 else torch.zeros(800)
        values = torch.stack([tone, right], 1).round().to(torch.int16) if i else torch.zeros(800, 2, dtype=torch.int16)
        soundfile.write(tmp_path / f"{i}.wav", values.numpy(), 8000)
    rows = [f"{i}.wav,{'ab'[i % 2]},{split}" for i in range(8) for split in ("train", "val")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    typed = ("stage=pretrain", "model=audio_cnn", "dataset=audio_folder", "dataset.root=list.csv", "train.steps=1")
    done = ptft(*typed, "device=cpu", "split_overlap=allow", "hydra.run.dir=run")
    assert done.code == 0, done.text
    what = "the channels cancel each other (opposite phase), so that their mean is silence"
    assert f"train: of 2 recordings {what}, the first: {tmp_path}/1.wav" in done.text
    done = ptft("stage=predict", "ckpt=run", "input=*.wav")
    assert f"of 2 of 8 items {what}, e.g. 1.wav" in done.text
