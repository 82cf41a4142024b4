"""SciFact through our whole path, beside sentence-transformers' vectors for the same weights scored exhaustively.

    python benchmarks/scifact_fidelity.py

Ours: encode, 8-bit index, exact search, evaluate. Theirs: the same model folder in `SparseEncoder`, every query against
every document in float32 by scipy. Both runs are measured by ir-measures with one tie rule. Encoding times are printed
beside, documents a second on the threads torch chooses.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array
from sentence_transformers import SparseEncoder

from everglade import Index, Splade, evaluate
from everglade.bundled import bundled_collection, bundled_model
from everglade.texts import open_collection
from machine import write_result

MEASURES = ["nDCG@10", "RR@10", "R@100", "R@1000"]


def our_run(model, documents, queries, folder):
    begin = time.perf_counter()
    vectors = model.encode_documents([document.full_text for document in documents])
    seconds = time.perf_counter() - begin
    with Index.create(folder, model) as index:
        index.add_vectors([document.id for document in documents], vectors)
        return index.search_many(queries, k=1000), vectors, seconds


def their_run(documents, queries):
    model = SparseEncoder(str(bundled_model()), device="cpu", model_kwargs={"dtype": torch.float32})
    begin = time.perf_counter()
    parts = model.encode_document(
        [document.full_text for document in documents], batch_size=16, show_progress_bar=False, save_to_cpu=True
    )
    seconds = time.perf_counter() - begin
    weights = to_scipy(parts)
    asked = to_scipy(model.encode_query([query.text for query in queries], show_progress_bar=False, save_to_cpu=True))
    scores = (asked @ weights.T).toarray()
    ids = np.array([document.id for document in documents])
    run = {}
    for query, row in zip(queries, scores, strict=True):
        order = np.argsort(-row, kind="stable")[:1000]
        run[query.id] = {str(ids[place]): float(row[place]) for place in order if row[place] > 0}
    return run, weights, seconds


def to_scipy(vectors):
    sparse = vectors.coalesce()
    rows, terms = sparse.indices().numpy()
    return csr_array((sparse.values().float().numpy(), (rows, terms)), shape=tuple(sparse.shape))


def main():
    collection = open_collection(bundled_collection())
    documents, queries = list(collection.documents()), collection.queries("test")
    qrels = collection.qrels("test")
    with tempfile.TemporaryDirectory() as folder:
        ours, our_vectors, our_s = our_run(Splade.load(bundled_model()), documents, queries, Path(folder) / "i")
    theirs, their_vectors, their_s = their_run(documents, queries)
    difference = abs(our_vectors.to_scipy() - their_vectors)
    result = {
        "documents": len(documents),
        "queries": len(queries),
        "everglade": evaluate(ours, qrels, MEASURES),
        "sentence-transformers, exhaustive float": evaluate(theirs, qrels, MEASURES),
        "largest difference of a document weight": float(difference.max()),
        "documents_per_second": {
            "everglade": len(documents) / our_s,
            "sentence-transformers": len(documents) / their_s,
        },
        "encoding ratio": their_s / our_s,
        "threads": torch.get_num_threads(),
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    print(write_result("scifact_fidelity", result))


if __name__ == "__main__":
    main()
