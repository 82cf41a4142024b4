"""`everglade demo`: the main job end to end on the bundled collection and model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everglade.cli.options import AsJson, Fresh, Quiet, Threads, limit_threads
from everglade.cli.output import print_json, print_table, show_progress

if TYPE_CHECKING:
    from everglade.demo.report import DemoReport

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything the demo makes.")] = Path("demo-run"),
    short: Annotated[bool, typer.Option("--short", help="A small part of the collection and few steps.")] = False,
    fresh: Fresh = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Do the main job on the bundled data.

    The recipe self-distil-small on the bundled collection (SciFact) and model: train a first model and a teacher, mine,
    score, distil, encode, index, search and measure.

    Prints one table and leaves a report, a page with figures, and every file they used. An interrupted demo goes on
    where it stopped.

    Example: everglade demo --out demo-run
    """
    from everglade.demo.run import run_demo

    limit_threads(threads)

    def announce(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    report = run_demo(
        out, short=short, fresh=fresh, announce=announce, show_progress=lambda what: show_progress(what, quiet=quiet)
    )
    print_json(report.to_dict()) if as_json else _print(report)


def _print(report: DemoReport) -> None:
    from everglade.recipes.report import COLUMNS

    print_table(COLUMNS, [row.cells() for row in report.found.rows])
    for line in report.remarks:
        print(line)
    print(f"report: {report.path}")
    if report.page:
        print(f"page: {report.page}")
