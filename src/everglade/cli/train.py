"""`everglade train`: examples, or a collection and a first search of it, to a better model."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.cli.options import (
    AsJson,
    DocumentPrefix,
    PassageOverlap,
    Passages,
    QueryPrefix,
    Quiet,
    Threads,
    limit_threads,
    pick_given,
)
from everglade.cli.output import print_fields, print_json, show_progress, speaks
from everglade.cli.settings import read_settings
from everglade.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everglade.distill.examples import Example, TrainingSet
    from everglade.model.splade import Splade
    from everglade.texts import Collection, Qrels
    from everglade.train.config import TrainConfig
    from everglade.train.validation import Validation

__all__ = ["train"]

NEGATIVES_KEPT = 30


def train(
    model: Annotated[str, typer.Argument(help="Model folder or hub id to start from.")],
    collection: Annotated[str, typer.Argument(help="Collection with documents, queries and judgements.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: log, checkpoints, best and final model.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; see docs/tuning.md.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="One setting, as key=value; may repeat.")] = None,
    split: Annotated[str | None, typer.Option(help="Split to train on.")] = None,
    examples: Annotated[Path | None, typer.Option(help="Examples (JSONL, Arrow) or triples (TSV) to train on.")] = None,
    negatives: Annotated[
        str, typer.Option(help="Where hard negatives come from without --examples: bm25, or a TREC run file.")
    ] = "bm25",
    depth: Annotated[int, typer.Option(min=1, help="Negatives are drawn from the first so many hits.")] = 50,
    hold_out: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the queries kept for validation.")] = 0.1,
    validate_in: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the documents searched in validation, beside the judged; all, if not given."
        ),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="Keep the texts mapped in this folder, for collections larger than memory.")
    ] = None,
    query_encoder: Annotated[
        str | None,
        typer.Option(help="What encodes queries: shared, binary, static, an idf.json, learned:FILE.json, or a model."),
    ] = None,
    freeze_documents: Annotated[
        bool, typer.Option("--freeze-documents", help="Train the query encoder alone.")
    ] = False,
    reading: Annotated[str | None, typer.Option(help="How a decoder reads: bidirectional, echo or causal.")] = None,
    query_prefix: QueryPrefix = None,
    document_prefix: DocumentPrefix = None,
    passages: Passages = None,
    passage_overlap: PassageOverlap = None,
    lora_rank: Annotated[int, typer.Option(min=0, help="Train adapters of this rank only; 0 trains all weights.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Refuse to go on with a run that is in --out.")] = False,
    threads: Threads = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on examples, or on a collection.

    Without examples they are made of the collection's judgements and hard negatives mined from a first search.

    A share of the queries is held out; every so often they are searched in the whole collection, and the model that
    does best is kept as OUT/best. An interrupted run goes on, bit for bit, when the same command is given again.

    Example: everglade train MODEL scifact -o run --split train --set steps=300 --set learning_rate=5e-5

    Example: everglade train MODEL scifact -o run --split train --negatives mined.trec --config train.toml

    Example: everglade train MODEL books -o run --split train --passages 4 --document-prefix "passage: "

    Example: everglade train MODEL scifact -o run --split train --query-encoder static --set target_doc_terms=150
    """
    from everglade.texts import choose_split, open_collection
    from everglade.train.config import TrainConfig
    from everglade.train.loop import train as train_model
    from everglade.train.machine import leave_processes

    settings = read_settings(TrainConfig, config, setting)
    _check_early(settings, hold_out, validate_in, texts)
    limit_threads(threads)
    source = open_collection(collection)
    changes = pick_given(
        reading=reading,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        passages=passages,
        passage_overlap=passage_overlap,
    )
    start = _load_start(model, query_encoder, freeze_documents, changes, lora_rank, settings)
    split = choose_split(source, split)
    qrels, held = _split_queries(source, split, settings.seed, hold_out)
    found = _find_examples(source, qrels, split, settings, examples, negatives, depth, quiet=quiet)
    training_set = _read_training_set(source, split, found, texts)
    validation = _choose_validation(source, split, held, 1.0 if validate_in is None else validate_in, settings.seed)
    # Under torchrun or accelerate launch every process does the same; one of them speaks.
    with show_progress("training", quiet=quiet) as progress:
        result = train_model(settings, start, training_set, out, validation, resume=not fresh, progress=progress)
    report = {
        "examples": len(training_set.examples),
        "final": str(result.final),
        "best": None if result.best is None else str(result.best),
        f"{settings.validation_measure} at the start": result.start_score,
        f"{settings.validation_measure} of the best": result.best_score,
        "step of the best": result.best_step,
        "log": str(result.log),
    }
    if speaks():
        print_json(report) if as_json else print_fields(report)
    leave_processes()


def _load_start(
    path: str,
    query_encoder: str | None,
    freeze_documents: bool,
    given: dict[str, Any],
    lora_rank: int,
    config: TrainConfig,
) -> Splade:
    from everglade.model.lengths import BOTH
    from everglade.model.lora import add_lora
    from everglade.model.splade import Splade

    # With the lengths of the run, not the folder's, as passages must fit into them.
    changes = given | {key: getattr(config, key) for key in BOTH}
    if freeze_documents:
        changes["freeze_documents"] = True
    model = Splade.load(path, query_encoder=query_encoder, **changes)
    if lora_rank:
        add_lora(model, lora_rank, seed=config.seed)
    return model


def _split_queries(source: Collection, split: str, seed: int, hold_out: float) -> tuple[Qrels, Qrels]:
    """Give the judgements to train on and those held out."""
    from everglade.distill.examples import hold_out_queries
    from everglade.texts import group_qrels

    return hold_out_queries(group_qrels(source.qrels(split)), hold_out, seed=seed)


def _read_training_set(source: Collection, split: str, examples: Sequence[Example], folder: Path | None) -> TrainingSet:
    from everglade.distill.examples import TrainingSet

    if folder is not None:
        from everglade.distill.text_store import store_collection

        # Of the processes on one machine the first makes the stores; the others would only make the same again.
        while os.environ.get("LOCAL_RANK", "0") != "0" and not (folder / "documents" / "manifest.json").exists():
            time.sleep(0.2)
        stored = store_collection(source, folder)
        return TrainingSet(stored.queries, stored.documents, examples)
    queries = {query.id: query.text for query in source.queries(split)}
    return TrainingSet(queries, {document.id: document.full_text for document in source.documents()}, examples)


def _choose_validation(source: Collection, split: str, held: Qrels, share: float, seed: int) -> Validation | None:
    from everglade.distill.examples import is_drawn
    from everglade.train.validation import Validation

    if not held:
        return None
    if not speaks():
        return Validation([], [], {})  # only the main process validates
    judged = {document_id for documents in held.values() for document_id in documents}
    documents = [d for d in source.documents() if d.id in judged or share == 1 or is_drawn(d.id, share, seed)]
    return Validation(documents, [query for query in source.queries(split) if query.id in held], held)


def _check_early(settings: TrainConfig, hold_out: float, validate_in: float | None, texts: Path | None) -> None:
    """Refuse what would be refused after the collection has been read and mined."""
    from everglade.train.lambdas import read_schedule
    from everglade.train.validation import require_measure

    if settings.lambda_schedule is not None:
        read_schedule(settings.lambda_schedule)
    if hold_out:
        require_measure(settings.validation_measure)
    if hold_out and texts is not None and validate_in is None:
        raise ConfigError(
            "--texts is for collections larger than memory, but validation takes its documents into memory: say what "
            "share of them with --validate-in, such as 0.01, or keep no queries with --hold-out 0."
        )


def _find_examples(
    source: Collection,
    qrels: Qrels,
    split: str,
    settings: TrainConfig,
    file: Path | None,
    negatives: str,
    depth: int,
    *,
    quiet: bool,
) -> Sequence[Example]:
    from everglade.distill.examples import keep_queries, read_examples, read_triples
    from everglade.distill.negatives import mine_negatives
    from everglade.texts import read_run

    if file is not None:
        found = read_triples(file) if file.suffix in {".tsv", ".txt"} else read_examples(file)
        return keep_queries(found, qrels)
    if negatives == "bm25":
        from everglade.distill.bm25 import bm25_run

        judged = [query for query in source.queries(split) if query.id in qrels]
        run = bm25_run(source.documents(), judged, k=depth)
    else:
        run = read_run(negatives)
    mined = mine_negatives(
        run,
        qrels,
        depth=depth,
        negatives_per_query=NEGATIVES_KEPT,
        seed=settings.seed,
        documents=source.documents(),
    )
    if speaks() and not quiet:
        print(f"mined negatives for {mined.queries - mined.without} of {mined.queries} queries", file=sys.stderr)
    return mined.examples
