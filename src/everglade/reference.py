"""Exhaustive search in numpy: the slow twin of the engine, and the definition of what it computes.

A document weight becomes an impact of 8 or 16 bits, a query weight one of 12 bits, and a score is the integer sum of
their products. Integers add up to the same number in any order, so "the engine finds what this module finds" is an
equality, for ids as for scores. Equal scores are ordered by id, in the order of Python strings, which is that of UTF-8
bytes. Approximate search is defined here too: what it finds follows from the impacts alone, not from the machine.
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
    "MAX_WIDE_IMPACT",
    "Impacts",
    "Ranking",
    "quantise_documents",
    "quantise_queries",
    "score_impacts",
    "score_weights",
    "search_approximate",
    "search_impacts",
]

MAX_IMPACT = 255
MAX_WIDE_IMPACT = 65_535
MAX_QUERY_IMPACT = 4095
_AT_A_TIME = 16_384
"""Weights that are rounded together: so many stay in the processor's nearest memory from one step to the next."""


class Impacts(NamedTuple):
    """Rows of integers: row i holds `terms[indptr[i]:indptr[i+1]]` with their `impacts`.

    `indptr` is int64 (n_rows + 1,), `terms` int32 (nnz,), `impacts` uint8 (nnz,) for documents, or uint16
    where they are wide, and uint32 for queries.
    """

    indptr: NDArray[np.int64]
    terms: NDArray[np.int32]
    impacts: NDArray[np.unsignedinteger[Any]]


class Ranking(NamedTuple):
    """What one query found, best first: `scores[i]` is the score of the document `ids[i]`."""

    ids: list[str]
    scores: list[int]


def quantise_documents(
    weights: NDArray[np.float32], scale: float, *, wide: bool = False
) -> NDArray[np.unsignedinteger[Any]]:
    """Give the impacts of document weights: weight * scale, rounded half to even, at most 255, or 65,535 if `wide`.

    A weight far below 1 / scale becomes 0. Such a posting says nothing any more; who stores impacts leaves it out.

    Returns:
        uint8, or uint16 if `wide`, of the shape of `weights`.

    Raises:
        ConfigError: if `scale` is not a positive finite number.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ConfigError(f"the impact scale must be a positive number, not {scale}")
    impacts = np.empty(weights.shape, np.uint16 if wide else np.uint8)
    given, made = weights.reshape(-1), impacts.reshape(-1)
    for start in range(0, len(given), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        rounded = np.rint(given[part].astype(np.float64) * scale)
        made[part] = np.minimum(rounded, MAX_WIDE_IMPACT if wide else MAX_IMPACT)
    return impacts


def quantise_queries(queries: SparseMatrix, max_mass: int | None = None) -> tuple[Impacts, NDArray[np.float64]]:
    """Give the impacts of query weights, and the scale of each query, float64 (n_queries,).

    The heaviest term of a query gets 4095 and the others their share of it, rounded half to even; those that come to 0
    are dropped. An integer score divided by the query's scale and the documents' is the score in weights, up to
    rounding.
    A query without weight has the scale 1.

    Args:
        queries: The weights.
        max_mass: What the impacts of a query may sum to, so that no score passes 32 bits: the engine's
            `MAX_QUERY_MASS`, which takes more than 4,113 terms to pass, or `MAX_WIDE_QUERY_MASS` where segments are
            wide. A query that might pass it gets a scale that rounding cannot lift above it. None sets no limit.
    """
    rows = np.repeat(np.arange(len(queries)), np.diff(queries.indptr))
    weights = queries.weights.astype(np.float64)
    heaviest = np.zeros(len(queries))
    np.maximum.at(heaviest, rows, weights)
    heaviest[heaviest == 0] = MAX_QUERY_IMPACT
    scales = MAX_QUERY_IMPACT / heaviest
    shares = weights * MAX_QUERY_IMPACT / heaviest[rows]
    if max_mass is not None:
        # Rounding lifts each term by a half at most, and none to more than twice its share.
        room = np.maximum(max_mass - np.diff(queries.indptr) / 2, max_mass / 2)
        mass = np.bincount(rows, shares, minlength=len(queries))
        shrink = np.minimum(1.0, room / np.maximum(mass, 1.0))
        scales, shares = scales * shrink, shares * shrink[rows]
    impacts = np.rint(shares).astype(np.uint32)
    kept = impacts > 0
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=len(queries)))])
    return Impacts(indptr.astype(np.int64), queries.terms[kept], impacts[kept]), scales


def search_impacts(documents: Impacts, ids: Sequence[str], queries: Impacts, k: int) -> list[Ranking]:
    """Rank, for each query, the k documents with the greatest sums of query impact times document impact.

    Only documents with a score above 0 are found. Terms that a row names twice count twice. `ids[i]` is the id of row i
    of `documents`; rows may stand in any order.
    """
    rankings = []
    for start, stop in zip(queries.indptr[:-1], queries.indptr[1:], strict=True):
        scores = score_impacts(documents, queries.terms[start:stop], queries.impacts[start:stop])
        rankings.append(_best(scores, np.flatnonzero(scores), ids, k))
    return rankings


def search_approximate(
    documents: Impacts,
    ids: Sequence[str],
    queries: Impacts,
    k: int,
    *,
    mass: float,
    candidates: int,
    postings: NDArray[np.bool_] | None = None,
    shown: NDArray[np.bool_] | None = None,
) -> list[Ranking]:
    """Rank documents in two steps: by the terms that promise most, then the best of these by their whole vectors.

    A term promises the query's impact times its greatest impact among the postings. The most promising terms, equal
    ones in ascending order, are scanned until their promises sum to `mass` of the sum over all terms. The `candidates`
    documents that score best by these terms are scored by all terms, and the best k of them are ranked.

    Args:
        documents: The whole vectors.
        ids: The id of each row; rows may stand in any order.
        queries: The queries.
        k: Hits of each query.
        mass: Above 0 and at most 1; with 1, and without pruning, this is `search_impacts`.
        candidates: At least k.
        postings: Which entries of `documents` are postings, bool (nnz,); None for all.
        shown: Which documents can be found, bool (n_documents,); None for all. What a term promises is not changed by
            it.
    """
    inverted = documents if postings is None else _only(documents, postings)
    n_terms = 1 + int(max(documents.terms.max(initial=0), queries.terms.max(initial=0)))
    greatest = np.zeros(n_terms, dtype=np.int64)
    np.maximum.at(greatest, inverted.terms, inverted.impacts)
    rankings = []
    for start, stop in zip(queries.indptr[:-1], queries.indptr[1:], strict=True):
        terms, impacts = queries.terms[start:stop], queries.impacts[start:stop].astype(np.int64)
        chosen = _most_promising(terms, impacts, greatest, mass)
        kept = np.isin(terms, chosen)
        partial = score_impacts(inverted, terms[kept], impacts[kept])
        seen = partial > 0 if shown is None else (partial > 0) & shown
        found = _by_score(partial, np.flatnonzero(seen), ids)[:candidates]
        rankings.append(_best(score_impacts(documents, terms, impacts), np.array(found, dtype=np.int64), ids, k))
    return rankings


def score_impacts(documents: Impacts, terms: NDArray[np.int32], impacts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Give the sum of query impact times document impact for each document, (n_documents,)."""
    query = np.zeros(1 + int(max(documents.terms.max(initial=0), terms.max(initial=0))), dtype=np.int64)
    np.add.at(query, terms, impacts.astype(np.int64))
    scores = np.zeros(len(documents.indptr) - 1, dtype=np.int64)
    np.add.at(scores, _row_of_entries(documents.indptr), query[documents.terms] * documents.impacts)
    return scores


def score_weights(
    indptr: NDArray[np.int64],
    document_terms: NDArray[np.int32],
    document_weights: NDArray[np.float16],
    terms: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Give the sum of query weight times document weight for each document, (n_documents,).

    Every product and the sum are of double precision, and a document's products are added in the order of its terms.
    Both sides name rows as `Impacts` does: document i holds `document_terms[indptr[i]:indptr[i+1]]`.
    """
    query = np.zeros(1 + int(max(document_terms.max(initial=0), terms.max(initial=0))))
    np.add.at(query, terms, weights.astype(np.float64))
    scores = np.zeros(len(indptr) - 1)
    np.add.at(scores, _row_of_entries(indptr), query[document_terms] * document_weights.astype(np.float64))
    return scores


def _row_of_entries(indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _only(documents: Impacts, kept: NDArray[np.bool_]) -> Impacts:
    indptr = np.concatenate([[0], np.cumsum(kept)])[documents.indptr]
    return Impacts(indptr.astype(np.int64), documents.terms[kept], documents.impacts[kept])


def _most_promising(
    terms: NDArray[np.int32], impacts: NDArray[np.int64], greatest: NDArray[np.int64], mass: float
) -> list[int]:
    promises: dict[int, int] = {}
    for term, impact in zip(terms.tolist(), impacts.tolist(), strict=True):
        promises[term] = promises.get(term, 0) + impact * int(greatest[term])
    enough = mass * sum(promises.values())
    chosen: list[int] = []
    covered = 0
    for term in sorted(promises, key=lambda term: (-promises[term], term)):
        if covered >= enough:
            break
        chosen.append(term)
        covered += promises[term]
    return chosen


def _by_score(scores: NDArray[np.int64], rows: NDArray[np.int64], ids: Sequence[str]) -> list[int]:
    ordered: list[int] = sorted(rows.tolist(), key=lambda row: (-scores[row], ids[row]))
    return ordered


def _best(scores: NDArray[np.int64], rows: NDArray[np.int64], ids: Sequence[str], k: int) -> Ranking:
    found = _by_score(scores, rows, ids)[:k]
    return Ranking([ids[row] for row in found], scores[found].tolist())
