"""What units are made of: cepstra beside scipy's and a loop, a layer as the whole model has it, clusters."""

import numpy as np
import pytest
import torch
from scipy.fft import dct

from ptft.data.audio.tones import Tones
from ptft.errors import ConfigError
from ptft.models.audio.conformer import AudioTransformer, Conformer
from ptft.objectives.self_supervised.units.clusters import Clusters
from ptft.objectives.self_supervised.units.features import Cepstra, Layer

SOURCE = Tones(count=24, held_out=8)
OPTIONS = {"width": 12, "heads": 2, "channels": 4, "dropout": 0.0}


def prepared(net, extra=0):
    batch = SOURCE.split("train").take(torch.arange(5))
    raw = {**batch, "input": torch.nn.functional.pad(batch["input"], (0, extra))}
    x = net.inputs(raw)
    return x, net.token_mask(x)


def test_cepstra_are_scipys_and_slopes_a_line_through_five_frames():
    x, real = prepared(AudioTransformer(SOURCE.spec, depth=1, **OPTIONS))
    found = Cepstra(4, x.shape[2])(x, real.shape[1])
    for row, spectrogram in enumerate(x.numpy()):
        frames = spectrogram[~np.isnan(spectrogram[:, 0])]
        parts = [dct(frames, norm="ortho")[:, :13]]
        for _ in range(2):
            longer = np.pad(parts[-1], ((2, 2), (0, 0)), mode="edge")
            lines = [np.polyfit(np.arange(-2, 3), longer[at : at + 5], 1)[0] for at in range(len(frames))]
            parts.append(np.stack(lines))
        values = np.concatenate(parts, 1)
        for token in range(int(real[row].sum())):
            expected = values[4 * token : 4 * token + 4].mean(0)
            np.testing.assert_allclose(found[row, token].numpy(), expected, atol=2e-5)
        assert not found[row, int(real[row].sum()) :].any()


@pytest.mark.parametrize(("kind", "subsample"), [(AudioTransformer, 4), (Conformer, 2), (AudioTransformer, 1)])
def test_a_layer_is_what_the_whole_model_has_there_in_the_middle_of_each_token(kind, subsample):
    whole = kind(SOURCE.spec, depth=3, subsample=subsample, **OPTIONS).eval()
    found = Layer(kind(SOURCE.spec, depth=2, subsample=subsample, **OPTIONS), 4)
    found.take(whole)
    seen = []
    whole.blocks[1].register_forward_hook(lambda module, given, out: seen.append(out.detach()))
    student = AudioTransformer(SOURCE.spec, depth=1, subsample=4, **OPTIONS)
    for extra in (0, 1700):
        x, real = prepared(student, extra)
        seen.clear()
        whole(x)
        got = found(x, real.shape[1])
        for row in range(len(x)):
            for token in range(int(real[row].sum()) - 1):  # the middle of the last one may lie behind the end
                torch.testing.assert_close(got[row, token], seen[0][row, (4 * token + 2) // subsample])


def test_clusters_are_found_whatever_the_scale_of_a_value():
    torch.manual_seed(0)
    centres = torch.eye(4)[:, :3] * torch.tensor([1.0, 100.0, 0.01])
    which = torch.arange(400) % 4
    sample = centres[which] + 0.05 * torch.randn(400, 3) * torch.tensor([1.0, 100.0, 0.01])
    found, again = Clusters(4, 3), Clusters(4, 3)
    assert not found.known
    for clusters in (found, again):
        clusters.fit(sample, seed=3)
    assert found.known
    assert torch.equal(found.centres, again.centres)
    pairs = set(zip(found(sample).tolist(), which.tolist(), strict=True))
    assert len(pairs) == 4
    with pytest.raises(ConfigError, match=r"objective\.clusters=5"):
        Clusters(5, 3).fit(centres.repeat(20, 1), seed=0)
