"""Feed-forward networks of transformer blocks (Vaswani et al. 2017, section 3.3). Axes: B batch, T tokens, D width."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def feed_forward(
    width: int, hidden: int, activation: type[nn.Module], dropout: float, *, norm: bool = False
) -> nn.Sequential:
    """Two linear maps with biases, an activation and dropout between them: [B, T, D] -> [B, T, D].

    norm: whether a layer norm stands before the first one.
    """
    before = [nn.LayerNorm(width)] if norm else []
    inner = [nn.Linear(width, hidden), activation(), nn.Dropout(dropout)]
    return nn.Sequential(*before, *inner, nn.Linear(hidden, width), nn.Dropout(dropout))


class BiasFreeFeedForward(nn.Module):
    """Two linear maps without biases and GELU between them, or SwiGLU of about as many parameters (Shazeer 2020)."""

    def __init__(self, width: int, mlp_ratio: float, activation: str, dropout: float) -> None:
        super().__init__()
        self.gated = activation == "swiglu"
        hidden = round(width * mlp_ratio)
        if self.gated:
            hidden = -(-2 * hidden // 3 // 8) * 8
        self.expand = nn.Linear(width, 2 * hidden if self.gated else hidden, bias=False)
        self.project = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = self.expand(x)
        if self.gated:
            gate, x = x.chunk(2, dim=-1)
            x = F.silu(gate) * x
        else:
            x = F.gelu(x)
        out: Tensor = self.dropout(self.project(x))
        return out
