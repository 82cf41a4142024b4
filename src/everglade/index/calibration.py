"""Calibration: how much of a query must be scanned to reach a recall on this index, measured with sampled queries.

Half of the queries choose: the least effort whose mean recall, less one standard error, is not below what is wanted.
The other half measure what the choice reaches, and that is what the table says. A query that comes twice counts once,
so that the halves have none in common.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everglade.errors import ConfigError
from everglade.index.snapshot import EXACT, Effort, Found, Snapshot
from everglade.index.values import Calibration, CalibrationRow
from everglade.vectors import SparseMatrix

__all__ = ["Efforts", "choose_effort", "is_fresh", "measure", "sample_queries"]

SMALL_INDEX = 10_000
"""An index of fewer documents is searched exactly where it was not calibrated: that takes some tens of microseconds."""
QUERIES = 400
LEAST_QUERIES = 50
"""Near a mean recall of 0.95 the recall of single queries spreads by 0.1 (237,568 passages, 600 queries, k 10), so the
mean of 25, one half, is known to 0.02; the recalls of the table lie 0.01 to 0.1 apart."""
TERMS_OF_EACH, HEAVIEST = 8, 32
"""Terms of a query that come from either document, and how many of its heaviest they are drawn from. Such queries need
about as much effort for a recall as MS MARCO's by SPLADE-tiny, in 237,568 real passages and in 8.8 million that are
many versions of them; the 16 heaviest terms of single documents needed far less in the latter."""
DEPTHS = (10, 100)
"""Depths that are measured; a search for more hits than the last is exact: as fast then, unless postings are pruned."""
RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99)
MASSES = (0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
CANDIDATES = (5, 20)
GROWTH = 2.0
SEED = 20_240_417


def sample_queries(snapshot: Snapshot) -> SparseMatrix:
    """Make queries from documents drawn at random: some heavy terms of one and some of another, with their weights.

    They serve where there are no real queries. What one document holds would be too easy: where documents come in many
    versions, those are its best hits by far, and any search finds them. Documents without terms are drawn too, and
    queries without terms left out, as are those that come twice.
    """
    generator = np.random.default_rng(SEED)
    live = [segment.live() for segment in snapshot.segments]
    starts = np.cumsum([0, *map(len, live)])
    drawn = generator.choice(starts[-1], size=min(QUERIES, int(starts[-1])), replace=False)
    rows = []
    for first, second in zip(drawn.tolist(), np.roll(drawn, 1).tolist(), strict=True):
        row: dict[int, float] = {}
        for place in (first, second):
            number = int(np.searchsorted(starts, place, side="right")) - 1
            local = int(live[number][place - starts[number]])
            row |= _some_terms(*snapshot.segments[number].file.document(local), generator)
        rows.append({term: impact / (snapshot.meta.impact_scale or 1.0) for term, impact in row.items()})
    return _distinct(SparseMatrix.from_rows(rows, snapshot.meta.n_terms))


def _some_terms(
    terms: NDArray[np.int32], impacts: NDArray[np.unsignedinteger[Any]], generator: np.random.Generator
) -> dict[int, float]:
    """Draw a few of a document's heaviest terms, with their impacts."""
    heaviest = np.lexsort((terms, -impacts.astype(np.int64)))[:HEAVIEST]
    some = generator.choice(heaviest, size=min(TERMS_OF_EACH, len(heaviest)), replace=False)
    return dict(zip(terms[some].tolist(), map(float, impacts[some].tolist()), strict=True))


def _distinct(queries: SparseMatrix) -> SparseMatrix:
    """Give the queries with terms, each once, in the order in which they first came."""
    queries = queries.canonical()
    first: dict[tuple[bytes, bytes], int] = {}
    for row in np.flatnonzero(np.diff(queries.indptr)).tolist():
        terms, weights = queries.row(row)
        first.setdefault((terms.tobytes(), weights.tobytes()), row)
    return queries.take(np.array(list(first.values()), dtype=np.int64))


def measure(snapshot: Snapshot, queries: SparseMatrix, *, given: bool, threads: int = 1) -> Calibration:
    """Measure what reaches each of `RECALLS`, at each of `DEPTHS`.

    Raises:
        ConfigError: if there are fewer than `LEAST_QUERIES` different queries with terms.
        InputError: if the queries do not fit the index.
    """
    snapshot.check(queries, max(DEPTHS), threads)
    n_given, queries = len(queries), _distinct(queries)
    if len(queries) < LEAST_QUERIES:
        raise ConfigError(_too_few(n_given, len(queries), given=given))
    truth = snapshot.search(queries, max(DEPTHS), threads, effort=EXACT)
    rows: list[CalibrationRow] = []
    for depth in DEPTHS:
        wanted = sorted(RECALLS)
        for effort in _efforts(snapshot):
            if not wanted:
                break
            found = snapshot.search(queries, depth, threads, effort=effort)
            recalls = _recalls(truth, found, depth)
            choosing, measuring = recalls[0::2], recalls[1::2]
            reached = choosing.mean() - choosing.std() / np.sqrt(len(choosing))
            while wanted and reached >= wanted[0]:
                rows.append(_row(depth, wanted.pop(0), effort, float(measuring.mean())))
        rows += [_row(depth, recall, EXACT, 1.0) for recall in wanted]
    return Calibration(len(snapshot), len(queries), given, tuple(rows))


def _too_few(n_queries: int, distinct: int, *, given: bool) -> str:
    if given:
        return (
            f"of the {n_queries} queries to calibrate with, {distinct} have terms and differ from the others: at least "
            f"{LEAST_QUERIES} are needed. Give some hundreds, or none, and they are made from documents."
        )
    return (
        f"the documents of this index give {distinct} different queries to calibrate with: at least "
        f"{LEAST_QUERIES} are needed. Give queries, or leave it uncalibrated: an index of fewer than "
        f"{SMALL_INDEX:,} documents is then searched exactly."
    )


def _efforts(snapshot: Snapshot) -> list[Effort]:
    """Give what is tried, the least first. Scanning everything is the exact search, but where postings are pruned."""
    pruned = snapshot.meta.options.prune is not None
    tried = [Effort(mass, CANDIDATES[0]) for mass in MASSES if mass < 1 or pruned]
    return [*tried, Effort(1.0, CANDIDATES[1])] if pruned else tried


def _row(depth: int, recall: float, effort: Effort, measured: float) -> CalibrationRow:
    return CalibrationRow(depth, recall, effort.mass, effort.candidates, measured)


def _recalls(truth: Found, found: Found, depth: int) -> NDArray[np.float64]:
    """Give the share of the best `depth` documents of each query that were found; 1 where there are none."""
    recalls = np.ones(len(truth.ids))
    for row, (wanted, given) in enumerate(zip(truth.ids[:, :depth].tolist(), found.ids.tolist(), strict=True)):
        best = {id for id in wanted if id is not None}
        if best:
            recalls[row] = len(best.intersection(given)) / len(best)
    return recalls


def is_fresh(calibration: Calibration | None, documents: int) -> bool:
    """Tell whether an index of this size has not grown or shrunk too much since it was calibrated."""
    return calibration is not None and documents <= GROWTH * calibration.documents <= GROWTH**2 * documents


def choose_effort(calibration: Calibration, k: int, recall: float) -> Effort:
    """Choose the least effort that reaches a recall for searches of k hits, as the calibration says."""
    depths = sorted({row.k for row in calibration.rows if row.k >= k})
    fitting = [row for row in calibration.rows if depths and row.k == depths[0] and row.recall >= recall]
    if not fitting:
        return EXACT
    row = min(fitting, key=lambda row: row.recall)
    return Effort(row.mass, row.candidates)


class Efforts:
    """Chooses the effort of searches: by what the catalog notes, or by what was measured here for want of that."""

    def __init__(self) -> None:
        self._measured: Calibration | None = None
        self._lock = threading.Lock()

    def choose(self, snapshot: Snapshot, k: int, recall: float) -> Effort:
        """Choose the least effort that reaches a recall, above 0 and up to 1, for searches of k hits.

        The first search of an index that was not calibrated measures, on all cores; others that come meanwhile wait.
        """
        noted, documents = snapshot.meta.calibration, len(snapshot)
        if recall == 1:
            return EXACT
        if noted is not None and is_fresh(noted, documents):
            return choose_effort(noted, k, recall)
        if documents < SMALL_INDEX:
            return EXACT
        with self._lock:
            if self._measured is None or not is_fresh(self._measured, documents):
                self._measured = self._measure(snapshot)
            return choose_effort(self._measured, k, recall)

    def _measure(self, snapshot: Snapshot) -> Calibration:
        queries = sample_queries(snapshot)
        if len(queries) < LEAST_QUERIES:
            return Calibration(len(snapshot), len(queries), False, ())  # by which every search is exact
        return measure(snapshot, queries, given=False, threads=0)
