"""Transformers of text: direction, padding, positions, what is kept of a text, and what can't be built."""

import pytest
import torch

from ptft.core import Spec
from ptft.errors import ConfigError
from ptft.models.text.transformer import Transformer
from ptft.train.activation_checkpointing import checkpoint_activations
from tests.helpers.language import batch, model, part, spec

VARIANTS = [{}, {"positions": "learned", "activation": "swiglu"}, {"pool": "cls", "dropout": 0.1, "drop_path": 0.2}]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("causal", [True, False])
def test_padding_changes_nothing(causal, options):
    backbone, whole = model(causal, **options).eval(), batch()
    features = backbone(whole["input"], whole["mask"])
    pooled = backbone.pool(features)
    for row in range(len(pooled)):
        alone = part(whole, [row])
        found = backbone(alone["input"], alone["mask"])
        assert torch.allclose(features.tokens[row][whole["mask"][row]], found.tokens[0], atol=1e-5)
        assert torch.allclose(pooled[row], backbone.pool(found)[0], atol=1e-5)
    unmasked = backbone(alone["input"])
    assert torch.allclose(backbone.pool(unmasked), backbone.pool(found), atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_who_sees_what(causal):
    backbone = model(causal).eval()
    ids = batch()["input"][:1, :10]
    changed = ids.clone()
    changed[0, 6] = 33
    before, after = backbone(ids).tokens[0], backbone(changed).tokens[0]
    assert torch.equal(before[:6], after[:6]) == causal
    assert not torch.allclose(before[6:], after[6:], atol=1e-4)


@pytest.mark.parametrize("options", VARIANTS[:2])
def test_order_matters(options):
    backbone = model(False, **options).eval()
    ids = batch()["input"][:1, :10]
    assert not torch.allclose(backbone(ids).tokens.mean(1), backbone(ids.flip(1)).tokens.mean(1), atol=1e-5)


def test_the_last_real_token_sums_a_causal_text_up():
    backbone, whole = model(True).eval(), batch()
    features = backbone(whole["input"], whole["mask"])
    last = whole["mask"].sum(1) - 1
    assert torch.equal(backbone.pool(features), features.tokens[torch.arange(4), last])


@pytest.mark.parametrize("options", VARIANTS[:2])
def test_reading_token_by_token_is_reading_at_once(options):
    backbone, whole = model(True, **options).eval(), batch()
    lengths, more = whole["mask"].sum(1), torch.randint(97, 123, (4, 5))
    decoder = backbone.decoder()
    found = [decoder.prefill(whole["input"], whole["mask"]), *(decoder.step(ids) for ids in more.T)]
    for row, length in enumerate(lengths.tolist()):
        text = torch.cat([whole["input"][row, :length], more[row]])
        expected = backbone(text.unsqueeze(0)).tokens[0, length - 1 :]
        assert torch.allclose(torch.stack([step[row] for step in found]), expected, atol=1e-5)


def test_activations_computed_again_give_the_same_gradients():
    gradients = []
    for again in (False, True):
        backbone = model(True, dropout=0.1)
        if again:
            assert checkpoint_activations(backbone) == 2
        torch.manual_seed(1)
        backbone(batch()["input"]).tokens.square().sum().backward()
        gradients.append([p.grad for p in backbone.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


def test_every_parameter_is_in_a_layer_and_positions_are_cut():
    backbone = model(False, positions="learned")
    inside = {p for layer in backbone.layers() for module in layer for p in module.parameters()}
    assert [name for name, p in backbone.named_parameters() if p not in inside] == ["positions"]
    assert len(backbone.layers()) == 3
    longer = model(False, 80, positions="learned").state_dict()
    fitted, resized = backbone.adapt(longer)
    backbone.load_state_dict(fitted)
    assert resized == ["positions"]
    assert backbone.adapt(backbone.state_dict())[1] == []


def test_what_can_not_be_built_is_said():
    image = Spec("image", {"size": [8, 8], "channels": 1, "fit": "none"})
    with pytest.raises(ConfigError, match="reads text, the dataset yields image"):
        Transformer(image)
    for options in ({"width": 30, "heads": 4}, {"activation": "relu"}, {"positions": "none"}, {"pool": "max"}):
        with pytest.raises(ConfigError, match=rf"model\.{next(iter(options))}"):
            Transformer(spec(), **options)
    with pytest.raises(ConfigError, match=r"65 tokens: model\.positions=learned has 64"):
        model(False, positions="learned")(torch.zeros(1, 65, dtype=torch.long))
