"""A fresh text model whose embeddings begin as those of a model that has read more (`model.embeddings`).

Axes: V vocabulary, D width; V' and D' of the other model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptft.checkpoint.load import Checkpoint, open_checkpoint
from ptft.config.config import Config
from ptft.core import Objective, Spec
from ptft.data.text.reader import tokenizer_of
from ptft.data.tokenizer import ROLES, Tokenizer
from ptft.errors import CheckpointError, ConfigError

KEY = "model.embeddings"
NAMES = ("embedding.weight", "embeddings.weight", "wte.weight", "embed_tokens.weight")
"""How the names of embedding matrices end, here and in public models."""


def started(cfg: Config, built: Objective, spec: Spec, start: Checkpoint | None) -> list[str]:
    """Fill the embedding of fresh weights where `model.embeddings` names a model; what to say of it.

    Raises ConfigError where a checkpoint brings its own, CheckpointError for what has no embeddings of texts.
    """
    path = cfg.model.get("embeddings")
    if path is None or cfg.resume or "embeddings" not in built.backbone.settled:  # another class's key of that name
        return []
    if start is not None:
        raise ConfigError(f"{KEY}={path}: ckpt={start.path} brings embeddings of its own; drop one of them")
    embedding: nn.Embedding = built.backbone.token_embedding()  # type: ignore[operator]
    tokenizer = tokenizer_of(spec)
    other, matrix = opened(path)
    found = fill(embedding, tokenizer, other, matrix)
    return [
        f"embeddings of {found:,} of {tokenizer.size:,} pieces begin as those of {path}, "
        f"{min(embedding.embedding_dim, matrix.shape[1])} principal directions of {matrix.shape[1]}"
    ]


def opened(path: str) -> tuple[Tokenizer, Tensor]:
    """The tokenizer of a checkpoint or public text model, and its embedding matrix, float [V', D']."""
    checkpoint = open_checkpoint(path, KEY)
    if checkpoint.spec is None or "tokenizer" not in checkpoint.spec.shape:
        raise CheckpointError(f"{KEY}={path}: no model of texts that says what its tokens are")
    tokenizer = tokenizer_of(checkpoint.spec)
    for name, tensor in checkpoint.weights.items():  # the first of them: positions and types come later
        if name.endswith(NAMES) and tensor.ndim == 2 and len(tensor) >= tokenizer.size:
            return tokenizer, tensor.float()
    raise CheckpointError(f"{KEY}={path}: holds no embedding of its {tokenizer.size:,} ids")


@torch.no_grad()
def fill(embedding: nn.Embedding, tokenizer: Tokenizer, other: Tokenizer, matrix: Tensor) -> int:
    """Set the rows of pieces that the other tokenizer knows; how many.

    A piece takes the row of the same bytes, a special one that of the same role, and another that begins a word the
    mean of the rows that its text is made of. Rows are turned to their principal directions, of which the first D are
    kept, and are as large in the mean as those that they replace.
    """
    rows, ids = [], []
    known = {piece: index for index, piece in enumerate(other.pieces) if piece}
    for index, piece in enumerate(tokenizer.pieces):
        parts = [known[piece]] if piece in known else _parts(piece, other)
        if parts:
            rows.append(matrix[parts].mean(0))
            ids.append(index)
    for role in ROLES:
        mine, theirs = getattr(tokenizer, role), getattr(other, role)
        if mine >= 0 and theirs >= 0 and mine not in ids:
            rows.append(matrix[theirs])
            ids.append(mine)
    if not ids:
        raise CheckpointError(f"{KEY}: none of the dataset's pieces is known to that model")
    turned = _principal(torch.stack(rows), embedding.embedding_dim)
    weight = embedding.weight
    turned *= weight.square().mean().sqrt().cpu() / turned.square().mean().sqrt().clamp(min=1e-12)
    weight[torch.tensor(ids), : turned.shape[1]] = turned.to(weight)
    return len(ids)


def _parts(piece: bytes, other: Tokenizer) -> list[int]:
    """The ids that a piece that begins a word is made of; none of it that the other can't read."""
    text = piece.decode("utf-8", "ignore").strip()
    if not piece.startswith(b" ") or not text:
        return []
    return [index for index in other.encode([text])[0] if index != other.unk]


def _principal(rows: Tensor, width: int) -> Tensor:
    """float [n, D'] -> float [n, min(D', width)]: centred, along the directions in which they differ most."""
    centred = rows - rows.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # the largest last
    turned: Tensor = centred @ directions.flip(1)[:, :width]
    return turned
