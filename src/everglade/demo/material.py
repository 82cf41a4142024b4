"""The part of the bundled collection that the short demo works on."""

from __future__ import annotations

import json
from pathlib import Path

from everglade import durable
from everglade.bundled import bundled_collection
from everglade.texts import group_qrels, open_collection

__all__ = ["write_short_collection"]

DOCUMENTS = 800
QUERIES = {"train": 120, "test": 60}


def write_short_collection(folder: Path) -> None:
    """Write the first queries of each split, the documents they need and some others as a BEIR folder.

    It appears whole or not at all, and is left alone if it stands.
    """
    if folder.exists():
        return
    collection = open_collection(bundled_collection())
    queries = {split: collection.queries(split)[:count] for split, count in QUERIES.items()}
    qrels = {split: group_qrels(collection.qrels(split)) for split in QUERIES}
    judged = {split: {query.id: qrels[split][query.id] for query in queries[split]} for split in QUERIES}
    needed = {document for found in judged.values() for documents in found.values() for document in documents}
    documents = list(collection.documents())
    others = [document.id for document in documents if document.id not in needed][: DOCUMENTS - len(needed)]
    kept = needed.union(others)
    with durable.private_folder(folder) as partial:
        rows = [{"_id": d.id, "title": d.title, "text": d.text} for d in documents if d.id in kept]
        _write_lines(partial / "corpus.jsonl", [json.dumps(row) for row in rows])
        asked = [json.dumps({"_id": query.id, "text": query.text}) for split in QUERIES for query in queries[split]]
        _write_lines(partial / "queries.jsonl", asked)
        (partial / "qrels").mkdir()
        for split, found in judged.items():
            lines = [
                f"{query}\t{name}\t{value}" for query, documents in found.items() for name, value in documents.items()
            ]
            _write_lines(partial / "qrels" / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *lines])
        durable.publish_folder(partial, folder)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
