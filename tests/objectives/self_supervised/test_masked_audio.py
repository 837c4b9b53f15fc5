"""Recordings with hidden pieces: which are hidden, what is asked, that padding and evaluation change nothing."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from ptft.data.audio.tones import Tones
from ptft.data.loader import Loader
from ptft.errors import ConfigError
from ptft.models.audio.cnn import AudioCNN
from ptft.models.audio.conformer import AudioTransformer
from ptft.objectives.self_supervised.masked_audio import BestRQ, SpectrogramMAE, Wav2Vec2
from ptft.objectives.self_supervised.simclr import SimCLR
from ptft.optim.eager import without_dynamo
from ptft.train.loop import evaluate

KINDS = [Wav2Vec2, SpectrogramMAE, partial(BestRQ, codes=32, noise=0.0)]


def made(kind, **options):
    source = Tones(count=24, held_out=16)
    torch.manual_seed(0)
    backbone = AudioTransformer(source.spec, width=12, depth=1, heads=2, channels=4, dropout=0.0, subsample=2)
    return kind(backbone, source.spec, **options), source


def test_the_share_that_is_hidden_is_about_what_was_asked():
    torch.manual_seed(0)
    real = torch.arange(400) < torch.tensor([[400], [250]]).repeat(20, 1)
    for share in (0.3, 0.6):
        objective, _ = made(Wav2Vec2, mask_share=share, span=4)
        hidden = objective.hidden(real)
        assert not (hidden & ~real).any()
        assert abs(hidden.sum() / real.sum() - share) < 0.03
        runs = hidden[:, 1:] & ~hidden[:, :-1]
        assert 4 <= hidden.sum() / runs.sum() <= 12


def test_every_recording_hides_something():
    objective, _ = made(SpectrogramMAE, mask_share=0.01, span=1)
    assert objective.hidden(torch.arange(5) < torch.tensor([[1], [5], [2]])).any(1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_neither_loss_nor_gradient(kind):
    objective, source = made(kind)
    batch = source.split("train").take(torch.arange(6))
    found = []
    for extra in (0, 2000):
        objective.zero_grad()
        raw = {**batch, "input": torch.nn.functional.pad(batch["input"], (0, extra))}
        x = objective.backbone.inputs(raw)
        real = objective.backbone.token_mask(x)
        hidden = (torch.arange(real.shape[1]) % 3 == 1) & real
        step = objective.ask(x, real, hidden)
        step.total.backward()
        found.append((float(step.total.detach()), int(step.count), [p.grad.clone() for p in objective.parameters()]))
    assert found[0][:2] == pytest.approx(found[1][:2], rel=1e-4)
    assert max((a - b).abs().max() for a, b in zip(found[0][2], found[1][2], strict=True)) < 2e-4


def test_what_is_hidden_is_not_seen():
    """The prediction for hidden frames is the same whatever they are."""
    objective, source = made(SpectrogramMAE)
    x = objective.backbone.inputs(source.split("train").take(torch.arange(2)))
    real = objective.backbone.token_mask(x)
    hidden = (torch.arange(real.shape[1]) < 6).expand(2, -1) & real
    seen = []
    objective.values.register_forward_hook(lambda module, given, out: seen.append(out))
    other = x.clone()
    other[:, :12] = 7.0
    objective.ask(x, real, hidden), objective.ask(other, real, hidden)
    assert torch.equal(seen[0], seen[1])


def test_the_right_token_is_the_answer():
    objective, source = made(Wav2Vec2, temperature=0.01)
    objective.context = objective.target = torch.nn.Identity()
    objective.encoded = lambda tokens, real, hidden: tokens  # the encoder knows what was hidden
    x = objective.backbone.inputs(source.split("train").take(torch.arange(4)))
    real = objective.backbone.token_mask(x)
    step = objective.ask(x, real, real)
    assert step.sums["found"] == step.count == real.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_are_equal_and_draw_nothing(kind):
    objective, source = made(kind, reference=Tones(count=24, held_out=16).split("train"))
    loader = Loader(source.split("val"), 8)
    before = torch.get_rng_state()
    first, second = (evaluate(objective, loader, nullcontext)[0] for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert {"loss", "knn", "feature_std"} <= first.keys()


@pytest.mark.parametrize(("kind", "rate", "steps"), [(Wav2Vec2, 5e-3, 120), (SpectrogramMAE, 5e-3, 40)])
def test_it_learns(kind, rate, steps):
    objective, source = made(kind)
    batch = source.split("train").take(torch.arange(24))
    optimizer = without_dynamo(torch.optim.Adam)(objective.parameters(), rate)
    losses = []
    for _ in range(steps):
        step = objective(batch)
        loss = step.total / step.count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_codes_are_the_nearest_entries_and_stay():
    objective, source = made(partial(BestRQ, codes=7, code_width=3))
    kept = {name: value.clone() for name, value in objective.named_buffers()}
    x = objective.backbone.inputs(source.split("train").take(torch.arange(3)))
    real = objective.backbone.token_mask(x)
    codes = objective.codes(x, real.shape[1])
    size = objective.backbone.cell[0]
    for recording in range(3):
        for token in (0, 5, int(real[recording].sum()) - 2):
            values = x[recording, token * size : (token + 1) * size].flatten() @ objective.projection
            likeness = torch.nn.functional.cosine_similarity(values, objective.codebook)
            assert codes[recording, token] == likeness.argmax()
    objective(source.split("train").take(torch.arange(4))).total.backward()
    assert not [name for name, value in objective.named_buffers() if not torch.equal(value, kept[name])]
    assert {"projection", "codebook"} <= objective.state_dict().keys()


def test_codes_of_random_numbers_teach_what_random_features_do_not_hold():
    source = Tones(count=120, held_out=60)
    torch.manual_seed(0)
    backbone = AudioTransformer(source.spec, width=16, depth=1, heads=2, channels=4, dropout=0.0, subsample=2)
    objective = BestRQ(backbone, source.spec, codes=64, reference=source.split("train"))
    val, train = Loader(source.split("val"), 32), Loader(source.split("train"), 24, shuffle=True)
    before = evaluate(objective, val, nullcontext)[0]
    optimizer = without_dynamo(torch.optim.Adam)(objective.train().parameters(), 5e-3)
    for batch in (batch for epoch in range(8) for batch in train.epoch(epoch)):
        step = objective(batch)
        optimizer.zero_grad()
        (step.total / step.count).backward()
        optimizer.step()
    after = evaluate(objective, val, nullcontext)[0]
    assert after["knn"] > before["knn"] + 0.2
    assert after["accuracy"] > 2 / after["code_perplexity"] > 2 * before["accuracy"]


def test_simclr_hears_too():
    source = Tones(count=24, held_out=16)
    torch.manual_seed(0)
    views = {"shift": 2, "time_masks": 1, "freq_masks": 1, "noise": 0.2}
    objective = SimCLR(AudioCNN(source.spec, channels=(4, 8), width=12), source.spec, views=views)
    step = objective(source.split("train").take(torch.arange(8)))
    step.total.backward()
    assert int(step.count) == 8
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


def test_options_that_can_not_be():
    source = Tones(count=8, held_out=8)
    with pytest.raises(ConfigError, match="choose model=audio_transformer"):
        Wav2Vec2(AudioCNN(source.spec), source.spec)
    for options in ({"mask_share": 1.0}, {"span": 0}, {"temperature": 0.0}):
        with pytest.raises(ConfigError, match=f"objective.{next(iter(options))}"):
            made(Wav2Vec2, **options)
    with pytest.raises(ConfigError, match=r"objective\.codes=1"):
        made(BestRQ, codes=1)
