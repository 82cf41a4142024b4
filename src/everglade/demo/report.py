"""The demo's one table, as Markdown and as JSON, and the page about it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from everglade import __version__, durable
from everglade.errors import MissingExtra
from everglade.recipes.report import COLUMNS, RecipeReport
from everglade.report.making import make_report

__all__ = ["DemoReport", "write_page", "write_report"]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo found, what to know when reading it, and where it was written.

    Attributes:
        found: What the recipe came to.
        remarks: What to know when reading it.
        path: The table as Markdown.
        page: The page with figures; None where there is none.
    """

    found: RecipeReport
    remarks: list[str]
    path: Path
    page: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain JSON values."""
        page = {} if self.page is None else {"page": str(self.page)}
        return {**self.found.to_dict(), "remarks": self.remarks, "report": str(self.path), **page}


def write_report(
    found: RecipeReport, remarks: list[str], out: Path, settings: dict[str, Any], runs: list[str]
) -> DemoReport:
    """Write report.md and report.json into `out`; `runs` are the run files that anybody can measure again."""
    report = DemoReport(found, remarks, out / "report.md")
    machine = {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()}
    durable.write_json(
        out / "report.json", {**report.to_dict(), "settings": settings, "everglade": __version__, "machine": machine}
    )
    table = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *(row.cells() for row in found.rows)]
    stages = [("stage", "kind", "seconds"), ("---", "---", "---:")]
    stages += [(stage.name, stage.kind, f"{stage.seconds:.1f}") for stage in found.stages]
    lines = [
        "# Everglade demo",
        "",
        *_as_table(table),
        "",
        *(f"* {remark}" for remark in remarks),
        "",
        "What each stage took:",
        "",
        *_as_table(stages),
        "",
        "The page with figures, training curves and the worst queries, explained, is report.html. It needs the extra",
        "`figures`; to make it again:",
        "",
        "```",
        f"everglade report {out} -o {out / 'report.html'}",
        "```",
        "",
        "Measure any of the runs again by hand:",
        "",
        "```",
        *(f"everglade evaluate {out / run} {out / 'qrels.tsv'}" for run in runs),
        "```",
    ]
    durable.write_bytes(report.path, ("\n".join(lines) + "\n").encode())
    return report


def write_page(report: DemoReport, out: Path) -> DemoReport:
    """Write report.html, if what draws its figures is installed; give the report that knows of it, or says why not."""
    try:
        page = make_report([str(out)])
    except MissingExtra as error:
        return replace(report, remarks=[*report.remarks, f"No page with figures: {error}"])
    page.write(out / "report.html")
    return replace(report, page=out / "report.html")


def _as_table(rows: list[Any]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in rows]
