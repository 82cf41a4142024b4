"""The demo's one table, as values, as a page and as JSON."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from everglade import __version__, durable

__all__ = ["COLUMNS", "DemoReport", "Row", "write_report"]

COLUMNS = ("model", "nDCG@10", "RR@10", "R@100", "FLOPS", "query terms", "doc terms", "ms/query")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; the cost of BM25 is not counted in active terms."""

    model: str
    measures: dict[str, float]
    ms_per_query: float
    flops: float | None = None
    query_terms: float | None = None
    document_terms: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Give the texts of the cells, in the order of `COLUMNS`."""
        measures = [f"{self.measures[name]:.4f}" for name in COLUMNS[1:4]]
        costs = [(self.flops, 2), (self.query_terms, 1), (self.document_terms, 1), (self.ms_per_query, 2)]
        return [self.model, *measures, *("-" if cost is None else f"{cost:.{digits}f}" for cost, digits in costs)]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo found, what to know when reading it, and where it was written."""

    rows: list[Row]
    remarks: list[str]
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain JSON values."""
        return {"rows": [asdict(row) for row in self.rows], "remarks": self.remarks, "report": str(self.path)}


def write_report(
    rows: list[Row], remarks: list[str], out: Path, settings: dict[str, Any], runs: list[str]
) -> DemoReport:
    """Write report.md and report.json into `out`; `runs` are the run files that anybody can measure again."""
    report = DemoReport(rows, remarks, out / "report.md")
    machine = {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()}
    durable.write_json(
        out / "report.json", {**report.to_dict(), "settings": settings, "everglade": __version__, "machine": machine}
    )
    table = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *(row.cells() for row in rows)]
    lines = [
        "# Everglade demo",
        "",
        *("| " + " | ".join(cells) + " |" for cells in table),
        "",
        *(f"* {remark}" for remark in remarks),
        "",
        "Measure any of them again by hand:",
        "",
        "```",
        *(f"everglade evaluate {out / run} {out / 'qrels.tsv'}" for run in runs),
        "```",
    ]
    durable.write_bytes(report.path, ("\n".join(lines) + "\n").encode())
    return report
