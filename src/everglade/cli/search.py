"""`everglade search`: one question on the terminal, or a file of them to a run."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.cli.info import is_vectors
from everglade.cli.options import AsJson, Quiet, Threads, limit_threads
from everglade.cli.output import print_fields, print_json
from everglade.cli.sources import open_queries
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from everglade.search import Hit, Index

__all__ = ["search"]

TERMS_SHOWN = 8


def search(
    index: Annotated[Path, typer.Argument(help="Index folder.")],
    text: Annotated[str | None, typer.Argument(help="What to search for.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Hits to give: 10, or 1000 with --queries.")] = None,
    queries: Annotated[
        str | None, typer.Option(help="Search every query of a collection, file or vectors folder.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only the queries judged in this split.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="TREC run file to write.")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder, where it is not where the index says.")] = None,
    where: Annotated[
        str | None, typer.Option(help="Only documents whose metadata fulfil this: 'year >= 2019 and lang = \"en\"'.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(help="Share of the exact hits that will do, such as 0.95; all if not given.")
    ] = None,
    float_exact: Annotated[
        bool, typer.Option("--float-exact", help="Score by float16 weights, which the index must keep.")
    ] = False,
    why: Annotated[bool, typer.Option("--why", help="Show the terms that made each score.")] = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search an index.

    Example: everglade search glade.idx "what helps a headache" --why

    Example: everglade search glade.idx "what helps a headache" --where 'year >= 2019 and lang in ("en", "de")'

    Example: everglade search glade.idx --queries scifact --split test -o run.trec

    Example: everglade search glade.idx --queries query-vectors --float-exact -o run.trec
    """
    from everglade.search import Index

    if (text is None) == (queries is None):
        raise ConfigError("give either a text to search for, or --queries with a collection or file.")
    limit_threads(threads)
    settings: dict[str, Any] = {"where": where, "recall": recall, "float_exact": float_exact}
    with Index.open(index, model=model) as opened:
        if text is not None:
            _print_hits(opened, opened.search(text, k or 10, **settings), why=why, as_json=as_json)
        else:
            settings.update(k=k or 1000, threads=threads)
            _write_run(opened, str(queries), split, out, settings, as_json=as_json)


def _print_hits(index: Index, hits: list[Hit], *, why: bool, as_json: bool) -> None:
    if as_json:
        print_json([_as_json(index, hit) for hit in hits])
        return
    if not hits:
        print("no hits")
    for place, hit in enumerate(hits, start=1):
        document = index.document(hit.id)
        title = document.title if document and document.title else ""
        print(f"{place:>3}  {hit.score:7.3f}  {hit.id}  {title}".rstrip())
        if document and document.text:
            print(textwrap.indent(textwrap.shorten(document.text, 160, placeholder=" ..."), " " * 14))
        if why:
            shown = [f"{match.term} {match.contribution:.2f}" for match in hit.why[:TERMS_SHOWN]]
            rest = sum(match.contribution for match in hit.why[TERMS_SHOWN:])
            print(" " * 14 + "why: " + ", ".join(shown) + (f", others {rest:.2f}" if rest else ""))


def _as_json(index: Index, hit: Hit) -> dict[str, Any]:
    document = index.document(hit.id)
    return {
        "id": hit.id,
        "score": hit.score,
        "title": document.title if document else "",
        "text": document.text if document else "",
        "why": [match._asdict() for match in hit.why],
    }


def _write_run(
    index: Index, source: str, split: str | None, out: Path | None, settings: dict[str, Any], *, as_json: bool
) -> None:
    from everglade.texts import write_run

    if out is None:
        raise ConfigError("--queries needs --out, the run file to write. Example: --out run.trec.")
    if is_vectors(Path(source)):
        if split is not None:
            raise ConfigError(f"--split: {source} holds vectors, and judgements go with texts. Leave it out.")
        run = index.search_folder(source, **settings)
    else:
        run = index.search_many(open_queries(source, split), **settings)
    write_run(run, out)
    result = {"run": str(out), "queries": len(run), "hits": sum(map(len, run.values()))}
    print_json(result) if as_json else print_fields(result)
