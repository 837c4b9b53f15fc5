"""CTC: the loss and the decoders against all paths, counts over uneven batches, metrics, and padding."""

import itertools
import math
from contextlib import nullcontext

import pytest
import torch

from ptft.core import Spec
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.tones import Tones
from ptft.data.loader import Loader
from ptft.errors import ConfigError
from ptft.models.audio.cnn import AudioCNN
from ptft.models.audio.conformer import Conformer
from ptft.objectives.supervised.ctc import CTC, _totals, needed
from ptft.objectives.supervised.ctc_decoding import beam_search, greedy
from ptft.train.loop import evaluate, gradients
from tests.helpers.autoencoder import training


def collapse(path, blank):
    return tuple(s for s, before in zip(path, (None, *path), strict=False) if s != before and s != blank)


def every_text(scores):
    """Probability of every text, summed over all paths: scores [T, V + 1]."""
    found = {}
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        share = math.exp(sum(float(scores[t, s]) for t, s in enumerate(path)))
        text = collapse(path, scores.shape[1] - 1)
        found[text] = found.get(text, 0) + share
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_beam_finds_the_likeliest_text_of_all(seed):
    torch.manual_seed(seed)
    scores = (2 * torch.randn(5, 3)).log_softmax(1)
    texts = every_text(scores)
    best = max(texts, key=texts.get)
    found, score = beam_search(scores, 2, 1000)
    assert tuple(found) == best
    assert score == pytest.approx(math.log(texts[best]), abs=1e-5)


def plain_beam(scores, blank, width):
    """The search as it is defined, with every symbol after every prefix; shares as in `Beams`."""
    beams = {(): (1.0, 0.0)}
    for frame in scores.exp().tolist():
        grown = {}
        for prefix, (blanks, symbols) in beams.items():
            for symbol, share in enumerate(frame):
                same = bool(prefix) and symbol == prefix[-1]
                to = prefix if symbol == blank else (*prefix, symbol)
                before = grown.get(to, (0.0, 0.0))
                more = (blanks if same else blanks + symbols) * share
                grown[to] = (before[0] + more, before[1]) if symbol == blank else (before[0], before[1] + more)
                if same:
                    before = grown.get(prefix, (0.0, 0.0))
                    grown[prefix] = (before[0], before[1] + symbols * share)
        beams = dict(sorted(grown.items(), key=lambda item: -sum(item[1]))[:width])
    return max(beams, key=lambda prefix: sum(beams[prefix]))


@pytest.mark.parametrize("width", [1, 2, 5])
def test_symbols_that_no_kept_prefix_can_end_with_are_rightly_left_out(width):
    torch.manual_seed(width)
    for scale in (0.5, 1.0, 3.0) * 5:
        scores = (scale * torch.randn(9, 25, dtype=torch.float64)).log_softmax(1)
        assert tuple(beam_search(scores, 24, width)[0]) == plain_beam(scores, 24, width)


def test_greedy_takes_the_likeliest_path():
    best = torch.tensor([[0, 0, 2, 0, 1, 1], [1, 2, 2, 1, 0, 0]])
    scores = torch.nn.functional.one_hot(best, 3).float().log()
    assert greedy(scores, torch.tensor([6, 4]), 2) == [[0, 0, 1], [1, 1]]


def model(options=None, words=(1, 3), count=12, **more):
    source = Tones(count=count, held_out=6, words=list(words))
    torch.manual_seed(0)
    backbone = Conformer(source.spec, width=12, depth=1, heads=2, channels=4, kernel=3, dropout=0.0)
    return CTC(backbone, source.spec, **(options or {}), **more), source


def test_the_loss_is_that_of_all_paths():
    objective, source = model(words=(1, 2))
    batch = source.split("train").take(torch.arange(4))
    scores, frames = objective.eval().log_probabilities(batch)
    step = objective(batch)
    scores, expected = scores.detach(), 0.0
    for row, length, target, size in zip(
        scores.double(), frames.tolist(), batch["target"].tolist(), batch["target_length"].tolist(), strict=True
    ):
        expected -= math.log(forward(row[:length].exp(), target[:size], objective.blank))
    assert float(step.total.detach()) == pytest.approx(expected, rel=1e-4)
    assert int(step.count) == int(batch["target_length"].sum())


def forward(shares, target, blank):
    """Probability of a target over all paths, by the recursion over (frame, symbols said, last frame's symbol)."""
    states = {(0, blank): 1.0}
    for frame in shares.tolist():
        grown = {}
        for (said, last), share in states.items():
            moves = [(said, blank, frame[blank])]
            if said and last == target[said - 1]:
                moves.append((said, last, frame[last]))
            if said < len(target) and target[said] != last:
                moves.append((said + 1, target[said], frame[target[said]]))
            for to, symbol, chance in moves:
                grown[to, symbol] = grown.get((to, symbol), 0.0) + share * chance
        states = grown
    return sum(share for (said, _), share in states.items() if said == len(target))


def test_cutting_a_batch_changes_no_gradient():
    def run(accumulate):
        objective, source = model(count=32)
        t = training(
            lambda: objective,
            loader=Loader(source.split("train"), 32),
            val=None,
            accumulate=accumulate,
        )
        t.objective.float()
        sums, norm = gradients(t, source.split("train").take(torch.arange(32)))
        return sums["total"] / sums["count"], norm, [p.grad.clone() for p in t.parameters]

    (loss, norm, whole), (cut_loss, cut_norm, cut) = run(1), run(4)
    assert float(loss) == pytest.approx(float(cut_loss), rel=1e-5)
    assert float(norm) == pytest.approx(float(cut_norm), rel=1e-4)
    assert max((a - b).abs().max() for a, b in zip(whole, cut, strict=True)) < 1e-5 * max(a.abs().max() for a in whole)


def test_metrics_do_not_depend_on_the_batch():
    objective, source = model()
    torch.nn.init.normal_(objective.head.weight, std=1.0)
    found = [evaluate(objective, Loader(source.split("val"), size), nullcontext)[0] for size in (1, 4, 6)]
    assert all(one == pytest.approx(found[0], rel=1e-5) for one in found)
    assert found[0].keys() == {"loss", "wer", "cer", "exact"}
    assert found[0]["wer"] > 0


def test_error_rates_count_edits():
    spec = Spec("audio", {**audio_reader.shape(8000, None), "units": "characters"}, "transcript", (" ", "a", "b"))
    objective = CTC(AudioCNN(spec, channels=(2, 2), width=4), spec).eval()
    # said "ab a", heard "aba": both words are wrong (one substituted, one missing), one character is missing
    target = torch.tensor([[1, 2, 0, 1]])
    best = torch.tensor([[1, 2, 1, 3]])
    scores = torch.nn.functional.one_hot(best, 4).float().log()
    sums = _totals(objective._compared(scores, torch.tensor([4]), target, torch.tensor([4])))
    sums = {**sums, "too_short": torch.tensor(0)}
    assert objective.metrics(sums) == pytest.approx({"wer": 1.0, "cer": 0.25, "exact": 0.0})


def test_a_recording_too_short_for_its_transcript_is_counted():
    objective, source = model()
    batch = source.split("train").take(torch.arange(2))
    many = torch.zeros(2, 60, dtype=torch.long)
    step = objective({**batch, "target": many, "target_length": torch.tensor([60, 1])})
    assert int(step.sums["too_short"]) == 1
    assert torch.isfinite(step.total)
    assert int(step.count) == 1  # so that what can't be learned does not make the steps of the rest smaller
    assert needed(torch.tensor([[0, 0, 1, -1], [1, 0, 1, 1]]), torch.tensor([3, 4])).tolist() == [4, 5]


@pytest.mark.parametrize("beam", [1, 4])
def test_answers_are_texts(beam):
    objective, source = model({"beam": beam})
    answers = objective.eval().predict(source.split("test").take(torch.arange(3)))
    assert len(answers) == 3
    assert all(set(row["text"].split()) <= set(source.spec.classes) for row in answers)


def test_options_that_can_not_be():
    spec = Spec("audio", audio_reader.shape(8000, None), "class", ("a", "b"))
    with pytest.raises(ConfigError, match="needs transcripts"):
        CTC(AudioCNN(spec), spec)
    with pytest.raises(ConfigError, match=r"objective\.beam=0"):
        model({"beam": 0})
