"""`everglade report`: one self-contained page about a recipe, a training, a study, or several systems."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from everglade.cli.options import AsJson, Quiet, Threads, limit_threads
from everglade.cli.output import check_place, print_json, show_progress

__all__ = ["report"]


def report(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Folder of a recipe, the demo, a training or a study; or run files, indexes and models, which may be "
            "named as NAME=PATH.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("report.html"),
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="What was, or is to be, evaluated on; or a qrels file.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The collection's split; a recipe says it itself.")] = None,
    queries: Annotated[Path | None, typer.Option("--queries", help="Queries that go with a qrels file.")] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="System that the others are compared with; the first if not given.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", "-m", help="Measure of systems; the first decides; may be repeated."),
    ] = None,
    convention: Annotated[
        str | None, typer.Option(help="How systems are measured: plain, beir, trec-dl or msmarco.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits that systems find for each query.")] = 1000,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst queries to explain.")] = 8,
    moved: Annotated[int, typer.Option(min=0, help="How many of the queries that moved most to explain.")] = 5,
    model: Annotated[str | None, typer.Option(help="Model of an index, where it is not where the index says.")] = None,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a page about what something came to.

    One HTML file that needs no network: tables, figures, training curves, the worst queries with the terms that decided
    them, times, and where it all comes from. What lies at PATH decides what is in it.

    A recipe's or a study's folder is shown as it is; --collection adds tests and the worst queries of a recipe, and
    what sets the best scenario of a study apart from the baseline. Systems are measured now.

    Example: everglade report out -o report.html --collection scifact

    Example: everglade report run -o training.html

    Example: everglade report whole=MODEL pruned=glade.idx BM25=bm25.trec -c scifact --split test -o compared.html
    """
    from everglade.assess.systems import Workplace
    from everglade.report.making import make_report

    check_place(out)
    limit_threads(threads)
    with show_progress("reading the collection", quiet=quiet) as progress:
        page = make_report(
            sources,
            collection=collection,
            split=split,
            queries=queries,
            workplace=Workplace(k, threads, progress=progress),
            worst=worst,
            moved=moved,
            command=shlex.join(["everglade", *sys.argv[1:]]),
            compare=compare,
            measures=measure,
            convention=convention,
            model=model,
        )
    page.write(out)
    print_json({"page": str(out), "bytes": out.stat().st_size}) if as_json else print(out)
