"""`everglade vectors`: vectors that other tools wrote to a vectors folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from everglade.cli.encode import Side
from everglade.cli.options import AsJson, Fresh, OnError, OnErrorOption, Quiet, RejectsFile, open_rejects
from everglade.cli.output import print_fields, print_json, show_progress

__all__ = ["RoundTo", "vectors"]


class RoundTo(StrEnum):
    """How weights are rounded: `everglade.vector_files.Round`, which would import numpy for a `--help`."""

    none = "none"
    nearest = "nearest"
    down = "down"
    up = "up"
    nine_bits = "nine-bits"


def vectors(
    sources: Annotated[list[str], typer.Argument(help="Files of vectors, or folders of them; plain or gzip.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Vectors folder to write.")],
    vocabulary: Annotated[
        str, typer.Option(help="Whose tokens they are: a model folder or hub id, a tokenizer.json or a vocab.txt.")
    ],
    side: Annotated[Side, typer.Option(help="Whether they are vectors of documents or of queries.")] = Side.document,
    times: Annotated[float, typer.Option(help="What each weight is multiplied with.")] = 1.0,
    round_to: Annotated[
        RoundTo, typer.Option("--round", help="How it is rounded then: to whole numbers, to nine bits, or not.")
    ] = RoundTo.none,
    fresh: Fresh = False,
    on_error: OnErrorOption = OnError.stop,
    rejects: RejectsFile = Path("rejects.jsonl"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Read vectors that other tools wrote, such as Anserini's, Pyserini's, Seismic's or PyTerrier's.

    The folder is one as `everglade encode` writes them: `everglade index` takes it, and with --side query
    `everglade search --queries`. What is read, and how others round, says docs/guide/vectors.md.

    Example: everglade vectors msmarco-passage-splade-v3 -o vectors --vocabulary MODEL

    Example: everglade vectors topics.splade-v3.tsv.gz -o query-vectors --side query --vocabulary vocab.txt

    Example: everglade vectors floats.jsonl.gz -o vectors --vocabulary MODEL --times 100 --round down
    """
    from everglade.vector_files import Round, Rounding, read_vocabulary, write_folder

    rounding = Rounding(times, Round(round_to.value))
    rejected = open_rejects(on_error, rejects)
    known = read_vocabulary(vocabulary)
    with show_progress(f"reading {side} vectors", quiet=quiet) as progress:
        written = write_folder(
            sources, out, known, rounding, side=side.value, rejects=rejected, fresh=fresh, progress=progress
        )
    result = {
        "vectors": str(out),
        "rows": written.rows,
        "terms per row": written.postings / max(written.rows, 1),
        "rows without terms": written.empty,
        "rejected lines": rejected.count if rejected else 0,
    }
    print_json(result) if as_json else print_fields(result)
