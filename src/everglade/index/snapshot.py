"""One committed state of an index: its open segments, searched together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade import _engine
from everglade.errors import ConfigError, InputError
from everglade.index.filters import Filter
from everglade.index.queries import quantise
from everglade.index.segments import OpenSegment, Vector, as_bits, from_bits, open_file
from everglade.index.threads import count_threads, for_each
from everglade.index.values import Meta, State
from everglade.reference import Impacts
from everglade.vectors import SparseMatrix

__all__ = ["EXACT", "Effort", "Found", "Shown", "Snapshot", "open_snapshot"]

SELECTIVE_SHARE = 0.005
"""A filter that lets through no more than this share of the documents is searched document by document."""
CANDIDATES_PER_HIT = 5
LEAST_CANDIDATES = 100
FILTERS_KEPT = 32


class Effort(NamedTuple):
    """How much a search does: scan the terms that cover `mass` of a query, complete `candidates` documents for a hit.

    With `mass` None every document is scored by its whole vector, over the postings where they are all there.
    """

    mass: float | None
    candidates: int = CANDIDATES_PER_HIT


EXACT = Effort(None)
TWO_STEPS = Effort(1.0)


class Shown(NamedTuple):
    """The documents that a search may find: a bitmap for each segment, without the hidden ones, and their number."""

    bits: tuple[NDArray[np.uint8], ...]
    documents: int


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """What a batch of queries found: row i holds the hits of query i, best first.

    Attributes:
        ids: Document ids, object (n_queries, k), None where there is no hit any more.
        integer_scores: Sums of impact products, uint32 (n_queries, k), 0 where there is no hit.
        scales: What an integer score of each query is divided by to be a score in weights, float64 (n_queries,).
        float_scores: Sums of weight products, float64 (n_queries, k), -inf where there is no hit; None where impacts
            made the scores.
    """

    ids: NDArray[np.object_]
    integer_scores: NDArray[np.uint32]
    scales: NDArray[np.float64]
    float_scores: NDArray[np.float64] | None = None

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores in weights, float32 (n_queries, k), -inf where there is no hit."""
        if self.float_scores is not None:
            return self.float_scores.astype(np.float32)
        scores = (self.integer_scores / self.scales[:, None]).astype(np.float32)
        if np.count_nonzero(scores) < scores.size:
            scores[self.integer_scores == 0] = -np.inf
        return scores

    def hits(self, row: int) -> dict[str, float]:
        """Give the score of each document that query `row` found, the best first."""
        if self.float_scores is not None:
            depth = np.count_nonzero(self.float_scores[row] > 0)
            scores = self.float_scores[row, :depth]
        else:
            depth = np.count_nonzero(self.integer_scores[row])
            scores = self.integer_scores[row, :depth] / self.scales[row]
        return dict(zip(self.ids[row, :depth].tolist(), scores.tolist(), strict=True))


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """One committed state of an index. It never changes, and may be used from many threads.

    `answers` holds, for each filter that was asked of this state or an earlier one, the documents of each segment that
    it lets through, by the number of the segment; those that have been hidden since may be among them.
    """

    meta: Meta
    segments: tuple[OpenSegment, ...]
    answers: dict[Filter, dict[int, NDArray[np.uint8]]] = field(default_factory=dict)
    _shown: dict[Filter, Shown] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(segment.row.live for segment in self.segments)

    def quantise(self, queries: SparseMatrix) -> tuple[Impacts, NDArray[np.float64]]:
        """Give the impacts of queries as this index searches them, and the scale of each query."""
        most = _engine.MAX_WIDE_QUERY_MASS if self.meta.options.is_wide else _engine.MAX_QUERY_MASS
        return quantise(queries, most)

    def everything(self) -> Shown:
        """Give all documents that can be found."""
        return self._show(
            [as_bits(segment.live().astype(np.int64), segment.row.documents) for segment in self.segments]
        )

    def unanswered(self, asked: Filter) -> bool:
        """Tell whether some segment has not been asked this yet."""
        answers = self.answers.get(asked, {})
        return any(segment.row.number not in answers for segment in self.segments)

    def note(self, asked: Filter, matching: Mapping[int, NDArray[np.int64]]) -> None:
        """Keep answers to a filter that the catalog gave in this very state."""
        while asked not in self.answers and len(self.answers) >= FILTERS_KEPT:
            oldest = next(iter(self.answers))
            del self.answers[oldest]
            self._shown.pop(oldest, None)
        answers = self.answers.setdefault(asked, {})
        for segment in self.segments:
            if segment.row.number in matching:
                answers[segment.row.number] = as_bits(matching[segment.row.number], segment.row.documents)

    def shown(self, asked: Filter) -> Shown:
        """Give the documents that can be found and that a filter lets through, once all segments have been asked."""
        if asked not in self._shown:
            answers = self.answers.get(asked, {})
            matching = [answers[segment.row.number] for segment in self.segments]
            pairs = zip(self.segments, matching, strict=True)
            self._shown[asked] = self._show(
                [bits if segment.deleted is None else bits & ~segment.deleted for segment, bits in pairs]
            )
        return self._shown[asked]

    def _show(self, bits: list[NDArray[np.uint8]]) -> Shown:
        return Shown(tuple(bits), sum(int(np.unpackbits(part).sum()) for part in bits))

    def search(
        self,
        queries: SparseMatrix,
        k: int,
        threads: int = 1,
        *,
        shown: Shown | None = None,
        effort: Effort | None = None,
    ) -> Found:
        """Find for each query, row of `queries`, the k documents with the greatest scores; see `Store.search`.

        Args:
            queries: Over the vocabulary of the index.
            k: Hits for each query.
            threads: Queries searched at a time; 0 means one for each core.
            shown: The documents that may be found; None means all.
            effort: None means the exact search, or two steps where postings have been pruned.
        """
        self.check(queries, k, threads)
        impacts, query_scales = self.quantise(queries)
        if effort is None:
            effort = EXACT if self.meta.options.prune is None else TWO_STEPS
        depth = min(k, len(self) if shown is None else shown.documents)
        scales = query_scales * (self.meta.impact_scale or 1.0)
        if depth == k > 0 and len(queries):
            return Found(*self._find(impacts, depth, threads, shown, effort), scales)
        ids, scores = np.full((len(queries), k), None, dtype=object), np.zeros((len(queries), k), dtype=np.uint32)
        if depth and len(queries):
            ids[:, :depth], scores[:, :depth] = self._find(impacts, depth, threads, shown, effort)
        return Found(ids, scores, scales)

    def check(self, queries: SparseMatrix, k: int, threads: int) -> None:
        """Refuse queries and numbers that cannot be searched with."""
        if queries.n_terms != self.meta.n_terms:
            raise InputError(
                f"the queries have {queries.n_terms} terms, the index {self.meta.n_terms}. "
                f"Encode them with the model that encoded the documents."
            )
        if k < 0 or threads < 0:
            raise ConfigError(f"k is {k} and threads is {threads}: neither may be negative.")

    def _find(
        self, queries: Impacts, depth: int, threads: int, shown: Shown | None, effort: Effort
    ) -> tuple[NDArray[np.object_], NDArray[np.uint32]]:
        """Give ids and scores of the hits, each of shape (n_queries, depth), as `Found` holds them."""
        selective = shown is not None and shown.documents <= SELECTIVE_SHARE * len(self)
        pruned = self.meta.options.prune is not None
        if selective or (pruned and effort.mass is None):
            return self._score_shown(queries, depth, threads, shown or self.everything())
        segments, locals_, scores = self.locate(queries, depth, threads, shown, effort)
        return self.ids_of(segments, locals_), scores

    def ids_of(self, segments: NDArray[np.int32], locals_: NDArray[np.uint32]) -> NDArray[np.object_]:
        """Give the ids of documents of any shape, None where the segment is -1."""
        ids = np.empty(segments.shape, dtype=object)
        for number, segment in enumerate(self.segments):
            here = segments == number
            n_here = np.count_nonzero(here)
            if n_here == ids.size:
                ids.reshape(-1)[:] = segment.ids(locals_.reshape(-1))
            elif n_here:
                ids[here] = segment.ids(locals_[here])
        return ids

    def locate(
        self, queries: Impacts, depth: int, threads: int, shown: Shown | None, effort: Effort = EXACT
    ) -> tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.uint32]]:
        """Search the postings: segment, local and score of each hit, each of shape (n_queries, depth)."""
        indptr, terms, impacts = queries
        files = [segment.file for segment in self.segments]
        hidden = [segment.deleted for segment in self.segments] if shown is None else [~bits for bits in shown.bits]
        arguments = (files, hidden, indptr, terms, impacts.astype(np.uint32, copy=False), depth, count_threads(threads))
        try:
            if effort.mass is None:
                return _engine.search(*arguments)
            candidates = max(effort.candidates * depth, LEAST_CANDIDATES)
            return _engine.search_approximate(*arguments, effort.mass, candidates)
        except ValueError as error:
            raise InputError(f"these queries cannot be searched: {error}.") from error

    def _score_shown(
        self, queries: Impacts, depth: int, threads: int, shown: Shown
    ) -> tuple[NDArray[np.object_], NDArray[np.uint32]]:
        """Score every shown document by its whole vector: what the scan does, turned round."""
        indptr, terms, impacts = queries.indptr, queries.terms, queries.impacts.astype(np.uint32, copy=False)
        locals_ = self.locals_of(shown)
        ids = np.empty((len(indptr) - 1, depth), dtype=object)
        scores = np.zeros(ids.shape, dtype=np.uint32)

        def search(row: int) -> None:
            span = slice(int(indptr[row]), int(indptr[row + 1]))
            pairs = zip(self.segments, locals_, strict=True)
            by_segment = [_engine.score_documents(s.file, here, terms[span], impacts[span]) for s, here in pairs]
            found, best = self.best(locals_, by_segment, depth)
            ids[row, : len(found)], scores[row, : len(found)] = found, best

        try:
            for_each(search, len(ids), threads)
        except ValueError as error:
            raise InputError(f"these queries cannot be searched: {error}.") from error
        return ids, scores

    def locals_of(self, shown: Shown) -> list[NDArray[np.uint32]]:
        """Give the numbers of the shown documents of each segment, ascending."""
        return [
            np.flatnonzero(from_bits(bits, segment.row.documents)).astype(np.uint32)
            for bits, segment in zip(shown.bits, self.segments, strict=True)
        ]

    def best(
        self, locals_: list[NDArray[np.uint32]], scores: list[NDArray[Any]], k: int
    ) -> tuple[list[str], list[Any]]:
        """Choose the k greatest scores above 0 among documents of each segment, best first, equal ones by id."""
        everything = np.concatenate([part[part > 0] for part in scores])
        least = np.partition(everything, len(everything) - k)[len(everything) - k] if 0 < k < len(everything) else 0
        ranked: list[tuple[Any, str]] = []
        for segment, here, part in zip(self.segments, locals_, scores, strict=True):
            kept = (part > 0) & (part >= least)
            ranked += zip((-part[kept].astype(object)).tolist(), segment.ids(here[kept]), strict=True)
        ranked.sort()
        return [id for _, id in ranked[:k]], [-score for score, _ in ranked[:k]]

    def place(self, id: str) -> tuple[OpenSegment, int] | None:
        """Say where the document called `id` is: its segment and its number in it."""
        for segment in self.segments:
            local = segment.file.find(id)
            if local >= 0 and not segment.hides(local):
                return segment, local
        return None

    def vector(self, id: str) -> Vector | None:
        """Give the stored vector of the document called `id`."""
        place = self.place(id)
        return None if place is None else Vector(*place[0].file.document(place[1]))

    def rounded_weights(self, id: str) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Give the terms of the document called `id`, and the weights that its impacts mean; nothing if it is gone."""
        vector = self.vector(id)
        if vector is None:
            return np.zeros(0, dtype=np.int32), np.zeros(0)
        return vector.terms, vector.impacts / (self.meta.impact_scale or 1.0)

    def weights(self, id: str, among: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Give the terms that the document called `id` has of these, and the float16 weights that are kept of them."""
        place = self.place(id)
        if place is None:
            return np.zeros(0, dtype=np.int32), np.zeros(0)
        (segment, local), one = place, np.ones(1, dtype=np.float32)
        terms = np.intersect1d(segment.file.document(local)[0], among).astype(np.int32)
        here = np.array([local], dtype=np.uint32)
        # The score for a query of one term, of weight 1, is the weight of that term.
        found = [_engine.score_documents_float(segment.file, here, terms[t : t + 1], one)[0] for t in range(len(terms))]
        return terms, np.array(found)

    def ids(self) -> Iterator[str]:
        """Give the id of every document, in no promised order."""
        for segment in self.segments:
            yield from segment.ids(segment.live())

    def term_counts(self) -> NDArray[np.int64]:
        """Count the documents that hold each term: shape (n_terms,). Reads every vector."""
        counts = np.zeros(self.meta.n_terms, dtype=np.int64)
        for segment in self.segments:
            indptr, terms, _ = segment.file.rows()
            live = np.zeros(segment.row.documents, dtype=bool)
            live[segment.live()] = True
            counts += np.bincount(terms[np.repeat(live, np.diff(indptr))], minlength=self.meta.n_terms)
        return counts


def open_snapshot(folder: Path, state: State, before: Snapshot | None, *, verify: bool) -> Snapshot:
    """Open what `state` names, taking over from `before` what is open already, and its answers to filters.

    Raises:
        CorruptIndex: if a file is missing, damaged, or not the one the catalog means.
    """
    opened = {} if before is None else {segment.row.number: segment for segment in before.segments}
    segments = []
    for row in state.segments:
        old = opened.get(row.number)
        file = old.file if old else open_file(folder / row.name, row, state.meta, verify=verify)
        deleted = old.deleted if old else None
        if row.number in state.hidden:
            deleted = as_bits(state.hidden[row.number], row.documents)
        segments.append(OpenSegment(row, file, deleted))
    standing = {row.number for row in state.segments}
    answers = {} if before is None else before.answers
    kept = {asked: {n: bits for n, bits in known.items() if n in standing} for asked, known in list(answers.items())}
    return Snapshot(state.meta, tuple(segments), kept)
