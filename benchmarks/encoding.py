"""Documents to vectors: ours beside sentence-transformers, same model and texts, with the difference of the vectors.

    python benchmarks/encoding.py --model MODEL --collection BEIR [--documents 1000] [--rounds 3]

MODEL is a masked language model folder; both read it in float32 and cut documents at 256 tokens. sentence-transformers
runs `SparseEncoder.encode_document` with its batch size of 32, which sorts by length as ours does. The ways take turns;
shown is the best of the rounds, and their spread. Memory is what the process grew by at its highest.

`bfloat16` is our encoder with its weights in bfloat16 (the head computes in float32 still): a little faster, and not
the same, so it is not compared with the float32 of sentence-transformers.
Overlap@10 compares what 300 queries find in the encoded documents, by exhaustive float scores, with the vectors of
sentence-transformers on both sides.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import time
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SparseEncoder

from everglade import SparseMatrix, Splade
from everglade.texts import open_collection
from head import memory_bytes
from machine import write_result

LENGTH = 256


class Ours:
    def __init__(self, path, dtype):
        self.model = Splade.load(path, dtype=dtype, max_document_length=LENGTH, max_query_length=LENGTH)

    def documents(self, texts):
        return self.model.encode_documents(texts)

    def queries(self, texts):
        return self.model.encode_queries(texts)


class SentenceTransformers:
    def __init__(self, path):
        self.model = SparseEncoder(str(path), device="cpu", model_kwargs={"dtype": torch.float32})
        self.model.max_seq_length = LENGTH

    def documents(self, texts):
        return self.model.encode_document(texts, show_progress_bar=False)

    def queries(self, texts):
        return self.model.encode_query(texts, show_progress_bar=False)


def to_matrix(vectors):
    if isinstance(vectors, SparseMatrix):
        return vectors
    vectors = vectors.coalesce()
    rows, terms = vectors.indices().numpy()
    indptr = np.searchsorted(rows, np.arange(vectors.shape[0] + 1))
    return SparseMatrix(indptr, terms, vectors.values().numpy(), vectors.shape[1]).canonical()


def run(way, texts):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_bytes("VmRSS")
    begin = time.perf_counter()
    vectors = way.documents(texts)
    seconds, extra = time.perf_counter() - begin, memory_bytes("VmHWM") - before
    return seconds, extra, to_matrix(vectors)


def best_ten(queries, documents):
    scores = (queries.to_scipy() @ documents.to_scipy().T).toarray()
    return np.argsort(-scores, axis=1, kind="stable")[:, :10]


def compare(found, expected, found_queries, expected_queries):
    difference = abs(found.to_scipy() - expected.to_scipy())
    tops = zip(best_ten(found_queries, found), best_ten(expected_queries, expected), strict=True)
    return {
        "largest difference of a weight": float(difference.max()),
        "overlap@10": float(np.mean([len(set(a) & set(b)) / 10 for a, b in tops])),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    source = open_collection(options.collection)
    texts = [document.full_text for document in source.documents()][: options.documents]
    queries = [query.text for query in source.queries("test")][:300]
    ways = {
        "float32": Ours(options.model, "float32"),
        "bfloat16": Ours(options.model, "bfloat16"),
        "sentence-transformers": SentenceTransformers(options.model),
    }
    result = {"model": options.model.name, "documents": len(texts), "torch": torch.__version__}
    for threads in (2, 1):
        torch.set_num_threads(threads)
        for way in ways.values():
            way.documents(texts[:64])
        runs = {name: [] for name in ways}
        vectors = {}
        for _ in range(options.rounds):
            for name, way in ways.items():
                seconds, extra, vectors[name] = run(way, texts)
                runs[name].append((len(texts) / seconds, extra))
        table = {
            name: {
                "documents_per_second": round(max(rate for rate, _ in measured), 1),
                "spread": [round(rate, 1) for rate, _ in measured],
                "extra_mb": round(min(extra for _, extra in measured) / 1e6),
            }
            for name, measured in runs.items()
        }
        ours, peer = table["float32"], table["sentence-transformers"]
        ours["times faster"] = round(ours["documents_per_second"] / peer["documents_per_second"], 2)
        ours["share of memory"] = round(ours["extra_mb"] / peer["extra_mb"], 3)
        for name, row in table.items():
            print(threads, "threads", name, row, flush=True)
        result[f"{threads} threads"] = table
    asked = {name: to_matrix(way.queries(queries)) for name, way in ways.items()}
    result["quality"] = {
        name: compare(vectors[name], vectors["sentence-transformers"], asked[name], asked["sentence-transformers"])
        for name in ("float32", "bfloat16")
    }
    print(result["quality"])
    print(write_result("encoding", result))


if __name__ == "__main__":
    main()
