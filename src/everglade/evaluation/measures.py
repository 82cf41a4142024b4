"""Effectiveness: ir-measures behind one face that treats ties and missing answers alike for every measure.

The tools behind ir-measures break ties in different ways, some even within one call, and some misread ids that are no
numbers. Here a run is first put into one order, higher score first and of equal scores the smaller document id first;
every measure sees that order, under ids that every tool can read.
"""

from __future__ import annotations

import math
import operator
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from everglade.errors import ConfigError, InputError
from everglade.evaluation.capped import CappedRecall

if TYPE_CHECKING:
    from everglade.texts import Qrel, Qrels, Run

__all__ = [
    "DEFAULT_MEASURES",
    "PerQuery",
    "cutoff_of",
    "evaluate",
    "evaluate_queries",
    "is_count",
    "rank",
    "summarise",
    "with_relevance",
]

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100", "R@1000")

MAX_RELEVANCE = 1_000_000
"""trec_eval keeps a row of counters as long as the highest grade."""

MAX_PARAMETER = 10**9

QUERIES_AT_A_TIME = 512
"""Queries whose hits are held a second time, under other ids."""

PerQuery = dict[str, dict[str, float]]
"""query id -> measure name -> value."""


def evaluate(
    run: Run, qrels: Mapping[str, Mapping[str, int]] | Iterable[Qrel], measures: Sequence[str] = DEFAULT_MEASURES
) -> dict[str, float]:
    """Give the mean of each measure over the judged queries.

    A judged query that the run does not answer counts as zero; an answered query without judgements is left out. Of
    equal scores the smaller document id stands first, for every measure.

    Args:
        run: query id -> document id -> score.
        qrels: query id -> document id -> relevance, or any iterable of `Qrel`.
        measures: names as ir-measures writes them, such as "nDCG@10", "RR@10", "R@1000", "RR(rel=2)@10", and BEIR's
            capped recall as "RCap@100".

    Returns:
        measure name, as given -> mean over the judged queries. NumQ, NumRel and NumRet are sums, as in ir-measures.

    Raises:
        ConfigError: if a measure is not known, or needs a package that is not installed.
        InputError: if there are no judgements, a score is NaN, or a measure is not defined for the judgements.
    """
    return summarise(evaluate_queries(run, qrels, measures))


def evaluate_queries(
    run: Run, qrels: Mapping[str, Mapping[str, int]] | Iterable[Qrel], measures: Sequence[str] = DEFAULT_MEASURES
) -> PerQuery:
    """Give each measure for each judged query: query id -> measure name -> value. See `evaluate`."""
    if isinstance(measures, str):
        raise ConfigError(f"measures is the text {measures!r}, not a list of names. Write [{measures!r}].")
    judged = _as_qrels(qrels)
    parsed = {name: _parse(name) for name in dict.fromkeys(measures)}
    if not parsed:
        raise ConfigError(f"no measure was asked for. Name at least one, such as {DEFAULT_MEASURES[0]}.")
    queries = list(judged)
    values: PerQuery = {}
    for start in range(0, len(queries), QUERIES_AT_A_TIME):
        part = {query: judged[query] for query in queries[start : start + QUERIES_AT_A_TIME]}
        values |= _measure_some({query: rank(run.get(query) or {}) for query in part}, part, parsed)
    return values


def _measure_some(orders: Mapping[str, Sequence[str]], judged: Qrels, parsed: Mapping[str, Any]) -> PerQuery:
    values: PerQuery = {query: dict.fromkeys(parsed, 0.0) for query in judged}
    names = defaultdict(list)
    for name, measure in parsed.items():
        if not isinstance(measure, CappedRecall):
            names[measure].append(name)
            continue
        for query, order in orders.items():
            values[query][name] = measure.measure(order, judged[query])
    if names:
        queries = list(judged)
        for metric in _measure(list(names), _Numbered.of(orders, judged)):
            for name in names[metric.measure]:
                values[queries[int(metric.query_id)]][name] = float(metric.value)
    return values


def summarise(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Give one value for each measure of `evaluate_queries`: the mean, or for the counts of ir-measures the sum."""
    names = list(next(iter(per_query.values())))
    sums = {name: math.fsum(values[name] for values in per_query.values()) for name in names}
    return {name: total if is_count(name) else total / len(per_query) for name, total in sums.items()}


def rank(hits: Mapping[str, float]) -> list[str]:
    """Give the document ids of one query in order: higher score first, of equal scores the smaller id first.

    Raises:
        InputError: if a score is no number, or NaN.
    """
    for document, score in hits.items():
        try:
            unusable = math.isnan(score)
        except TypeError as error:
            raise InputError(f"the score of document {document!r} is {score!r}, not a number") from error
        if unusable:
            raise InputError(f"the score of document {document!r} is not a number (NaN): it cannot be ranked")
    return sorted(hits, key=lambda document: (-hits[document], document))


def with_relevance(name: str, rel: int) -> str:
    """Give the measure that takes judgements of `rel` and more for relevant, unless `name` says from which they are.

    Graded measures, such as nDCG, stay what they are.
    """
    measure = _parse(name)
    if isinstance(measure, CappedRecall):
        return name if "(" in name else str(measure._replace(rel=rel))
    if "rel" not in measure.SUPPORTED_PARAMS or "rel" in measure.params:
        return name
    return str(measure(rel=rel))


def cutoff_of(name: str) -> int | None:
    """Give how many hits of a query a measure looks at; None for all of them."""
    measure = _parse(name)
    cutoff = measure.cutoff if isinstance(measure, CappedRecall) else measure.params.get("cutoff")
    return None if cutoff is None else int(cutoff)


class _Numbered(NamedTuple):
    """Judgements and a run under numbers for ids, with scores that fall strictly.

    gdeval reads no other query ids than numbers, and takes what follows a hyphen for one.
    """

    qrels: Qrels
    run: Run

    @classmethod
    def of(cls, orders: Mapping[str, Sequence[str]], judged: Qrels) -> _Numbered:
        qrels, run = {}, {}
        for number, (query, order) in enumerate(orders.items()):
            places = {document: str(place) for place, document in enumerate(order)}
            missed = (document for document in judged[query] if document not in places)
            places.update((document, f"m{place}") for place, document in enumerate(missed))
            qrels[str(number)] = {places[document]: relevance for document, relevance in judged[query].items()}
            if max(judged[query].values()) < 0:
                # trec_eval's nDCG dies of a query with negative judgements alone. One more document that is not
                # relevant and not found changes none of its measures.
                qrels[str(number)]["none"] = 0
            if order:
                run[str(number)] = {str(place): float(len(order) - place) for place in range(len(order))}
        return cls(qrels, run)


def _measure(measures: list[Any], numbered: _Numbered) -> list[Any]:
    import ir_measures

    try:
        return [
            value for part in _divide(measures) for value in ir_measures.iter_calc(part, numbered.qrels, numbered.run)
        ]
    except (ZeroDivisionError, subprocess.CalledProcessError) as error:
        named = ", ".join(map(str, measures))
        raise InputError(
            f"one of the measures {named} is not defined for these hits and judgements. Known cases: Accuracy where "
            f"every hit is relevant; ERR and exponential gains where a judgement is above 4. Leave that measure out"
        ) from error


def _divide(measures: list[Any]) -> list[list[Any]]:
    """Put apart the measures that ir-measures computes with the gains and documents of whichever measure comes first.

    Those are the nDCG and counts that have no gains and relevance of their own; of them, those that look at judged
    documents only stand by themselves again.
    """
    parts: dict[str, list[Any]] = {}
    for one in measures:
        lacks_own = one.NAME in ("nDCG", "NumRet", "NumQ") and not {"gains", "rel"} & one.params.keys()
        kind = "others" if not lacks_own else "of judged" if one.params.get("judged_only") else "of all"
        parts.setdefault(kind, []).append(one)
    return list(parts.values())


def _as_qrels(qrels: Mapping[str, Mapping[str, int]] | Iterable[Qrel]) -> Qrels:
    judged: Qrels = {}
    if isinstance(qrels, Mapping):
        judged = {query: dict(documents) for query, documents in qrels.items() if documents}
    else:
        for qrel in qrels:
            judged.setdefault(qrel.query_id, {})[qrel.document_id] = qrel.relevance
    if not judged:
        raise InputError("there are no judgements (qrels), so nothing can be measured")
    for query, documents in judged.items():
        for document, relevance in documents.items():
            try:
                documents[document] = operator.index(relevance)  # an int, whatever kind of whole number it was
            except TypeError as error:
                raise InputError(
                    f"document {document!r} has relevance {relevance!r} for query {query!r}: it must be a whole number"
                ) from error
            if abs(relevance) > MAX_RELEVANCE:
                raise InputError(
                    f"document {document!r} has relevance {relevance} for query {query!r}; "
                    f"{MAX_RELEVANCE:,} is the most that can be measured. Use smaller grades"
                )
    return judged


def _parse(name: str) -> Any:  # noqa: ANN401 - ir_measures.Measure is untyped
    import ir_measures

    if capped := CappedRecall.parse(name):
        _check_whole(name, {"cutoff": capped.cutoff, "rel": capped.rel})
        return capped
    pipeline: Any = ir_measures.DefaultPipeline
    try:
        measure: Any = ir_measures.parse_measure(name)
    except (NameError, ValueError, SyntaxError) as error:
        raise ConfigError(
            f"the measure {name!r} is not known. Examples of known ones: nDCG@10, RR@10, R@1000, AP, P@10, Success@5, "
            f"R(rel=2)@1000, RCap@100."
        ) from error
    settings = ", ".join(measure.SUPPORTED_PARAMS) or "none"
    try:
        measure.validate_params()
    except AssertionError as error:
        raise ConfigError(
            f"the measure {name!r} lacks a setting, or has one that it cannot have. Its settings: {settings}."
        ) from error
    _check_whole(name, measure.params)
    if not pipeline.supports(measure):
        raise ConfigError(f"the measure {name!r} cannot be computed{_say_who_can(measure, settings)}")
    return measure


def _check_whole(name: str, params: Mapping[str, Any]) -> None:
    """Refuse numbers that end the process inside trec_eval."""
    for param in ("cutoff", "rel"):
        if not 1 <= params.get(param, 1) <= MAX_PARAMETER:
            raise ConfigError(f"the measure {name!r}: its {param} must be a whole number from 1 to {MAX_PARAMETER:,}.")
    gains = params.get("gains", {})
    if not all(isinstance(gain, int) and 0 <= gain <= MAX_RELEVANCE for gain in gains.values()):
        raise ConfigError(f"the measure {name!r}: gains must be whole numbers from 0 to {MAX_RELEVANCE:,}.")


def _say_who_can(measure: Any, settings: str) -> str:  # noqa: ANN401 - ir_measures.Measure is untyped
    import ir_measures

    for provider in ir_measures.DefaultPipeline.providers:
        if provider.supports(measure) and (how := provider.install_instructions()):
            return f" without another package: {how}."
    return f" in this way by any tool that ir-measures knows. Its settings: {settings}."


def is_count(name: str) -> bool:
    """Whether a measure counts, such as NumRet, so that `summarise` gives its sum and not its mean."""
    import ir_measures

    measure = _parse(name)
    return not isinstance(measure, CappedRecall) and isinstance(measure.aggregator(), ir_measures.SumAgg)
