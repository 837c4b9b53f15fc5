"""What processes exchange, in two real ones: gradients, batch statistics, sums and lists of an evaluation, draws."""

import json
import sys

from tests.helpers.processes import together

HEAD = """
import json
import torch
from torch import nn
from ptft.distributed.group import Group
from ptft.runtime.together import draws

group = Group.join()
rank = group.rank
torch.manual_seed(0)

def gathered(value):
    values = group.gathered(value)
    if group.main:
        print(json.dumps(values))
"""

LEAVE = """
from ptft.runtime.process import leave
leave(0)  # as ptft ends: torch's threads may still listen while Python takes its objects apart
"""


def in_both(code):
    """What each of two processes gave to `gathered`, of every time that it was called."""
    ended = together([sys.executable, "-c", HEAD + code + LEAVE])
    assert [each.returncode for each in ended] == [0, 0], [each.stderr for each in ended]
    return [json.loads(line) for line in ended[0].stdout.splitlines()]


GRADIENTS = """
from ptft.distributed import gradients
gradients.BUCKET = 1  # a bucket each

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.first_only, self.unused, self.frozen = (nn.Parameter(torch.ones(2)) for _ in range(4))

for overlap in (True, False):
    net = Net()
    net.frozen.requires_grad_(False)
    group.begin(net, list(net.parameters()), overlap=overlap)
    for step in range(2):
        net.frozen.requires_grad_(step > 0)  # another phase
        if not (step and rank):  # in the second step the other process has no rows
            loss = (rank + 1) * net.used.sum() + (net.first_only.sum() * 5 if rank == 0 else 0) + net.frozen.sum()
            loss.backward()
        sums = {"total": loss.detach(), "count": torch.tensor(3 + rank)} if not (step and rank) else {}
        total = group.summed(sums)
        gathered([p.grad if p.grad is None else p.grad.tolist() for p in net.parameters()] + [total["count"].item()])
        net.zero_grad(set_to_none=True)
"""


def test_gradients_are_summed_where_some_have_none_and_one_process_has_no_rows():
    found = in_both(GRADIENTS)
    for both, first in (found[:2], found[2:]):
        assert both == [[[3.0, 3.0], [5.0, 5.0], None, None, 7]] * 2
        assert first == [[[1.0, 1.0], [5.0, 5.0], None, [1.0, 1.0], 3]] * 2


NORMS = """
from ptft.distributed.batch_norm import SummedBatchNorm
from ptft.runtime.together.alone import Share

for sizes in ((5, 3), (4, 0)):
    x = torch.randn(sum(sizes), 3, 2, dtype=torch.float64)
    whole, own = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    own.load_state_dict(whole.state_dict())
    own.__class__ = SummedBatchNorm
    weight = torch.randn_like(x.float())
    x = x.float()
    a = x.clone().requires_grad_()
    (whole(a) * weight).sum().backward()
    rows = slice(0, sizes[0]) if rank == 0 else slice(sizes[0], None)
    b = x[rows].clone().requires_grad_()
    out = own(b)
    (out * weight[rows]).sum().backward()
    near = lambda one, other: bool(torch.allclose(one, other, atol=1e-5))
    with torch.no_grad():
        forward = near(out, nn.functional.batch_norm(x, None, None, whole.weight, whole.bias, True)[rows])
    statistics = near(own.running_mean, whole.running_mean) and near(own.running_var, whole.running_var)
    gathered([forward, near(b.grad, a.grad[rows]), statistics, near(own.eval()(b), whole.eval()(a)[rows])])
"""


def test_batch_statistics_and_their_gradients_are_those_of_the_whole_batch():
    assert in_both(NORMS) == [[[True] * 4] * 2] * 2


DRAWS = """
net = nn.Linear(2, 2)
torch.manual_seed(5)
alone = [torch.rand(6, 3), torch.randint(9, (2, 6)), torch.rand(2, 4), torch.rand(2)]
torch.manual_seed(5)
group.meet(net)
draws.at(3 * rank, 3, 6)
cpu = torch.device("cpu")
rows = slice(3 * rank, 3 * rank + 3)
same = [torch.equal(draws.rand(3, 3, device=cpu), alone[0][rows])]
same += [torch.equal(draws.randint(9, 2, 3, device=cpu, rows=1), alone[1][:, rows])]
draws.at(2 * rank, 2, 4)
same += [torch.equal(draws.rand(2, 2, device=cpu, rows=1), alone[2][:, 2 * rank : 2 * rank + 2])]
draws.at(rank, 1, 2)
with draws.forked(7):
    inside = draws.rand(1, device=cpu).item()
same += [torch.equal(draws.rand(1, device=cpu), alone[3][rank : rank + 1])]
gathered([*same, inside, torch.rand(1).item()])
parts = {"x": [torch.tensor([rank, 10]), torch.tensor([20.0 + rank])]}
places = [0, 2]  # of the batch between them only the first process has a row
if rank == 0:
    parts["x"].insert(1, torch.tensor([5.0]))
    places = [0, 1, 2]
sums, lists = group.measured({"a": torch.tensor(2)} if rank == 0 else {}, parts, places)
gathered([sums["a"].item(), [part.tolist() for part in lists["x"]]])
gathered([group.stop("SIGTERM" if rank else None), group.stop(None), group.stepped(None, 5.0 + rank, 2)])
"""


def test_rows_draw_what_one_process_draws_and_an_evaluation_is_joined_in_order():
    drawn, joined, agreed = in_both(DRAWS)
    assert [each[:4] for each in drawn] == [[True] * 4] * 2
    assert drawn[0][4] != drawn[1][4]
    assert drawn[0][5] != drawn[1][5]
    assert joined == [[2, [[0, 10, 1, 10], [5.0], [20.0, 21.0]]]] * 2
    assert agreed == [["SIGTERM", None, [None, 5.0, 4]]] * 2
