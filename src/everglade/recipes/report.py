"""What a recipe came to: one table of what was evaluated, and the time each stage took."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everglade import durable

__all__ = ["COLUMNS", "RecipeReport", "Row", "StageTime", "read_row", "write_report"]

COLUMNS = ("model", "nDCG@10", "RR@10", "R@100", "R@1000", "FLOPS", "query terms", "doc terms", "ms/query")


@dataclass(frozen=True, slots=True)
class Row:
    """One evaluation. BM25 has no active terms to count."""

    label: str
    queries: int
    measures: dict[str, float]
    flops: float | None = None
    query_terms: float | None = None
    document_terms: float | None = None
    ms_per_query: float | None = None

    def cells(self) -> list[str]:
        """Give the texts of the cells, in the order of `COLUMNS`."""
        measures = [self.measures.get(name) for name in COLUMNS[1:5]]
        costs = [(self.flops, 2), (self.query_terms, 1), (self.document_terms, 1), (self.ms_per_query, 2)]
        texts = ["-" if value is None else f"{value:.4f}" for value in measures]
        return [self.label, *texts, *("-" if cost is None else f"{cost:.{digits}f}" for cost, digits in costs)]

    def to_dict(self) -> dict[str, Any]:
        """Give what is the same in every run, as plain JSON values."""
        return {
            "label": self.label,
            "queries": self.queries,
            "measures": self.measures,
            "flops": self.flops,
            "query_terms": self.query_terms,
            "document_terms": self.document_terms,
        }


@dataclass(frozen=True, slots=True)
class StageTime:
    """What a stage took in seconds, interrupted calls included, and whether this call found it finished.

    Of an interrupted call counts what it took to the last file it wrote. The seconds are 0 where times.json is gone.
    """

    name: str
    kind: str
    seconds: float
    reused: bool


@dataclass(frozen=True)
class RecipeReport:
    """What a recipe came to.

    Attributes:
        recipe: Its name.
        rows: One for each evaluation.
        stages: One for each stage.
        outputs: For each stage what other stages take of it: a model folder, a file of examples, and so on.
        path: The report as JSON.
    """

    recipe: str
    rows: list[Row]
    stages: list[StageTime]
    outputs: dict[str, Path] = field(default_factory=dict)
    path: Path = Path()

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain JSON values, times included."""
        return {
            "recipe": self.recipe,
            "rows": [{**row.to_dict(), "ms_per_query": row.ms_per_query} for row in self.rows],
            "seconds": {stage.name: stage.seconds for stage in self.stages},
            "report": str(self.path),
        }


def read_row(folder: Path, times: dict[str, Any]) -> Row:
    """Read what an evaluation found from its folder."""
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Row(**found, ms_per_query=times.get("ms_per_query"))


def write_report(report: RecipeReport, keys: dict[str, str], about: dict[str, Any]) -> None:
    """Write what is the same in every run to report.json, and the times beside it.

    Args:
        report: The report.
        keys: The key of each stage.
        about: Collections, splits and overrides.
    """
    rows = [row.to_dict() for row in report.rows]
    stages = [{"name": stage.name, "kind": stage.kind, "key": keys[stage.name]} for stage in report.stages]
    durable.write_json(report.path, {"recipe": report.recipe, **about, "rows": rows, "stages": stages})
    times = {
        "seconds": {stage.name: stage.seconds for stage in report.stages},
        "ms_per_query": {row.label: row.ms_per_query for row in report.rows if row.ms_per_query is not None},
    }
    durable.write_json(report.path.with_name("times.json"), times)
