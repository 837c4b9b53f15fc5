"""CTC with a language model: the search against all texts, what is fitted, kept and refused; words and their times."""

import itertools
import json
import math
import shutil

import pytest
import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.core import Spec
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.transcripts import join
from ptft.data.text.reader import text_spec
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError
from ptft.models.text.transformer import Transformer
from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.language.masked_lm import MaskedLM
from ptft.objectives.supervised.ctc_language import LanguageModel, Weights, opened, search
from ptft.objectives.supervised.ctc_ranking import chosen, with_language
from ptft.objectives.supervised.ctc_words import align, words_of
from tests.conftest import refused, summary
from tests.objectives.supervised.test_ctc import every_text

SPECS = {
    "characters": Spec(
        "audio", {**audio_reader.shape(8000, None), "units": "characters"}, "transcript", (" ", "a", "ü")
    ),
    "words": Spec("audio", {**audio_reader.shape(8000, None), "units": "words"}, "transcript", ("ab", "b", "c")),
}


def language(causal=True, tokenizer=None, **more):
    torch.manual_seed(3)
    spec = text_spec(tokenizer or Tokenizer(), 64, "none", **more)
    net = Transformer(spec, causal=causal, width=16, depth=1, heads=2)
    torch.nn.init.normal_(net.embedding.weight, std=0.3)
    return (CausalLM if causal else MaskedLM)(net, spec), spec


def made(spec):
    objective, own = language()
    about, _ = opened("lm", objective, own)
    return LanguageModel(objective.backbone.eval(), about, lambda symbols: join(symbols, spec)), objective


def likelihood(objective, text):
    """The logarithm of a text's probability after the separator, with its end, token by token."""
    sep = Tokenizer().sep
    ids = torch.tensor([[sep, *text.encode(), sep]])
    with torch.no_grad():
        scores = objective.next_logits(objective.backbone(ids[:, :-1]).tokens[0]).log_softmax(-1)
    return float(scores[torch.arange(len(scores)), ids[0, 1:]].sum())


@pytest.mark.parametrize("units", SPECS)
def test_the_search_ranks_every_text_by_sound_and_language(units):
    spec, weights = SPECS[units], Weights(0.7, 0.4)
    torch.manual_seed(1)
    scores = (1.5 * torch.randn(2, 4, 4)).log_softmax(-1)
    model, objective = made(spec)
    found = search(scores, torch.tensor([4, 3]), 3, 500, model, weights)
    for row, length, heard in zip(scores, (4, 3), found, strict=True):
        texts = {
            text: math.log(share) + 0.7 * likelihood(objective, join(text, spec)) + 0.4 * len(text)
            for text, share in every_text(row[:length]).items()
        }
        assert len(heard) == len(texts)
        assert heard[0].symbols == max(texts, key=texts.get)
        for text in heard:
            assert weights.rank(text.sound, text.language, len(text.symbols)) == pytest.approx(
                texts[text.symbols], abs=1e-3
            )
    alone = search(scores[1:, :3], torch.tensor([3]), 3, 500, model, weights)
    assert alone[0][0].language == pytest.approx(found[1][0].language, abs=1e-4), "whatever else is in the batch"


def test_the_weights_are_those_with_the_fewest_wrong_words():
    sums = {
        "sound": torch.tensor([[-1.0, -2.0], [-1.0, -9.0]]),
        "language": torch.tensor([[-5.0, -2.0], [-3.0, -2.0]]),
        "symbols": torch.tensor([[3.0, 3.0], [2.0, 2.0]]),
        "edits": torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
        "changes": torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
        "words": torch.tensor(8),
    }
    found = chosen(sums)
    assert found == Weights(0.4, 0.0), "the least that turns the first and not the second"
    after, more = with_language(sums, found)
    assert (float(after["word_edits"]), int(after["whole"])) == (0.0, 2)
    assert more == {"wer_without_lm": 0.25, "lm_alpha": 0.4, "lm_beta": 0.0}


def test_what_can_judge_no_text_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"objective\.lm=x: holds no causal language model"):
        opened("x", *language(causal=False))
    pieces = Tokenizer.train("bpe", ["one two three four"] * 9, 280)
    with pytest.raises(ConfigError, match=r"objective\.lm=x: its alphabet is bpe .*dataset\.tokenizer=bytes"):
        opened("x", *language(tokenizer=pieces))
    about = opened("x", *language(separate=True))[0]
    assert about["begin"] == Tokenizer().cls


def test_words_stand_where_they_are_heard():
    """Against the likeliest of all paths that say the symbols."""
    torch.manual_seed(0)
    scores = (2 * torch.randn(6, 4)).log_softmax(-1)
    spans = align(scores, [1, 1, 2])
    paths = [
        path
        for path in itertools.product(range(4), repeat=6)
        if [s for s, b in zip(path, (None, *path), strict=False) if s not in (b, 3)] == [1, 1, 2]
    ]
    best = max(paths, key=lambda path: sum(float(scores[t, s]) for t, s in enumerate(path)))
    said = [set(best[span.begin : span.end]) for span in spans]
    assert said == [{1}, {1}, {2}]
    assert sum(span.end - span.begin for span in spans) == sum(symbol != 3 for symbol in best)
    said = torch.tensor([1, 1, 3, 2, 0, 3, 1])
    sure = torch.full((7, 4), 0.05).scatter_(1, said.unsqueeze(1), 0.85).log()
    found = words_of(sure, [1, 2, 0, 1], SPECS["characters"], 0.1)
    assert [(word["word"], word["from"], word["to"]) for word in found] == [("aü", 0.0, 0.4), ("a", 0.6, 0.7)]
    assert found[0]["confidence"] == pytest.approx(0.85, abs=1e-4)
    assert [word["word"] for word in words_of(sure, [1, 2], SPECS["words"], 0.1)] == ["b", "c"]
    assert words_of(sure, [], SPECS["words"], 0.1) == []


def test_a_run_with_a_language_model_needs_it_no_more_afterwards(ptft, tmp_path):
    (tmp_path / "t.txt").write_text("i e a\no u r\na e\n" * 30)
    small = ("model.width=16", "model.depth=1", "model.heads=2")
    text = ("dataset=text", "dataset.root=t.txt", "dataset.documents=line", "dataset.separate=true", "dataset.val=null")
    typed = ("stage=pretrain", "model=gpt_tiny", *small, "objective=causal_lm", *text, "dataset.length=16")
    assert ptft(*typed, "train.steps=2", "hydra.run.dir=lm").code == 0
    heard = ["stage=pretrain", "model=audio_transformer", *small, "model.channels=4", "dataset=tones", "objective=ctc"]
    heard += ["dataset.words=[1,2]", "dataset.count=16", "dataset.held_out=6", "train.batch_size=8", "objective.lm=lm"]
    heard += ["schedule=constant", "train.every.evaluate=2", "precision=fp32"]
    for name, steps in (("whole", 4), ("half", 2)):
        done = ptft(*heard, f"train.steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.text
    assert summary(tmp_path / "half")["refers"] == {"objective.lm": str(tmp_path / "lm")}  # from wherever it goes on
    (tmp_path / "lm").rename(tmp_path / "moved")
    refused(ptft("resume=half", "train.steps=4", "objective.lm=null"), 2, "objective.lm: the run has", "/lm, you typed")
    assert ptft("resume=half", "train.steps=4", "objective.lm=moved").code == 0
    one, other = (summary(tmp_path / name)["metrics"]["val"] for name in ("whole", "half"))
    assert one == other
    assert {"wer", "wer_without_lm", "lm_alpha", "lm_beta"} <= one.keys()
    file = tmp_path / "moved" / "checkpoints" / "best.pt"
    content = checkpoint_file.read(file)[0]
    content["weights"] = {name: value * 1.01 for name, value in content["weights"].items()}
    checkpoint_file.write(file, content)
    refused(ptft("resume=half", "train.steps=5"), 4, "objective.lm=", "is not the file that the run began with")
    shutil.copytree(tmp_path / "moved", tmp_path / "copied")
    refused(ptft("resume=half", "train.steps=5", "objective.lm=copied"), 4, "is not the file that the run began with")
    (tmp_path / "moved").rename(tmp_path / "gone")
    done = ptft("stage=evaluate", "ckpt=half", "split=val", "hydra.run.dir=e")
    assert done.code == 0, done.text
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["metrics"]["val"] == one
    audio_reader.write(tmp_path / "a.wav", (5000 * torch.sin(torch.arange(4000) / 4)).to(torch.int16), 8000)
    asked = ("stage=predict", "ckpt=half", "input=a.wav", "predict.times=true", "output=a.jsonl", "hydra.run.dir=p")
    done = ptft(*asked)
    assert done.code == 0, done.text
    row = json.loads((tmp_path / "a.jsonl").read_text())
    assert [word["word"] for word in json.loads(row["words"])] == row["text"].split()
    refused(
        ptft(*heard, "train.steps=1", "objective.lm=half"),
        2,
        f"objective.lm={tmp_path}/half: holds no causal language model",
    )
