"""`everglade explain`: the terms a text becomes, or why a document got its score for a query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everglade.cli.options import AsJson
from everglade.cli.output import print_json, print_table
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from everglade.search import Explanation

__all__ = ["explain"]


def explain(
    source: Annotated[str, typer.Argument(help="Index folder, or model folder or hub id.")],
    query: Annotated[str, typer.Argument(help="Query text.")],
    document: Annotated[str | None, typer.Argument(help="Document id in the index, or a text for a model.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Terms to show of each kind.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show which terms made a score.

    For each term that query and document share: its weight in both and what it adds.

    With a model folder and one text: the terms that the text becomes.

    Example: everglade explain glade.idx "what helps a headache" d17

    Example: everglade explain MODEL "what helps a headache"
    """
    from everglade.index.store import is_index

    if not is_index(Path(source)):
        _explain_with_model(source, query, document, top, as_json=as_json)
        return
    from everglade.search import Index

    if document is None:
        raise ConfigError("name the document to explain. Example: everglade explain glade.idx QUERY DOCUMENT_ID")
    with Index.open(source) as index:
        explanation = index.explain(query, document)
    _print(explanation, top, as_json=as_json)


def _explain_with_model(source: str, query: str, document: str | None, top: int, *, as_json: bool) -> None:
    from everglade.model.splade import Splade
    from everglade.search import explain_vectors

    model = Splade.load(source)
    query_row = model.encode_queries([query]).row(0)
    if document is not None:
        document_row = model.encode_documents([document]).row(0)
        _print(explain_vectors(query_row, document_row, model.term_names()), top, as_json=as_json)
        return
    names = model.term_names()
    terms = sorted(zip(query_row[1].tolist(), query_row[0].tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
    if as_json:
        print_json([{"term": names[term], "weight": weight} for weight, term in terms])
        return
    print_table(["term", "weight"], [(names[term], weight) for weight, term in terms[:top]])
    print(f"{len(terms)} terms")


def _print(explanation: Explanation, top: int, *, as_json: bool) -> None:
    if as_json:
        print_json(explanation.to_dict())
        return
    total = 0.0
    rows = []
    for match in explanation.matches:
        total += match.contribution
        rows.append((*match, f"{total / explanation.score:.0%}"))
    print_table(["term", "query", "document", "adds", "so far"], rows[:top])
    print(f"score {explanation.score:.4f} from {len(explanation.matches)} shared terms")
    missed = ", ".join(f"{term} {weight:.2f}" for term, weight in explanation.missed[:top])
    print(f"query terms the document lacks: {missed or 'none'}")
