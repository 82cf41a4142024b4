"""The queries whose value moved most between two systems: which relevant documents decided it, and by which terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from everglade.evaluation.measures import rank
from everglade.evaluation.significance import SAME

if TYPE_CHECKING:
    from everglade.evaluation.measures import PerQuery
    from everglade.explain import Explanation
    from everglade.texts import Qrels, Run

__all__ = ["Explain", "MovedDocument", "MovedQuery", "MovedTerm", "Side", "compare_terms", "find_moved"]

Explain = Callable[[str, str], "Explanation | None"]
"""Query id and document id -> why the document has its score; None where nothing is known of its terms."""

DOCUMENTS_SHOWN = 3
TERMS_SHOWN = 6
ROUNDING = 1e-3
"""Scores of hits are sums of rounded weights; a difference as small says nothing."""


class Side(NamedTuple):
    """One of the two systems: what it found, how good that was, and why."""

    run: Run
    per_query: PerQuery
    explain: Explain


@dataclass(frozen=True, slots=True)
class MovedTerm:
    """What a term adds to a document's score in both systems.

    The shares are of the score of the query's best hit in the same system, as two models' scores have no common scale.
    """

    term: str
    before: float
    after: float
    share_before: float
    share_after: float


@dataclass(frozen=True, slots=True)
class MovedDocument:
    """A relevant document that rose or fell.

    Attributes:
        document: Its id.
        relevance: Its judgement.
        rank_before: Its rank in the baseline, counted from 1; None if it was not found.
        rank_after: The same in the other system.
        terms: Those whose shares differ most; None where one of the systems is a run file, which holds none.
        passed_over: Whether a system that did not find it would score it higher than documents it did find: its terms
            do not say why then, but pruning or an approximate search do.
    """

    document: str
    relevance: int
    rank_before: int | None
    rank_after: int | None
    terms: tuple[MovedTerm, ...] | None
    passed_over: bool


@dataclass(frozen=True, slots=True)
class MovedQuery:
    """A query whose value changed, with the documents that decided it, the most decisive first."""

    query: str
    measure: str
    before: float
    after: float
    documents: tuple[MovedDocument, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain JSON values."""
        return asdict(self)


def find_moved(before: Side, after: Side, qrels: Qrels, measure: str, queries: int = 5) -> list[MovedQuery]:
    """Give the queries whose value changed most from one system to the other, the greatest change first.

    The documents that decided it are the relevant ones whose ranks changed, ordered by how much their discounted gain
    did: relevance / log2(1 + rank) as in nDCG (Järvelin and Kekäläinen, 2002), whatever the measure.

    Args:
        before: the baseline.
        after: what is compared with it.
        qrels: the judgements of both.
        measure: the measure to go by.
        queries: how many queries to give.
    """
    changes = {query: after.per_query[query][measure] - row[measure] for query, row in before.per_query.items()}
    moved = sorted(
        (query for query, change in changes.items() if abs(change) > SAME),
        key=lambda query: (-abs(changes[query]), query),
    )
    return [
        MovedQuery(
            query,
            measure,
            before.per_query[query][measure],
            after.per_query[query][measure],
            _find_documents(query, before, after, qrels[query]),
        )
        for query in moved[:queries]
    ]


def compare_terms(
    before: Explanation, after: Explanation, best_before: float, best_after: float, terms: int = TERMS_SHOWN
) -> tuple[MovedTerm, ...]:
    """Give the terms whose shares differ most between two explanations, the greatest difference first.

    Args:
        before: why the document has its score in the baseline.
        after: the same in the other system.
        best_before: the score of the query's best hit in the baseline.
        best_after: the same in the other system.
        terms: how many terms to give.
    """
    added = {match.term: match.contribution for match in before.matches}
    now = {match.term: match.contribution for match in after.matches}
    rows = [
        MovedTerm(
            term,
            added.get(term, 0.0),
            now.get(term, 0.0),
            _share(added.get(term, 0.0), best_before),
            _share(now.get(term, 0.0), best_after),
        )
        for term in added.keys() | now.keys()
    ]
    rows.sort(key=lambda row: (-abs(row.share_after - row.share_before), row.term))
    return tuple(rows[:terms])


def _share(contribution: float, best: float) -> float:
    return contribution / best if best > 0 else 0.0


def _find_documents(query: str, before: Side, after: Side, judged: Mapping[str, int]) -> tuple[MovedDocument, ...]:
    sides = before, after
    was, now = _ranks(before.run.get(query, {})), _ranks(after.run.get(query, {}))
    weights = {
        document: abs(_gain(relevance, was.get(document)) - _gain(relevance, now.get(document)))
        for document, relevance in judged.items()
    }
    decisive = sorted(
        (document for document, weight in weights.items() if weight > 0), key=lambda name: (-weights[name], name)
    )
    return tuple(
        _tell(
            query, MovedDocument(document, judged[document], was.get(document), now.get(document), None, False), sides
        )
        for document in decisive[:DOCUMENTS_SHOWN]
    )


def _tell(query: str, moved: MovedDocument, sides: tuple[Side, Side]) -> MovedDocument:
    """Add what both systems say of the document, if both do."""
    reasons = [side.explain(query, moved.document) for side in sides]
    before, after = reasons
    if before is None or after is None:
        return moved
    found = [side.run.get(query, {}) for side in sides]
    return replace(
        moved,
        terms=compare_terms(before, after, _best(found[0]), _best(found[1])),
        passed_over=_passed_over(moved.document, before, found[0]) or _passed_over(moved.document, after, found[1]),
    )


def _passed_over(document: str, reason: Explanation, found: Mapping[str, float]) -> bool:
    return document not in found and bool(found) and reason.score > min(found.values()) * (1 + ROUNDING)


def _best(hits: Mapping[str, float] | None) -> float:
    return max(hits.values()) if hits else 0.0


def _ranks(hits: Mapping[str, float]) -> dict[str, int]:
    return {document: place for place, document in enumerate(rank(hits), start=1)}


def _gain(relevance: int, place: int | None) -> float:
    return 0.0 if place is None else max(relevance, 0) / math.log2(1 + place)
