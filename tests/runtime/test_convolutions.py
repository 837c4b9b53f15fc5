"""A convolution that a processor computes wrongly in bf16 is noticed and computes in float32."""

import copy

import pytest
import torch
from torch import nn

import ptft as package
from ptft.runtime.convolutions import guard
from tests.conftest import SMALL

BF16 = torch.autocast("cpu", torch.bfloat16)


class Broken(nn.Conv1d):
    """As a kernel that is wrong in bf16 alone, and for inputs of even length alone."""

    def _conv_forward(self, input, weight, bias):
        right = super()._conv_forward(input, weight, bias)
        wrong = torch.is_autocast_enabled("cpu") and input.shape[-1] % 2 == 0
        return right.flip(-1) if wrong else right


def apart(one, other):
    return float((one.float() - other).detach().norm() / other.detach().norm())


@pytest.mark.parametrize("kind", [Broken, nn.Conv1d])
def test_what_is_wrong_is_found_said_once_and_computed_in_float32(kind, capfd):
    torch.manual_seed(0)
    net = nn.Sequential(kind(4, 8, 3, groups=2), nn.GELU(), nn.Conv1d(8, 2, 3))
    sounds = [torch.randn(2, 4, length) for length in (31, 40, 50, 60)]
    right = [net(sound) for sound in sounds]
    guard(net)
    guard(net)
    twin = copy.deepcopy(net)
    assert all(torch.equal(net(sound), value) for sound, value in zip(sounds, right, strict=True)), "as ever in float32"
    with BF16:
        found = [net(sound) for sound in sounds]
    assert max(map(apart, found, right)) < 0.02
    assert all(value.dtype == torch.bfloat16 for value in found)
    said = capfd.readouterr().err
    assert said.count("computes 0 (") == (kind is Broken), said
    found[1].float().sum().backward()
    wanted = torch.autograd.grad(right[1].sum(), net[0].weight)[0]
    assert apart(net[0].weight.grad, wanted) < 0.02
    with torch.no_grad():
        twin[0].weight.zero_()  # a copy computes with its own weights
        assert apart(twin(sounds[0]), net(sounds[0])) > 0.02


def test_a_run_in_bf16_tries_its_convolutions(ptft, monkeypatch):
    usual = nn.Conv2d._conv_forward
    monkeypatch.setattr(
        nn.Conv2d,
        "_conv_forward",
        lambda self, *given: usual(self, *given).flip(-1) if torch.is_autocast_enabled("cpu") else usual(self, *given),
    )
    typed = ("stage=pretrain", *SMALL, "train.steps=2", "precision=bf16", "device=cpu", "hydra.run.dir=run")
    done = ptft(*typed)
    assert done.code == 0, done.text
    assert "wrongly in bf16 on this processor; fp32 there" in done.err
    model = package.load("run", device="cpu")
    image = torch.randint(0, 256, (28, 28), dtype=torch.uint8)
    asked = model(image)
    monkeypatch.undo()
    assert model(image)["p_3"] == pytest.approx(asked["p_3"], abs=0.02)
