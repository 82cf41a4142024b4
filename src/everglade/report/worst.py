"""The queries that a system answers worst: which relevant document it missed, and what stands above it, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everglade.evaluation.measures import PerQuery, rank
from everglade.pages.page import Column, Page
from everglade.report.significance import signed

if TYPE_CHECKING:
    from everglade.explain import Explanation
    from everglade.texts import Document, Qrels, Run

__all__ = ["Answers", "WorstQuery", "add_worst", "find_worst"]

TERMS_SHOWN = 12
ROWS_SHOWN = 8
LETTERS_SHOWN = 320


@dataclass(frozen=True)
class Answers:
    """What a system answered, and what can be asked about it.

    Attributes:
        run: What it found.
        per_query: How good that was.
        qrels: The judgements.
        texts: The text of each query by its id.
        explain: Query text and document id -> why; None where nothing is known.
        document: Id -> the document, or None.
    """

    run: Run
    per_query: PerQuery
    qrels: Qrels
    texts: Mapping[str, str]
    explain: Callable[[str, str], Explanation | None]
    document: Callable[[str], Document | None]


@dataclass(frozen=True)
class WorstQuery:
    """A query that was answered badly.

    Attributes:
        query: Its id.
        text: Its text.
        value: How well it was answered.
        missed: The relevant document that stands nearest to the top, or any if none was found.
        missed_rank: Its rank, counted from 1; None if it was not found.
        above: The hit that stands first; None if nothing was found.
        above_relevance: Its judgement; None if nobody judged it.
        why_missed: Why the missed document has its score.
        why_above: Why the first hit has its own.
        documents: Both documents by their ids, as far as they are known.
    """

    query: str
    text: str
    value: float
    missed: str
    missed_rank: int | None
    above: str | None
    above_relevance: int | None
    why_missed: Explanation | None
    why_above: Explanation | None
    documents: Mapping[str, Document]


def find_worst(answers: Answers, measure: str, queries: int = 8) -> list[WorstQuery]:
    """Give the queries with the smallest values of a measure, the worst first.

    Of equal ones those come first whose relevant documents were not found, or stand lowest; then by id. A query whose
    best hit is relevant, or that has no relevant document, is not among them.

    Args:
        answers: What was answered.
        measure: The measure to go by.
        queries: How many to give.
    """
    found = []
    for query, row in answers.per_query.items():
        relevant = sorted(document for document, grade in answers.qrels.get(query, {}).items() if grade > 0)
        places = {document: place for place, document in enumerate(rank(answers.run.get(query, {})), start=1)}
        if not relevant:
            continue
        missed = min(relevant, key=lambda document: (places.get(document, len(places) + 1), document))
        if places.get(missed) == 1:
            continue
        found.append((row[measure], -places.get(missed, 10**12), query, missed))
    return [_look_at(answers, query, missed, value) for value, _, query, missed in sorted(found)[:queries]]


def _look_at(answers: Answers, query: str, missed: str, value: float) -> WorstQuery:
    order = rank(answers.run.get(query, {}))
    above = order[0] if order else None
    text = answers.texts.get(query, "")
    return WorstQuery(
        query=query,
        text=text,
        value=value,
        missed=missed,
        missed_rank=order.index(missed) + 1 if missed in order else None,
        above=above,
        above_relevance=None if above is None else answers.qrels[query].get(above),
        why_missed=answers.explain(text, missed) if text else None,
        why_above=answers.explain(text, above) if text and above is not None else None,
        documents={
            id: document for id in (missed, above) if id is not None and (document := answers.document(id)) is not None
        },
    )


def add_worst(page: Page, worst: Sequence[WorstQuery], measure: str, whose: str) -> None:
    """Add the worst queries to a page, each behind a line of its own.

    Args:
        page: Where to.
        worst: The queries.
        measure: What they were chosen by.
        whose: The system's name.
    """
    page.add_paragraph(
        f"The queries with the smallest {measure} of {whose}, the worst first. For each: the relevant document that "
        f"should have stood first, the hit that did, and what each term adds to either score. A hit that nobody judged "
        f"may be a good answer all the same."
    )
    for place, one in enumerate(worst):
        with page.details(
            f"{one.text or one.query} — its relevant document {_stands(one.missed_rank)}", opened=place == 0
        ):
            _add_query(page, one, measure)


def _add_query(page: Page, one: WorstQuery, measure: str) -> None:
    page.add_paragraph(f"Query {one.query}, {measure} {one.value:.3f}. {_tell(one)}")
    if one.why_missed is not None:
        shown = one.why_missed.query[:TERMS_SHOWN]
        more = len(one.why_missed.query) - len(shown)
        page.add_terms(
            "The query as terms:", [(term.term, term.weight) for term in shown], f"and {more} more" if more else ""
        )
    _add_document(page, one, one.missed, f"relevant, {_rank(one.missed_rank)}")
    if one.above is not None:
        judged = {None: "not judged", 0: "judged not relevant"}.get(one.above_relevance, "judged relevant")
        _add_document(page, one, one.above, f"first hit, {judged}")
    rows = compare_parts(one.why_missed, one.why_above)
    if rows:
        page.add_table(
            ["term", *(Column(name, digits=2, right=True) for name in ("relevant", "first hit", "difference"))],
            rows,
            "What each term adds to the score of the relevant document and of the first hit, those first that set them "
            "apart most; below zero the term speaks for the first hit.",
        )
    if one.why_missed is not None and one.why_missed.missed:
        missed = one.why_missed.missed[:TERMS_SHOWN]
        page.add_terms(
            "Terms of the query that the relevant document lacks:", [(term.term, term.weight) for term in missed]
        )


def compare_parts(
    relevant: Explanation | None, above: Explanation | None
) -> list[tuple[str, float | None, float | None, float]]:
    """Give term, what it adds to the one and the other score, and the difference; the greatest difference first."""
    if relevant is None or above is None:
        return []
    ours = {match.term: match.contribution for match in relevant.matches}
    theirs = {match.term: match.contribution for match in above.matches}
    rows = [
        (term, ours.get(term), theirs.get(term), ours.get(term, 0.0) - theirs.get(term, 0.0))
        for term in ours.keys() | theirs.keys()
    ]
    rows.sort(key=lambda row: (-abs(row[3]), row[0]))
    return rows[:ROWS_SHOWN]


def _tell(one: WorstQuery) -> str:
    if one.above is None:
        return "Nothing was found."
    if one.why_missed is None or one.why_above is None:
        return ""
    said = f"Scores: {one.why_missed.score:.2f} for the relevant document, {one.why_above.score:.2f} for the first hit."
    if one.why_missed.score > one.why_above.score:
        return f"{said} By its score it should stand above: pruning or an approximate search passed it over."
    if one.why_missed.score == one.why_above.score:
        return f"{said} They are equal, and the ids decide."
    term, _, theirs, difference = min(compare_parts(one.why_missed, one.why_above), key=lambda row: row[3])
    had = "lacks" if difference == -(theirs or 0.0) else "has less of"
    return f"{said} The term that tells most against it is “{term}”, which it {had}: {signed(difference, 2)}."


def _stands(rank: int | None) -> str:
    return "was not found" if rank is None else f"stands at rank {rank:,}"


def _rank(rank: int | None) -> str:
    return "not found" if rank is None else f"rank {rank:,}"


def _add_document(page: Page, one: WorstQuery, id: str, about: str) -> None:
    document = one.documents.get(id)
    if document is None:
        page.add_quote(id, "", about)
    else:
        page.add_quote(f"{id} {document.title}".strip(), shorten(document.text), about)


def shorten(text: str) -> str:
    """Give the beginning of a text, up to a space."""
    text = " ".join(text.split())
    if len(text) <= LETTERS_SHOWN:
        return text
    return text[:LETTERS_SHOWN].rsplit(" ", 1)[0] + " …"
