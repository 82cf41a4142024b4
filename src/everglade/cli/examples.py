"""`everglade examples`: training data of any known format to a file of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everglade.cli.options import AsJson, Quiet
from everglade.cli.output import print_fields, print_json, show_progress

__all__ = ["examples"]


def examples(
    source: Annotated[Path, typer.Argument(help="File of training data, or folder of its tables.")],
    to: Annotated[Path, typer.Option("--to", "-o", help="Examples file: .arrow for a table, else JSON lines.")],
    format: Annotated[str | None, typer.Option(help="Its format, if the file does not show it; see below.")] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements, where the source does not say them.")] = None,
    system: Annotated[
        list[str] | None, typer.Option(help="System whose negatives are taken (hard-negatives); may be repeated.")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(min=0, help="Most negatives of an example; all if not given.")
    ] = None,
    texts: Annotated[Path | None, typer.Option(help="Folder for the texts that the source holds.")] = None,
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
    """
    from everglade.distill.formats import Options, convert
    from everglade.texts import group_qrels, read_qrels

    options = Options(None if qrels is None else group_qrels(read_qrels(qrels)), tuple(system or ()), negatives)
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
