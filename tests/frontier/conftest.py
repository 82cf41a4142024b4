"""A part of the bundled collection, large enough to be calibrated, and the frontier of a few points on it."""

import json

import pytest

from everglade.bundled import bundled_collection
from everglade.frontier.models import FrontierModel
from everglade.frontier.settings import FrontierSettings
from everglade.frontier.sweep import Source, sweep
from everglade.texts import open_collection

SETTINGS = FrontierSettings(
    document_terms=(16,),
    prune=("document:8", "term:0.5"),
    query_terms=(4,),
    bits=("16", "float"),
    recall=(0.8,),
    k=20,
    timed_queries=2,
    repeats=2,
    threads=1,
)


def write_part(folder, judged=16, others=64):
    """Write a BEIR folder: the documents judged for the first queries, and others."""
    whole = open_collection(bundled_collection())
    qrels = list(whole.qrels("test"))[:judged]
    wanted = {qrel.document_id for qrel in qrels}
    documents = list(whole.documents())
    kept = [document for document in documents if document.id in wanted] + documents[:others]
    (folder / "qrels").mkdir(parents=True)
    rows = {d.id: {"_id": d.id, "title": d.title, "text": d.text[:200]} for d in kept}
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    asked = {qrel.query_id for qrel in qrels}
    queries = [{"_id": query.id, "text": query.text} for query in whole.queries("test") if query.id in asked]
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    for split, part in (("test", qrels[: len(qrels) // 2]), ("train", qrels[len(qrels) // 2 :])):
        lines = [f"{qrel.query_id}\t{qrel.document_id}\t{qrel.relevance}" for qrel in part]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


@pytest.fixture(scope="session")
def part(tmp_path_factory):
    """The collection's folder."""
    return write_part(tmp_path_factory.mktemp("collection") / "part")


@pytest.fixture(scope="session")
def source(part):
    return Source(str(part), "test")


@pytest.fixture(scope="session")
def swept(tmp_path_factory, source):
    """The folder of a finished frontier, and the frontier."""
    out = tmp_path_factory.mktemp("frontier") / "out"
    return out, sweep(source, [FrontierModel("tiny", "bundled")], out, SETTINGS)
