"""Everglade beside its peers: the same vectors, the same queries, the same run.

    python benchmarks/engine/run.py --data DATA [--documents 237568] [--scale real|2M|8.8M] [--peers a,b,c]
        [--queries 300] [--repeats 3] [--spp] [--budget 900] [--peers-python PYTHON] [--synthetic FOLDER]
        [--work FOLDER] [--result NAME]

DATA is a folder with docs.npz and queries.npz, with --spp queries_splade_pp.npz too; another scale than real reads
docs_SCALE.npz there or under --synthetic, which synthetic.py makes. Peers run with PYTHON, which has
requirements.txt installed:

    python -m venv PEERS && PEERS/bin/pip install --no-deps -r benchmarks/engine/requirements.txt

Every engine gets its own process: one that builds the index, then one that opens it and searches, so that its memory is
its own and a crash is a line in the table. Servers take turns; every query is timed alone, on one thread, with its
arguments in the engine's own form; of the repeats of a query the best counts. Builds may use all cores. Recall is the
share of the float brute force's best k. `x floor` is the mean time over the time that reading three bytes for each
posting of the query's terms takes at this machine's bandwidth. An engine that cannot be imported, fails, or takes
longer than --budget seconds in all is named with the reason.

It prints a table and writes benchmarks/results/engine_SCALE.json. All servers are open at once: at 2M leave out the
peers that need the most memory (bmp, kannolo, seismic), at 8.8M all but Everglade.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))

from aims import OURS, POSTING_BYTES, bandwidth, measure_aims
from collection import read_npz, save_rows
from peers import ENGINES, chosen
from processes import Budget, EngineFailed, EngineProcess
from table import print_aims, print_table
from truth import brute_force, postings_touched, recall

from machine import write_result

KS = (10, 1000)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, help="folder of docs_SCALE.npz; DATA if left out")
    parser.add_argument("--documents", type=int, help="only the first so many")
    parser.add_argument("--scale", default="real")
    parser.add_argument("--peers", default="", help="names of rows or of files in peers/; all if left out")
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spp", action="store_true", help="SPLADE++ queries too")
    parser.add_argument("--budget", type=float, default=900)
    parser.add_argument("--work", type=Path, help="folder for arrays and indexes; a temporary one if left out")
    parser.add_argument("--result", help="name of the result; engine_SCALE if left out")
    return parser.parse_args()


def read_documents(options):
    name = "docs.npz" if options.scale == "real" else f"docs_{options.scale}.npz"
    path = (options.data if options.scale == "real" else options.synthetic or options.data) / name
    if not path.exists():
        raise SystemExit(f"{path} is missing: make it with benchmarks/engine/synthetic.py")
    rows = read_npz(path)
    return rows.first(options.documents or rows.count)


def read_queries(options):
    files = {"dev": "queries.npz"} | ({"spp": "queries_splade_pp.npz"} if options.spp else {})
    return {name: read_npz(options.data / file).first(options.queries) for name, file in files.items()}


def begin(do, name, options, folder, row, budget):
    """Build an index, or open it in another process; give the process, or None and the reason in the row."""
    python = sys.executable if ENGINES[name][0] == OURS else options.peers_python
    process = EngineProcess(python, do, name, folder, one_thread=do == "serve")
    try:
        row |= budget.spend(process.answer)
    except EngineFailed as failure:
        row["failed"] = str(failure)
        process.stop()
        process = None
    print(f"{do} {name}: {row.get('failed', 'done')}", file=sys.stderr, flush=True)
    return process


def measure(servers, rows, budgets, queries, repeats, folder):
    """Let the servers take turns, and note in each row the times of every search and what the first round found."""
    for repeat in range(repeats):
        for name in list(servers):
            for one in rows[name]["searches"]:
                request = {key: one[key] for key in ("queries", "k")} | {"setting": one["number"]}
                found = str(folder / "found.npy") if repeat == 0 else None
                request |= {"times": str(folder / "times.npy"), "found": found}
                try:
                    told = budgets[name].spend(servers[name].ask, do="round", **request)
                except EngineFailed as failure:
                    rows[name]["failed"] = f"{failure}, in {one['setting']!r} with k={one['k']}"
                    servers.pop(name).stop()
                    break
                one.setdefault("times", []).append(np.load(folder / "times.npy"))
                one["cores_used"] = told["cores_used"]
                rows[name]["resident_after_mb"] = told["resident_mb"]
                if found:
                    one["recall"] = queries[one["queries"]].recall(np.load(found), one["k"])


class Asked:
    """A set of queries with what they should find."""

    def __init__(self, documents, rows):
        self.truth = {k: brute_force(documents, rows, k) for k in KS}
        self.postings = postings_touched(documents, rows)

    def recall(self, found, k):
        return recall(found, self.truth[k], k)


def list_searches(row, query_sets):
    settings_of = row.pop("settings")
    row["searches"] = [
        {"queries": name, "k": int(k), "setting": setting, "kind": kind, "number": number}
        for name in query_sets
        for k, settings in settings_of.items()
        for number, (setting, kind) in enumerate(settings)
    ]


def summarise(row, queries, bytes_per_s):
    """Turn the times of every search into the numbers of the table."""
    row.pop("batch", None)
    for one in row["searches"]:
        rounds = np.array(one.pop("times", []))
        del one["number"]
        if not len(rounds):
            continue
        best = rounds.min(axis=0)
        postings = queries[one["queries"]].postings
        one["median_ms"], one["mean_ms"] = float(np.median(best)), float(best.mean())
        one["p99_ms"] = float(np.percentile(best, 99))
        one["medians_of_rounds_ms"] = [float(np.median(times)) for times in rounds]
        one["ns_per_posting"] = one["mean_ms"] * 1e6 / postings
        one["times_floor"] = one["mean_ms"] / 1e3 / (postings * POSTING_BYTES / bytes_per_s)


def two_threads(server, repeats, seconds=120):
    """How much quicker a batch of all queries is on two threads than on one, the best of the repeats each."""
    request = {"do": "batch", "queries": "dev", "k": 10}
    taken = {1: [], 2: []}
    for _ in range(repeats):
        for threads, times in taken.items():
            times.append(server.ask(seconds, threads=threads, **request)["seconds"])
    return min(taken[1]) / min(taken[2])


def build_all(documents, rows, budgets, options, folder):
    save_rows(documents, folder / "documents")
    for name, row in rows.items():
        builder = begin("build", name, options, folder, row, budgets[name])
        if builder:
            builder.stop()
            row["bytes_per_posting"] = row["bytes"] / documents.postings


def serve_all(rows, budgets, queries, options, folder):
    """Open what was built, all at once, and measure it."""
    servers = {}
    try:
        for name, row in rows.items():
            server = None if "failed" in row else begin("serve", name, options, folder, row, budgets[name])
            if server:
                servers[name] = server
                list_searches(row, queries)
        measure(servers, rows, budgets, queries, options.repeats, folder)
        for name, server in servers.items():
            if rows[name].pop("batch"):
                rows[name]["two_threads"] = two_threads(server, options.repeats)
    finally:
        for server in servers.values():
            server.stop()


def run(options, folder):
    documents, query_rows = read_documents(options), read_queries(options)
    peers = [name for name in options.peers.split(",") if name]
    names = chosen([OURS, *peers] if peers else [])
    rows = {name: {"engine": name} for name in names}
    budgets = {name: Budget(options.budget) for name in names}
    build_all(documents, rows, budgets, options, folder)
    queries = {name: Asked(documents, asked) for name, asked in query_rows.items()}
    described = {"documents": documents.count, "postings": documents.postings}
    del documents  # the servers need the memory
    for name, asked in query_rows.items():
        save_rows(asked, folder / name)
    bytes_per_s = bandwidth()
    serve_all(rows, budgets, queries, options, folder)
    for row in rows.values():
        if "searches" in row:
            summarise(row, queries, bytes_per_s)
    return described | {
        "queries": {name: asked.count for name, asked in query_rows.items()},
        "postings_of_a_query": {name: asked.postings for name, asked in queries.items()},
        "bytes_per_s": bytes_per_s,
        "engines": list(rows.values()),
        "aims": measure_aims(list(rows.values()), query_rows, described["documents"]),
    }


def main():
    options = read_options()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        result = run(options, Path(folder))
    print_table(result)
    print_aims(result["aims"])
    print(write_result(options.result or f"engine_{options.scale.replace('.', '_')}", result))


if __name__ == "__main__":
    main()
