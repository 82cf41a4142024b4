"""`everglade train-teacher`: examples and an encoder to a cross-encoder that scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.cli.options import AsJson, Quiet, Threads, limit_threads
from everglade.cli.output import print_fields, print_json, show_progress
from everglade.cli.settings import read_settings

if TYPE_CHECKING:
    from everglade.texts import Collection, Qrels
    from everglade.train.cross_encoder import Reranking

__all__ = ["train_teacher"]


def train_teacher(
    start: Annotated[str, typer.Argument(help="Cross-encoder or encoder, folder or hub id, to start from.")],
    examples: Annotated[Path, typer.Argument(help="Examples (JSONL, Arrow) or triples of ids (TSV) to train on.")],
    collection: Annotated[str, typer.Argument(help="Collection with their queries and documents.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: log, checkpoints and final cross-encoder.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; see docs/guide/teachers.md.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="One setting, as key=value; may repeat.")] = None,
    split: Annotated[str | None, typer.Option(help="Split whose queries are held out for validation.")] = None,
    hold_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the queries kept for validation.")] = 0.1,
    candidates: Annotated[
        str, typer.Option(help="What is reranked in validation: bm25, or a TREC run file of the held-out queries.")
    ] = "bm25",
    depth: Annotated[int, typer.Option(min=1, help="Candidates of a held-out query that are reranked.")] = 50,
    fresh: Annotated[bool, typer.Option("--fresh", help="Refuse to go on with a run that is in --out.")] = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a cross-encoder, to teach a sparse model.

    The start is any encoder: a masked language model, a dense model of sentence-transformers, a SPLADE model; it gets a
    new head. A cross-encoder keeps its head. A share of the queries is held out; the first hits of each are reranked
    before and after. They are those that everglade train holds out with the same seed and share, so that a student is
    not tried on queries that its teacher has seen. An interrupted run goes on, bit for bit, when the same command is
    given again.

    Example: everglade train-teacher MODEL mined/examples.jsonl scifact -o teacher --set steps=2000 --set loss=listwise

    Example: everglade train-teacher MODEL mined/examples.jsonl scifact -o teacher --candidates mined/runs/bm25.trec
    """
    from everglade.distill.examples import TrainingSet, keep_queries, read_examples, read_triples
    from everglade.texts import choose_split, open_collection
    from everglade.train.cross_encoder import train_teacher as train_cross_encoder
    from everglade.train.teacher_config import TeacherConfig

    settings = read_settings(TeacherConfig, config, setting)
    limit_threads(threads)
    source = open_collection(collection)
    found = read_triples(examples) if examples.suffix in {".tsv", ".txt"} else read_examples(examples)
    documents = {document.id: document.full_text for document in source.documents()}
    validation = None
    if hold_out:
        held = _hold_out(source, choose_split(source, split), settings.seed, hold_out)
        found = keep_queries(found, {query.id for query in source.queries()} - held.keys())
        validation = _choose_validation(source, held, documents, candidates, depth)
    queries = {query.id: query.text for query in source.queries()}
    training_set = TrainingSet(queries, documents, found)
    with show_progress("training a teacher", quiet=quiet) as progress:
        result = train_cross_encoder(
            settings, start, training_set, out, validation=validation, resume=not fresh, progress=progress
        )
    named = {"candidates": result.candidates, "start": result.start, "end": result.end}
    report: dict[str, Any] = {
        "examples": len(found),
        "final": str(result.final),
        **{f"{measure}, {when}": value for when, scores in named.items() for measure, value in (scores or {}).items()},
        "log": str(result.log),
    }
    print_json(report) if as_json else print_fields(report)


def _hold_out(source: Collection, split: str, seed: int, share: float) -> Qrels:
    """Give the judgements of the queries that are held out, the same as everglade train holds out."""
    from everglade.distill.examples import hold_out_queries
    from everglade.texts import group_qrels

    return hold_out_queries(group_qrels(source.qrels(split)), share, seed=seed)[1]


def _choose_validation(
    source: Collection, held: Qrels, documents: dict[str, str], candidates: str, depth: int
) -> Reranking | None:
    from everglade.distill.bm25 import bm25_run
    from everglade.evaluation.measures import rank
    from everglade.texts import read_run
    from everglade.train.cross_encoder import Reranking

    queries = [query for query in source.queries() if query.id in held]
    if not queries:
        return None
    run = bm25_run(source.documents(), queries, k=depth) if candidates == "bm25" else read_run(candidates)
    first = {
        query.id: {document_id: run[query.id][document_id] for document_id in rank(run[query.id])[:depth]}
        for query in queries
        if query.id in run
    }
    return Reranking(queries, documents, first, held)
