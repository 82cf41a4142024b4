"""The demo's one table, as a page and as JSON."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everglade import __version__, durable
from everglade.recipes.report import COLUMNS, RecipeReport

__all__ = ["DemoReport", "write_report"]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo found, what to know when reading it, and where it was written."""

    found: RecipeReport
    remarks: list[str]
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain JSON values."""
        return {**self.found.to_dict(), "remarks": self.remarks, "report": str(self.path)}


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
        "A page with figures, training curves and the worst queries, explained (needs the extra `figures`):",
        "",
        "```",
        f"everglade report {out} -o report.html",
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


def _as_table(rows: list[Any]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in rows]
