"""Make the sets of the study in miniature out of the collections at hand, smaller where two cores would take too long.

    python benchmarks/study/make_sets.py --data DATA --out SETS

DATA holds the folders scifact, squad_v11_dev, scitldr_a, tldr and medquad in BEIR's form. What is left out depends on
nothing but the md5 of ids:

* squad: two fifths of the training questions; all paragraphs and test questions. Articles of training and test differ.
* scifact, scitldr, tldr: documents and test queries as they are, no training queries.
* medquad: a quarter of the answers, and the questions whose answers are all among them.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from pathlib import Path


def share(id, parts):
    return int(hashlib.md5(id.encode(), usedforsecurity=False).hexdigest(), 16) % parts


def read_lines(file):
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_qrels(file):
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    return [(query, document, int(relevance)) for query, document, relevance in rows]


def write_set(out, documents, queries, splits):
    """Write a folder in BEIR's form, with the queries that are judged."""
    judged = {query for rows in splits.values() for query, _, _ in rows}
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", documents), ("queries", (row for row in queries if row["_id"] in judged))):
        with gzip.open(out / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for split, rows in splits.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (out / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{out.name}/{split}: {len({row[0] for row in rows})} queries, {len(rows)} judgements")


def make_all(data, out):
    def parts(name):
        folder = data / name
        return read_lines(folder / "corpus.jsonl.gz"), read_lines(folder / "queries.jsonl.gz"), folder / "qrels"

    documents, queries, qrels = parts("squad_v11_dev")
    trained = [row for row in read_qrels(qrels / "train.tsv") if share(row[0], 5) < 2]
    write_set(out / "squad", documents, queries, {"train": trained, "test": read_qrels(qrels / "test.tsv")})
    for name, source in (("scifact", "scifact"), ("scitldr", "scitldr_a"), ("tldr", "tldr")):
        documents, queries, qrels = parts(source)
        write_set(out / name, documents, queries, {"test": read_qrels(qrels / "test.tsv")})
    documents, queries, qrels = parts("medquad")
    kept = [row for row in documents if share(row["_id"], 4) == 0]
    known, rows = {row["_id"] for row in kept}, read_qrels(qrels / "all.tsv")
    outside = {query for query, document, _ in rows if document not in known}
    write_set(out / "medquad", kept, queries, {"test": [row for row in rows if row[0] not in outside]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    make_all(options.data, options.out)


if __name__ == "__main__":
    main()
