"""Models of which each process has a part: torch's FSDP2 (Zhao et al. 2023, "PyTorch FSDP"; `fully_shard`).

A block's weights are gathered for its forward and its backward pass and given up again; gradients are summed where
their part is. Weights are gathered as they are and cast by autocast, so a step is that of a model that is whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.export import register_dataclass

from ptft.core import Step

register_dataclass(Step)  # torch 2.11 looks for what backward starts from in tuples, lists and dicts alone


def shard(module: nn.Module, blocks: list[nn.Module], device: torch.device) -> None:
    """Leave in this process its part of every parameter, in place; buffers stay whole, and so do names."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for part in (*blocks, module):
        fully_shard(part, mesh=mesh, reshard_after_forward=True, mp_policy=MixedPrecisionPolicy())
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            part.unshard()  # what is made at the first time must not be made in an evaluation, without autograd
            part.reshard()


def whole(value: Tensor) -> Tensor:
    """All of a tensor of which each process has a part."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def part(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor that all have, cut and placed as `like` is; as it is where that is whole."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def take_over(module: nn.Module, weights: dict[str, Tensor] | None) -> None:
    """Put whole weights that the first process has into a module, one after the other; the others say None."""
    for name, own in module.state_dict().items():
        value = torch.empty(own.shape, dtype=own.dtype, device=own.device)
        if weights is not None:
            value.copy_(weights[name])
        dist.broadcast(value, 0)
        own.copy_(part(value, own))


def optimizer_part(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A stored state of whole tensors -> the same with this process's part of each that is one of a parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def cut(value: Any, like: Tensor) -> Any:
        return part(value, like) if torch.is_tensor(value) and value.shape == like.shape else value

    of_each = {
        number: {name: cut(value, parameters[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": of_each}
