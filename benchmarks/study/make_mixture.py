"""Make what everglade-tiny is trained on, and the sets it never sees, out of the collections at hand.

    python benchmarks/study/make_mixture.py --data DATA --out SETS

DATA holds the folders scifact, squad_v11_dev, scitldr_a, tldr, medquad and debian in BEIR's form. SETS/mixture is one
collection of three, whose licences allow any use with attribution; ids begin with the name of their set:

* scitldr: all abstracts, the TLDRs of its train and dev splits as queries; those of its test split make the mixture's;
* tldr: the pages of its train split, an eighth of their examples' descriptions as queries;
* medquad: a quarter of the answers, and the questions whose answers are all among them.

The others are for evaluation alone: scifact and squad with their test queries, and debian, a fifth of the package
descriptions, where a quarter of the titles are queries and each looks for its own description, which lacks the title.
What is left out depends on nothing but the md5 of ids.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from make_sets import read_lines, read_qrels, share, write_set


class Parts:
    """A collection in BEIR's form, read at once."""

    def __init__(self, folder):
        self.documents = {row["_id"]: row for row in read_lines(folder / "corpus.jsonl.gz")}
        queries = folder / "queries.jsonl.gz"
        self.queries = {row["_id"]: row for row in read_lines(queries)} if queries.exists() else {}
        self.qrels = {path.stem: read_qrels(path) for path in sorted((folder / "qrels").glob("*.tsv"))}


def scitldr(parts):
    return parts.documents, {"train": parts.qrels["train"] + parts.qrels["dev"], "test": parts.qrels["test"]}


def tldr(parts):
    pages = {document for _, document, _ in parts.qrels["train"]}
    documents = {id: row for id, row in parts.documents.items() if id in pages}
    return documents, {"train": [row for row in parts.qrels["train"] if share(row[0], 8) == 0]}


def medquad(parts):
    documents = {id: row for id, row in parts.documents.items() if share(id, 4) == 0}
    outside = {query for query, document, _ in parts.qrels["all"] if document not in documents}
    return documents, {"train": [row for row in parts.qrels["all"] if row[0] not in outside]}


def make_mixture(data, out):
    documents, queries, splits = [], [], {"train": [], "test": []}
    for name, folder, choose in (
        ("scitldr", "scitldr_a", scitldr),
        ("tldr", "tldr", tldr),
        ("medquad", "medquad", medquad),
    ):
        parts = Parts(data / folder)
        kept, judged = choose(parts)
        documents += [{**row, "_id": f"{name}:{id}"} for id, row in kept.items()]
        queries += [{**row, "_id": f"{name}:{id}"} for id, row in parts.queries.items()]
        for split, rows in judged.items():
            print(f"{name}: {len(kept):,} documents, {len({row[0] for row in rows}):,} {split} queries")
            splits[split] += [
                (f"{name}:{query}", f"{name}:{document}", relevance) for query, document, relevance in rows
            ]
    write_set(out, documents, queries, splits)


def make_held_out(data, out):
    for name, folder in (("scifact", "scifact"), ("squad", "squad_v11_dev")):
        parts = Parts(data / folder)
        write_set(out / name, parts.documents.values(), parts.queries.values(), {"test": parts.qrels["test"]})
    rows = [row for row in read_lines(data / "debian" / "corpus.jsonl.gz") if share(row["_id"], 5) == 0]
    documents = [{"_id": row["_id"], "text": row["text"]} for row in rows]
    queries = [{"_id": row["_id"], "text": row["title"]} for row in rows if share(row["_id"], 20) == 0]
    write_set(out / "debian", documents, queries, {"test": [(row["_id"], row["_id"], 1) for row in queries]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    make_mixture(options.data, options.out / "mixture")
    make_held_out(options.data, options.out)


if __name__ == "__main__":
    main()
