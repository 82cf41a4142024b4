"""The page of a study: every scenario on every set, over its seeds, and what it costs.

Read from study.json, whose rows are {"scenario", "level", "seed", "set", "measures", "flops", "query_terms",
"document_terms"}, and may have "start" and "label". Beside them "summary", "measures", "in_domain", "baseline",
"tests", "gains", "cells", "courses", "seconds", "preparation", "ground" and "trained_with" are shown where they are.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import InputError
from everglade.evaluation.front import pareto_front
from everglade.pages.figures import Point, draw_frontier
from everglade.pages.page import Column, Page, Shown, Value
from everglade.report.cells import add_courses, add_query_reasons, add_work
from everglade.report.gains import add_gains, add_tests
from everglade.report.provenance import add_provenance, describe_versions, hash_files
from everglade.report.reading import read_json

if TYPE_CHECKING:
    from everglade.assess.judged import JudgedSet
    from everglade.assess.systems import Workplace

__all__ = ["report_study"]

UNSEEN = "zero-shot mean"
"""The mean over the sets that no scenario was trained on."""


@dataclass(frozen=True)
class Line:
    """A scenario at one level of sparsity, from one start.

    Attributes:
        scenario: What it is called.
        is_trained: Whether it was trained, or measured as it is.
        start: The model it began from; empty where all began from one.
        level: The level; empty where there are none.
        rows: Set -> the rows of its seeds.
    """

    scenario: str
    is_trained: bool
    start: str
    level: str
    rows: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def name(self) -> str:
        """Scenario and start."""
        return f"{self.scenario}, {self.start}" if self.start else self.scenario

    def values(self, of: str, key: str) -> list[float]:
        """Give a measure or cost of each seed on a set."""
        return [float(value) for row in self.rows.get(of, ()) if (value := _value(row, key)) is not None]

    def mean_values(self, sets: Sequence[str], key: str) -> list[float]:
        """Give the mean over sets of each seed that was measured on all of them."""
        by_seed: dict[Any, list[float]] = {}
        for name in sets:
            for row in self.rows.get(name, ()):
                if (value := _value(row, key)) is not None:
                    by_seed.setdefault(row.get("seed"), []).append(float(value))
        return [statistics.fmean(values) for values in by_seed.values() if len(values) == len(sets)]


def report_study(
    folder: Path,
    command: str,
    judged: JudgedSet | None = None,
    workplace: Workplace | None = None,
    moved: int = 5,
    worst: int = 8,
) -> Page:
    """Make the page of a study.

    Args:
        folder: With study.json; and with the trainings, if there is something to measure them on.
        command: What was typed.
        judged: Measure the baseline and the best scenario on this, and explain the queries that set them apart.
        workplace: How they are asked.
        moved: How many of the queries that moved most to explain.
        worst: How many of the worst queries to explain.

    Raises:
        ConfigError: if there is something to measure on, and no trainings to measure.
        InputError: if study.json cannot be read, or has no rows.
        MissingExtra: if matplotlib is not installed.
    """
    study = read_json(folder / "study.json")
    rows = _read_rows(folder / "study.json", study)
    measures = list(dict.fromkeys(name for row in rows for name in row["measures"]))
    measure = next((name for name in study.get("measures", ()) if name in measures), measures[0])
    lines, sets = _group(rows), list(dict.fromkeys(str(row["set"]) for row in rows))
    page = Page(f"Study: {study.get('name') or folder.resolve().name}", _subtitle(rows, lines, sets))
    if isinstance(study.get("summary"), str):
        page.add_paragraph(study["summary"])
    cells = study.get("cells")
    if isinstance(cells, Mapping) and cells.get("finished") != cells.get("planned"):
        page.add_remark(f"{cells.get('finished')} of {cells.get('planned')} trainings are finished: more is to come.")
    unseen = [name for name in sets if name not in study.get("in_domain", ())] if study.get("in_domain") else []
    page.add_heading("Every scenario on every set")
    _add_table(page, lines, sets, unseen, measure)
    page.add_heading("Effectiveness against cost")
    _add_figures(page, lines, sets, unseen, measure)
    labels = {str(row["scenario"]): str(row.get("label") or row["scenario"]) for row in rows}
    add_tests(page, study, labels)
    add_gains(page, study, measure, labels)
    if judged is not None:
        add_query_reasons(page, folder, study, rows, labels, judged, workplace, moved, worst)
    add_courses(page, study, labels)
    add_work(page, study, labels)
    if len(measures) > 1:
        page.add_heading("Other measures")
        for other in measures:
            if other != measure:
                with page.details(other):
                    _add_table(page, lines, sets, unseen, other)
    _add_provenance(page, folder, study, rows, command)
    return page


def _read_rows(path: Path, study: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = study.get("rows")
    if not isinstance(rows, list) or not rows:
        raise InputError("has no rows: nothing of the study is finished. Run it first with everglade study", path)
    for number, row in enumerate(rows, start=1):
        whole = isinstance(row, dict) and {"scenario", "set", "measures"} <= row.keys()
        if not whole or not isinstance(row["measures"], dict) or not row["measures"]:
            raise InputError(f"row {number} lacks scenario, set or measures. Run the study again", path)
    return rows


def _value(row: Mapping[str, Any], key: str) -> float | None:
    found = row["measures"].get(key, row.get(key))
    return found if isinstance(found, int | float) else None


def _group(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    starts = {row.get("start") for row in rows}
    groups: dict[tuple[str, str, str], dict[str, list[Mapping[str, Any]]]] = {}
    labels: dict[str, str] = {}
    for row in rows:
        start = str(row.get("start") or "") if len(starts) > 1 else ""
        level, scenario = row.get("level"), str(row["scenario"])
        labels[scenario] = str(row.get("label") or scenario)
        key = scenario, start, "" if level is None else str(level)
        groups.setdefault(key, {}).setdefault(str(row["set"]), []).append(row)
    trained = {str(row["scenario"]) for row in rows if row.get("seed") is not None or row.get("level") is not None}
    return [Line(labels[one], one in trained, start, level, found) for (one, start, level), found in groups.items()]


def _subtitle(rows: Sequence[Mapping[str, Any]], lines: Sequence[Line], sets: Sequence[str]) -> str:
    seeds = len({row.get("seed") for row in rows} - {None})
    levels = len({line.level for line in lines} - {""})
    scenarios = len({line.name for line in lines if line.is_trained})
    untrained = len({line.name for line in lines if not line.is_trained})
    parts = [(scenarios, "scenarios"), (levels, "levels of sparsity"), (seeds, "seeds"), (len(sets), "sets")]
    parts.append((untrained, "systems measured as they are"))
    return ", ".join(f"{count} {name if count != 1 else _one(name)}" for count, name in parts if count)


def _one(name: str) -> str:
    return {"levels of sparsity": "level of sparsity", "systems measured as they are": "system measured as it is"}.get(
        name, name.removesuffix("s")
    )


def _add_table(page: Page, lines: Sequence[Line], sets: Sequence[str], unseen: Sequence[str], measure: str) -> None:
    has_levels = any(line.level for line in lines)
    with_mean = 1 < len(unseen) < len(sets)
    columns: list[Column | str] = ["scenario", *(["level"] if has_levels else []), "seeds"]
    columns += [Column(name, "max", 4, right=True) for name in sets]
    columns += [Column(UNSEEN, "max", 4, right=True)] if with_mean else []
    columns += [Column("FLOPS", "min", 2), Column("query terms", None, 1), Column("doc terms", None, 1)]
    rows: list[list[Value]] = []
    for line in lines:
        seeds = max(len(found) for found in line.rows.values())
        row: list[Value] = [line.name, *([line.level or None] if has_levels else []), seeds]
        row += [_show(line.values(name, measure)) for name in sets]
        row += [_show(line.mean_values(unseen, measure))] if with_mean else []
        row += [_mean_of_all(line, sets, key) for key in ("flops", "query_terms", "document_terms")]
        rows.append(row)
    mean = f" “{UNSEEN}” is over {', '.join(unseen)}, on which nothing was trained." if with_mean else ""
    page.add_table(
        columns,
        rows,
        f"{measure} on each set, mean ± standard deviation over the seeds: greater is better, and the best of each "
        f"column is in bold.{mean} FLOPS and terms are means over all sets; fewer make search cheaper.",
    )


def _show(values: Sequence[float]) -> Shown | None:
    if not values:
        return None
    mean = statistics.fmean(values)
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return Shown(f"{mean:.4f}{spread}", round(mean, 4))


def _mean_of_all(line: Line, sets: Sequence[str], key: str) -> float | None:
    values = [value for name in sets for value in line.values(name, key)]
    return statistics.fmean(values) if values else None


def _add_figures(page: Page, lines: Sequence[Line], sets: Sequence[str], unseen: Sequence[str], measure: str) -> None:
    """One figure for the mean over unseen sets, where there are such, and one for each set."""
    wanted: list[tuple[str, list[str]]] = [(name, [name]) for name in sets]
    if 1 < len(unseen) < len(sets):
        wanted.insert(0, (UNSEEN, list(unseen)))
    for name, members in wanted:
        points, levels = _place(lines, members, measure)
        if not points:
            continue
        costs = [point.x for point in points]
        front = pareto_front(costs, [point.y for point in points])
        log = min(costs) > 0 and max(costs) / min(costs) > 8
        wide, narrow = (
            draw_frontier(points, "FLOPS", measure, log_x=log, front=front, levels=levels, narrow=narrow)
            for narrow in (False, True)
        )
        dashed = " Dashed: what has no such cost." if levels else ""
        page.add_heading(name, level=3)
        page.add_figure(
            wide,
            f"{name}: {measure} against FLOPS, one point for each scenario and level; up and to the left is better. "
            f"Bars: one standard deviation over the seeds. The line is the best that each cost allows.{dashed}",
            narrow,
        )


def _place(lines: Sequence[Line], members: Sequence[str], measure: str) -> tuple[list[Point], dict[str, float]]:
    points, levels = [], {}
    for line in lines:
        values, costs = line.mean_values(members, measure), line.mean_values(members, "flops")
        if not values:
            continue
        mean = statistics.fmean(values)
        if not costs:
            levels[line.name] = mean
            continue
        spread = statistics.stdev(values) if len(values) > 1 else None
        ends = (None, None) if spread is None else (mean - spread, mean + spread)
        points.append(Point(line.level or line.name, line.name, statistics.fmean(costs), mean, *ends))
    return points, levels


def _add_provenance(
    page: Page, folder: Path, study: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], command: str
) -> None:
    seeds = sorted({str(row["seed"]) for row in rows if row.get("seed") is not None})
    settings = {name: study[name] for name in ("train", "scenarios", "levels") if name in study}
    preparation = study.get("preparation") or {}
    prepared = {name: preparation[name] for name in ("settings", "stages") if name in preparation}
    add_provenance(
        page,
        {
            "study": str(study.get("name") or folder.resolve().name),
            "seeds": ", ".join(seeds) or "none",
            "rows": len(rows),
            **_describe_ground(study.get("ground") or {}),
            "trained with": "; ".join(map(_describe, study.get("trained_with") or ())) or None,
            "this page": describe_versions(),
            **hash_files(folder, ["study.json"]),
        },
        command,
        {
            **({"Settings of the trainings": settings} if settings else {}),
            **({"The preparation": prepared} if prepared else {}),
            "Every row": list(rows),
        },
    )


def _describe(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _describe_ground(ground: Mapping[str, Any]) -> dict[str, str]:
    """Give what was trained on and measured on, with the sha256 of each."""
    if not ground:
        return {}
    split = "" if ground.get("split") is None else f"/{ground['split']}"
    return {
        "trained on": f"{ground.get('collection')}{split}, {ground.get('trained on')}",
        **{f"set {name}": str(digest) for name, digest in (ground.get("sets") or {}).items()},
    }
