"""Calibration: how much of a query must be scanned to reach a recall on this index, measured with sampled queries.

Half of the queries choose: the least effort whose mean recall, less one standard error, is not below what is wanted.
The other half measure what the choice reaches, and that is what the table says.
"""

from __future__ import annotations

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
QUERY_TERMS = 16
DEPTHS = (10, 100)
"""Depths that are measured; a search for more hits than the last is exact, which is as fast then."""
RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99)
MASSES = (0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
CANDIDATES = (5, 20)
GROWTH = 2.0
SEED = 20_240_417


def sample_queries(snapshot: Snapshot) -> SparseMatrix:
    """Make queries from documents drawn at random: the heaviest terms of each, with their weights.

    They serve where there are no real queries. Documents without terms are drawn too, and left out.
    """
    generator = np.random.default_rng(SEED)
    live = [segment.live() for segment in snapshot.segments]
    starts = np.cumsum([0, *map(len, live)])
    drawn = np.sort(generator.choice(starts[-1], size=min(QUERIES, int(starts[-1])), replace=False))
    scale = snapshot.meta.impact_scale or 1.0
    rows = []
    for place in drawn.tolist():
        number = int(np.searchsorted(starts, place, side="right")) - 1
        terms, impacts = snapshot.segments[number].file.document(int(live[number][place - starts[number]]))
        heaviest = np.lexsort((terms, -impacts.astype(np.int64)))[:QUERY_TERMS]
        rows.append(dict(zip(terms[heaviest].tolist(), (impacts[heaviest] / scale).tolist(), strict=True)))
    return SparseMatrix.from_rows([row for row in rows if row], snapshot.meta.n_terms)


def measure(snapshot: Snapshot, queries: SparseMatrix, *, given: bool, threads: int = 1) -> Calibration:
    """Measure what reaches each of `RECALLS`, at each of `DEPTHS`.

    Raises:
        ConfigError: if there are fewer than two queries with terms.
        InputError: if the queries do not fit the index.
    """
    queries = queries.canonical()
    queries = queries.take(np.flatnonzero(np.diff(queries.indptr)))
    if len(queries) < 2:
        raise ConfigError(f"{len(queries)} queries with terms to calibrate with: at least 2 are needed, better 200.")
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

    def choose(self, snapshot: Snapshot, k: int, recall: float) -> Effort:
        """Choose the least effort that reaches a recall, above 0 and up to 1, for searches of k hits."""
        noted, documents = snapshot.meta.calibration, len(snapshot)
        if recall == 1:
            return EXACT
        if noted is not None and is_fresh(noted, documents):
            return choose_effort(noted, k, recall)
        if documents < SMALL_INDEX:
            return EXACT
        if self._measured is None or not is_fresh(self._measured, documents):
            self._measured = measure(snapshot, sample_queries(snapshot), given=False, threads=0)
        return choose_effort(self._measured, k, recall)
