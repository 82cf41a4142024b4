"""`everglade evaluate`: a run file, or an index on a collection, against judgements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.cli.options import AsJson, Threads, limit_threads
from everglade.cli.output import print_fields, print_json
from everglade.cli.sources import open_qrels, open_queries

if TYPE_CHECKING:
    from everglade.texts import Run

__all__ = ["evaluate"]


def evaluate(
    what: Annotated[Path, typer.Argument(help="TREC run file, or index folder.")],
    judgements: Annotated[str, typer.Argument(help="Qrels file, or collection.")],
    split: Annotated[str | None, typer.Option(help="The collection's split, such as test.")] = None,
    measure: Annotated[
        list[str] | None, typer.Option("--measure", "-m", help="Measure as ir-measures writes it; may be repeated.")
    ] = None,
    per_query: Annotated[bool, typer.Option("--per-query", help="Give every query's values too.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the run of an index here.")] = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a run file or an index.

    A run file against a qrels file, or an index on a collection's queries and judgements.

    Ties are broken by document id, and a judged query without an answer counts as zero. For an index the cost is
    printed beside: FLOPS, mean active terms of queries and documents, milliseconds a query.

    Example: everglade evaluate run.trec scifact/qrels/test.tsv -m nDCG@10 -m RR@10

    Example: everglade evaluate glade.idx scifact --split test
    """
    from everglade.evaluation.measures import DEFAULT_MEASURES, evaluate_queries
    from everglade.evaluation.measures import evaluate as evaluate_run
    from everglade.texts import read_run

    limit_threads(threads)
    measures = measure or list(DEFAULT_MEASURES)
    qrels = open_qrels(judgements, split)
    cost: dict[str, Any] = {}
    if what.is_dir():
        run, cost = _search(what, judgements, split, out, threads)
    else:
        run = read_run(what)
    result: dict[str, Any] = {**evaluate_run(run, qrels, measures), **cost, "queries": len(qrels)}
    if per_query:
        result["per query"] = evaluate_queries(run, qrels, measures)
    if as_json:
        print_json(result)
        return
    rows = result.pop("per query", {})
    print_fields(result)
    for query, values in rows.items():
        print(query, *(f"{name}={value:.4f}" for name, value in values.items()), sep="\t")


def _search(
    path: Path, collection: str, split: str | None, out: Path | None, threads: int
) -> tuple[Run, dict[str, Any]]:
    from everglade.evaluation.flops import measure_sparsity, term_shares
    from everglade.evaluation.latency import measure_latency
    from everglade.search import Index
    from everglade.texts import write_run

    queries = open_queries(collection, split)
    texts = [query.text for query in queries]
    with Index.open(path) as index:
        run = index.search_many(queries, k=1000, threads=threads)
        sparsity = measure_sparsity(term_shares(index.encoder.encode_queries(texts)), index.term_shares())
        latency = measure_latency(lambda text: index.search(text, k=10), texts)
    if out is not None:
        write_run(run, out)
    return run, {
        "FLOPS": sparsity.flops,
        "query terms": sparsity.query_terms,
        "document terms": sparsity.document_terms,
        "ms/query, median": latency.median_ms,
        "ms/query, 99th percentile": latency.p99_ms,
    }
