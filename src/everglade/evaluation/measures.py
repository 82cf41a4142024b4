"""Effectiveness: ir-measures behind one face that treats ties alike for every measure.

The tools behind ir-measures break ties in different ways, some even within one call. Here a run is first put into one
order, higher score first and of equal scores the smaller document id first, and every measure sees that order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError, InputError

if TYPE_CHECKING:
    from everglade.texts import Qrel, Qrels, Run

__all__ = ["DEFAULT_MEASURES", "evaluate", "evaluate_queries", "rank"]

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100", "R@1000")


def evaluate(
    run: Run, qrels: Mapping[str, Mapping[str, int]] | Iterable[Qrel], measures: Sequence[str] = DEFAULT_MEASURES
) -> dict[str, float]:
    """Give the mean of each measure over the judged queries.

    A judged query that the run does not answer counts as zero; an answered query without judgements is left out.

    Args:
        run: query id -> document id -> score.
        qrels: query id -> document id -> relevance, or any iterable of `Qrel`.
        measures: names as ir-measures writes them, such as "nDCG@10", "RR@10", "R@1000", "RR(rel=2)@10".

    Returns:
        measure name, as given -> mean over the judged queries.

    Raises:
        ConfigError: if a measure is not known.
        InputError: if there are no judgements, or a score is NaN.
    """
    per_query = evaluate_queries(run, qrels, measures)
    return {
        name: math.fsum(values[name] for values in per_query.values()) / len(per_query)
        for name in dict.fromkeys(measures)
    }


def evaluate_queries(
    run: Run, qrels: Mapping[str, Mapping[str, int]] | Iterable[Qrel], measures: Sequence[str] = DEFAULT_MEASURES
) -> dict[str, dict[str, float]]:
    """Give each measure for each judged query: query id -> measure name -> value. See `evaluate`."""
    import ir_measures

    judged = _as_qrels(qrels)
    parsed = {name: _parse(name) for name in dict.fromkeys(measures)}
    if not parsed:
        raise ConfigError(f"no measure was asked for. Name at least one, such as {DEFAULT_MEASURES[0]}.")
    ranked = {query: _strictly_falling(hits) for query, hits in run.items() if query in judged and hits}
    values: dict[str, dict[str, float]] = {query: dict.fromkeys(parsed, 0.0) for query in judged}
    names = defaultdict(list)
    for name, measure in parsed.items():
        names[measure].append(name)
    for metric in ir_measures.iter_calc(list(names), judged, ranked):
        for name in names[metric.measure]:
            values[metric.query_id][name] = float(metric.value)
    return values


def rank(hits: Mapping[str, float]) -> list[str]:
    """Give the document ids of one query in order: higher score first, of equal scores the smaller id first.

    Raises:
        InputError: if a score is NaN.
    """
    for document, score in hits.items():
        if math.isnan(score):
            raise InputError(f"the score of document {document!r} is not a number (NaN): it cannot be ranked")
    return sorted(hits, key=lambda document: (-hits[document], document))


def _strictly_falling(hits: Mapping[str, float]) -> dict[str, float]:
    order = rank(hits)
    return {document: float(len(order) - place) for place, document in enumerate(order)}


def _as_qrels(qrels: Mapping[str, Mapping[str, int]] | Iterable[Qrel]) -> Qrels:
    judged: Qrels = {}
    if isinstance(qrels, Mapping):
        judged = {query: dict(documents) for query, documents in qrels.items() if documents}
    else:
        for qrel in qrels:
            judged.setdefault(qrel.query_id, {})[qrel.document_id] = qrel.relevance
    if not judged:
        raise InputError("there are no judgements (qrels), so nothing can be measured")
    return judged


def _parse(name: str) -> Any:  # noqa: ANN401 - ir_measures.Measure is untyped
    import ir_measures

    try:
        return ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError) as error:
        raise ConfigError(
            f"the measure {name!r} is not known. Examples of known ones: nDCG@10, RR@10, R@1000, AP, P@10, Success@5."
        ) from error
