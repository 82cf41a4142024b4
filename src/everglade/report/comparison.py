"""The page of several systems on one judged collection: side by side, tested, and the queries that set them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from everglade.assess.comparison import compare_systems
from everglade.evaluation.significance import interval_of_mean
from everglade.pages.page import Page
from everglade.report.effectiveness import Measured, add_frontier, add_measured
from everglade.report.provenance import add_provenance, describe_versions
from everglade.report.significance import add_comparisons, add_moved
from everglade.report.worst import Answers, WorstQuery, add_worst, find_worst

if TYPE_CHECKING:
    from everglade.assess.assessment import Assessment
    from everglade.assess.comparison import Compared
    from everglade.assess.judged import JudgedSet
    from everglade.assess.systems import System, SystemSpec, Workplace

__all__ = ["add_reasons", "measure_systems", "report_comparison"]

KINDS = {"run": "run file", "index": "index", "model": "model, which read the collection for this page"}


def report_comparison(
    specs: Sequence[SystemSpec],
    judged: JudgedSet,
    command: str,
    baseline: str | None = None,
    measures: Sequence[str] | None = None,
    convention: str = "plain",
    workplace: Workplace | None = None,
    moved: int = 5,
    worst: int = 8,
) -> Page:
    """Measure systems and make the page about them.

    Args:
        specs: The systems, each with a name of its own.
        judged: What they are measured on.
        command: What was typed.
        baseline: The name of the one that the others are compared with; the first, if None.
        measures: Names as in `evaluate`; those of the convention, if None.
        convention: How they are measured.
        workplace: How to work.
        moved: How many of the queries that moved most to explain, for each system.
        worst: How many of the worst queries to explain.

    Raises:
        ConfigError: if two systems have one name, there is no such baseline, or a setting is wrong.
        InputError: if runs, queries or judgements cannot be used.
        MissingExtra: if matplotlib is not installed.
    """
    baseline = (baseline or specs[0].name) if len(specs) > 1 else None
    compared, failures = measure_systems(specs, judged, baseline, measures, convention, workplace, moved, worst)
    first = compared.assessments[0]
    title = first.name if len(specs) == 1 else f"{len(specs)} systems"
    page = Page(
        f"{title} on {first.judged}",
        f"{first.queries:,} judged queries, measured by the convention “{first.convention.name}”",
    )
    _add_results(page, compared)
    if baseline is not None:
        page.add_heading(f"Against {baseline}")
        add_comparisons(page, compared.comparisons, baseline)
    add_reasons(page, compared, failures, judged)
    _add_provenance(page, specs, compared, judged, command)
    return page


def measure_systems(
    specs: Sequence[SystemSpec],
    judged: JudgedSet,
    baseline: str | None,
    measures: Sequence[str] | None,
    convention: str,
    workplace: Workplace | None,
    moved: int,
    worst: int,
) -> tuple[Compared, list[Failures]]:
    """Measure and compare systems, and look at the worst queries of the best; see `report_comparison`."""
    failures: list[Failures] = []

    def look(systems: Sequence[System], assessments: Sequence[Assessment]) -> None:
        failures.extend(_find_failures(systems, assessments, judged, worst))

    compared = compare_systems(specs, judged, baseline, measures, convention, workplace, moved=moved, while_open=look)
    return compared, failures


class Failures(NamedTuple):
    """The worst queries of a system."""

    name: str
    measure: str
    worst: list[WorstQuery]


def _find_failures(
    systems: Sequence[System], assessments: Sequence[Assessment], judged: JudgedSet, queries: int
) -> list[Failures]:
    """Look at the best system that can say why; if all are run files, only ranks are known, of the best of them."""
    if not queries:
        return []
    measure = next(iter(assessments[0].means))
    pairs = list(zip(systems, assessments, strict=True))
    telling = [(system, one) for system, one in pairs if system.index is not None] or pairs
    system, best = max(telling, key=lambda pair: pair[1].means[measure])
    lookup = _lookup(system, judged)
    answers = Answers(best.run, best.per_query, judged.qrels, judged.texts, system.explain, lookup)
    worst = find_worst(answers, measure, queries)
    return [Failures(best.name, measure, worst)] if worst else []


def _lookup(system: System, judged: JudgedSet) -> Any:  # noqa: ANN401 - what gives a document by its id
    if system.index is not None:
        return system.index.document
    documents = {document.id: document for document in judged.documents()} if judged.collection is not None else {}
    return documents.get


def _add_results(page: Page, compared: Compared) -> None:
    page.add_heading("What each came to")
    systems = [
        Measured(
            one.name,
            one.means,
            {}
            if one.cost is None
            else {
                "FLOPS": one.cost.flops,
                "query terms": one.cost.query_terms,
                "doc terms": one.cost.document_terms,
                "ms/query": one.cost.median_ms if one.cost.median_ms == one.cost.median_ms else None,
            },
        )
        for one in compared.assessments
    ]
    first = compared.assessments[0]
    add_measured(page, systems, f"{first.queries:,} queries of {first.judged}")
    page.add_list([line for one in compared.assessments for line in _remarks(one)])
    measure = next(iter(first.means))
    spread = {
        one.name: interval_of_mean(np.array([row[measure] for row in one.per_query.values()]))
        for one in compared.assessments
        if len(one.per_query) > 1
    }
    add_frontier(page, systems, measure, spread)


def _remarks(one: Assessment) -> list[str]:
    """Say what a reader must know of a system's queries, where there is something."""
    said = []
    if one.missing:
        said.append(f"{one.name}: {one.missing:,} of {one.queries:,} queries have no hit, and count as zero.")
    if one.unjudged:
        said.append(f"{one.name}: {one.unjudged:,} queries have hits and no judgement, and are left out.")
    if one.self_hits and not one.convention.drops_self:
        said.append(f"{one.name}: {one.self_hits:,} queries found the document of their own id, and kept it.")
    return said


def add_reasons(page: Page, compared: Compared, failures: Sequence[Failures], judged: JudgedSet) -> None:
    """Add the queries that moved most against the baseline, and those that the best system fails on, with reasons."""
    if any(compared.moved.values()):
        page.add_heading("The queries that moved most")
        page.add_paragraph(
            f"For each system the queries whose value changed most against {compared.baseline}, with the relevant "
            f"documents that rose or fell, and the terms that did it."
        )
        for name, moved in compared.moved.items():
            if moved:
                page.add_heading(f"From {compared.baseline} to {name}", level=3)
                add_moved(page, moved, judged.texts, str(compared.baseline), name)
    for one in failures:
        page.add_heading(f"Where {one.name} fails")
        add_worst(page, one.worst, one.measure, one.name)


def _add_provenance(
    page: Page, specs: Sequence[SystemSpec], compared: Compared, judged: JudgedSet, command: str
) -> None:
    counts = judged.count()
    described = {
        f"system {spec.name}": f"{KINDS[spec.kind]}: {spec.source}"
        + (f", {one.documents:,} documents" if one.documents is not None else "")
        for spec, one in zip(specs, compared.assessments, strict=True)
    }
    add_provenance(
        page,
        {
            "collection": judged.name,
            "queries": f"{counts['queries']:,} with {counts['judgements']:,} judgements",
            "convention": compared.assessments[0].convention.name,
            **described,
            "written with": describe_versions(),
        },
        command,
        {"Every figure as JSON": compared.to_dict()},
    )
