"""Corruptions: as strong as stated, the same whatever is beside an example, none of what they can't be of."""

import random

import pytest
import torch

from ptft.core import Spec
from ptft.data.audio.examples import MemoryRecordings, Targets
from ptft.data.corrupted import audio, image, text
from ptft.data.corrupted.examples import Corrupted, chosen
from ptft.data.examples import MemoryExamples
from ptft.data.label_sets.handed_on import HandedOn
from ptft.data.text.examples import TextExamples, encoded
from ptft.data.text.packed.examples import PackedTexts
from ptft.data.text.reader import text_spec, tokenizer_of
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError

IMAGES = Spec("image", {"size": [20, 24], "channels": 3})
SOUND = Spec("audio", {"rate": 8000, "channels": 1})


def pictures(size=(20, 24)):
    pixels = torch.randint(60, 200, (6, 3, *size), generator=torch.Generator().manual_seed(0))
    return MemoryExamples(pixels.to(torch.uint8), torch.zeros(6).long())


def recordings():
    waves = [(4000 * torch.sin(torch.arange(900 + 40 * i) * 0.01 * (i + 1))).to(torch.int16) for i in range(5)]
    return MemoryRecordings.of(waves, Targets(5, torch.zeros(5).long()))


def texts():
    tokenizer = Tokenizer()
    ids = encoded(tokenizer, [f"what a fine day {i} it is, and how well it is written" for i in range(6)])
    return TextExamples(ids, tokenizer.pad), text_spec(tokenizer, 64, "none")


SPLITS = {
    **{kind: (pictures(), IMAGES) for kind in image.KINDS},
    **{f"sound {kind}": (recordings(), SOUND) for kind in audio.KINDS},
    "typos": texts(),
}


@pytest.mark.parametrize("kind", SPLITS)
def test_an_example_becomes_the_same_whatever_is_beside_it_and_worse_with_severity(kind):
    examples, spec = SPLITS[kind]
    corruption = chosen(spec, (kind.removeprefix("sound "),))[kind.removeprefix("sound ")]
    clean = examples.take(torch.arange(len(examples)))["input"].float()
    apart = []
    for severity in (1, 5):
        split = Corrupted(examples, corruption, severity, spec)
        whole, one = split.take(torch.arange(len(examples))), split.take(torch.tensor([3]))
        assert whole["input"].dtype == examples.take(torch.tensor([0]))["input"].dtype
        width = one["input"].shape[-1] if spec.modality != "image" else None
        assert torch.equal(whole["input"][3][..., :width], one["input"][0])
        both = min(whole["input"].shape[-1], clean.shape[-1])
        apart.append(float((whole["input"][..., :both].float() - clean[..., :both]).abs().mean()))
    assert 0 < apart[0] < apart[1]


def test_noise_has_its_deviation_and_contrast_its_share():
    flat = MemoryExamples(torch.full((4, 1, 64, 64), 128, dtype=torch.uint8), torch.zeros(4).long())
    noisy = Corrupted(flat, image.noise, 3, IMAGES).take(torch.arange(4))["input"].float()
    assert float(noisy.std()) / 255 == pytest.approx(image.NOISE[0][2], rel=0.05)
    split = pictures()
    clean, flatter = (
        x.take(torch.arange(6))["input"].float() for x in (split, Corrupted(split, image.contrast, 2, IMAGES))
    )
    assert float(flatter.std() / clean.std()) == pytest.approx(image.CONTRAST[0][1], rel=0.05)
    assert flatter.mean((2, 3)).tolist() == [pytest.approx(row, abs=0.6) for row in clean.mean((2, 3)).tolist()]


def test_a_blur_leaves_what_is_flat_and_large_images_have_more_of_it():
    flat = MemoryExamples(torch.full((1, 1, 40, 30), 90, dtype=torch.uint8), torch.zeros(1).long())
    assert Corrupted(flat, image.blur, 5, IMAGES).take(torch.tensor([0]))["input"].unique().tolist() == [90]
    stds = [
        float(Corrupted(pictures(size), image.blur, 5, IMAGES).take(torch.arange(6))["input"].float().std())
        for size in ((32, 32), (96, 96))
    ]
    assert stds[1] < 0.5 * stds[0]


@pytest.mark.parametrize("kind", audio.KINDS)
def test_sound_is_mixed_at_the_stated_ratio_and_silence_behind_it_stays(kind):
    examples = recordings()
    clean = examples.take(torch.arange(5))
    mixed = Corrupted(examples, audio.KINDS[kind], 3, SOUND).take(torch.arange(5))
    added = mixed["input"].double() - clean["input"].double()
    for i, length in enumerate(clean["length"].tolist()):
        signal, noise = (each[i, :length].double().square().mean() for each in (clean["input"], added))
        assert 10 * float((signal / noise).log10()) == pytest.approx(audio.SNR[2], abs=0.1)
        assert not mixed["input"][i, length:].any()


class Unreadable(HandedOn):
    """The same, of which recording 2 is left out wherever it is asked for."""

    def take(self, indices):
        return self.examples.take(indices[indices != 2])


def test_a_talker_that_can_t_be_read_is_silent_and_takes_no_other_with_it():
    whole, lacking = recordings(), Unreadable(recordings())
    batch = whole.take(torch.arange(5))
    heard, fewer = (audio.babble(batch, 5, SOUND, split)["input"] for split in (whole, lacking))
    one = audio.babble(whole.take(torch.tensor([1])), 5, SOUND, lacking)["input"][0]
    assert torch.equal(fewer[1, : len(one)], one), "whoever is beside it"
    assert all((fewer[i] != batch["input"][i]).any() for i in range(5)), "the other talkers are heard"
    assert not torch.equal(heard, fewer)


def test_typos_are_as_many_as_stated_and_special_tokens_stay():
    letters = "abcdefghij " * 400
    wrong = text.misspelt(letters, random.Random(0), 0.1)
    kept = sum(a == b for a, b in zip(letters.split(), wrong.split(), strict=False)) / len(letters.split())
    assert kept < 0.9**10 + 0.1
    assert wrong != letters
    assert text.misspelt(letters, random.Random(0), 0.0) == letters
    examples, spec = texts()
    tokenizer = tokenizer_of(spec)
    batch = examples.take(torch.tensor([0]))
    row = torch.cat([torch.tensor([tokenizer.cls]), batch["input"][0], torch.tensor([tokenizer.sep])])
    again = text._retyped(
        row.tolist(), (tokenizer.byte_lengths == 0).tolist(), tokenizer, random.Random(1), 5, len(row)
    )
    assert (again[0], again[-1]) == (tokenizer.cls, tokenizer.sep)
    assert len(again) <= len(row)


def test_a_text_with_typos_is_whole_and_the_same_in_every_batch():
    tokenizer = Tokenizer()
    spec, words = text_spec(tokenizer, 120, "none"), "a film of great wit and much heart "
    split = TextExamples(encoded(tokenizer, [(words * 9)[: 20 * i] for i in range(1, 7)]), tokenizer.pad)
    typed = Corrupted(split, text.typos, 5, spec)
    together = typed.take(torch.arange(6))
    grown = 0
    for i in range(6):
        alone, one = typed.take(torch.tensor([i])), together["mask"][i]
        assert torch.equal(alone["input"][0], together["input"][i][one])
        assert bool(alone["mask"].all()), "a row alone is as wide as it is"
        grown += int(one.sum()) > 20 * (i + 1)
        said = tokenizer.decode(split.take(torch.tensor([i]))["input"][0].tolist())
        wrong = text.misspelt(said, random.Random(f"{i} 5"), text.TYPOS[4])
        assert tokenizer.decode(alone["input"][0].tolist()) == wrong[:120]
    assert grown, "doubled letters are not cut off"
    assert int(together["mask"].sum(1).max()) == together["input"].shape[1] <= 120


def test_what_can_t_be_corrupted_is_refused():
    packed = PackedTexts(texts()[0].ids, 200, Tokenizer().pad)
    with pytest.raises(ConfigError, match="texts share the rows"):
        chosen(texts()[1], ("typos",), packed)
    with pytest.raises(ConfigError, match="there is no 'blurr', nearest: blur"):
        chosen(IMAGES, ("blurr",))
    with pytest.raises(ConfigError, match="what is asked for"):
        chosen(Spec("text", {}, target="tags"), ("typos",))
