"""Which terms of a text may have weight: its own tokens, or its heaviest terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everglade.model.tokens import Ids
from everglade.vectors import SparseMatrix

__all__ = ["drop_terms", "keep_heaviest", "keep_own_terms", "present_terms"]


def present_terms(input_ids: Tensor, attention_mask: Tensor, n_terms: int, left_out: Sequence[int]) -> Tensor:
    """Give 1.0 where a term is a token of the text and 0.0 elsewhere, shape (B, V), from tokens and mask, shape (B, L).

    However often a token occurs it counts once; masked positions and the terms `left_out` never count.
    """
    # Added up and not written, because the id that pads may also be that of a token.
    counts = torch.zeros(input_ids.shape[0], n_terms, device=input_ids.device)
    counts.scatter_add_(1, input_ids, attention_mask.to(counts.dtype))
    counts[:, list(left_out)] = 0.0
    return counts.clamp_(max=1.0)


def keep_heaviest(weights: Tensor, kept: int | None) -> Tensor:
    """Give the weights with all but the `kept` heaviest terms of each text at 0, shape (B, V); None keeps all."""
    if kept is None or kept >= weights.shape[1]:
        return weights
    heaviest = weights.detach().topk(kept, dim=1).indices
    return weights * torch.zeros_like(weights).scatter_(1, heaviest, 1.0)


def keep_own_terms(matrix: SparseMatrix, ids: Sequence[Ids], left_out: Sequence[int]) -> SparseMatrix:
    """Give the rows with only those terms that are among the row's token ids and not `left_out`."""
    rows = np.repeat(np.arange(len(matrix)), np.diff(matrix.indptr))
    places = [np.unique(row) + i * matrix.n_terms for i, row in enumerate(ids)]
    own = np.concatenate([np.zeros(0, dtype=np.int64), *places])
    return _keep(matrix, np.isin(rows * matrix.n_terms + matrix.terms, own) & ~np.isin(matrix.terms, left_out))


def drop_terms(matrix: SparseMatrix, left_out: Sequence[int]) -> SparseMatrix:
    """Give the rows without the terms `left_out`."""
    return _keep(matrix, ~np.isin(matrix.terms, left_out))


def _keep(matrix: SparseMatrix, kept: NDArray[np.bool_]) -> SparseMatrix:
    indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return SparseMatrix(indptr, matrix.terms[kept], matrix.weights[kept], matrix.n_terms)
