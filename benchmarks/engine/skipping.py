"""What skipping saves as a collection grows: one index, its plain scan beside what the planner chooses, and recall.

    python benchmarks/engine/skipping.py --data DATA --scale real|2M|8.8M [--synthetic FOLDER] [--queries 100]
        [--repeats 3] [--work FOLDER]

Reads docs.npz, or docs_SCALE.npz of synthetic.py, makes an index of it in a process of its own, whose greatest memory
is noted, and puts similar documents beside each other (`optimise`). An index that lies in --work already is used as it
is. Then, on one thread, the queries by SPLADE-tiny and by SPLADE++ one at a time: the engine told to scan all postings
and left to choose, in turn, whose hits must be equal, and `Index.search_vectors` with each recall that it was
calibrated for, beside the hits of the exact search. Writes benchmarks/results/skipping_SCALE.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))

from collection import N_TERMS, read_npz
from peers.everglade import Engine

from everglade import Index, _engine
from machine import write_result

KS = (10, 100, 1000)
RECALLS = (0.95, 0.99)


def build(path, folder):
    """Make the index, put it in order, and print what that took as JSON."""
    rows = read_npz(path)
    begin = time.perf_counter()
    with Index.create(folder, n_terms=N_TERMS) as index:
        for ids, matrix in Engine().parts(rows):
            index.add_vectors(ids, matrix)
        added = time.perf_counter()
        index.optimise()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    input_gib = sum(array.nbytes for array in rows) / 2**30
    print(
        json.dumps(
            {
                "documents": rows.count,
                "postings": rows.postings,
                "add_s": round(added - begin, 1),
                "optimise_s": round(time.perf_counter() - added, 1),
                "peak_gib": round(peak, 2),
                "of_which_input_gib": round(input_gib, 2),
            }
        )
    )


def time_in_turn(searches, count, repeats):
    """Milliseconds of processor time, the least of the repeats, of each search and each query; and what was found."""
    times = {name: np.full(count, np.inf) for name in searches}
    found = {name: [None] * count for name in searches}
    for _ in range(repeats):
        for name, search in searches.items():
            for i in range(count):
                begin = time.thread_time()
                found[name][i] = search(i)
                times[name][i] = min(times[name][i], (time.thread_time() - begin) * 1000)
    return times, found


def measure_paths(folder, impacts, repeats):
    """The plain scan beside the planner's choice."""
    files = [_engine.Segment(path) for path in sorted(folder.rglob("*.segment"))]
    hidden = [None] * len(files)
    table = {"segments": len(files)}
    for k in KS:

        def search(i, path, k=k):
            return _engine.search(files, hidden, *impacts[i], k, 1, path=path)

        paths = {"scan": lambda i: search(i, "scan"), "chosen": lambda i: search(i, "auto")}
        times, found = time_in_turn(paths, len(impacts), repeats)
        for one, other in zip(found["scan"], found["chosen"], strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), "the paths differ"
        mean = {name: float(values.mean()) for name, values in times.items()}
        table[f"k={k}"] = {
            name: {"mean_ms": round(mean[name], 3)}
            | {f"p{p}_ms": round(float(np.percentile(values, p)), 3) for p in (50, 99)}
            for name, values in times.items()
        } | {"chosen of the scan": round(mean["chosen"] / mean["scan"], 3)}
    return table


def measure_recall(folder, queries, repeats, k=10):
    """What the one knob gives: recall of the exact hits, and time."""
    with Index.open(folder) as index:

        def searching(recall):
            return lambda i: index.search_vectors(queries[i], k, recall=recall)[0][0]

        searches = {"exact": searching(None)} | {str(recall): searching(recall) for recall in RECALLS}
        times, found = time_in_turn(searches, len(queries), repeats)
        table = {}
        for name, values in times.items():
            shared = [len(set(a) & set(b)) / k for a, b in zip(found["exact"], found[name], strict=True)]
            table[name] = {"recall": round(float(np.mean(shared)), 4), "median_ms": round(float(np.median(values)), 3)}
    return table


def measure(options, folder):
    index = folder / f"index_{options.scale}"
    name = "docs.npz" if options.scale == "real" else f"docs_{options.scale}.npz"
    path = (options.data if options.scale == "real" else options.synthetic or options.data) / name
    result = {"scale": options.scale, "queries": options.queries, "repeats": options.repeats}
    told = index.with_suffix(".json")
    if not told.exists():
        done = subprocess.run(
            [sys.executable, __file__, "--build", path, index], stdout=subprocess.PIPE, check=True, text=True
        )
        told.write_text(done.stdout)
    result["index"] = json.loads(told.read_text())
    size = sum(file.stat().st_size for file in index.rglob("*") if file.is_file())
    result["index"]["bytes_per_posting"] = round(size / result["index"]["postings"], 3)
    print(json.dumps(result["index"], indent=2), flush=True)
    for kind, file in (("SPLADE-tiny", "queries.npz"), ("SPLADE++", "queries_splade_pp.npz")):
        rows = read_npz(options.data / file)
        asked = [Engine().prepare(*rows.row(i)) for i in range(options.queries)]
        queries, impacts = zip(*asked, strict=True)
        result[kind] = measure_paths(index, impacts, options.repeats)
        result[kind]["recall"] = measure_recall(index, queries, options.repeats)
        print(kind, json.dumps(result[kind], indent=2), flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of docs.npz and the queries")
    parser.add_argument("--synthetic", type=Path, help="folder of docs_SCALE.npz; DATA if left out")
    parser.add_argument("--scale", default="real")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the index; a temporary one if left out")
    parser.add_argument("--build", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(*options.build)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(options, folder)
    print(write_result(f"skipping_{options.scale}", result))


if __name__ == "__main__":
    main()
