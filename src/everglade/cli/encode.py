"""`everglade encode`: texts to a folder of sparse vectors."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from everglade.cli.options import (
    AsJson,
    DocumentPrefix,
    Fresh,
    OnError,
    OnErrorOption,
    PassageOverlap,
    Passages,
    QueryPrefix,
    Quiet,
    RejectsFile,
    Threads,
    limit_threads,
    name_options,
    open_rejects,
    parse_shard,
    pick_given,
)
from everglade.cli.output import print_fields, print_json, show_progress
from everglade.errors import ConfigError

__all__ = ["Side", "encode"]


class Side(StrEnum):
    """Which side of the model reads the texts."""

    document = "document"
    query = "query"


def encode(
    model: Annotated[str, typer.Argument(help="Model folder or hub id.")],
    collection: Annotated[str, typer.Argument(help="Collection: a BEIR folder, a JSONL or TSV file, irds:ID.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Vectors folder to write.")],
    side: Annotated[Side, typer.Option(help="Encode the collection's documents or its queries.")] = Side.document,
    split: Annotated[str | None, typer.Option(help="Only the queries judged in this split.")] = None,
    shard: Annotated[str | None, typer.Option(help="Do part i of n only, as i/n, for several jobs.")] = None,
    query_prefix: QueryPrefix = None,
    document_prefix: DocumentPrefix = None,
    passages: Passages = None,
    passage_overlap: PassageOverlap = None,
    fresh: Fresh = False,
    threads: Threads = 0,
    on_error: OnErrorOption = OnError.stop,
    rejects: RejectsFile = Path("rejects.jsonl"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Encode a collection into a folder of sparse vectors.

    An interrupted run goes on where it stopped when the same command is given again.

    Example: everglade encode MODEL scifact -o vectors --shard 1/4

    Example: everglade encode MODEL books -o vectors --passages 8 --passage-overlap 32
    """
    from everglade.encode import encode_to_folder
    from everglade.model.splade import Splade
    from everglade.texts import open_collection

    of_documents = pick_given(document_prefix=document_prefix, passages=passages, passage_overlap=passage_overlap)
    if side is Side.query and of_documents:
        raise ConfigError(f"{name_options(of_documents)}: for documents only, and --side query encodes queries.")
    settings = {**pick_given(query_prefix=query_prefix), **of_documents}
    part = parse_shard(shard)
    rejected = open_rejects(on_error, rejects)
    source = open_collection(collection, rejects=rejected)
    limit_threads(threads)
    encoder = Splade.load(model, **settings)
    rows: Iterable[tuple[str, str]]
    if side is Side.document:
        rows = ((document.id, document.full_text) for document in source.documents())
        total = sum(1 for _ in source.documents())
    else:
        rows = [(query.id, query.text) for query in source.queries(split)]
        total = len(rows)
    with show_progress(f"encoding {side} texts", quiet=quiet) as progress:
        manifest = encode_to_folder(
            encoder, rows, out, side=side.value, part=part, fresh=fresh, total=total, progress=progress
        )
    result = {
        "vectors": str(out),
        "rows": manifest["rows"],
        "terms per row": manifest["postings"] / max(manifest["rows"], 1),
        "rejected lines": rejected.count if rejected else 0,
    }
    print_json(result) if as_json else print_fields(result)
