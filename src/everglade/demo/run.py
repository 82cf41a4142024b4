"""The main job, in order, on the bundled collection and model: every stage leaves its output under its final name.

    settings.json                         what was run; other settings need another folder
    qrels.tsv                             the judgements the numbers are measured with
    bm25.trec                             the baseline's run
    base/ tuned/                          for each model: vectors/ index/ run.trec result.json
    base/train.trec examples.jsonl        the training queries searched, and hard negatives mined from that
    training/                             the run folder of the fine-tuning
    report.md report.json                 the table

A stage whose output stands is not run again, so an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from everglade import __version__, durable
from everglade.demo import bundled_model
from everglade.demo.material import Material, load_material
from everglade.demo.report import DemoReport, Row, write_report
from everglade.distill.bm25 import Bm25
from everglade.distill.examples import TrainingSet, hold_out_queries, write_examples
from everglade.distill.negatives import mine_negatives
from everglade.encode import encode_to_folder
from everglade.errors import ConfigError
from everglade.evaluation.flops import measure_sparsity, term_shares
from everglade.evaluation.latency import measure_latency
from everglade.evaluation.measures import DEFAULT_MEASURES, evaluate
from everglade.model.splade import Splade
from everglade.search import Index
from everglade.texts import Document, Qrels, Query, read_run, write_run
from everglade.train.config import TrainConfig
from everglade.train.loop import train
from everglade.train.validation import Validation

__all__ = ["run_demo"]

NEGATIVES_DEPTH = 50
NEGATIVES_KEPT = 30
HOLD_OUT = 0.2
SHARD_DOCUMENTS = 512

# Chosen on the held-out fifth of the training queries; the test queries had no say. See docs/log.md.
FULL = TrainConfig(
    steps=120,
    batch_size=32,
    negatives_per_query=1,
    learning_rate=1e-4,
    warmup_steps=12,
    dropout=False,
    lambda_q=2e-4,
    lambda_d=2e-4,
    lambda_ramp_steps=40,
    max_query_length=64,
    max_document_length=128,
    precision="bf16",
    validate_every=120,
    validation_measure="nDCG@10",
    checkpoint_every=20,
)
SHORT = replace(FULL, steps=12, warmup_steps=2, lambda_ramp_steps=4, validate_every=12, checkpoint_every=6)

Announce = Callable[[str], None]
ShowProgress = Callable[[str], AbstractContextManager[Callable[[Any], None]]]


def run_demo(
    out: Path, *, short: bool = False, fresh: bool = False, announce: Announce, show_progress: ShowProgress
) -> DemoReport:
    """Run every stage whose output does not stand yet, and write the report.

    Args:
        out: The folder for everything the demo makes.
        short: Use a part of the collection and few steps.
        fresh: Throw away the demo that is in `out`.
        announce: Called with one line before each stage.
        show_progress: Opens a callable that takes the progress of the stage it is given the name of.

    Raises:
        ConfigError: if `out` holds a demo with other settings, or something else.
    """
    config = SHORT if short else FULL
    settings = {"everglade": __version__, "short": short, "training": config.to_dict()}
    begin_folder(out, settings, fresh=fresh)
    material = load_material(short=short)
    write_qrels(material.qrels, out / "qrels.tsv")
    announce(f"{len(material.documents):,} documents, {len(material.queries)} test queries, everything in {out}")
    rows = [
        measure_bm25(material, out, announce),
        measure_model("SPLADE-tiny, as bundled", bundled_model(), material, out / "base", announce, show_progress),
    ]
    tuned = fine_tune(config, material, out, announce, show_progress)
    rows.append(measure_model("SPLADE-tiny, fine-tuned here", tuned, material, out / "tuned", announce, show_progress))
    runs = ["bm25.trec", "base/run.trec", "tuned/run.trec"]
    remarks = [*list_differences(rows), *list_remarks(material, config, short=short)]
    return write_report(rows, remarks, out, settings, runs)


def begin_folder(out: Path, settings: dict[str, Any], *, fresh: bool) -> None:
    """Make the demo's folder, or make sure that the one there was begun with the same settings."""
    file = out / "settings.json"
    if fresh and file.exists():
        shutil.rmtree(out)
    if out.exists() and not file.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} holds something that is not a demo. Name another folder with --out.")
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != settings:
        raise ConfigError(
            f"{out} holds a demo with other settings. Start it again with --fresh, or name another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    durable.write_json(file, settings)


def write_qrels(qrels: Qrels, path: Path) -> None:
    """Write judgements in the TREC form."""
    lines = [f"{query} 0 {document} {value}\n" for query, judged in qrels.items() for document, value in judged.items()]
    durable.write_bytes(path, "".join(lines).encode())


def measure_bm25(material: Material, out: Path, announce: Announce) -> Row:
    """Search with BM25, keep its run, and measure it."""
    announce("BM25: index, search, measure")
    engine = Bm25(material.documents)
    write_run(engine.search(material.queries, k=1000), out / "bm25.trec", tag="bm25")
    latency = measure_latency(lambda text: engine.search([Query("q", text)], k=10), [q.text for q in material.queries])
    return Row("BM25", evaluate(read_run(out / "bm25.trec"), material.qrels, DEFAULT_MEASURES), latency.median_ms)


def measure_model(
    name: str, model: Path, material: Material, out: Path, announce: Announce, show_progress: ShowProgress
) -> Row:
    """Encode, index, search and measure with one model; what came of it stands in `out`/result.json."""
    result = out / "result.json"
    if result.exists():
        announce(f"{name}: measured already")
        return Row(**json.loads(result.read_text(encoding="utf-8")))
    announce(f"{name}: encode, index, search, measure")
    out.mkdir(exist_ok=True)
    seconds: dict[str, float] = {}
    encoder = Splade.load(model)
    with _timed(seconds, "encode"):
        encode_documents(encoder, material.documents, out / "vectors", show_progress)
    with _timed(seconds, "index"):
        index_vectors(encoder, material.documents, out)
    texts = [query.text for query in material.queries]
    with Index.open(out / "index", model=encoder) as index:
        with _timed(seconds, "search"):
            run = index.search_many(material.queries, k=1000)
        cost = measure_sparsity(term_shares(encoder.encode_queries(texts)), index.term_shares())
        latency = measure_latency(lambda text: index.search(text, k=10), texts)
    write_run(run, out / "run.trec")
    row = Row(
        model=name,
        measures=evaluate(read_run(out / "run.trec"), material.qrels, DEFAULT_MEASURES),
        ms_per_query=latency.median_ms,
        flops=cost.flops,
        query_terms=cost.query_terms,
        document_terms=cost.document_terms,
        seconds=seconds,
    )
    durable.write_json(result, asdict(row))
    return row


def encode_documents(encoder: Splade, documents: list[Document], path: Path, show_progress: ShowProgress) -> None:
    """Encode the documents to a vectors folder, unless it stands."""
    if path.exists():
        return
    rows = [(document.id, document.full_text) for document in documents]
    with show_progress("encoding documents") as progress:
        encode_to_folder(encoder, rows, path, shard_rows=SHARD_DOCUMENTS, total=len(rows), progress=progress)


def index_vectors(encoder: Splade, documents: list[Document], out: Path) -> None:
    """Index a vectors folder with the documents' texts, unless the index stands."""
    if (out / "index").exists():
        return
    unfinished = out / "index.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    with Index.create(unfinished, encoder) as index:
        index.add_folder(out / "vectors", documents)
    durable.publish_folder(unfinished, out / "index")


def fine_tune(
    config: TrainConfig, material: Material, out: Path, announce: Announce, show_progress: ShowProgress
) -> Path:
    """Mine hard negatives from the base index, train on them, and give the best model's folder."""
    train_qrels, held = hold_out_queries(material.train_qrels, HOLD_OUT, seed=config.seed)
    announce("mining hard negatives from the base index")
    if not (out / "base" / "train.trec").exists():
        with Index.open(out / "base" / "index") as index:
            write_run(index.search_many(material.train_queries, k=NEGATIVES_DEPTH), out / "base" / "train.trec")
    run = read_run(out / "base" / "train.trec")
    mined = mine_negatives(
        run, train_qrels, depth=NEGATIVES_DEPTH, negatives_per_query=NEGATIVES_KEPT, seed=config.seed
    )
    write_examples(mined.examples, out / "examples.jsonl")
    training_set = TrainingSet(
        queries={query.id: query.text for query in material.train_queries},
        documents={document.id: document.full_text for document in material.documents},
        examples=mined.examples,
    )
    validation = Validation(material.documents, [q for q in material.train_queries if q.id in held], held)
    announce(
        f"fine-tuning: {config.steps} steps of {config.batch_size} queries; before the first and after the last, "
        f"{len(held)} held-out queries are searched in all documents"
    )
    model = Splade.load(bundled_model())
    with show_progress("training") as progress:
        result = train(config, model, training_set, out / "training", validation, progress=progress)
    return result.best or result.final


def list_differences(rows: list[Row]) -> list[str]:
    """Say what each model gains or loses against the row before it."""
    lines = []
    for before, row in pairwise(rows):
        changes = [f"{name} {row.measures[name] - before.measures[name]:+.4f}" for name in DEFAULT_MEASURES[:3]]
        cost = "" if not (before.flops and row.flops) else f", FLOPS x {row.flops / before.flops:.2f}"
        lines.append(f"{row.model}, against {before.model}: {', '.join(changes)}{cost}.")
    return lines


def list_remarks(material: Material, config: TrainConfig, *, short: bool) -> list[str]:
    """Say what a reader of the table must know."""
    remarks = [
        f"{len(material.queries)} test queries over {len(material.documents):,} documents of SciFact; "
        f"fine-tuned {config.steps} steps on its train split, with documents cut at {config.max_document_length} "
        f"tokens; the bundled model reads 256.",
        "FLOPS: mean number of terms that a random query and a random document share.",
        "ms/query: median, encoding included, one query at a time, k = 10.",
        "Two in three of the relevant test documents are relevant in the train split too.",
    ]
    caution = "Short demo: a part of the collection and few steps. The numbers say nothing about quality."
    return [caution, *remarks] if short else remarks


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - began, 2)
