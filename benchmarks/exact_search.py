"""Exact search over 237,568 real passages: ours beside scipy and splade-index, with the answers compared.

    python benchmarks/exact_search.py --data DATA [--queries 500] [--repeats 3]

DATA is a folder with docs.npz and queries.npz (indptr, terms, weights; documents in steps of 1/64). Every engine is
called through its own Python face, one query at a time on one thread; the engines take turns, and the median over
queries of the best of the repeats is shown. splade-index is measured when it can be imported (it needs numba).
Then the engine alone: approximate search for several shares of the mass, and one query on two threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from everglade import Index, SparseMatrix, _engine
from everglade.reference import quantise_documents, quantise_queries
from machine import write_result

N_TERMS = 30522


def load(path, step=1.0):
    arrays = np.load(path)
    weights = arrays["weights"].astype(np.float32) * step
    return SparseMatrix(arrays["indptr"], arrays["terms"], weights, N_TERMS).canonical()


class Everglade:
    def __init__(self, documents, folder):
        begin = time.perf_counter()
        ids = [f"{i:06d}" for i in range(len(documents))]
        with Index.create(folder, n_terms=N_TERMS) as index:
            index.add_vectors(ids, documents)
        self.build_s = time.perf_counter() - begin
        begin = time.perf_counter()
        self.index = Index.open(folder)
        self.open_s = time.perf_counter() - begin
        self.bytes = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())

    def search(self, queries, i, k):
        ids, scores = self.index.search_vectors(queries.rows(i, i + 1), k)
        return ids[0], scores[0]


class Scipy:
    """A dot product with every document: what one writes without an index."""

    def __init__(self, documents):
        begin = time.perf_counter()
        self.by_term = documents.to_scipy().tocsc()
        self.build_s = time.perf_counter() - begin
        self.bytes = self.by_term.data.nbytes + self.by_term.indices.nbytes + self.by_term.indptr.nbytes

    def search(self, queries, i, k):
        terms, weights = queries.row(i)
        scores = np.asarray(self.by_term[:, terms] @ weights).ravel()
        best = np.argpartition(-scores, k)[:k]
        best = best[np.lexsort((best, -scores[best]))]
        return best, scores[best]


class SpladeIndex:
    def __init__(self, documents):
        from splade_index.numba.retrieve_utils import _retrieve_numba_functional

        begin = time.perf_counter()
        by_term = documents.to_scipy().tocsc()
        self.scores = {
            "data": by_term.data,
            "indices": by_term.indices.astype(np.int32),
            "indptr": by_term.indptr.astype(np.int32),
            "num_docs": len(documents),
        }
        self.build_s = time.perf_counter() - begin
        self.bytes = sum(array.nbytes for array in self.scores.values() if isinstance(array, np.ndarray))
        self.retrieve = _retrieve_numba_functional

    def search(self, queries, i, k):
        terms, weights = queries.row(i)
        found = self.retrieve([terms], [weights], self.scores, k=k, show_progress=False)
        return found[0][0], found[1][0]


def check_exact(engine, documents, queries, k):
    """Count queries whose ids and integer scores equal a scipy brute force over the stored impacts."""
    scale = engine.index.info().impact_scale
    impacts = documents.to_scipy().astype(np.int64)
    impacts.data = quantise_documents(documents.weights, scale).astype(np.int64)
    by_term = impacts.tocsc()
    rounded, scales = quantise_queries(queries)
    equal = 0
    for i in range(len(queries)):
        span = slice(rounded.indptr[i], rounded.indptr[i + 1])
        truth = np.asarray(by_term[:, rounded.terms[span]] @ rounded.impacts[span].astype(np.int64)).ravel()
        order = np.lexsort((np.arange(len(truth)), -truth))[:k]
        ids, scores = engine.search(queries, i, k)
        integers = np.rint(scores.astype(np.float64) * scale * scales[i]).astype(np.int64)
        equal += ids.astype(int).tolist() == order.tolist() and integers.tolist() == truth[order].tolist()
    return equal


def overlap(engine, truth, queries, k):
    def found_by(one, i):
        return {int(document) for document in one.search(queries, i, k)[0]}

    shared = [len(found_by(engine, i) & found_by(truth, i)) for i in range(len(queries))]
    return float(np.mean(shared)) / k


def time_engines(engines, queries, k, repeats):
    times = {name: np.full((repeats, len(queries)), np.inf) for name in engines}
    for engine in engines.values():
        engine.search(queries, 0, k)
    for repeat in range(repeats):
        for name, engine in engines.items():
            for i in range(len(queries)):
                begin = time.perf_counter()
                engine.search(queries, i, k)
                times[name][repeat, i] = (time.perf_counter() - begin) * 1000
    return {
        name: {
            "median_ms": float(np.median(table.min(axis=0))),
            "p99_ms": float(np.percentile(table.min(axis=0), 99)),
            "spread_of_medians_ms": [float(np.median(row)) for row in table],
        }
        for name, table in times.items()
    }


def median_us(search, queries, repeats):
    """The median over queries, in microseconds, of the best of the repeats."""
    times = np.full((repeats, len(queries)), np.inf)
    for repeat in range(repeats):
        for i, query in enumerate(queries):
            begin = time.perf_counter()
            search(*query)
            times[repeat, i] = (time.perf_counter() - begin) * 1e6
    return float(np.median(times.min(axis=0)))


def engine_alone(folder, queries, repeats, k=10, candidates=50):
    """What approximate search and a second thread gain, without the Python around the engine."""
    files = [_engine.Segment(path) for path in sorted(Path(folder).rglob("*.segment"))]
    hidden = [None] * len(files)
    rounded, _ = quantise_queries(queries)
    ends = zip(rounded.indptr[:-1], rounded.indptr[1:], strict=True)
    single = [(np.array([0, b - a]), rounded.terms[a:b], rounded.impacts[a:b]) for a, b in ends]

    def exact(*query, threads=1):
        return _engine.search(files, hidden, *query, k, threads)

    def found(search):
        places = [search(*query)[:2] for query in single]
        return [set(zip(segments[0].tolist(), locals_[0].tolist(), strict=True)) for segments, locals_ in places]

    truth = found(exact)
    base = median_us(exact, single, repeats)
    table = {"exact": {"us": base, "recall@10": 1.0, "speed": 1.0}}
    for mass in (0.6, 0.7, 0.8, 0.9):

        def search(*query, mass=mass):
            return _engine.search_approximate(files, hidden, *query, k, 1, mass, candidates)

        recall = float(np.mean([len(a & b) / len(a) for a, b in zip(truth, found(search), strict=True) if a]))
        us = median_us(search, single, repeats)
        table[f"mass {mass}"] = {"us": us, "recall@10": recall, "speed": base / us}
    us = median_us(lambda *query: exact(*query, threads=2), single, repeats)
    table["exact, two threads"] = {"us": us, "recall@10": 1.0, "speed": base / us}
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    documents = load(options.data / "docs.npz", 1 / 64)
    queries = load(options.data / "queries.npz").rows(0, options.queries)
    with tempfile.TemporaryDirectory() as folder:
        engines = {"everglade": Everglade(documents, Path(folder) / "index"), "scipy": Scipy(documents)}
        try:
            engines["splade-index"] = SpladeIndex(documents)
        except ImportError:
            print("splade-index is not installed here: left out")
        result = {
            "documents": len(documents),
            "postings": len(documents.terms),
            "queries": len(queries),
            "equal to brute force over stored impacts, k=10": check_exact(engines["everglade"], documents, queries, 10),
            "equal to brute force over stored impacts, k=1000": check_exact(
                engines["everglade"], documents, queries, 1000
            ),
            "overlap@10 with float brute force": overlap(engines["everglade"], engines["scipy"], queries, 10),
            "build_s": {name: engine.build_s for name, engine in engines.items()},
            "open_s": engines["everglade"].open_s,
            "bytes_per_posting": {name: engine.bytes / len(documents.terms) for name, engine in engines.items()},
        }
        for k in (10, 1000):
            table = time_engines(engines, queries, k, options.repeats)
            for row in table.values():
                row["ratio_to_everglade"] = row["median_ms"] / table["everglade"]["median_ms"]
            result[f"k={k}"] = table
        result["engine alone, k=10"] = engine_alone(Path(folder) / "index", queries, options.repeats)
    for name, value in result.items():
        print(f"{name}: {value}")
    print(write_result("exact_search", result))


if __name__ == "__main__":
    main()
