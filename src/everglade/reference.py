"""Exhaustive search in numpy: the slow twin of the engine, and the definition of what it computes.

A document weight becomes an impact of 8 bits, a query weight one of 12 bits, and a score is the integer sum of their
products. Integers add up to the same number in any order, so "the engine finds what this module finds" is an equality,
for ids as for scores. Equal scores are ordered by id, in the order of Python strings, which is that of UTF-8 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade.errors import ConfigError
from everglade.vectors import SparseMatrix

__all__ = [
    "MAX_IMPACT",
    "MAX_QUERY_IMPACT",
    "Impacts",
    "Ranking",
    "quantise_documents",
    "quantise_queries",
    "search_impacts",
]

MAX_IMPACT = 255
MAX_QUERY_IMPACT = 4095


class Impacts(NamedTuple):
    """Rows of integers: row i holds `terms[indptr[i]:indptr[i+1]]` with their `impacts`.

    `indptr` is int64 (n_rows + 1,), `terms` int32 (nnz,), `impacts` uint8 (nnz,) for documents, uint32 for queries.
    """

    indptr: NDArray[np.int64]
    terms: NDArray[np.int32]
    impacts: NDArray[np.unsignedinteger[Any]]


class Ranking(NamedTuple):
    """What one query found, best first: `scores[i]` is the score of the document `ids[i]`."""

    ids: list[str]
    scores: list[int]


def quantise_documents(weights: NDArray[np.float32], scale: float) -> NDArray[np.uint8]:
    """Give the impacts of document weights: weight * scale, rounded half to even, at most 255.

    A weight far below 1 / scale becomes 0. Such a posting says nothing any more; who stores impacts leaves it out.

    Raises:
        ConfigError: if `scale` is not a positive finite number.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"the impact scale must be a positive number, not {scale}")
    return np.minimum(np.rint(weights.astype(np.float64) * scale), MAX_IMPACT).astype(np.uint8)


def quantise_queries(queries: SparseMatrix) -> tuple[Impacts, NDArray[np.float64]]:
    """Give the impacts of query weights, and the scale of each query, float64 (n_queries,).

    The heaviest term of a query gets 4095 and the others their share of it, rounded half to even; those that come to 0
    are dropped. An integer score divided by the query's scale and the documents' is the score in weights, up to
    rounding.
    A query without weight has the scale 1.
    """
    rows = np.repeat(np.arange(len(queries)), np.diff(queries.indptr))
    weights = queries.weights.astype(np.float64)
    heaviest = np.zeros(len(queries))
    np.maximum.at(heaviest, rows, weights)
    heaviest[heaviest == 0] = MAX_QUERY_IMPACT
    impacts = np.rint(weights * MAX_QUERY_IMPACT / heaviest[rows]).astype(np.uint32)
    kept = impacts > 0
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=len(queries)))])
    return Impacts(indptr.astype(np.int64), queries.terms[kept], impacts[kept]), MAX_QUERY_IMPACT / heaviest


def search_impacts(documents: Impacts, ids: Sequence[str], queries: Impacts, k: int) -> list[Ranking]:
    """Rank, for each query, the k documents with the greatest sums of query impact times document impact.

    Only documents with a score above 0 are found. Terms that a row names twice count twice. `ids[i]` is the id of row i
    of `documents`; rows may stand in any order.
    """
    rows = np.repeat(np.arange(len(ids)), np.diff(documents.indptr))
    n_terms = 1 + int(max(documents.terms.max(initial=0), queries.terms.max(initial=0)))
    rankings = []
    for start, stop in zip(queries.indptr[:-1], queries.indptr[1:], strict=True):
        query = np.zeros(n_terms, dtype=np.int64)
        np.add.at(query, queries.terms[start:stop], queries.impacts[start:stop].astype(np.int64))
        scores = np.zeros(len(ids), dtype=np.int64)
        np.add.at(scores, rows, query[documents.terms] * documents.impacts)
        found = sorted(np.flatnonzero(scores).tolist(), key=lambda row: (-scores[row], ids[row]))[:k]
        rankings.append(Ranking([ids[row] for row in found], scores[found].tolist()))
    return rankings
