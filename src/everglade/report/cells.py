"""The trainings of a study: how loss and vectors went, what each took, and two of them query by query."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError
from everglade.pages.figures import draw_curves
from everglade.pages.page import Column, Page

if TYPE_CHECKING:
    from everglade.assess.judged import JudgedSet
    from everglade.assess.systems import Workplace

__all__ = ["add_courses", "add_query_reasons", "add_work"]


def add_work(page: Page, study: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Add the seconds of the preparation's stages and of the trainings, where the study knows them."""
    preparation = (study.get("preparation") or {}).get("seconds") or {}
    groups = _group(study.get("seconds") or {})
    if not preparation and not groups:
        return
    page.add_heading("What it took")
    rows: list[tuple[str, str | None, int, float, float]] = [
        (f"preparation: {name}", None, 1, seconds, seconds) for name, seconds in preparation.items()
    ]
    for (scenario, level), trained in groups.items():
        seconds = [sum(one.values()) for one in trained.values()]
        rows.append((labels.get(scenario, scenario), level, len(seconds), statistics.fmean(seconds), sum(seconds)))
    whole = sum(row[-1] for row in rows)
    page.add_table(
        ["what", "level", "times", Column("seconds, mean", digits=0), Column("seconds, together", digits=0)],
        rows,
        f"Seconds by the clock, beside whatever else the machine did, interrupted calls included; together "
        f"{whole:,.0f}. What measuring took is not in them.",
    )


def add_courses(page: Page, study: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Add the FLOPS and the ranking loss of every scenario over its steps, level by level, means over the seeds."""
    groups = _group({name: course for name, course in (study.get("courses") or {}).items() if course})
    levels = list(dict.fromkeys(level for _, level in groups))
    if not groups:
        return
    page.add_heading("How the trainings went")
    for level in levels:
        means = {
            labels.get(scenario, scenario): _average(list(courses.values()))
            for (scenario, of), courses in groups.items()
            if of == level
        }
        with page.details(f"Curves: {level}"):
            for place, name in ((2, "FLOPS of a step's batch"), (1, "ranking loss")):
                curves = {label: [(row[0], row[place]) for row in rows] for label, rows in means.items()}
                values = [pair[1] for curve in curves.values() for pair in curve]
                log = min(values) > 0 and max(values) / min(values) > 20
                wide, narrow = (
                    draw_curves(curves, "step", name, log_y=log, narrow=is_narrow) for is_narrow in (False, True)
                )
                said = "" if place == 2 else " Only scenarios with the same loss can be compared."
                page.add_figure(wide, f"{level}: {name}, mean over the seeds.{said}", narrow)


def add_query_reasons(
    page: Page,
    folder: Path,
    study: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    labels: Mapping[str, str],
    judged: JudgedSet,
    workplace: Workplace | None,
    moved: int,
    worst: int,
) -> None:
    """Measure the baseline and the best other scenario at its level, of one seed, and add what sets them apart and why.

    Raises:
        ConfigError: if these trainings are not finished, or not in the folder.
    """
    from everglade.assess.systems import SystemSpec
    from everglade.report.comparison import add_reasons, measure_systems

    names = _choose_cells(study, rows)
    specs = [
        SystemSpec(str(folder / "cells" / f"{one}.{level}.{seed}" / "01-train" / "final"), labels[one])
        for one, level, seed in names
    ]
    for spec in specs:
        if not Path(spec.source).is_dir():
            raise ConfigError(
                f"--collection: {spec.source} is not there to be measured. Name the folder of a whole study."
            )
    baseline = specs[0].name if len(specs) > 1 else None
    compared, failures = measure_systems(
        specs, judged, baseline, study.get("measures"), study.get("convention") or "plain", workplace, moved, worst
    )
    _, level, seed = names[0]
    page.add_heading(f"Query by query, on {judged.name}")
    page.add_paragraph(
        f"{' and '.join(spec.name for spec in specs)}, level {level}, seed {seed}: "
        + ", ".join(f"{one.means[next(iter(one.means))]:.4f}" for one in compared.assessments)
        + f" in {next(iter(compared.assessments[0].means))}. One training of each, so this shows what changes, and not "
        f"which is better."
    )
    add_reasons(page, compared, failures, judged)


def _choose_cells(study: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """Give scenario, level and seed of two trainings: of the baseline, and of what does best beside it.

    Raises:
        ConfigError: if no training of the baseline is finished.
    """
    baseline = str(study.get("baseline"))
    measure = next(iter(rows[0]["measures"]))
    own = next((row for row in rows if row["scenario"] == baseline and row.get("seed") is not None), None)
    if own is None:
        raise ConfigError(f"--collection: no training of the baseline {baseline} is finished. Run the study further.")
    level, seed = own["level"], own["seed"]
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.get("level") == level and row.get("seed") == seed and row["scenario"] != baseline:
            values.setdefault(str(row["scenario"]), []).append(row["measures"][measure])
    best = max(values, key=lambda one: statistics.fmean(values[one]), default=None)
    return [(one, level, seed) for one in (baseline, best) if one is not None]


def _group(cells: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Sort what cells came to, SCENARIO.LEVEL.SEED, by scenario and level: seed -> what that was."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for name, value in cells.items():
        scenario, level, seed = name.rsplit(".", 2)
        groups.setdefault((scenario, level), {})[seed] = value
    return groups


def _average(courses: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """Give the mean of each line of several logs, as far as all of them go."""
    return [[statistics.fmean(column) for column in zip(*lines, strict=True)] for lines in zip(*courses, strict=False)]
