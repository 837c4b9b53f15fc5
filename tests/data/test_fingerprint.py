"""Fingerprints of data that are computed: the same on every machine, and those of earlier versions are still known."""

from dataclasses import replace

import pytest
import torch

from ptft.builders.inputs import Inputs
from ptft.data.audio import source as audio_source
from ptft.data.audio import tones
from ptft.data.audio.strings import AudioStrings
from ptft.data.audio.tones import Tones
from ptft.data.image import glyphs
from ptft.data.image import reader as image_reader
from ptft.data.image.digits import Digits
from ptft.data.image.glyphs import Glyphs

OTHER_ROUNDING = {
    "tones": (tones, "noise"),
    "strings of tones": (tones, "noise"),
    "glyphs": (glyphs, "noise"),
    "digits": (image_reader, "resize"),
    "audio_strings": (audio_source.audio_reader, "read"),
}


def made(name, root):
    if name == "audio_strings":
        return AudioStrings(root=root, strings=8, held_out=4, test=None, rate=6000)
    return {
        "tones": lambda: Tones(count=16, held_out=8),
        "strings of tones": lambda: Tones(count=16, held_out=8, words=[1, 3]),
        "glyphs": lambda: Glyphs(images=16, held_out=8),
        "digits": Digits,
    }[name]()


@pytest.mark.parametrize("name", OTHER_ROUNDING)
def test_another_processor_rounds_otherwise_and_finds_the_same_dataset(name, tmp_path, monkeypatch):
    from ptft.data.audio.folder import sample

    sample(tmp_path)
    first = made(name, tmp_path)
    known, earlier = first.fingerprint(), first.earlier_fingerprint()
    module, function = OTHER_ROUNDING[name]
    plain = getattr(module, function)
    monkeypatch.setattr(module, function, lambda *a, **k: _a_little_more(plain(*a, **k)))
    again = made(name, tmp_path)
    assert again.fingerprint() == known
    assert again.earlier_fingerprint() != earlier, "what was rounded otherwise was not looked at"


def _a_little_more(values):
    return values + 1 if values.dtype in (torch.int16, torch.uint8) else values + 0.5


def test_a_run_that_stored_an_earlier_fingerprint_knows_its_data():
    source = Tones(count=16, held_out=8)
    inputs = Inputs(torch.device("cpu"), None, source, {"train": source.split("train")})
    assert inputs.is_known_by(source.fingerprint())
    assert inputs.is_known_by(source.earlier_fingerprint())
    assert not inputs.is_known_by(Tones(count=17, held_out=8).fingerprint())
    assert not inputs.is_known_by(Tones(count=16, held_out=8, seed=1).earlier_fingerprint())
    assert not inputs.is_known_by(None)
    anew = replace(inputs, drawn_anew=True)  # what a run of before it showed of its images was something else
    assert anew.is_known_by(anew.fingerprint)
    assert not anew.is_known_by(inputs.fingerprint)
