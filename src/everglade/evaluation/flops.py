"""What a sparse model costs at search time, counted from the vectors themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everglade.errors import InputError
from everglade.vectors import SparseMatrix

__all__ = ["Sparsity", "measure_sparsity", "term_shares"]


@dataclass(frozen=True, slots=True)
class Sparsity:
    """The cost of a model on a collection and a set of queries."""

    flops: float
    """Mean number of terms that a random query and a random document share (the FLOPS metric)."""
    query_terms: float
    """Mean non-zero terms per query."""
    document_terms: float
    """Mean non-zero terms per document."""


def measure_sparsity(query_shares: NDArray[np.float64], document_shares: NDArray[np.float64]) -> Sparsity:
    """Give FLOPS = sum over terms j of p_j(q) * p_j(d), and the mean number of active terms on either side.

    The metric of SPLADE (Formal et al., SIGIR 2021), not the FLOPS regulariser: it has no unit and its
    value is the expected number of multiplications for one query-document pair.

    Args:
        query_shares: shape (n_terms,), the share of queries in which each term is not zero.
        document_shares: the same for documents.

    Raises:
        InputError: if the two vocabularies differ in size.
    """
    if query_shares.shape != document_shares.shape:
        raise InputError(
            f"queries have {len(query_shares)} terms and documents {len(document_shares)}: "
            f"FLOPS needs both over one vocabulary"
        )
    return Sparsity(
        flops=math.fsum(query_shares * document_shares),  # a dot product depends on how many threads add it up
        query_terms=float(query_shares.sum()),
        document_terms=float(document_shares.sum()),
    )


def term_shares(matrix: SparseMatrix) -> NDArray[np.float64]:
    """Give the share of rows in which each term is not zero: shape (n_terms,), zeros for a matrix without rows."""
    counts = np.bincount(matrix.canonical().terms, minlength=matrix.n_terms)
    return counts / max(len(matrix), 1)
