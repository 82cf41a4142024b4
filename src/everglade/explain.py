"""Why a document has its score for a query: the terms they share, and what each adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Explanation", "Match", "Row", "TermWeight", "explain_vectors", "match_terms"]

Row = tuple[NDArray[np.integer[Any]], NDArray[np.floating[Any]]]
"""One sparse vector: terms (n,), ascending, each once, and their weights (n,)."""


class TermWeight(NamedTuple):
    """A term with its weight in a query or a document."""

    term: str
    weight: float


class Match(NamedTuple):
    """A term that query and document share; `contribution`, the product of both weights, goes into the score."""

    term: str
    query_weight: float
    document_weight: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a document has its score for a query.

    Attributes:
        score: The sum of the matches' contributions; 0 if no term is shared.
        query: The query's terms, the heaviest first.
        document: The document's terms, the heaviest first.
        matches: The terms they share, the greatest contribution first.
        missed: Terms of the query that the document lacks, the heaviest first.
    """

    score: float
    query: tuple[TermWeight, ...]
    document: tuple[TermWeight, ...]
    matches: tuple[Match, ...]
    missed: tuple[TermWeight, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain JSON values."""
        fields = asdict(self)
        rows = ("query", "document", "matches", "missed")
        return {**fields, **{name: [row._asdict() for row in getattr(self, name)] for name in rows}}


def match_terms(query: Row, document: Row, names: Sequence[str]) -> tuple[Match, ...]:
    """Give the terms that two vectors share, the greatest contribution first; `names[t]` is the name of term t."""
    terms, of_query, of_document = np.intersect1d(query[0], document[0], assume_unique=True, return_indices=True)
    query_weights = query[1][of_query].astype(np.float64)
    document_weights = document[1][of_document].astype(np.float64)
    contributions = query_weights * document_weights
    columns = (query_weights, document_weights, contributions)
    return tuple(
        Match(names[terms[place]], *(float(column[place]) for column in columns))
        for place in np.lexsort((terms, -contributions))
    )


def explain_vectors(query: Row, document: Row, names: Sequence[str]) -> Explanation:
    """Explain the dot product of two vectors; `names[t]` is the name of term t."""
    matches = match_terms(query, document, names)
    missed = ~np.isin(query[0], document[0])
    return Explanation(
        score=math.fsum(match.contribution for match in matches),
        query=_by_weight(query, names),
        document=_by_weight(document, names),
        matches=matches,
        missed=_by_weight((query[0][missed], query[1][missed]), names),
    )


def _by_weight(row: Row, names: Sequence[str]) -> tuple[TermWeight, ...]:
    terms, weights = row
    return tuple(TermWeight(names[terms[place]], float(weights[place])) for place in np.lexsort((terms, -weights)))
