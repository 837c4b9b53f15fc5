"""Rotary positions."""

import pytest
import torch

from ptft.models.layers.rotary import Rotary, rotate


def test_products_depend_on_distance_alone_and_lengths_stay():
    pair = torch.randn(1, 1, 3, 3, 8, dtype=torch.float64)
    rotary = Rotary(8).double()

    def product(first, second):
        query = rotate(pair, rotary(torch.tensor([first])))[:, :, 0]
        key = rotate(pair, rotary(torch.tensor([second])))[:, :, 1]
        return (query * key).sum(-1)

    assert torch.allclose(product(3, 10), product(53, 60), atol=1e-4)
    assert not torch.allclose(product(3, 10), product(3, 11), atol=1e-2)
    turned = rotate(pair, rotary(torch.tensor([9])))
    assert torch.allclose(turned.norm(dim=-1), pair.norm(dim=-1), atol=1e-6)
    assert torch.equal(rotate(pair, rotary(torch.tensor([0]))), pair)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("head", [4, 5])
def test_gradients_are_those_of_the_rotation(head, fused):
    rotation = Rotary(head, fused=fused)(torch.arange(5))
    qkv = torch.randn(2, 5, 3, 1, head, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, rotation), qkv)


def test_fusing_changes_rounding_alone():
    qkv = torch.randn(2, 7, 3, 2, 9)
    one, other = (rotate(qkv, Rotary(9, fused=fused)(torch.arange(7))) for fused in (True, False))
    assert torch.allclose(one, other, atol=1e-6)
    assert torch.equal(one[..., 8], qkv[..., 8])
    assert torch.equal(other[:, :, 2], qkv[:, :, 2])
