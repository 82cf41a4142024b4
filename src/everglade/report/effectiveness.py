"""What systems came to: one table, and effectiveness against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from everglade.evaluation.front import pareto_front
from everglade.pages.figures import Point, draw_frontier
from everglade.pages.page import Column, Page, Value

__all__ = ["Measured", "add_frontier", "add_measured"]

COSTS = {
    "FLOPS": 2,
    "query terms": 1,
    "doc terms": 1,
    "ms/query": 2,
}


class Measured(NamedTuple):
    """One system: measures, and costs by the names of `COSTS`, each None where it is not known."""

    name: str
    measures: Mapping[str, float]
    costs: Mapping[str, float | None]


def add_measured(page: Page, systems: Sequence[Measured], about: str) -> None:
    """Add the table of what each system came to.

    Args:
        page: Where to.
        systems: The systems.
        about: The queries, as in "300 queries of scifact/test".
    """
    measures = list(dict.fromkeys(name for one in systems for name in one.measures))
    costs = [name for name in COSTS if any(one.costs.get(name) is not None for one in systems)]
    columns: list[Column | str] = ["system", *(Column(name, "max", 4) for name in measures)]
    columns += [Column(name, "min" if name in ("FLOPS", "ms/query") else None, COSTS[name]) for name in costs]
    rows: list[list[Value]] = [
        [one.name, *(one.measures.get(name) for name in measures), *(one.costs.get(name) for name in costs)]
        for one in systems
    ]
    said = (
        " On the right what they cost, where less is better: FLOPS is the number of terms that a random query and a "
        "random document share, by whole vectors even where an index has pruned its postings; "
        "ms/query is the median time to answer one query, encoding included."
        if costs
        else ""
    )
    page.add_table(
        columns,
        rows,
        f"Effectiveness over {about}: greater is better, and the best is in bold.{said} A dash: not known.",
    )


def add_frontier(
    page: Page, systems: Sequence[Measured], measure: str, spread: Mapping[str, tuple[float, float]] | None = None
) -> None:
    """Add effectiveness against FLOPS, if two systems have both; those without FLOPS become level lines.

    Args:
        page: Where to.
        systems: The systems.
        measure: The effectiveness.
        spread: System -> the ends of its error bar.
    """
    spread = spread or {}
    placed = [one for one in systems if one.costs.get("FLOPS") is not None and measure in one.measures]
    if len(placed) < 2:
        return
    levels = {one.name: one.measures[measure] for one in systems if one not in placed and measure in one.measures}
    points = [
        Point(one.name, one.name, one.costs["FLOPS"] or 0.0, one.measures[measure], *spread.get(one.name, ()))
        for one in placed
    ]
    front = pareto_front([point.x for point in points], [point.y for point in points])
    wide, narrow = (
        draw_frontier(
            points,
            "FLOPS",
            measure,
            log_x=_spans_much([point.x for point in points]),
            front=front,
            levels=levels,
            narrow=narrow,
        )
        for narrow in (False, True)
    )
    caption = f"{measure} against FLOPS: up and to the left is better."
    if spread:
        caption += " Bars: the 95 % interval of the mean over queries."
    if levels:
        caption += " Dashed: what has no such cost."
    page.add_figure(wide, f"{caption} The line is the best that each cost allows.", narrow)


def _spans_much(costs: Sequence[float]) -> bool:
    return min(costs) > 0 and max(costs) / min(costs) > 8
