"""What a frontier looks like: a figure for each cost as SVG and PNG, and one page that can be sent on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from everglade import durable
from everglade.frontier.rows import COSTS
from everglade.pages.figures import Point, draw_frontier
from everglade.pages.page import Column, Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everglade.frontier.rows import Cost, Row
    from everglade.frontier.sweep import Frontier

__all__ = ["MAIN_COST", "draw", "make_page", "write_pictures"]

MAIN_COST = "flops"
"""The cost of the figure that is called just frontier; the others carry their name."""


def write_pictures(frontier: Frontier, out: Path) -> list[Path]:
    """Write OUT/frontier.html, and a figure for each cost as SVG and PNG; give what was written.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    written = []
    for cost in frontier.costs:
        stem = "frontier" if cost == MAIN_COST else f"frontier-{cost.replace('_', '-')}"
        svg, png = out / f"{stem}.svg", out / f"{stem}.png"
        # On its own an SVG file has the viewer's ground, which is white.
        durable.write_bytes(svg, (draw(frontier, cost, png=png) + "\n").encode())
        written += [svg, png]
    page = out / "frontier.html"
    make_page(frontier).write(page)
    return [page, *written]


def draw(frontier: Frontier, cost: str, *, narrow: bool = False, png: Path | None = None) -> str:
    """Draw effectiveness against one cost, with the front, and give the SVG."""
    several = len(frontier.models) > 1
    points = [_point(frontier, row, cost, several=several) for row in frontier.rows]
    log = COSTS[cost].log and all(point.x > 0 for point in points)
    name = _axis(COSTS[cost], log=log)
    return draw_frontier(points, name, frontier.measure, log_x=log, front=frontier.front(cost), narrow=narrow, png=png)


def _point(frontier: Frontier, row: Row, cost: str, *, several: bool) -> Point:
    measured = row.measures[frontier.measure]
    group = row.model if several else row.choice.group
    label = f"{row.number}: {row.model if several and not row.choice.changed else row.choice.label}"
    # Intervals of single systems overlap even where each query differs the same way: they are in the table.
    return Point(label, group, getattr(row, cost), measured["mean"])


def _axis(cost: Cost, *, log: bool) -> str:
    return f"{cost.axis}, log scale" if log else cost.axis


def make_page(frontier: Frontier) -> Page:
    """Put the page together: what was measured, the figures, every point, and how to make each again."""
    about, measure = frontier.about, frontier.measure
    page = Page(
        f"Effectiveness against cost on {about['name']}",
        f"{len(frontier.rows)} points, {about['documents']:,} documents, {about['queries']:,} judged queries",
    )
    _add_summary(page, frontier)
    for cost in frontier.costs:
        page.add_heading(f"{measure} against {COSTS[cost].name}")
        page.add_figure(draw(frontier, cost), _caption(frontier, cost), draw(frontier, cost, narrow=True))
    page.add_heading("Every point")
    _add_points(page, frontier)
    page.add_heading("Make a point again")
    _add_commands(page, frontier)
    page.add_heading("Where the numbers come from")
    _add_origin(page, frontier)
    return page


def _add_summary(page: Page, frontier: Frontier) -> None:
    measure, base = frontier.measure, frontier.rows[0]
    value = base.measures[measure]["mean"]
    page.add_paragraph(
        f"Each point is one way to search the same collection. It stands the higher the better it finds ({measure}), "
        "and the further left the less it costs. A point on the Pareto front is beaten by no other: none that costs as "
        "little finds as much."
    )
    lines = []
    for cost in frontier.costs:
        kept = [row for row in frontier.rows if row.measures[measure]["mean"] >= 0.99 * value]
        cheapest = min(kept, key=lambda row: getattr(row, cost))
        ratio = getattr(base, cost) / max(getattr(cheapest, cost), 1e-12)
        if cheapest is not base and ratio > 1.05:
            name, found = COSTS[cost].name, cheapest.measures[measure]["mean"]
            kept_as = f"the same {measure}" if f"{found:.4f}" == f"{value:.4f}" else f"{found:.4f} against {value:.4f}"
            lines.append(
                f"{name[0].upper()}{name[1:]}: {ratio:.2g} times less at {kept_as}, by point {cheapest.number} "
                f"({_name(frontier, cheapest)})."
            )
    if lines:
        page.add_paragraph(
            f"The cheapest points that keep at least 99 % of the {measure} of point {base.number} "
            f"({_name(frontier, base)}):"
        )
        page.add_list(lines)


def _name(frontier: Frontier, row: Row) -> str:
    return f"{row.model}, {row.choice.label}" if len(frontier.models) > 1 else row.choice.label


def _caption(frontier: Frontier, cost: str) -> str:
    best = ", ".join(str(frontier.rows[place].number) for place in frontier.front(cost))
    return f"{COSTS[cost].about} Further left and higher is better. On the front: {best}."


def _add_points(page: Page, frontier: Frontier) -> None:
    """Add what most readers want of every point, and the rest behind a line."""
    measure = frontier.measure
    on_front = {place for cost in frontier.costs for place in frontier.front(cost)}
    marks = [" *" if place in on_front else "" for place in range(len(frontier.rows))]
    page.add_table(
        [
            "point",
            Column(measure, better="max", digits=4),
            Column("95 % interval", right=True),
            Column("FLOPS", better="min", digits=2),
            Column("postings", better="min"),
            Column("bytes", better="min", digits=0),
            Column("search, ms", better="min", digits=3),
            Column("p99", better="min", digits=3),
        ],
        [
            [
                f"{row.number}: {_name(frontier, row)}{mark}",
                row.measures[measure]["mean"],
                _interval(row.measures[measure]),
                row.flops,
                round(row.postings_read),
                row.bytes_per_document,
                row.search_ms,
                row.latency_ms["search"]["p99"],
            ]
            for mark, row in zip(marks, frontier.rows, strict=True)
        ],
        "A star marks points on the front of at least one cost; bold is best in its column. Postings: in the lists "
        "that a query scans. Bytes: of the index, for a document. Times: median and 99th percentile. The interval is "
        "of each point alone, by resampling the queries: two points whose intervals overlap may still differ, since "
        "all answer the same queries.",
    )
    with page.details("The other measures, terms and times of every point"):
        _add_rest(page, frontier)


def _interval(measured: Mapping[str, float]) -> str | None:
    return f"{measured['low']:.4f} to {measured['high']:.4f}" if "low" in measured else None


def _add_rest(page: Page, frontier: Frontier) -> None:
    others = [name for name in frontier.rows[0].measures if name != frontier.measure]
    page.add_table(
        [
            "point",
            *(Column(name, better="max", digits=4) for name in others),
            Column("query terms", digits=1),
            Column("doc postings", digits=1),
            Column("vector terms", digits=1),
            Column("encode, ms", digits=2),
            Column("whole, ms", digits=2),
            Column("p99", digits=2),
        ],
        [
            [
                f"{row.number}: {_name(frontier, row)}",
                *(row.measures[name]["mean"] for name in others),
                row.query_terms,
                row.document_terms,
                row.vector_terms,
                row.latency_ms["encode"]["p50"],
                row.whole_ms,
                row.latency_ms["whole"]["p99"],
            ]
            for row in frontier.rows
        ],
    )


def _add_commands(page: Page, frontier: Frontier) -> None:
    page.add_paragraph(
        "The first command makes any point of this page again, from frontier.json beside it, and says whether it is "
        "the same. The others make a frontier of one point each."
    )
    page.add_code("everglade frontier --reproduce frontier.json --point N")
    with page.details("The command of every point"):
        page.add_code("\n".join(f"# point {row.number}\n{frontier.command(row)}" for row in frontier.rows))


def _add_origin(page: Page, frontier: Frontier) -> None:
    about, settings, machine = frontier.about, frontier.settings, frontier.machine
    page.add_paragraph(
        "FLOPS and postings are counted in the posting lists of the index. Where these are pruned, the best documents "
        "by the postings are then scored by their whole vectors, which are kept beside; bytes count both. Times are of "
        "single queries, one after another on one thread, to ids and scores. A query's time is the median of "
        f"{settings.repeats} repeats; encoding is timed once for all points of a model."
    )
    if machine.get("load", 0) > machine.get("cores", 1):
        page.add_remark(
            f"When this began the machine had a load of {machine['load']} on {machine['cores']} cores: other work ran "
            f"beside it, and times are longer and less even than they would be alone."
        )
    page.add_fields(
        {
            "Collection": f"{about['name']} ({frontier.source.collection})",
            "Documents": f"{about['documents']:,}",
            "Queries": f"{about['queries']:,} judged, {about['judgements']:,} judgements",
            "Digest of the texts": about["digest"],
            **{f"Model {one['label']}": f"{one['source']}\n{one['fingerprint']}" for one in frontier.models},
            "Hits for each query": str(settings.k),
            "Convention": settings.convention,
            "Timed": f"{min(settings.timed_queries, about['queries'])} queries",
            "Processor": f"{machine['processor']}, {machine['cores']} cores",
            "Versions": ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
            "Commit": machine.get("commit"),
            "Measured": machine["time"],
        }
    )
