"""Exact search by float16 weights: candidates by impacts, rescored, until no other document can be among the best.

For a query with weights w and impacts q of scale a, and a document with weights h and impacts i of scale s, the score
in weights exceeds the integer score divided by a s by

    sum_t w_t (h_t - i_t / s)  +  sum_t (w_t - q_t / a) i_t / s.

The second sum is at most the sum of what rounding took from w times the greatest weight an impact can mean. The first
is at most the sum of w times the greatest excess of a weight over its impact. Rounding leaves an excess of about half a
step of the scale; a weight that was clipped, because it was too heavy for the scale, may leave any. Where the index has
seen more than rounding can leave (`Meta.weight_error`), the documents with the greatest impact there is in a term of
the query are candidates from the start, whatever they score: no other one can have been clipped in it.

So documents are taken in the order of their integer scores, and once the next one, with that excess, would still be
below the k-th best score in weights, none is missing. What is held at a time is bounded: queries that need many
candidates are answered a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everglade import _engine
from everglade.errors import ConfigError
from everglade.index.snapshot import Found, Shown, Snapshot
from everglade.index.threads import for_each
from everglade.reference import Impacts
from everglade.vectors import SparseMatrix

__all__ = ["search_floats"]

SLACK = 1e-9
"""Far more than double arithmetic can lose in the bound."""
FIRST_CANDIDATES = 128
MORE_CANDIDATES = 4
CANDIDATES_AT_A_TIME = 2**21
"""Candidates held at a time, of 12 bytes each; a single query may have as many as there are documents."""
HALF_STEP = 2.0**-11
"""The most by which rounding to float16 lifts a weight, as a share of it; below 2^-14 it is 2^-25 at most."""

Hits = tuple[list[str], list[float]]
Places = tuple[NDArray[np.int32], NDArray[np.uint32]]
"""Documents: the segment and the number in it of each."""


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
        raise ConfigError(
            "float_exact needs the weights, and this index keeps impacts only. Make one by --keep-weights, in Python "
            "keep_weights=True."
        )
    if options.prune is not None:
        raise ConfigError(
            f"float_exact needs all postings, and those of this index are pruned by {options.prune!r}. "
            f"Make one with prune=None."
        )
    snapshot.check(queries, k, threads)
    queries = queries.canonical()
    ids = np.full((len(queries), k), None, dtype=object)
    scores = np.full((len(queries), k), -np.inf)
    search = _FloatSearch(snapshot, shown, k, threads)
    waiting, taken = np.arange(len(queries)), FIRST_CANDIDATES + 2 * k
    while len(waiting):
        unsettled = []
        for rows in _in_pieces(waiting, min(taken, len(snapshot))):
            for row, answer in zip(rows.tolist(), search.answer(queries.take(rows), taken), strict=True):
                if answer is None:
                    unsettled.append(row)
                else:
                    depth = len(answer[0])
                    ids[row, :depth], scores[row, :depth] = answer
        waiting = np.array(unsettled, dtype=np.int64)
        taken *= MORE_CANDIDATES
    nothing = np.zeros((len(queries), k), dtype=np.uint32)
    return Found(ids, nothing, np.ones(len(queries)), scores)


class _FloatSearch:
    def __init__(self, snapshot: Snapshot, shown: Shown | None, k: int, threads: int) -> None:
        self._snapshot = snapshot
        self._shown = shown
        self._all = shown or snapshot.everything()
        self._k = min(k, self._all.documents)
        self._threads = threads
        self._scale = snapshot.meta.impact_scale or 1.0
        self._max_impact = snapshot.meta.options.max_impact
        heaviest = (self._max_impact + 0.5) / self._scale
        rounding = 0.5 / self._scale + heaviest * HALF_STEP + 2.0**-25
        self._excess = min(snapshot.meta.weight_error, rounding)
        self._clipped: dict[int, Places] | None = {} if snapshot.meta.weight_error > rounding else None

    def answer(self, queries: SparseMatrix, taken: int) -> list[Hits | None]:
        """Rescore the best `taken` documents of each query: its hits, or None where more must be taken."""
        if self._k == 0:
            return [([], [])] * len(queries)
        if taken >= self._all.documents:
            return for_each(lambda row: self._rescore_all(*queries.row(row)), len(queries), self._threads)
        self._find_clipped(queries.terms)
        impacts, scales = self._snapshot.quantise(queries)
        candidates = self._snapshot.locate(impacts, taken, self._threads, self._shown)

        def settle(row: int) -> Hits | None:
            terms, weights = queries.row(row)
            span = slice(int(impacts.indptr[row]), int(impacts.indptr[row + 1]))
            rounded = np.zeros(len(terms))
            rounded[np.isin(terms, impacts.terms[span])] = impacts.impacts[span]
            return self._settle(terms, weights, rounded, float(scales[row]), [part[row] for part in candidates])

        return for_each(settle, len(queries), self._threads)

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
            return self._rescore_all(terms, weights)
        ids, best = self._rescore(self._with_clipped(terms, segments[:hits], locals_[:hits]), terms, weights)
        if hits < len(scores):
            return ids, best
        lost = np.maximum(weights - rounded / query_scale, 0.0).sum()
        excess = weights.sum(dtype=np.float64) * self._excess + lost * self._max_impact / self._scale
        most_left = int(scores[-1]) / (query_scale * self._scale) + excess
        settled = len(best) == self._k and most_left + SLACK * (1.0 + most_left) < best[-1]
        return (ids, best) if settled else None

    def _find_clipped(self, terms: NDArray[np.int32]) -> None:
        """Find for each term the documents that may have been clipped in it: those with the greatest impact of all.

        They are kept for the next queries, 8 bytes for each such posting.
        """
        if self._clipped is None:
            return
        waiting = np.array(sorted(set(terms.tolist()).difference(self._clipped)), dtype=np.int32)
        depth = min(FIRST_CANDIDATES, self._all.documents)
        while len(waiting):
            unfinished = []
            for part in _in_pieces(waiting, depth):
                # A query of one term, of impact 1, scores each document by its impact.
                single = Impacts(np.arange(len(part) + 1), part, np.ones(len(part), dtype=np.uint32))
                segments, locals_, scores = self._snapshot.locate(single, depth, self._threads, self._shown)
                counts = np.count_nonzero(scores == self._max_impact, axis=1).tolist()
                for row, (term, count) in enumerate(zip(part.tolist(), counts, strict=True)):
                    self._clipped[term] = segments[row, :count].copy(), locals_[row, :count].copy()
                unfinished += [part[row] for row, count in enumerate(counts) if count == depth]
            if depth == self._all.documents:
                return
            waiting = np.array(unfinished, dtype=np.int32)
            depth = min(MORE_CANDIDATES * depth, self._all.documents)

    def _with_clipped(
        self, terms: NDArray[np.int32], segments: NDArray[np.int32], locals_: NDArray[np.uint32]
    ) -> list[NDArray[np.uint32]]:
        """Give the numbers of candidates in each segment, with those that may have been clipped in one of the terms."""
        numbers = range(len(self._snapshot.segments))
        if self._clipped is None:
            return [locals_[segments == number] for number in numbers]
        places = [(segments, locals_), *(self._clipped[term] for term in terms.tolist())]
        return [np.unique(np.concatenate([there[found == n] for found, there in places])) for n in numbers]

    def _rescore_all(self, terms: NDArray[np.int32], weights: NDArray[np.float32]) -> Hits:
        return self._rescore(self._snapshot.locals_of(self._all), terms, weights)

    def _rescore(
        self, places: list[NDArray[np.uint32]], terms: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> Hits:
        scores = [
            _engine.score_documents_float(segment.file, here, terms, weights)
            for segment, here in zip(self._snapshot.segments, places, strict=True)
        ]
        return self._snapshot.best(places, scores, self._k)


def _in_pieces(rows: NDArray[Any], candidates: int) -> Iterator[NDArray[Any]]:
    """Give so many rows at a time that what they hold, `candidates` each, is bounded."""
    step = max(1, CANDIDATES_AT_A_TIME // max(candidates, 1))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
