"""Whole numbers of files give the whole-number sums that Lucene and PISA compute, and so the same order and measures.

benchmarks/engine/parity.py runs PISA and Lucene on files; here stand sums in plain Python over the same files.
"""

import gzip
import json
import random
from collections import Counter

import pytest

from everglade import Index, evaluate
from everglade.evaluation.measures import evaluate_queries
from everglade.vector_files import Vocabulary, write_folder

TOKENS = [f"t{number}" for number in range(60)]
VOCABULARY = Vocabulary("made", {token: term for term, token in enumerate(TOKENS)}, len(TOKENS))
K = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A pair of files as Anserini has them; small weights make many ties, and one document has naver's mark alone."""
    folder = tmp_path_factory.mktemp("files")
    draw = random.Random(7)
    vocabulary = Vocabulary("made", {**VOCABULARY.ids, "[unused993]": 60}, 61)
    documents = {f"d{n:03d}": {t: draw.choice([1, 2, 3, 390]) for t in draw.sample(TOKENS, 12)} for n in range(400)}
    documents["empty"] = {"[unused993]": 1}
    with gzip.open(folder / "documents.jsonl.gz", "wt") as file:
        for id, vector in documents.items():
            file.write(json.dumps({"id": id, "contents": "", "vector": vector}) + "\n")
    with gzip.open(folder / "queries.tsv.gz", "wt") as file:
        for n in range(40):
            weights = {t: draw.choice([1, 2, 7, 113, 3574]) for t in draw.sample(TOKENS, 6)}
            file.write(f"q{n}\t{' '.join(t for t, weight in weights.items() for _ in range(weight))}\n")
        file.write("nothing\t[unused993]\n")
    write_folder([folder / "documents.jsonl.gz"], folder / "vectors", vocabulary)
    write_folder([folder / "queries.tsv.gz"], folder / "query-vectors", vocabulary, side="query")
    return folder


@pytest.fixture(scope="module")
def naive_run(files):
    """Sums of products of whole numbers, read by json and split alone."""
    with gzip.open(files / "documents.jsonl.gz", "rt") as lines:
        documents = {row["id"]: row["vector"] for row in map(json.loads, lines)}
    run = {}
    with gzip.open(files / "queries.tsv.gz", "rt") as lines:
        for line in lines:
            id, words = line.rstrip("\n").split("\t")
            counts = Counter(words.split(" "))
            scores = {
                d: sum(counts[t] * w for t, w in vector.items()) for d, vector in documents.items() if d != "empty"
            }
            hits = sorted(((d, s) for d, s in scores.items() if s), key=lambda hit: (-hit[1], hit[0]))
            run[id] = dict(hits[:K])
    return run


def test_ids_and_scores_are_those_of_the_sums(files, naive_run, tmp_path):
    with Index.create(tmp_path / "index", n_terms=61, keep_weights=True, impact_bits=16) as index:
        index.add_folder(files / "vectors")
        found = index.search_folder(files / "query-vectors", k=K, float_exact=True)
    assert found == naive_run
    assert [list(hits) for hits in found.values()] == [list(hits) for hits in naive_run.values()]
    assert found["nothing"] == {}
    ties = sum(len(hits) - len(set(hits.values())) for hits in naive_run.values())
    assert ties > 100


def test_measures_are_those_of_the_sums(files, naive_run, tmp_path):
    draw = random.Random(8)
    qrels = {
        query: {document: draw.randrange(3) for document in draw.sample(list(hits), 5)}
        for query, hits in naive_run.items()
        if hits
    }
    names = ["nDCG@10", "RR@10", "R@1000"]
    with Index.create(tmp_path / "index", n_terms=61, keep_weights=True, impact_bits=16) as index:
        index.add_folder(files / "vectors")
        found = index.search_folder(files / "query-vectors", k=K, float_exact=True)
    assert evaluate_queries(found, qrels, names) == evaluate_queries(naive_run, qrels, names)
    assert 0 < evaluate(found, qrels, names)["nDCG@10"] < 1
