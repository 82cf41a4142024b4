"""`everglade score`: examples and teachers to examples with scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.cli.options import AsJson, Quiet, Threads, limit_threads
from everglade.cli.output import print_fields, print_json, print_table, show_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everglade.texts import Collection

__all__ = ["score"]


def score(
    examples: Annotated[Path, typer.Argument(help="Examples (JSONL, Arrow) or triples of ids (TSV) to score.")],
    collection: Annotated[str, typer.Argument(help="Collection with their queries and documents.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the scores and the scored examples.")],
    teacher: Annotated[
        list[str],
        typer.Option(
            help="cross-encoder:MODEL, dense:MODEL, splade:MODEL or bm25 (index and words in memory); may be repeated."
        ),
    ],
    weight: Annotated[
        list[float] | None, typer.Option(help="Weight of each teacher in the mean, in their order; equal if not given.")
    ] = None,
    normalise: Annotated[
        str, typer.Option(help="What is done to each teacher's scores of a query first: none, min-max or z-score.")
    ] = "none",
    rescale: Annotated[
        str | None,
        typer.Option(help="Teacher whose mean and standard deviation the mean is mapped onto, or two numbers M,S."),
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(help="Leave out negatives nearer to the positive: 1.0, 95% of its score, or 'most 3.5'."),
    ] = None,
    shard_examples: Annotated[int, typer.Option(min=1, help="Examples scored between two savings.")] = 256,
    precision: Annotated[
        str, typer.Option(help="no, or bf16: faster on processors that have it, with slightly other scores.")
    ] = "no",
    texts: Annotated[
        Path | None, typer.Option(help="Keep the texts mapped in this folder, for collections larger than memory.")
    ] = None,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score examples with one teacher or several.

    Each document of each example gets a score: a cross-encoder's logit, the dot product or cosine of a bi-encoder, or
    BM25's sum. The scores of several teachers are normalised over the documents of each query, averaged, and mapped
    onto the scale of one of them. An interrupted scoring goes on when the same command is given again. With another
    --weight, --normalise, --rescale or --margin the scores of the teachers are kept, and made one anew.

    Example: everglade score mined/examples.jsonl scifact -o scored --teacher cross-encoder:teacher/final

    Example: everglade score mined/examples.jsonl scifact -o scored --teacher cross-encoder:A --teacher splade:B
    --normalise min-max --rescale cross-encoder:A
    """
    from everglade.distill.examples import read_examples, read_triples
    from everglade.distill.scoring import ScoringSettings, score_to_folder
    from everglade.texts import open_collection

    values: dict[str, Any] = {"weights": weight or None, "normalise": normalise, "rescale": rescale, "margin": margin}
    values |= {"shard_examples": shard_examples, "precision": precision}
    settings = ScoringSettings.from_dict({"teachers": teacher, **values})
    limit_threads(threads)
    source = open_collection(collection)
    found = read_triples(examples) if examples.suffix in {".tsv", ".txt"} else read_examples(examples)
    queries, documents = _read_texts(source, texts)
    with show_progress("scoring", quiet=quiet) as progress:
        report = score_to_folder(found, queries, documents, settings, out, progress=progress)
    statistics = report.statistics
    if as_json:
        print_json({"written": str(report.examples), **statistics})
        return
    print_table(
        ["teacher", "mean", "standard deviation", "positive above all negatives"],
        [
            [name, values["mean"], values["std"], values["positive_first"]]
            for name, values in statistics["scores"].items()
        ],
    )
    removed = statistics["false_negatives"]
    print_fields(
        {
            "examples": report.n_examples,
            "likely false negatives left out": None if removed is None else removed["removed"],
            "written": str(report.examples),
        }
    )


def _read_texts(source: Collection, folder: Path | None) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Give the texts of queries and documents by id, in memory or in stores in a folder."""
    if folder is not None:
        from everglade.distill.text_store import store_collection

        stored = store_collection(source, folder)
        return stored.queries, stored.documents
    queries = {query.id: query.text for query in source.queries()}
    return queries, {document.id: document.full_text for document in source.documents()}
