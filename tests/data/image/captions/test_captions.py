"""Captions: scenes are as they are said to be, pairs of a list stay together, none takes another's."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from ptft.core import Spec
from ptft.data.cache.policy import choose, keep
from ptft.data.image.captions.examples import CAPTIONS, spec_of_captions
from ptft.data.image.captions.folder import CaptionFolder
from ptft.data.image.captions.scenes import COLOURS, Scenes
from ptft.data.text.reader import tokenizer_of
from ptft.errors import ConfigError, DataError


def texts(batch, spec):
    tokenizer = tokenizer_of(spec_of_captions(spec))
    rows = zip(batch["caption"].tolist(), batch["caption_length"].tolist(), strict=True)
    return [tokenizer.decode(row[:length]) for row, length in rows]


def test_scenes_are_as_they_are_said_to_be():
    """Where the two colours of a caption lie in the picture."""
    source = Scenes(images=60, held_out=8, tokenizer="bytes")
    batch = source.split("train").take(torch.arange(60))
    checked = 0
    for pixels, said in zip(batch["input"].float() / 255, texts(batch, source.spec), strict=True):
        _, one, _, how, *_, other, _ = said.split()
        if one == other:
            continue
        middles = []
        for name in (one, other):
            near = (pixels - torch.tensor(COLOURS[name])[:, None, None]).abs().amax(0) < 0.12
            middles.append(near.nonzero().float().mean(0))
        down, across = (middles[0] - middles[1]).tolist()
        expected = {"above": down < -5, "below": down > 5, "left": across < -5, "right": across > 5}
        assert expected[how], said
        checked += 1
    assert checked > 40
    again = Scenes(images=60, held_out=8, tokenizer="bytes")
    assert again.fingerprint() == source.fingerprint() != Scenes(images=60, held_out=9, tokenizer="bytes").fingerprint()


@pytest.fixture
def listed(tmp_path):
    """A list of 40 images, each of one grey value, with two captions that say which; one can't be read."""
    rows = ["file,said"]
    for i in range(40):
        Image.fromarray(np.full((8, 8, 3), 6 * i, np.uint8)).save(tmp_path / f"{i}.png")
        rows += [f"{i}.png,grey {6 * i}", f"{i}.png,a picture of grey {6 * i}"]
    (tmp_path / "3.png").write_bytes(b"no image")
    (tmp_path / "list.csv").write_text("\n".join([*rows, "5.png,"]) + "\n")
    return tmp_path / "list.csv"


def made(file, **options):
    options = {"path": "auto", "text": "auto", "tokenizer": "bytes", "on_error": "skip", "divide_by": "name"} | options
    return CaptionFolder(root=file, **options)


@pytest.mark.parametrize("mode", ["off", "memory", "disk"])
def test_captions_are_of_their_pictures_and_those_of_one_are_in_one_split(listed, mode):
    source, seen, total = made(listed), {}, 0
    for name in ("train", "val", "test"):
        examples = keep(source.split(name), mode)
        batch = examples.take(torch.arange(len(examples)))
        for pixels, said in zip(batch["input"], texts(batch, source.spec), strict=True):
            assert said.split()[-1] == str(int(pixels[0, 0, 0]))
            assert seen.setdefault(said.split()[-1], name) == name
            total += 1
        size = math.prod(source.spec.shape["size"]) * 3 * len(batch["picture"].unique())
        assert mode != "memory" or choose("memory", [source.split(name)], size + 3 * 64)[0] == "memory", "each once"
    assert total == 78
    assert [why for _, why in source.unusable] == ["has no text"]


def test_long_captions_are_cut_and_the_checkpoints_tokenizer_is_kept(listed):
    first = made(listed, tokenizer="bpe", vocabulary=280, length=5)
    assert int(first.split("train").take(torch.arange(20))["caption_length"].max()) == 5
    then = made(listed, tokenizer=None, like=Spec.from_dict(first.spec.to_dict()))
    assert then.spec.shape[CAPTIONS] == first.spec.shape[CAPTIONS]
    with pytest.raises(ConfigError, match=r"dataset\.tokenizer=bytes"):
        made(listed, like=first.spec)


def test_what_is_no_list_of_pairs_is_refused(listed):
    with pytest.raises(DataError, match=r"dataset\.text: there is no 'caption'"):
        made(listed, text="caption")
    with pytest.raises(ConfigError, match=r"dataset\.root=.*: a folder without captions\.csv, .* stand in a CSV"):
        made(listed.parent)


def test_an_inspection_names_what_can_not_be_read_and_goes_on(listed, ptft, tmp_path):
    done = ptft("stage=inspect", "dataset=captions", f"dataset.root={listed}", "hydra.run.dir=looked")
    assert done.code == 0, done.text
    assert "3.png" in done.out
    assert (tmp_path / "looked" / "sheet.png").exists()


@pytest.mark.parametrize("name", ["captions.csv", "metadata.csv"])
def test_a_folder_holds_its_list_by_name(listed, name):
    listed.rename(listed.with_name(name))
    assert len(made(listed.parent).split("train")) > 40
    listed.with_name("captions.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match=rf"{name} and captions\.jsonl|captions\.jsonl and {name}"):
        made(listed.parent)
