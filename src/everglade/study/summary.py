"""What the finished cells of a study come to: rows, means over seeds, tests against the baseline, and named gains.

study.json holds all of it, as plain values::

    name, summary, baseline, in_domain, sets, measures, seeds, levels, scenarios, train
    cells       how many there are, and how many are finished
    rows        one for each cell or reference and set
    means       one for each scenario, level and set, and two more: "zero-shot", the mean over the sets that are not in
                domain, and "all"; over the seeds that are finished, with their standard deviation
    tests       each scenario against the baseline at the same level on each set, in the first measure: paired over
                queries, whose values are means over the seeds; corrected for the scenarios, see
                everglade.evaluation.significance
    gains       each named difference at each level: in the first measure, on each set and on average; with a test like
                those above on each set, of two scenarios and so without correction
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.evaluation.significance import Comparison, compare_values
from everglade.study.cells import find_cell, read_figures, read_values

if TYPE_CHECKING:
    from everglade.study.design import Study

__all__ = ["ALL", "ZERO_SHOT", "summarise_study", "write_summary"]

ZERO_SHOT = "zero-shot"
ALL = "all"

_COSTS = ("flops", "query_terms", "document_terms")

Values = dict[str, dict[str, float]]
"""set -> query id -> value."""


def summarise_study(study: Study, out: str | Path, *, tested: bool = True) -> dict[str, Any]:
    """Give the summary of the cells in `out` that are finished; without tests, which take longer, unless `tested`."""
    out = Path(out)
    cells = study.cells()
    labels = {one.name: one.label for one in study.scenarios} | {one.name: one.label for one in study.references}
    found = {cell.name: read_figures(find_cell(out, cell.name)) for cell in cells}
    untrained = [read_figures(find_cell(out, one.name)) for one in study.references]
    figures = [one for one in (*untrained, *found.values()) if one is not None]
    rows = [
        {
            **{key: one[key] for key in ("scenario", "level", "seed")},
            "label": labels[one["scenario"]],
            "set": name,
            **own,
        }
        for one in figures
        for name, own in one["sets"].items()
    ]
    means = list(_average(study, rows))
    values = {
        (scenario.name, level.name): average
        for level in study.levels
        for scenario in study.scenarios
        if tested and (average := _average_queries(study, out, scenario.name, level.name, found))
    }
    return {
        "name": study.name,
        "summary": study.summary,
        "baseline": study.baseline,
        "in_domain": list(study.in_domain),
        "sets": [one.name for one in study.suite.sets],
        "measures": list(study.suite.measures),
        "seeds": list(study.seeds),
        "levels": {level.name: dict(level.settings) for level in study.levels},
        "scenarios": {one.name: {"label": one.label, **one.settings} for one in study.scenarios},
        "train": dict(study.train),
        "cells": {"planned": len(cells), "finished": sum(one is not None for one in found.values())},
        "seconds": {name: one["seconds"] for name, one in found.items() if one is not None},
        "rows": rows,
        "means": means,
        "tests": list(_test(study, values)),
        "gains": list(_gains(study, means, values)),
    }


def write_summary(summary: Mapping[str, Any], out: str | Path) -> None:
    """Write a summary to study.json in `out`, whole or not at all."""
    Path(out).mkdir(parents=True, exist_ok=True)
    durable.write_json(Path(out) / "study.json", summary)


def _average(study: Study, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give means over the seeds, set by set and over several sets, in the order of the rows."""
    groups: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["scenario"], row["level"]), []).append(row)
    sets = [one.name for one in study.suite.sets]
    unseen = [name for name in sets if name not in study.in_domain]
    for (scenario, level), own in groups.items():
        about = {"scenario": scenario, "label": own[0]["label"], "level": level}
        spans = [*((one, [one]) for one in sets), *([(ZERO_SHOT, unseen)] if unseen else []), (ALL, sets)]
        for name, members in spans:
            of_seeds = [_mean_over_sets(own, seed, members) for seed in dict.fromkeys(row["seed"] for row in own)]
            whole = [one for one in of_seeds if one is not None]
            if whole:
                yield {**about, "set": name, "seeds": len(whole), **_spread(whole)}


def _mean_over_sets(
    rows: Sequence[Mapping[str, Any]], seed: int | None, members: Sequence[str]
) -> dict[str, float] | None:
    """Give each figure of one seed as its mean over some sets; None if one of them is missing."""
    own = [row for row in rows if row["seed"] == seed and row["set"] in members]
    if len(own) < len(members):
        return None
    names = [*own[0]["measures"], *(name for name in _COSTS if name in own[0])]
    return {name: statistics.fmean(row["measures"].get(name, row.get(name)) for row in own) for name in names}


def _spread(of_seeds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Give means and standard deviations over seeds; that of one seed is None."""
    names = list(of_seeds[0])
    mean = {name: statistics.fmean(one[name] for one in of_seeds) for name in names}
    deviation = {name: statistics.stdev(one[name] for one in of_seeds) if len(of_seeds) > 1 else None for name in names}
    return {"mean": mean, "deviation": deviation}


def _test(study: Study, values: Mapping[tuple[str, str], Values]) -> Iterator[dict[str, Any]]:
    for level in study.levels:
        own = {scenario: found for (scenario, name), found in values.items() if name == level.name}
        if study.baseline not in own or len(own) < 2:
            continue
        for one in study.suite.sets:
            for comparison in _compare(study, own, study.baseline, one.name):
                yield {"level": level.name, "set": one.name, **asdict(comparison)}


def _compare(study: Study, values: Mapping[str, Values], baseline: str, name: str) -> list[Comparison]:
    """Compare scenarios with one of them on one set."""
    measure = study.suite.measures[0]
    by_query = {
        scenario: {query: {measure: value} for query, value in sets[name].items()} for scenario, sets in values.items()
    }
    return compare_values(by_query, baseline, [measure])


def _average_queries(study: Study, out: Path, scenario: str, level: str, found: Mapping[str, Any]) -> Values | None:
    """Give set -> query -> mean over the seeds; None unless all seeds are finished."""
    names = [cell.name for cell in study.cells() if (cell.scenario.name, cell.level.name) == (scenario, level)]
    if not names or any(found[name] is None for name in names):
        return None
    of_seeds = [read_values(find_cell(out, name)) for name in names]
    return {
        name: {query: statistics.fmean(one[name][query] for one in of_seeds) for query in of_seeds[0][name]}
        for name in of_seeds[0]
    }


def _gains(
    study: Study, means: Sequence[Mapping[str, Any]], values: Mapping[tuple[str, str], Values]
) -> Iterator[dict[str, Any]]:
    measure = study.suite.measures[0]
    known = {(one["scenario"], one["level"], one["set"]): one["mean"] for one in means}
    own = [one.name for one in study.suite.sets]
    for level in study.levels:
        for gain in study.gains:
            pairs = {
                name: [known.get((one, level.name, name)) for one in (gain.of, gain.over)]
                for name in (*own, ZERO_SHOT, ALL)
            }
            differences = {name: of[measure] - over[measure] for name, (of, over) in pairs.items() if of and over}
            if not differences:
                continue
            both = {one: values[one, level.name] for one in (gain.of, gain.over) if (one, level.name) in values}
            tests = {name: asdict(_compare(study, both, gain.over, name)[0]) for name in own} if len(both) == 2 else {}
            about = {"name": gain.name, "of": gain.of, "over": gain.over, "level": level.name}
            yield {**about, "gain": differences, "tests": tests}
