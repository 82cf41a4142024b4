"""Queries as the engine takes them: the fast twin of `everglade.reference.quantise_queries`, equal to it bit by bit.

A query is some tens of numbers, and a search of it takes tens of microseconds: here what counts is how many numpy calls
are made, not how much each of them does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everglade.reference import MAX_QUERY_IMPACT, Impacts
from everglade.vectors import SparseMatrix

__all__ = ["quantise"]


def quantise(queries: SparseMatrix, max_mass: int | None = None) -> tuple[Impacts, NDArray[np.float64]]:
    """Give the impacts of query weights, and the scale of each query, float64 (n_queries,).

    Args:
        queries: The weights; terms may come in any order, and twice.
        max_mass: What the impacts of a query may sum to, None for whatever; see `quantise_queries`.
    """
    queries = queries.canonical()
    indptr = queries.indptr
    starts = indptr[:-1]
    counts = indptr[1:] - starts
    if np.count_nonzero(counts) == len(counts):
        heaviest = np.maximum.reduceat(queries.weights, starts).astype(np.float64)
    else:
        filled = counts > 0
        heaviest = np.full(len(counts), float(MAX_QUERY_IMPACT))
        heaviest[filled] = np.maximum.reduceat(queries.weights, starts[filled])
    scales = MAX_QUERY_IMPACT / heaviest
    shares = queries.weights.astype(np.float64)
    shares *= MAX_QUERY_IMPACT
    shares /= heaviest.repeat(counts)
    if max_mass is not None and counts.max(initial=0) * (MAX_QUERY_IMPACT + 0.5) > max_mass:  # else none can pass it
        scales, shares = _shrink(scales, shares, counts, max_mass)
    impacts = np.rint(shares).astype(np.uint32)
    if np.count_nonzero(impacts) == len(impacts):
        return Impacts(indptr, queries.terms, impacts), scales
    kept = impacts > 0
    return Impacts(np.concatenate([[0], np.cumsum(kept)])[indptr], queries.terms[kept], impacts[kept]), scales


def _shrink(
    scales: NDArray[np.float64], shares: NDArray[np.float64], counts: NDArray[np.int64], max_mass: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale down the queries that might pass `max_mass`: rounding lifts each term by a half, and at most to double."""
    room = np.maximum(max_mass - counts / 2, max_mass / 2)
    mass = np.bincount(np.arange(len(counts)).repeat(counts), shares, minlength=len(counts))
    shrink = np.minimum(1.0, room / np.maximum(mass, 1.0))
    return scales * shrink, shares * shrink.repeat(counts)
