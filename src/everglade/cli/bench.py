"""`everglade bench`: what an index or a model costs, beside what it finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.cli.options import AsJson, Quiet, limit_threads, name_options, pick_given
from everglade.cli.output import check_place, print_fields, print_json, print_table, show_progress
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everglade.assess.efficiency import Bench

__all__ = ["bench"]

System = Annotated[str, typer.Argument(help="Index folder, model folder or hub id, or the word bundled.")]
Source = Annotated[str, typer.Argument(help="Collection or qrels file; the word bundled means SciFact.")]
Split = Annotated[str | None, typer.Option(help="The collection's split, such as test.")]
QueriesFile = Annotated[Path | None, typer.Option("--queries", help="Queries that go with a qrels file.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Also write everything here, as JSON.")]
Measures = Annotated[
    list[str] | None, typer.Option("--measure", "-m", help="Measure as ir-measures writes it; may be repeated.")
]
ConventionName = Annotated[str, typer.Option(help="How to measure: plain, beir, trec-dl or msmarco.")]
Depth = Annotated[int, typer.Option("-k", min=1, help="Hits for each query, timed and measured alike.")]
Recall = Annotated[float | None, typer.Option(help="Share of the exact hits that will do; all if not given.")]
FloatExact = Annotated[bool, typer.Option("--float-exact", help="Score by float16 weights.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads that count as all cores; 0 means one for each.")]
Repeats = Annotated[int, typer.Option(min=1, help="How often everything is timed.")]
TimedQueries = Annotated[int, typer.Option(min=1, help="Queries that are asked one by one.")]
BatchQueries = Annotated[int, typer.Option(min=1, help="Queries of a batch.")]
TimedDocuments = Annotated[int, typer.Option(min=0, help="Documents that are encoded to time that; 0 leaves it out.")]
IndexModel = Annotated[str | None, typer.Option(help="Model of an index, where it is not where the index says.")]
ImpactBits = Annotated[int | None, typer.Option(help="A model's index: 8, or 16 for finer impacts.")]
Prune = Annotated[
    str | None, typer.Option(help="A model's index: postings to keep: document:N, threshold:W or term:SHARE.")
]


def bench(
    system: System,
    collection: Source,
    split: Split = None,
    queries: QueriesFile = None,
    out: Out = None,
    measure: Measures = None,
    convention: ConventionName = "plain",
    k: Depth = 10,
    recall: Recall = None,
    float_exact: FloatExact = False,
    threads: Threads = 0,
    repeats: Repeats = 3,
    timed_queries: TimedQueries = 200,
    batch_queries: BatchQueries = 1000,
    timed_documents: TimedDocuments = 128,
    model: IndexModel = None,
    impact_bits: ImpactBits = None,
    prune: Prune = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure what an index or a model costs, beside what it finds.

    Of the real index: bytes for each document and posting, part by part, and postings in the lists that a query scans.
    Of single queries on one thread: percentiles of the time from text to explained hits, and of each part of it. Of
    batches, on one core and on all: queries and documents a second. FLOPS, mean terms and effectiveness are beside it.

    Everything is timed several times; the median is given, and the least and greatest. A model first reads the
    collection into an index in a temporary folder.

    Example: everglade bench glade.idx scifact --split test -o bench.json

    Example: everglade bench MODEL scifact --split test --prune document:64

    Example: everglade bench glade.idx scifact --split test --recall 0.95 --threads 1
    """
    from everglade.assess.efficiency import BenchSettings
    from everglade.assess.efficiency import bench as measure_system
    from everglade.assess.judged import open_judged
    from everglade.assess.systems import SystemSpec
    from everglade.bundled import bundled_collection, bundled_model
    from everglade.durable import write_json

    check_place(out)
    if float_exact and prune is not None:
        raise ConfigError("--float-exact needs all postings, so --prune does not go with it. Leave one of them out.")
    source = str(bundled_model()) if system == "bundled" else system
    given = pick_given(impact_bits=impact_bits, prune=prune)
    spec = SystemSpec(source, system, model, options=given | ({"keep_weights": True} if float_exact else {}))
    if spec.kind == "index":
        if given:
            raise ConfigError(f"{name_options(given)}: chosen when an index is made, and {system} is there already.")
        spec = spec._replace(options={})
    settings = BenchSettings(k, recall, float_exact, threads, repeats, timed_queries, batch_queries, timed_documents)
    limit_threads(threads)
    judged = open_judged(str(bundled_collection()) if collection == "bundled" else collection, split, queries)
    with show_progress("reading the collection", quiet=quiet or spec.kind != "model") as progress:
        found = measure_system(spec, judged, settings, measures=measure, convention=convention, progress=progress)
    if out is not None:
        write_json(out, found.to_dict())
    print_json(found.to_dict()) if as_json else _print(found)


def _print(found: Bench) -> None:
    one, index = found.assessment, found.index
    assert one.cost is not None, "only run files have none"
    print_fields(
        {
            "system": one.name,
            "collection": f"{one.judged}, {one.queries:,} queries, {index['documents']:,} documents",
            "search": _name_effort(found.effort, found.settings.k),
            **one.means,
            "FLOPS": one.cost.flops,
            "query terms": one.cost.query_terms,
            "document terms": one.cost.document_terms,
            "postings/query": f"{found.postings_read['per_query']:,.0f}, {found.postings_read['share']:.2%} of all",
        }
    )
    rows = [
        (part, size, size / max(index["documents"], 1), size / max(index["bytes"], 1)) for part, size in _sizes(index)
    ]
    print_table(
        ["index", "bytes", "bytes/document", "share"],
        [(part, size, f"{each:,.1f}", f"{share:.1%}") for part, size, each, share in rows],
    )
    print(f"{index['bytes_per_posting']:.2f} bytes/posting; the catalog takes {index['catalog_bytes']:,} bytes more")
    print_table(
        ["ms, one query on one thread", "p50", "spread", "p90", "p99", "max"],
        [_latency_row(part, times) for part, times in found.latency_ms.items()],
    )
    print_table(
        ["a second", *found.settings.cores],
        [
            *(
                (f"queries, {_DONE[name]}", *(_spread(cores[name]) for cores in found.throughput.values()))
                for name in _DONE
            ),
            *([] if found.encoding is None else [("documents encoded", *map(_spread, found.encoding.values()))]),
        ],
    )
    machine = found.machine
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load']} at the start; {machine['time']}")


_DONE = {"encode": "encoded", "search": "searched", "both": "both"}


def _sizes(index: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(part, size) for part, size in index["parts"].items() if size] + [("in all", index["bytes"])]


def _name_effort(effort: Mapping[str, Any], k: int) -> str:
    how = f", terms that cover {effort['mass']:.0%}" if "mass" in effort and effort["mass"] < 1 else ""
    return f"{effort['kind']}{how}, {k} hits"


def _latency_row(part: str, times: Mapping[str, Mapping[str, float]]) -> list[str]:
    p50 = times["p50"]
    values = [f"{times[name]['value']:.3f}" for name in ("p90", "p99", "max")]
    return [part, f"{p50['value']:.3f}", f"{p50['least']:.3f}..{p50['greatest']:.3f}", *values]


def _spread(rate: Mapping[str, float]) -> str:
    return f"{rate['value']:,.0f} ({rate['least']:,.0f}..{rate['greatest']:,.0f})"
