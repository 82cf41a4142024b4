"""How measured systems look on the terminal: side by side, against a baseline, and beside published figures."""

from __future__ import annotations

import statistics
import textwrap
from typing import TYPE_CHECKING, Any

from everglade.cli.output import print_fields, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everglade.assess.assessment import Assessment
    from everglade.assess.comparison import Compared
    from everglade.assess.suite_run import PublishedColumn, SuiteOutcome
    from everglade.evaluation.measures import PerQuery
    from everglade.evaluation.moved import MovedDocument, MovedQuery
    from everglade.evaluation.significance import Comparison

__all__ = ["print_compared", "print_one", "print_per_query", "print_suite"]

WIDTH = 100
NO_BREAK = "\u00a0"


def print_one(one: Assessment) -> None:
    """Print what one system came to."""
    fields: dict[str, Any] = {"collection": one.judged, "convention": one.convention.name, **one.means}
    if one.cost is not None:
        fields |= {
            "FLOPS": one.cost.flops,
            "query terms": one.cost.query_terms,
            "document terms": one.cost.document_terms,
            "ms/query, median": one.cost.median_ms,
            "ms/query, 99th percentile": one.cost.p99_ms,
        }
    documents = {} if one.documents is None else {"documents": one.documents}
    print_fields({**fields, **documents, "queries": one.queries, **_counted(one)})


def _counted(one: Assessment) -> dict[str, int]:
    """Give what a reader must know of the queries: missing answers always, the rest where it happened."""
    own = "left out" if one.convention.drops_self else "kept; --convention beir leaves them out"
    others = {"without judgements, left out": one.unjudged, f"own document found, {own}": one.self_hits}
    return {"without a hit, counted as 0": one.missing} | {name: count for name, count in others.items() if count}


def print_compared(compared: Compared, texts: Mapping[str, str]) -> None:
    """Print several systems side by side and, with a baseline, what sets them apart.

    Args:
        compared: The systems.
        texts: The queries' texts by id, as far as they are known.
    """
    first = compared.assessments[0]
    print(f"{first.judged}, {first.queries:,} queries, convention {first.convention.name}")
    measures = list(first.means)
    print_table(
        ["system", *measures, "no hit"],
        [(one.name, *one.means.values(), one.missing) for one in compared.assessments],
    )
    costs = [(one.name, *one.cost) for one in compared.assessments if one.cost is not None]
    if costs:
        print_table(["system", "FLOPS", "query terms", "document terms", "ms/query", "99th percentile"], costs)
    searched = {one.name: one.documents for one in compared.assessments if one.documents is not None}
    if len(set(searched.values())) > 1:
        counts = ", ".join(f"{name} {count:,}" for name, count in searched.items())
        _print_lines(f"Warning: they do not search the same number of documents: {counts}.")
    if compared.baseline is None:
        return
    baseline = next(one for one in compared.assessments if one.name == compared.baseline)
    for measure in measures:
        _print_comparison(baseline, [one for one in compared.comparisons if one.measure == measure])
    _print_lines(
        "p: two-sided paired tests, Student's t and randomisation, corrected by Holm for the systems compared in a "
        "measure. Interval: 95 %, by resampling the queries, for each system alone."
    )
    for name, queries in compared.moved.items():
        print(f"\nqueries that moved most from {compared.baseline} to {name}, {measures[0]}")
        _print_moved(queries, texts)


def _print_comparison(baseline: Assessment, rows: list[Comparison]) -> None:
    from everglade.evaluation.measures import is_count

    measure = rows[0].measure
    mean = statistics.fmean(row[measure] for row in baseline.per_query.values())
    summed = " a query" if is_count(measure) else ""
    print(f"{measure}{summed} against {baseline.name} ({mean:.4f})")
    print_table(
        ["system", "mean", "difference", "95 % interval", "p (t)", "p (random.)", "wins/ties/losses"],
        [
            (
                row.run,
                row.mean,
                f"{row.difference:+.4f}",
                f"{row.low:+.4f} .. {row.high:+.4f}",
                _probability(row.p_t_corrected),
                _probability(row.p_randomisation_corrected),
                f"{row.wins}/{row.ties}/{row.losses}",
            )
            for row in rows
        ],
    )


def _probability(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _print_moved(queries: list[MovedQuery], texts: Mapping[str, str]) -> None:
    if not queries:
        print("  none")
        return
    for query in queries:
        text = textwrap.shorten(texts.get(query.query, ""), 60, placeholder=" ...")
        print(f"  {query.query}  {query.before:.4f} -> {query.after:.4f}  {text}".rstrip())
        for document in query.documents:
            _print_document(document)
    if any(document.terms is None for query in queries for document in query.documents):
        _print_lines("Ranks only where a system has no terms: a run file, or an index without the document.", "  ")
    else:
        _print_lines("Terms: what each adds, as a share of the best hit's score.", "  ")


def _print_document(document: MovedDocument) -> None:
    before, after = (f"rank {rank}" if rank else "not found" for rank in (document.rank_before, document.rank_after))
    print(f"    {document.document} (relevance {document.relevance}): {before} -> {after}")
    if document.passed_over:
        _print_lines("passed over by pruning or an approximate search: others with lower scores were found", " " * 6)
    elif document.terms and all(round(row.share_before, 2) == round(row.share_after, 2) for row in document.terms):
        _print_lines("its terms add the same in both: what stands above it changed", " " * 6)
    elif document.terms:
        # Each term stays in one piece.
        terms = [f"{row.term} {row.share_before:.0%} -> {row.share_after:.0%}" for row in document.terms]
        _print_lines(", ".join(term.replace(" ", NO_BREAK) for term in terms), " " * 6)


def _print_lines(text: str, indent: str = "") -> None:
    filled = textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
    print(filled.replace(NO_BREAK, " "))


def print_per_query(values: Mapping[str, PerQuery]) -> None:
    """Print a line for each query, and of several systems for each of them."""
    for system, rows in values.items():
        for query, row in rows.items():
            own = [system] if len(values) > 1 else []
            print(*own, query, *(f"{name}={value:.4f}" for name, value in row.items()), sep="\t")


def print_suite(outcome: SuiteOutcome) -> None:
    """Print what a system came to on each set, its mean, and what others published."""
    suite, measures = outcome.suite, outcome.measures
    mean = f"mean of {len(outcome.sets)}"
    print(f"{suite.name}, convention {suite.convention}: {outcome.system}")
    shown = {name: f"{name} *" if name in outcome.unlike else name for name in outcome.sets}
    rows = [(shown[name], one.queries, *one.means.values(), one.missing) for name, one in outcome.assessments.items()]
    print_table(
        ["set", "queries", *measures, "no hit"], [*rows, (mean, "", *(outcome.mean(name) for name in measures), "")]
    )
    for measure in measures:
        if published := outcome.published(measure):
            print(f"{measure}, published figures beside ours")
            sets = [
                (shown[name], one.means[measure], *(_figure(column, name) for column in published))
                for name, one in outcome.assessments.items()
            ]
            means = (mean, outcome.mean(measure), *(column.mean for column in published))
            print_table(["set", "ours", *(column.system for column in published)], [*sets, means])
    _print_lines(f"Every mean is over these sets: {', '.join(outcome.sets)}.")
    if outcome.absent:
        _print_lines(f"Not measured: {', '.join(outcome.absent)}.")
    for name, said in outcome.unlike.items():
        _print_lines(f"* {name} has {', '.join(said)}: its figures do not compare with published ones.")
    for line in _sources(outcome):
        _print_lines(line)


def _sources(outcome: SuiteOutcome) -> Iterable[str]:
    """Give each source once, with the systems it has figures for."""
    systems: dict[str, list[str]] = {}
    for measure in outcome.measures:
        for column in outcome.published(measure):
            systems.setdefault(column.source, []).append(column.system)
    return [f"{', '.join(dict.fromkeys(names))}: {source}." for source, names in systems.items()]


def _figure(column: PublishedColumn, name: str) -> str | None:
    """Give a published figure with as many digits as its source has."""
    return f"{column.values[name]:.{column.digits}f}" if name in column.values else None
