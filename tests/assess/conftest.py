"""A small collection whose queries are named like documents, as in ArguAna, an index of it, and a run file."""

import json

import pytest

from everglade import Index, Splade
from everglade.bundled import bundled_model
from everglade.texts import open_collection, write_run

DOCUMENTS = {
    "d1": ("Headache", "Aspirin and rest relieve most headaches."),
    "d2": ("Bridge", "The bridge was closed after the flood."),
    "d3": ("", "Migraine is treated with triptans, after a flood of light too."),
    "d4": ("River", "After heavy rain the river floods the road and the bridge."),
    "d5": ("Garden", "Moss and fern grow in the shade of the bridge."),
}
QUERIES = {
    "d4": "flood damage to a bridge",
    "q1": "what helps a headache",
    "q2": "plants for the shade",
    "q3": "rain over the river",
}
QRELS = {"d4": {"d2": 2, "d4": 0}, "q1": {"d1": 2, "d3": 1}, "q2": {"d5": 1}, "gone": {"d1": 1}}


def write_collection(folder, documents=DOCUMENTS):
    """A BEIR folder."""
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": id, "title": title, "text": text} for id, (title, text) in documents.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": id, "text": text} for id, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = [f"{query}\t{document}\t{grade}" for query, judged in QRELS.items() for document, grade in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


@pytest.fixture(scope="session")
def model():
    return Splade.load(bundled_model())


@pytest.fixture(scope="session")
def place(tmp_path_factory, model):
    """A folder with `small` (the collection), `small.idx` and `small.trec`, which has no hits for q2."""
    folder = tmp_path_factory.mktemp("assess")
    collection = open_collection(write_collection(folder / "small"))
    with Index.create(folder / "small.idx", model) as index:
        index.add(collection.documents())
        run = index.search_many(collection.queries(), k=5)
    write_run({query: hits for query, hits in run.items() if query != "q2"}, folder / "small.trec")
    return folder
