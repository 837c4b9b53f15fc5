"""Reading recordings: kinds of files, rates, channels, parts, and what is wrong with a file."""

import pytest
import torch

from ptft.core import Spec
from ptft.data.audio import reader as audio_reader
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
