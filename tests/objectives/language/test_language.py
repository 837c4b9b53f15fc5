"""Causal, masked and replaced-token language modelling: what is counted, what is masked, what is refused."""

import contextlib
import math

import pytest
import torch

from ptft.core import Spec
from ptft.data.loader import Loader
from ptft.data.text.reader import text_spec
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError
from ptft.finetune.phases import Phases
from ptft.loggers.logger import Logger
from ptft.models.image.cnn import CNN
from ptft.objectives.language.causal_lm import CausalLM
from ptft.objectives.language.masked_lm import MaskedLM
from ptft.objectives.language.replaced_token import ReplacedToken
from ptft.optim.eager import without_dynamo
from ptft.optim.param_groups import parameter_groups
from ptft.optim.schedules import Constant
from ptft.train.loop import evaluate, fit
from ptft.train.state import Budget, Every, Training
from tests.helpers.autoencoder import weights
from tests.helpers.language import SENTENCES, batch, grammar, loss, model, part, spec

ALL = [CausalLM, MaskedLM, ReplacedToken]


def build(kind, **options):
    causal = kind is CausalLM
    backbone = model(causal)
    torch.manual_seed(1)
    return kind(backbone, spec(), **({"mask_ratio": 0.4, **options} if not causal else options))


class Rows(Logger):
    """Keeps what was logged."""

    def __init__(self):
        self.rows = []

    def log(self, row):
        self.rows.append(row)


def training(kind, accumulate=1, batch_size=32, steps=4, **options):
    objective = build(kind)
    source = grammar()
    return Training(
        **{
            "objective": objective,
            "optimizer": without_dynamo(torch.optim.SGD)(
                parameter_groups(objective, Phases(objective).scales, lr=0.05, weight_decay=0.0), 0.05, 0.9
            ),
            "schedule": Constant(),
            "loader": Loader(source.split("train"), batch_size, shuffle=True),
            "val": None,
            "budget": Budget(steps=steps),
            "every": Every(log=1, evaluate=10**6, save=10**6),
            "monitor": objective.monitor,
            "accumulate": accumulate,
            **options,
        }
    )


@pytest.mark.parametrize("kind", ALL)
def test_padding_changes_no_loss(kind):
    objective, whole = build(kind).eval(), batch()
    alone = [loss(objective, part(whole, [row])) for row in range(len(SENTENCES))]
    total, count = loss(objective, whole)
    assert count == sum(n for _, n in alone)
    assert math.isclose(total, sum(value for value, _ in alone), rel_tol=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_a_batch_in_parts_is_the_same_training(kind):
    whole, parts = training(kind), training(kind, accumulate=4)
    rows = []
    for t in (whole, parts):
        logger = Rows()
        fit(t, logger, lambda better: None)
        rows.append(logger.rows[-1])
    assert all(math.isclose(rows[0][key], rows[1][key], rel_tol=1e-4) for key in rows[0].keys() - {"seconds", "split"})
    for name, value in weights(whole).items():
        assert torch.allclose(value, weights(parts)[name], atol=2e-6), name


@pytest.mark.parametrize("kind", [MaskedLM, ReplacedToken])
def test_masks_follow_from_step_and_example_alone(kind):
    objective, whole = build(kind), batch()
    before = torch.get_rng_state()
    first = objective.masks(whole)[0]
    assert torch.equal(objective.masks(part(whole, [2]))[0][0], first[2][: int(whole["mask"][2].sum())])
    objective.advance(1, 10)
    later = objective.masks(whole)[0]
    assert not torch.equal(first, later)
    objective.eval()
    still = objective.masks(whole)[0]
    objective.advance(2, 10)
    assert torch.equal(objective.masks(whole)[0], still)
    assert torch.equal(torch.get_rng_state(), before), "no generator is touched"
    again = build(kind)
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again.masks(whole)[0], objective.train().masks(whole)[0])
    assert not (first | later | still)[~whole["mask"]].any()


def test_evaluation_is_the_same_every_time():
    objective = build(MaskedLM)
    loader = Loader(grammar().split("val"), 8)
    first = evaluate(objective, loader, contextlib.nullcontext)
    objective.advance(1, 2)
    assert evaluate(objective, loader, contextlib.nullcontext) == first


def test_eight_in_ten_are_hidden_and_one_is_random():
    objective = build(MaskedLM, mask_ratio=0.15).train()
    ids = torch.randint(97, 123, (64, 60))
    found = {"input": ids, "mask": torch.ones_like(ids, dtype=torch.bool), "index": torch.arange(64)}
    chosen, chances = objective.masks(found)
    corrupted = objective._corrupted(ids, chosen, chances)
    assert abs(float(chosen.float().mean()) - 0.15) < 0.02
    hidden = corrupted == Tokenizer().mask
    assert torch.equal(corrupted[~chosen], ids[~chosen])
    assert not hidden[~chosen].any()
    assert abs(float(hidden[chosen].float().mean()) - 0.8) < 0.06
    assert 0.05 < float(((corrupted != ids) & ~hidden)[chosen].float().mean()) < 0.15
    assert int(corrupted[~hidden].max()) < 256


def test_whole_words_are_hidden_with_all_their_letters():
    objective, whole = build(MaskedLM, whole_words=True), batch()
    chosen = objective.masks(whole)[0]
    for row, (ids, mask) in enumerate(zip(whole["input"], whole["mask"], strict=True)):
        starts = Tokenizer().starts_word(ids[mask]).cumsum(0)
        assert all(len(chosen[row][mask][starts == word].unique()) == 1 for word in starts.unique())
    assert chosen.any()


def test_the_loss_of_masked_tokens_is_that_of_all_logits():
    objective, whole = build(MaskedLM).eval(), batch()
    chosen, chances = objective.masks(whole)
    hidden = objective.backbone(objective._corrupted(whole["input"], chosen, chances), whole["mask"]).tokens
    logits = objective.head(hidden) @ objective.backbone.embedding.weight.T + objective.head.bias
    expected = torch.nn.functional.cross_entropy(logits[chosen], whole["input"][chosen], reduction="sum")
    assert math.isclose(loss(objective, whole)[0], float(expected.detach()), rel_tol=1e-5)
    with torch.no_grad():
        assert math.isclose(float(objective(whole).total), float(expected), rel_tol=1e-5)


def test_bits_per_byte_of_a_model_that_knows_nothing():
    objective = build(CausalLM).eval()
    objective.backbone.embedding.weight.data.zero_()
    step = objective(batch())
    found = objective.metrics({**step.sums, "count": step.count})
    assert math.isclose(found["bits_per_byte"], math.log2(261), rel_tol=1e-5)
    assert math.isclose(found["perplexity"], 261, rel_tol=1e-4)


def test_bits_per_byte_count_bytes_and_not_tokens():
    tokenizer = Tokenizer.train("bpe", SENTENCES * 10, 280)
    about = text_spec(tokenizer, 64, "none")
    from ptft.models.text.transformer import Transformer

    objective = CausalLM(Transformer(about, causal=True, width=16, depth=1, heads=2), about).eval()
    ids = torch.tensor(tokenizer.encode(["the cat sat"]))
    step = objective({"input": ids, "mask": torch.ones_like(ids, dtype=torch.bool)})
    first = len(tokenizer.decode(ids[0, :1].tolist()))
    assert int(step.sums["bytes"]) == len("the cat sat") - first
    assert int(step.count) == ids.shape[1] - 1


def test_the_generator_makes_what_the_backbone_tells_apart():
    objective, whole = build(ReplacedToken), batch()
    step = objective(whole)
    found = objective.metrics({**step.sums, "count": step.count})
    assert int(step.count) == int(whole["mask"].sum())
    assert int(step.sums["replaced"]) <= int(step.sums["masked"])
    assert math.isclose(found["discriminator_loss"], math.log(2), rel_tol=0.2)
    assert math.isclose(found["generator_loss"], math.log(261), rel_tol=0.2)
    step.total.backward()
    assert objective.backbone.embedding.weight.grad.abs().sum() > 0
    assert objective.generator.blocks[0].mlp.expand.weight.grad.abs().sum() > 0
    assert not [name for name in objective.state_dict() if "embedding" in name and not name.startswith("backbone.")]


@pytest.mark.parametrize("kind", ALL)
def test_the_other_direction_is_refused_by_name(kind):
    causal = kind is CausalLM
    with pytest.raises(
        ConfigError, match=rf"objective={'causal_lm' if causal else '(masked_lm|replaced_token)'}: .*causal="
    ):
        kind(model(not causal), spec())
    image = Spec("image", {"size": [8, 8], "channels": 1, "fit": "none"})
    with pytest.raises(ConfigError, match=r"needs a model of text.*CNN is none"):
        kind(CNN(image), image)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_it_learns(kind):
    logger = Rows()
    t = training(kind, steps=60 if kind is ReplacedToken else 30, clip=1.0)
    t.optimizer = without_dynamo(torch.optim.AdamW)(
        parameter_groups(t.objective, Phases(t.objective).scales, lr=1e-2, weight_decay=0.0), 1e-2
    )
    for group in t.optimizer.param_groups:
        group["base_lr"] = 1e-2
    t.__post_init__()
    fit(t, logger, lambda better: None)
    assert logger.rows[-1]["loss"] < 0.9 * logger.rows[0]["loss"]
