"""What the finished cells of a study come to: rows, means over seeds, tests against the baseline, and named gains.

study.json holds all of it, as plain values::

    name, summary, baseline, in_domain, sets, measures, convention, seeds, levels, scenarios, train
    ground      what was trained on and measured on, by content, see everglade.study.ground
    preparation its settings, stages, the seconds that each took, and the statistics that it left of its scores
    cells       how many there are, and how many are finished: trained and measured as the design says now
    seconds     cell -> what its training took
    courses     cell -> (step, ranking loss, FLOPS of the batch) as its log has them
    rows        one for each cell or reference and set
    means       one for each scenario, level and set, and two more: "zero-shot", the mean over the sets that are not in
                domain, and "all"; over the seeds that are finished, with their standard deviation
    tests       each scenario against the baseline at the same level on each set, in the first measure: paired over
                queries, whose values are means over the seeds; corrected for the scenarios, see
                everglade.evaluation.significance
    gains       each named difference at each level: in the first measure, on each set and on average, over the seeds
                that both scenarios have finished, or over a reference; with a test like those above on each set, where
                all seeds are finished, of two scenarios and so without correction
    trained_with    the versions that the trainings were made with, as their manifests have them; several if they differ
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.evaluation.significance import Comparison, compare_values
from everglade.recipes.folders import read_times
from everglade.study.cells import find_cell, read_finished, read_values
from everglade.study.design import ALL, ZERO_SHOT
from everglade.study.ground import name_place, read_ground

if TYPE_CHECKING:
    from everglade.study.design import Study

__all__ = ["summarise_study", "write_summary"]

_COSTS = ("flops", "query_terms", "document_terms")

Values = dict[str, dict[str, float]]
"""set -> query id -> value."""
OfSeeds = dict[int | None, dict[str, float]]
"""seed -> name of a measure or cost -> value."""


def summarise_study(study: Study, out: str | Path, *, tested: bool = True) -> dict[str, Any]:
    """Give the summary of the cells in `out` that are finished; without tests, which take longer, unless `tested`."""
    out = Path(out)
    cells = study.cells()
    labels = {one.name: one.label for one in study.scenarios} | {one.name: one.label for one in study.references}
    found = {cell.name: read_finished(study, cell, out) for cell in cells}
    untrained = [read_finished(study, one, out) for one in study.references]
    trained = {name: one for name, one in found.items() if one is not None}
    figures = [*(one for one in untrained if one is not None), *trained.values()]
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
    of_seeds = dict(_average_sets(study, rows))
    values = dict(_read_values(study, out, found)) if tested else {}
    return {
        "name": study.name,
        "summary": study.summary,
        "baseline": study.baseline,
        "in_domain": list(study.in_domain),
        "sets": [one.name for one in study.suite.sets],
        "measures": list(study.suite.measures),
        "convention": study.suite.convention,
        "seeds": list(study.seeds),
        "levels": {level.name: dict(level.settings) for level in study.levels},
        "scenarios": {one.name: {"label": one.label, **one.settings} for one in study.scenarios},
        "train": dict(study.train),
        "ground": read_ground(out),
        "preparation": _describe_preparation(study, out),
        "cells": {"planned": len(cells), "finished": len(trained)},
        "seconds": {name: one["seconds"] for name, one in trained.items()},
        "courses": {name: one["course"] for name, one in trained.items()},
        "rows": rows,
        "means": [
            {"scenario": scenario, "label": labels[scenario], "level": level, "set": name}
            | {"seeds": len(seeds), **_spread(list(seeds.values()))}
            for (scenario, level, name), seeds in of_seeds.items()
        ],
        "tests": list(_test(study, values)),
        "gains": list(_gains(study, of_seeds, values)),
        "trained_with": _list_versions(trained.values()),
    }


def write_summary(summary: Mapping[str, Any], out: str | Path) -> None:
    """Write a summary to study.json in `out`, whole or not at all."""
    Path(out).mkdir(parents=True, exist_ok=True)
    durable.write_json(Path(out) / "study.json", summary)


def _describe_preparation(study: Study, out: Path) -> dict[str, Any] | None:
    if study.prepare is None:
        return None
    seconds = read_times(out / "prepare").get("seconds", {})
    names = [stage.name for stage in study.prepare.resolve()]
    files = {file.parent.name.partition("-")[2]: file for file in (out / "prepare").glob("*/statistics.json")}
    return {
        "settings": {
            key: name_place(value) if isinstance(value, str) else value for key, value in study.prepare.settings.items()
        },
        "stages": list(study.prepare.stages),
        "seconds": {name: seconds[name] for name in names if name in seconds},
        "statistics": {name: json.loads(files[name].read_text(encoding="utf-8")) for name in names if name in files},
    }


def _list_versions(trained: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Give the versions that trainings were made with, each once."""
    found: list[dict[str, str]] = []
    for one in trained:
        if one["versions"] not in found:
            found.append(one["versions"])
    return found


def _average_sets(
    study: Study, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[tuple[str, str | None, str], OfSeeds]]:
    """Give the figures of each seed on each set, and their means over several sets, in the order of the rows."""
    groups: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["scenario"], row["level"]), []).append(row)
    sets = [one.name for one in study.suite.sets]
    unseen = [name for name in sets if name not in study.in_domain]
    spans = [*((one, [one]) for one in sets), *([(ZERO_SHOT, unseen)] if unseen else []), (ALL, sets)]
    for (scenario, level), own in groups.items():
        for name, members in spans:
            yield (
                (scenario, level, name),
                {
                    seed: _mean_over_sets([row for row in own if row["seed"] == seed and row["set"] in members])
                    for seed in dict.fromkeys(row["seed"] for row in own)
                },
            )


def _mean_over_sets(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Give each figure as its mean over the sets."""
    names = [*rows[0]["measures"], *(name for name in _COSTS if name in rows[0])]
    return {name: statistics.fmean(row["measures"].get(name, row.get(name)) for row in rows) for name in names}


def _spread(of_seeds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Give means and standard deviations over seeds; that of one seed is None."""
    names = list(of_seeds[0])
    mean = {name: statistics.fmean(one[name] for one in of_seeds) for name in names}
    deviation = {name: statistics.stdev(one[name] for one in of_seeds) if len(of_seeds) > 1 else None for name in names}
    return {"mean": mean, "deviation": deviation}


def _test(study: Study, values: Mapping[tuple[str, str | None], Values]) -> Iterator[dict[str, Any]]:
    for level in study.levels:
        own = {scenario: found for (scenario, name), found in values.items() if name == level.name}
        if study.baseline not in own or len(own) < 2:
            continue
        for one in study.suite.sets:
            for comparison in _compare(study, own, study.baseline, one.name):
                yield {"level": level.name, "set": one.name, **asdict(comparison)}


def _compare(study: Study, values: Mapping[str, Values], baseline: str, name: str) -> list[Comparison]:
    """Compare scenarios with one of them on one set; nothing where there are not two queries to pair."""
    measure = study.suite.measures[0]
    if len(values[baseline][name]) < 2:
        return []
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


def _read_values(study: Study, out: Path, found: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str | None], Values]]:
    """Give the values of each scenario and level whose seeds are all finished, means over them, and of references."""
    for level in study.levels:
        for scenario in study.scenarios:
            if average := _average_queries(study, out, scenario.name, level.name, found):
                yield (scenario.name, level.name), average
    for one in study.references:
        if read_finished(study, one, out) is not None:
            yield (one.name, None), read_values(find_cell(out, one.name))


def _gains(
    study: Study,
    of_seeds: Mapping[tuple[str, str | None, str], OfSeeds],
    values: Mapping[tuple[str, str | None], Values],
) -> Iterator[dict[str, Any]]:
    measure = study.suite.measures[0]
    sets = [one.name for one in study.suite.sets]
    untrained = [one.name for one in study.references]
    for level in study.levels:
        for gain in study.gains:
            over_level = None if gain.over in untrained else level.name
            differences = {}
            seeds: list[int | None] = []
            for name in (*sets, ZERO_SHOT, ALL):
                of = of_seeds.get((gain.of, level.name, name), {})
                over = of_seeds.get((gain.over, over_level, name), {})
                if over_level is None and over:
                    over = dict.fromkeys(of, over[None])
                if seeds := [seed for seed in of if seed in over]:
                    differences[name] = statistics.fmean(of[seed][measure] - over[seed][measure] for seed in seeds)
            if not differences:
                continue
            pair = ((gain.of, level.name), (gain.over, over_level))
            both = {one[0]: values[one] for one in pair if one in values}
            tests = {
                name: asdict(found[0])
                for name in sets
                if len(both) == 2 and (found := _compare(study, both, gain.over, name))
            }
            about = {"name": gain.name, "of": gain.of, "over": gain.over, "level": level.name}
            yield {**about, "seeds": len(seeds), "gain": differences, "tests": tests}
