"""Exact search by float16 weights: candidates by impacts, rescored, until no other document can be among the best.

For a query with weights w and impacts q of scale a, and a document with weights h and impacts i of scale s, the score
in weights exceeds the integer score divided by a s by

    sum_t w_t (h_t - i_t / s)  +  sum_t (w_t - q_t / a) i_t / s.

The first sum is at most the sum of w times the greatest excess of a weight over its impact that the index has seen
(`Meta.weight_error`), the second at most the sum of what rounding took from w times the greatest weight an impact can
mean. So documents are taken in the order of their integer scores, and once the next one, with that excess, would still
be below the k-th best score in weights, none is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everglade import _engine
from everglade.errors import ConfigError
from everglade.index.snapshot import Found, Shown, Snapshot
from everglade.vectors import SparseMatrix

__all__ = ["search_floats"]

SLACK = 1e-9
"""Far more than double arithmetic can lose in the bound."""
FIRST_CANDIDATES = 128
MORE_CANDIDATES = 4

Hits = tuple[list[str], list[float]]


def search_floats(
    snapshot: Snapshot, queries: SparseMatrix, k: int, threads: int = 1, *, shown: Shown | None = None
) -> Found:
    """Find for each query the k documents with the greatest sums of weight products, exactly; equal ones by id.

    Weights of documents are the float16 ones that the index keeps; products and sums are of double precision, in the
    ascending order of terms. Documents with a sum of 0 are not found.

    Raises:
        ConfigError: if the index keeps no weights, or its postings are pruned.
        InputError: if the queries do not fit the index.
    """
    options = snapshot.meta.options
    if not options.keep_weights:
        raise ConfigError("float_exact needs an index made with keep_weights=True; this one keeps impacts only.")
    if options.prune is not None:
        raise ConfigError(f"float_exact needs all postings; those of this index are pruned by {options.prune!r}.")
    snapshot.check(queries, k, threads)
    queries = queries.canonical()
    ids = np.full((len(queries), k), None, dtype=object)
    scores = np.full((len(queries), k), -np.inf)
    search = _FloatSearch(snapshot, shown, k)
    waiting, taken = np.arange(len(queries)), FIRST_CANDIDATES + 2 * k
    while len(waiting):
        answers = search.answer(queries.take(waiting), taken, threads)
        for query, answer in zip(waiting.tolist(), answers, strict=True):
            if answer is not None:
                depth = len(answer[0])
                ids[query, :depth], scores[query, :depth] = answer
        waiting = waiting[[answer is None for answer in answers]]
        taken *= MORE_CANDIDATES
    nothing = np.zeros((len(queries), k), dtype=np.uint32)
    return Found(ids, nothing, np.ones(len(queries)), scores)


class _FloatSearch:
    def __init__(self, snapshot: Snapshot, shown: Shown | None, k: int) -> None:
        self._snapshot = snapshot
        self._shown = shown
        self._all = shown or snapshot.everything()
        self._k = min(k, self._all.documents)

    def answer(self, queries: SparseMatrix, taken: int, threads: int) -> list[Hits | None]:
        """Rescore the best `taken` documents of each query: its hits, or None where more must be taken."""
        n_queries = len(queries)
        if self._k == 0:
            return [([], [])] * n_queries
        if taken >= self._all.documents:
            return [self._rescore(self._snapshot.locals_of(self._all), *queries.row(row)) for row in range(n_queries)]
        impacts, scales = self._snapshot.quantise(queries)
        candidates = self._snapshot.locate(impacts, taken, threads, self._shown)
        answers = []
        for row in range(n_queries):
            terms, weights = queries.row(row)
            span = slice(int(impacts.indptr[row]), int(impacts.indptr[row + 1]))
            rounded = np.zeros(len(terms))
            rounded[np.isin(terms, impacts.terms[span])] = impacts.impacts[span]
            answers.append(
                self._settle(terms, weights, rounded, float(scales[row]), [part[row] for part in candidates])
            )
        return answers

    def _settle(
        self,
        terms: NDArray[np.int32],
        weights: NDArray[np.float32],
        rounded: NDArray[np.float64],
        query_scale: float,
        candidates: Sequence[NDArray[Any]],
    ) -> Hits | None:
        segments, locals_, scores = candidates
        hits = int(np.count_nonzero(scores))
        if hits < len(scores) and not rounded.all():
            # All that share a rounded term are there; others may share one that rounding took away.
            return self._rescore(self._snapshot.locals_of(self._all), terms, weights)
        places = [locals_[:hits][segments[:hits] == number] for number in range(len(self._snapshot.segments))]
        ids, best = self._rescore(places, terms, weights)
        if hits < len(scores):
            return ids, best
        meta = self._snapshot.meta
        scale = meta.impact_scale or 1.0
        lost = np.maximum(weights - rounded / query_scale, 0.0).sum()
        excess = weights.sum(dtype=np.float64) * meta.weight_error + lost * meta.options.max_impact / scale
        most_left = int(scores[-1]) / (query_scale * scale) + excess
        settled = len(best) == self._k and most_left + SLACK * (1.0 + most_left) < best[-1]
        return (ids, best) if settled else None

    def _rescore(
        self, places: list[NDArray[np.uint32]], terms: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> Hits:
        scores = [
            _engine.score_documents_float(segment.file, np.ascontiguousarray(here), terms, weights)
            for segment, here in zip(self._snapshot.segments, places, strict=True)
        ]
        return self._snapshot.best(places, scores, self._k)
