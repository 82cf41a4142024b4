"""`everglade negatives`: hard negatives from one first search, or from several together."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from everglade.cli.options import AsJson, Fresh, Quiet, Threads, limit_threads
from everglade.cli.output import print_fields, print_json, print_table, show_progress, speaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from everglade.distill.negatives import MiningReport
    from everglade.progress import Progress

__all__ = ["negatives"]


def negatives(
    collection: Annotated[str, typer.Argument(help="Collection with documents, queries and judgements.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for runs, examples and statistics.")],
    source: Annotated[
        list[str] | None,
        typer.Option(help="bm25, dense:MODEL, splade:MODEL or run:FILE; may repeat. bm25 if not given."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split whose queries and judgements are used.")] = None,
    quota: Annotated[
        list[int] | None, typer.Option(min=1, help="Most negatives a source brings: one for all, or one for each.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="What is drawn from a ranking: COUNT@FIRST-LAST,... All of it if not given.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Hits searched for each query; the deepest band, or 100.")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(min=1, help="Most negatives of an example; all if not given.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="What scores the candidates: cross-encoder:MODEL, dense:, splade: or bm25.")
    ] = None,
    margin: Annotated[
        str | None, typer.Option(help="How far a negative must score below the positive: 1.0, 95% or 'most 3.5'.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all draws.")] = 123,
    fresh: Fresh = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Mine hard negatives and make examples of them.

    Each source searches the queries; documents that are relevant, or have the text of one that is, are removed. The
    bands and the quota say what each source brings, and what an earlier source has brought does not count again. A
    teacher with a margin removes negatives that are probably relevant too. The examples are OUT/examples.jsonl or
    .arrow, the numbers OUT/statistics.json, the runs OUT/runs. An interrupted run goes on when the same command is
    given again.

    Example: everglade negatives scifact -o mined --split train --source bm25 --depth 100 --quota 30

    Example: everglade negatives scifact -o mined --split train --source splade:MODEL --bands 50@1-50,50@1-1000

    Example: everglade negatives scifact -o mined --split train --source bm25 --source dense:MODEL --quota 20

    Example: everglade negatives scifact -o mined --split train --teacher cross-encoder:MODEL --margin 1.0
    """
    from everglade.distill.negatives import MiningSettings, mine_to_folder
    from everglade.texts import choose_split, open_collection

    settings = MiningSettings.from_dict(
        {
            "sources": source or ["bm25"],
            "quotas": None if not quota else quota[0] if len(quota) == 1 else quota,
            "bands": bands or [],
            "depth": depth,
            "negatives_per_query": negatives,
            "seed": seed,
            "teacher": teacher,
            "margin": margin,
        }
    )
    limit_threads(threads)
    opened = open_collection(collection)
    split = choose_split(opened, split)
    with _Stages(quiet=quiet) as stages:
        report = mine_to_folder(
            opened, split, settings, out, fresh=fresh, threads=threads, announce=stages.begin, progress=stages.tell
        )
    print_json({**report.statistics, "written": str(report.examples)}) if as_json else _print_report(report)


class _Stages:
    """Shows a line for each stage of a mining, and a bar or lines while it goes on."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown = ExitStack()
        self._update: Callable[[Progress], None] | None = None
        self._name = ""

    def begin(self, line: str) -> None:
        self._shown.close()
        self._name, self._update = line.partition(":")[0], None
        if speaks() and not self._quiet:
            print(line, file=sys.stderr)

    def tell(self, progress: Progress) -> None:
        if self._update is None:
            self._update = self._shown.enter_context(show_progress(self._name, quiet=self._quiet))
        self._update(progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()


_COUNTS = {
    "candidates": "candidates",
    "positives": "removed as positives",
    "copies": "removed as copies of a positive",
    "drawn": "drawn",
    "mean place": "mean place of the drawn",
    "in examples": "negatives",
}
_JUDGED = {"removed as false negatives": "removed as false negatives", "mean teacher score": "mean teacher score"}
_REMARKS = (
    "examples with fewer negatives than asked for",
    "examples left out because every negative was false",
)


def _print_report(report: MiningReport) -> None:
    found = report.statistics
    teacher = found["teacher"] or {}
    _print_sources(found["sources"], _COUNTS)
    if len(found["sources"]) > 1:
        numbers = [str(number) for number in range(1, len(found["sources"]) + 1)]
        shares = [
            [f"{number} {name}", *found["overlap"][name].values()]
            for number, name in zip(numbers, found["overlap"], strict=True)
        ]
        print_table(["share of the candidates that another found", *numbers], shares)
    if teacher:
        _print_sources(found["sources"], _JUDGED)
    fields: dict[str, Any] = {
        "queries": found["queries"],
        "examples": found["examples"],
        "negatives an example": found["negatives"] / found["examples"],
    }
    if teacher:
        fields["teacher"] = teacher["name"]
        for name in ("mean score of positives", "mean score of negatives"):
            fields[name] = teacher[name]
        margins = (f"{share} {value:.3g}" for share, value in teacher["margins"].items())
        fields["quantiles of the margins"] = ", ".join(margins)
        fields[f"removed as false negatives (margin {teacher['rule']})"] = teacher["removed as false negatives"]
    remarks = {name: found[name] for name in _REMARKS if found[name]}
    print_fields({**fields, **remarks, **found["left out"], "written": str(report.examples)})


def _print_sources(sources: list[dict[str, Any]], columns: dict[str, str]) -> None:
    rows = [[source["name"], *(source[name] for name in columns.values())] for source in sources]
    print_table(["source", *columns], rows)
