"""SimCLR's loss: against a plain double loop, and over two processes against one."""

import math
import subprocess
import sys
from datetime import timedelta

import pytest
import torch
import torch.nn.functional as F
from torch import distributed as dist

from ptft.objectives.self_supervised.simclr import nt_xent
from tests.helpers.processes import Process

TEMPERATURE = 0.3


def views(count, seed=0):
    """Two views [B, 6] of length 1, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(count, 6, generator=generator, dtype=torch.float64), dim=1) for _ in range(2)]


def by_hand(one, other):
    """Equation 1 of Chen et al. 2020 for every ordered pair, summed, and halved for the two views of an image."""
    everyone = [*one.tolist(), *other.tolist()]
    count, total = len(one), 0.0

    def likeness(a, b):
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / TEMPERATURE)

    for i, anchor in enumerate(everyone):
        positive = everyone[(i + count) % (2 * count)]
        others = sum(likeness(anchor, candidate) for k, candidate in enumerate(everyone) if k != i)
        total -= math.log(likeness(anchor, positive) / others)
    return total / 2


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_loss_is_that_of_a_double_loop(count):
    one, other = views(count)
    assert float(nt_xent(one, other, TEMPERATURE)) == pytest.approx(by_hand(one, other), abs=1e-9)


def test_views_that_agree_cost_less_than_views_that_do_not():
    one, _ = views(8)
    assert nt_xent(one, one, TEMPERATURE) < nt_xent(one, one.roll(1, 0), TEMPERATURE)


SPLIT = 3
"""Images of the first process; the second has the rest."""


MINUTE = timedelta(minutes=1)


def _process(rank, folder, count):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=MINUTE)
    part = slice(0, SPLIT) if rank == 0 else slice(SPLIT, count)
    mine = [view[part].clone().requires_grad_() for view in views(count)]
    loss = nt_xent(*mine, TEMPERATURE)
    loss.backward()
    torch.save([loss.detach(), *(view.grad for view in mine)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_are_one_with_the_joint_batch(tmp_path):
    """Loss and gradients, with parts of different sizes."""
    count = 8
    code = "from tests.objectives.self_supervised import test_simclr\n"
    code += f"test_simclr._process(1, {str(tmp_path)!r}, {count})"
    with Process([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as other:
        _process(0, tmp_path, count)
        said = other.communicate(timeout=60)[1]
    assert other.returncode == 0, said
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    joint = [view.requires_grad_() for view in views(count)]
    loss = nt_xent(*joint, TEMPERATURE)
    loss.backward()
    torch.testing.assert_close(parts[0][0] + parts[1][0], loss.detach())
    for i, view in enumerate(joint, start=1):
        torch.testing.assert_close(torch.cat([part[i] for part in parts]), view.grad)
