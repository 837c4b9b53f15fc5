"""Low-rank adaptation (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models").

A weight W [out, in] stays as it is, and W + alpha / rank * up @ down takes its place, where up [out, r] and down
[r, in] learn. The factors are a part `lora` of the module they adapt, so all other names in its state dict are the old
ones; `plain_weights` multiplies them in, and what it returns is the state dict of a model without factors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ptft.errors import ConfigError, shortened


class Factors(nn.Module):
    """What is added to one weight; nothing at the start, as `up` is 0 (section 4.1)."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], to be added to what the weight makes of x."""
        return self.scale * F.linear(F.linear(self.dropout(x), self.down), self.up)

    def added_to(self, weight: Tensor) -> Tensor:
        """The weight and what the factors add to it, of the weight's shape."""
        return weight + self.scale * (self.up @ self.down).view(weight.shape)


class LoraLinear(nn.Linear):
    """A Linear with factors, which act on activations: the gradient of a whole weight is never made.

    Attention that reads its weight and never calls it (of Swin, BEiT, EVA) gets it with the factors in it.
    """

    lora: Factors

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.lora.added_to(self._parameters["weight"])  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = F.linear(input, self._parameters["weight"], self.bias) + self.lora(input)  # type: ignore[arg-type]
        return out


class LoraConv2d(nn.Conv2d):
    """A convolution with factors of its weight as a matrix [out, in * height * width]."""

    lora: Factors

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.lora.added_to(self._parameters["weight"])  # type: ignore[arg-type]


class LoraProjection(NonDynamicallyQuantizableLinear):
    """The last Linear of a MultiheadAttention, which never calls it."""

    lora: Factors

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.lora.added_to(self._parameters["weight"])  # type: ignore[arg-type]


class LoraAttention(nn.MultiheadAttention):
    """A MultiheadAttention with factors of its weight for query, key and value in one."""

    lora: Factors

    @property
    def in_proj_weight(self) -> Tensor:  # type: ignore[override]
        return self.lora.added_to(self._parameters["in_proj_weight"])  # type: ignore[arg-type]


ADAPTED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: LoraLinear,
    nn.Conv2d: LoraConv2d,
    NonDynamicallyQuantizableLinear: LoraProjection,
    nn.MultiheadAttention: LoraAttention,
}
PLAIN = {adapted: plain for plain, adapted in ADAPTED.items()}
ATTENTION = re.compile(r"att(n|ention)", re.IGNORECASE)


def attach(
    backbone: nn.Module, rank: int, alpha: float, targets: str | Sequence[str], dropout: float
) -> dict[str, Factors]:
    """Freeze the backbone and give factors to some of its modules; by the modules' names.

    targets: "attention" (every Linear in a module whose name speaks of attention; query, key and value in one count
        as one), "linear" (every Linear), "all" (convolutions too), a regular expression that is searched for in the
        modules' names, or a list of names or their ends. dropout: of what goes into the factors of a Linear; elsewhere
        it is left out.

    Raises ConfigError naming `finetune.lora.targets` where nothing is chosen.
    """
    chosen = _chosen(backbone, targets)
    backbone.requires_grad_(False)
    adapters = {}
    for name, module in chosen.items():
        factors = Factors(module._parameters[_weight(module)], rank, alpha, dropout)  # type: ignore[arg-type]
        module.add_module("lora", factors)
        # The module itself becomes another kind: whoever else holds it (a list of layers, say) sees the same one.
        module.__class__ = ADAPTED[type(module)]
        adapters[name] = factors
    return adapters


def _chosen(backbone: nn.Module, targets: str | Sequence[str]) -> dict[str, nn.Module]:
    able = {name: module for name, module in backbone.named_modules() if _able(module)}
    linear = {name: module for name, module in able.items() if not isinstance(module, nn.Conv2d)}
    if not isinstance(targets, str):
        ends = {name: [end for end in targets if f".{name}".endswith(f".{end}")] for name in able}
        chosen = {name: module for name, module in able.items() if ends[name]}
        lost = [end for end in targets if not any(end in matched for matched in ends.values())]
    else:
        sets = {"attention": linear, "linear": linear, "all": able}
        pattern = ATTENTION if targets == "attention" else re.compile("" if targets in sets else targets)
        chosen = {name: module for name, module in sets.get(targets, able).items() if pattern.search(name)}
        lost = [] if chosen else [targets]
    if lost:
        available = shortened(able, last=True)
        raise ConfigError(f"finetune.lora.targets: nothing in this backbone is {', '.join(lost)}; there is {available}")
    return chosen


def _able(module: nn.Module) -> bool:
    return type(module) in ADAPTED and module._parameters.get(_weight(module)) is not None


def _weight(module: nn.Module) -> str:
    return "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"


def attached(module: nn.Module) -> bool:
    """Whether some part of the module has factors."""
    return any(map(adapted, module.modules()))


def adapted(module: nn.Module) -> bool:
    """Whether the module's own weight has factors, whatever class others have made of it since."""
    return isinstance(module._modules.get("lora"), Factors)


@torch.no_grad()
def plain_weights(module: nn.Module) -> dict[str, Tensor]:
    """The state dict, with every factor multiplied into the weight it belongs to and left out itself; of a module that
    stands in several places in each of them."""
    state = dict(module.state_dict())
    for path, part in module.named_modules(remove_duplicate=False):
        if adapted(part):
            prefix = f"{path}." if path else ""
            factors, key = part.get_submodule("lora"), f"{prefix}{_weight(part)}"
            assert isinstance(factors, Factors)
            state[key] = factors.added_to(state[key])
            for name in factors.state_dict():
                del state[f"{prefix}lora.{name}"]
    return state


def detach(module: nn.Module) -> None:
    """Take the factors off again, and what they learned with them; the weights stay frozen."""
    for part in list(module.modules()):
        if adapted(part):
            del part.lora
            part.__class__ = PLAIN[type(part)]
