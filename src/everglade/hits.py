"""Hits: documents that were found, each with the terms that made its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from everglade.explain import Match, Row, match_terms
from everglade.index.snapshot import Found, Snapshot
from everglade.vectors import SparseMatrix

__all__ = ["Hit", "explain_hits", "stored_query"]


class Hit(NamedTuple):
    """A document that was found. `why` holds each shared term, the greatest contribution first; they sum to `score`."""

    id: str
    score: float
    why: tuple[Match, ...]


def explain_hits(snapshot: Snapshot, query: SparseMatrix, found: Found, names: Sequence[str]) -> list[Hit]:
    """Give what one query found in a state of an index, the best first, in the weights that made the scores."""
    floats = found.float_scores is not None
    row = query.canonical().row(0) if floats else stored_query(snapshot, query)
    hits = []
    for id, score in found.hits(0).items():
        document = snapshot.weights(id, row[0]) if floats else snapshot.rounded_weights(id)
        hits.append(Hit(id, score, match_terms(row, document, names)))
    return hits


def stored_query(snapshot: Snapshot, query: SparseMatrix) -> Row:
    """Give the one query as it is searched: rounded, and without the terms that came to nothing."""
    impacts, scales = snapshot.quantise(query)
    return impacts.terms, impacts.impacts / scales[0]
