"""`everglade examples`: training data of any known format to a file of examples, and from one to any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from everglade.cli.options import AsJson, Quiet
from everglade.cli.output import print_fields, print_json, show_progress
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from everglade.distill.formats import Options

__all__ = ["examples"]


def examples(
    source: Annotated[Path, typer.Argument(help="File of training data, or folder of its tables.")],
    to: Annotated[
        Path, typer.Option("--to", "-o", help="Examples file: .arrow for a table, else JSON lines; or see --as.")
    ],
    format: Annotated[str | None, typer.Option(help="Its format, if the file does not show it; see below.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements, where the source does not say them.")] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="System whose negatives are taken (hard-negatives); may be repeated.")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(min=0, help="Most negatives of an example; all if not given.")
    ] = None,
    texts: Annotated[Path | None, typer.Option(help="Folder for the texts that the source holds.")] = None,
    write_as: Annotated[
        str | None, typer.Option("--as", help="Write another tool's format, one of those below but everglade.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="With --as: collection of the texts, where it holds any.")
    ] = None,
    margins: Annotated[
        bool, typer.Option("--margins", help="With --as columns: margins for labels, no scores.")
    ] = False,
    qrels_to: Annotated[Path | None, typer.Option(help="With --as: file for the positives, as judgements.")] = None,
    name: Annotated[str, typer.Option(help="With --as: system of hard-negatives, tag of trec.")] = "everglade",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Convert training data to examples.

    Formats: everglade, columns (sentence-transformers), hard-negatives, id-triplets, score-pickle, tevatron-1,
    tevatron-2, pylate, trec, naver-ids, naver-texts, vienna-ids, vienna-texts, triples-ids, triples-texts.

    What was taken for granted and what was left out is printed. Texts become a collection in which each text stands
    once and the positives are judgements, so that everglade train takes it together with the examples.

    Example: everglade examples msmarco-hard-negatives.jsonl.gz -o mined.arrow --system bm25 --negatives 50

    Example: everglade examples scores.pkl.gz -o scored.arrow --qrels qrels.train.tsv

    Example: everglade examples train.parquet -o train.arrow --texts train-texts

    Example: everglade train MODEL train-texts -o run --examples train.arrow

    Example: everglade examples scored/examples.arrow -o train.parquet --as columns --collection msmarco --negatives 7
    """
    from everglade.distill.formats import Options, convert
    from everglade.texts import group_qrels, read_qrels

    options = Options(None if qrels is None else group_qrels(read_qrels(qrels)), tuple(system or ()), negatives)
    if write_as is not None:
        if texts is not None:
            raise ConfigError("--texts takes the texts of a source. With --as, --collection gives the texts to write.")
        chosen = _Chosen(write_as, collection, qrels_to, margins, name)
        _write(source, to, format, options, chosen, quiet=quiet, as_json=as_json)
        return
    if collection is not None or qrels_to is not None or margins:
        raise ConfigError("--collection, --qrels-to and --margins go with --as: say which format is to be written.")
    with show_progress("converting", quiet=quiet) as progress:
        found = convert(source, to, format=format, options=options, texts=texts, progress=progress)
    result = {
        "format": found.format,
        "examples": found.examples,
        "documents in them": found.documents,
        "examples with scores": found.scored,
        "written": str(to),
        **{f"{name} written": count for name, count in found.texts.items()},
    }
    if as_json:
        print_json({**result, "assumed": found.assumed, "left out": found.left_out})
        return
    print_fields(
        {
            **result,
            "assumed": "; ".join(found.assumed) or "nothing",
            **{f"left out: {reason}": count for reason, count in found.left_out.items()},
        }
    )


class _Chosen(NamedTuple):
    """What --as and the options that go with it say."""

    format: str
    collection: str | None
    qrels: Path | None
    margins: bool
    name: str


def _write(
    source: Path, to: Path, format: str | None, options: Options, chosen: _Chosen, *, quiet: bool, as_json: bool
) -> None:
    from everglade.distill.formats import read_source, write_as
    from everglade.texts import open_collection

    opened = read_source(source, format, options)
    queries, documents = {}, {}
    if chosen.collection is not None:
        known = open_collection(chosen.collection)
        queries = {query.id: query.text for query in known.queries()}
        documents = {document.id: document.full_text for document in known.documents()}
    with show_progress("writing", quiet=quiet) as progress:
        found = write_as(
            (row.example for row in opened.rows),
            to,
            chosen.format,
            queries=queries,
            documents=documents,
            qrels=chosen.qrels,
            margins=chosen.margins,
            name=chosen.name,
            progress=progress,
        )
    counts = {"examples": found.examples, "rows": found.rows, "written": str(to)}
    result = {"format": found.format, **counts, **{f"{table} written": n for table, n in found.texts.items()}}
    left_out = {**opened.notes.left_out, **found.left_out}
    if as_json:
        print_json({**result, "assumed": opened.notes.assumed, "left out": left_out})
        return
    assumed = "; ".join(opened.notes.assumed) or "nothing"
    print_fields({**result, "assumed": assumed, **{f"left out: {reason}": count for reason, count in left_out.items()}})
