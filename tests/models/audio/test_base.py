"""Models of sound: the spectrogram by its formula, and nothing of a recording that depends on its batch."""

import math

import numpy as np
import pytest
import torch

from ptft.core import Spec
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.log_mel import LogMel
from ptft.errors import ConfigError
from ptft.models.audio.cnn import AudioCNN
from ptft.models.audio.conformer import AudioTransformer, Conformer

SPEC = Spec("audio", audio_reader.shape(8000, None), "class", ("a", "b"))
MODELS = {
    "cnn": lambda **options: AudioCNN(SPEC, channels=(4, 8), width=12, **options),
    "transformer": lambda **options: AudioTransformer(SPEC, width=12, depth=2, heads=2, channels=4, **options),
    "conformer": lambda **options: Conformer(SPEC, width=12, depth=2, heads=2, channels=4, kernel=5, **options),
}
LENGTHS = torch.tensor([4000, 150, 1800])


def sounds(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(-9000, 9000, (n,), generator=generator).to(torch.int16) for n in LENGTHS.tolist()]


def padded(items, extra=0):
    batch = audio_reader.collate(items, SPEC)
    return {**batch, "input": torch.nn.functional.pad(batch["input"], (0, extra))}


def test_the_spectrogram_is_that_of_its_formula():
    rate, mels = 8000, 20
    logmel, sound = LogMel(rate, mels), torch.randn(1, 1000)
    found = logmel(sound)[0].numpy()
    size, hop = 200, 80
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))
    frames = [sound[0].numpy()[t : t + size] * window for t in range(0, 1000 - size + 1, hop)]
    spectrum = np.abs(np.fft.fft(frames, logmel.fft)[:, : logmel.fft // 2 + 1]) ** 2
    mel = lambda hertz: 2595 * math.log10(1 + hertz / 700)  # noqa: E731
    edges = [700 * (10 ** (m / 2595) - 1) for m in np.linspace(mel(20), mel(rate / 2), mels + 2)]
    hertz = np.arange(logmel.fft // 2 + 1) * rate / logmel.fft
    bands = np.stack([np.interp(hertz, edges[i : i + 3], [0, 1, 0]) for i in range(mels)])
    assert found.shape == (len(frames), mels)
    assert np.abs(found - np.log(spectrum @ bands.T + 1e-6)).max() < 1e-3


@pytest.mark.parametrize("normalize", ["recording", "bands"])
def test_prepared_recordings_have_mean_0_and_deviation_1(normalize):
    model = AudioTransformer(SPEC, width=8, depth=1, heads=1, channels=2, normalize=normalize)
    x = model.inputs(padded(sounds()))
    assert (~x[:, :, 0].isnan()).sum(1).tolist() == [48, 1, 21] == model.logmel.frames(LENGTHS).tolist()
    axes = (0, 1) if normalize == "recording" else (0,)
    one = x[0]
    assert one.mean(axes).abs().max() < 1e-4
    assert (one.std(axes, correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("subsample", [1, 2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name, subsample):
    torch.manual_seed(0)
    model, items = MODELS[name](subsample=subsample).eval(), sounds()
    together = model(model.inputs(padded(items, extra=3000)))
    pooled = model.pool(together)
    for i, item in enumerate(items):
        alone = model(model.inputs(padded([item])))
        real = together.mask[i]
        assert int(real.sum()) == alone.tokens.shape[1] == math.ceil(int(model.logmel.frames(LENGTHS[i])) / subsample)
        assert (together.tokens[i][real] - alone.tokens[0]).abs().max() < 1e-5
        assert (pooled[i] - model.pool(alone)[0]).abs().max() < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_no_gradient(name):
    torch.manual_seed(0)
    model, items = MODELS[name](dropout=0.0), sounds()
    gradients = []
    for extra in (0, 2500):
        model.zero_grad()
        model.pool(model(model.inputs(padded(items, extra)))).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.isfinite(g).all() for g in gradients[1])
    assert max((a - b).abs().max() for a, b in zip(*gradients, strict=True)) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_in_a_layer_and_learns(name):
    model = MODELS[name]()
    model(model.inputs(padded(sounds()))).tokens.square().sum().backward()
    inside = {p for layer in model.layers() for module in layer for p in module.parameters()}
    assert inside == set(model.parameters())
    assert all(p.grad is not None for p in inside)


def test_silence_and_a_single_sample_are_no_accident():
    model = MODELS["conformer"]().eval()
    tokens = model(model.inputs({"input": torch.zeros(2, 1, dtype=torch.int16), "length": torch.tensor([1, 1])})).tokens
    assert tokens.shape[1] == 1
    assert torch.isfinite(tokens).all()


def test_options_that_can_not_be():
    for options, said in (
        ({"mels": 200}, "too many for 8000"),
        ({"subsample": 3}, "choose 1, 2 or 4"),
        ({"normalize": "no"}, "choose recording or bands"),
    ):
        with pytest.raises(ConfigError, match=said):
            AudioCNN(SPEC, **options)
    with pytest.raises(ConfigError, match="heads must divide width"):
        AudioTransformer(SPEC, width=10, heads=4)
    with pytest.raises(ConfigError, match=r"model\.kernel=4"):
        Conformer(SPEC, kernel=4)
    with pytest.raises(ConfigError, match="the dataset yields image"):
        AudioCNN(Spec("image", {"size": [8, 8], "channels": 1}))
