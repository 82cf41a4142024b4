"""Differences between systems as tables: how great, how sure, and on how many queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from everglade.pages.page import Column, Page

if TYPE_CHECKING:
    from everglade.evaluation.moved import MovedDocument, MovedQuery
    from everglade.evaluation.significance import Comparison

__all__ = ["LEVEL", "add_comparisons", "add_moved", "mark", "signed"]

LEVEL = 0.05
_HOW = (
    " The interval is of the difference. The p-values say how often chance alone would give as much (paired, two-sided,"
    f" corrected by Holm for the number of systems); below {LEVEL:.2f} in the randomisation test is called significant."
    " On the right the number of queries."
)


def mark(p: float) -> str:
    """Say of a p-value whether the difference is taken for real."""
    return "yes" if p < LEVEL else "no"


def add_comparisons(page: Page, comparisons: Sequence[Comparison], baseline: str, *, flipped: bool = False) -> None:
    """Add one table for each measure.

    Args:
        page: Where to.
        comparisons: Each run against the baseline.
        baseline: What they were compared with.
        flipped: Whether to tell what the baseline gains over each run, and not the reverse.
    """
    measures = list(dict.fromkeys(one.measure for one in comparisons))
    for measure in measures:
        rows = [_row(one, flipped=flipped) for one in comparisons if one.measure == measure]
        who = f"{measure} of {baseline} minus that of" if flipped else f"{measure} minus that of {baseline}, for"
        page.add_table(
            [
                "against" if flipped else "system",
                Column("difference", right=True),
                Column("95 % interval", right=True),
                Column("p, randomisation", right=True),
                Column("p, t-test", right=True),
                "significant",
                "better",
                "same",
                "worse",
            ],
            rows,
            f"{who} each other system: above zero is better.{'' if measure != measures[0] else _HOW}",
        )


def _row(one: Comparison, *, flipped: bool) -> tuple[str | int, ...]:
    sign = -1.0 if flipped else 1.0
    low, high = sorted((sign * one.low, sign * one.high))
    better, worse = (one.losses, one.wins) if flipped else (one.wins, one.losses)
    return (
        one.run,
        signed(sign * one.difference),
        f"{signed(low)} to {signed(high)}",
        _show_p(one.p_randomisation_corrected),
        _show_p(one.p_t_corrected),
        mark(one.p_randomisation_corrected),
        better,
        one.ties,
        worse,
    )


def signed(value: float, digits: int = 4) -> str:
    """Print a difference with its sign."""
    return f"{value:+.{digits}f}".replace("-", "\u2212")


def _show_p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def add_moved(page: Page, moved: Sequence[MovedQuery], texts: Mapping[str, str], before: str, after: str) -> None:
    """Add the queries that moved most from one system to the other, each behind a line of its own.

    Args:
        page: Where to.
        moved: The queries.
        texts: Their texts by id, as far as they are known.
        before: The baseline's name.
        after: The other system's name.
    """
    for one in moved:
        text = texts.get(one.query, one.query)
        with page.details(f"{text} — {one.measure} {one.before:.3f} → {one.after:.3f}"):
            page.add_paragraph(f"Query {one.query}. The relevant documents that decided it:")
            for document in one.documents:
                _add_document(page, document, before, after)


def _add_document(page: Page, document: MovedDocument, before: str, after: str) -> None:
    was, now = (
        "not found" if place is None else f"rank {place:,}" for place in (document.rank_before, document.rank_after)
    )
    page.add_quote(document.document, "", f"{was} in {before}, {now} in {after}")
    if document.passed_over:
        page.add_paragraph("Its score is above that of hits: pruning or an approximate search passed it over.")
    if document.terms is None:
        page.add_paragraph("One of the two is a run file, which holds no terms: only ranks are known.")
        return
    page.add_table(
        ["term", Column(before, right=True), Column(after, right=True), Column("change", right=True)],
        [
            (
                term.term,
                f"{term.share_before:.1%}",
                f"{term.share_after:.1%}",
                f"{signed(100 * (term.share_after - term.share_before), 1)} points",
            )
            for term in document.terms
        ],
        "What each term adds to its score, as a share of the score of the query's best hit in the same system.",
    )
