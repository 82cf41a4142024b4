"""PISA's side of parity.py, in PISA's own environment: `parity_pisa.py FOLDER K ALGORITHM...`.

FOLDER holds `documents/`, files of a JsonVectorCollection, and `queries.tsv` as Anserini has them. Both are read here
with json and nothing of Everglade. Their whole numbers are PISA's frequencies and query weights as they are. Fractions
become what pyterrier-pisa makes of them: documents' the whole part of 100 times the weight, here as there, while
queries' are passed on 100 times as great, and the compiled module repeats a term as often as the whole part says. The
scorer `quantized` adds up their products in single precision, exactly so up to 2^24. What each algorithm found is
written to `FOLDER/pisa-ALGORITHM.json`, {query: [[document, score], ...]}; the version is printed.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from collection import Rows
from peers.pisa import QUERY_SCALE, Engine


def as_frequency(weight):
    return int(weight * QUERY_SCALE) if isinstance(weight, float) else weight


def as_query_weights(weights):
    return {token: weight * QUERY_SCALE for token, weight in weights.items()}


def read_documents(folder):
    """Give the ids, and the rows over numbers that each token gets when it is first met."""
    ids, numbers, indptr, terms, weights = [], {}, [0], [], []
    for file in sorted(folder.iterdir()):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                document = json.loads(line)
                ids.append(document["id"])
                pairs = document["vector"].items()
                row = sorted((numbers.setdefault(token, len(numbers)), as_frequency(weight)) for token, weight in pairs)
                row = [(number, weight) for number, weight in row if weight > 0]
                terms += [number for number, _ in row]
                weights += [weight for _, weight in row]
                indptr.append(len(terms))
    return ids, numbers, Rows(np.array(indptr), np.array(terms, dtype=np.int32), np.array(weights, dtype=np.int32))


def read_queries(file, numbers):
    """Give id -> {PISA's name of the term: weight}; a token that no document has is left out."""
    queries = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        id, tokens = line.split("\t")
        weights = as_query_weights(json.loads(tokens)) if tokens.startswith('{"') else Counter(tokens.split())
        queries[id] = {f"{numbers[token]:08d}": float(weights[token]) for token in weights if token in numbers}
    return queries


def main():
    folder, k, algorithms = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ids, numbers, rows = read_documents(folder / "documents")
    engine = Engine()
    (folder / "pisa").mkdir()
    engine.build(rows, folder / "pisa")
    queries = read_queries(folder / "queries.tsv", numbers)
    for algorithm in algorithms:
        run = {}
        for id, query in queries.items():
            names, scores = engine.retrieve(query, k, algorithm) if query else ([], np.array([]))
            run[id] = [[ids[int(name)], score] for name, score in zip(names, scores.tolist(), strict=True)]
        (folder / f"pisa-{algorithm}.json").write_text(json.dumps(run), encoding="utf-8")
    print(engine.version)


if __name__ == "__main__":
    main()
