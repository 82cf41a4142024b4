"""The aims of the engine as ratios of what was measured, and what each search took beside reading its postings."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from peers import APPROXIMATE, ENGINES

OURS = "everglade"
BUILT_IN_2_S = 237_568
POSTING_BYTES = 3
"""A number within a window of documents (2 bytes) and an impact (1 byte): the least that a plain scan reads."""


def bandwidth():
    """Bytes a second that one core reads from memory in order: the best of ten passes over 256 MB."""
    numbers = np.ones(32 * 2**20, dtype=np.uint64)
    seconds = []
    for _ in range(10):
        begin = perf_counter()
        numbers.max()
        seconds.append(perf_counter() - begin)
    return numbers.nbytes / min(seconds)


def of_file(rows, name):
    return [row for row in rows if ENGINES[row["engine"]][0] == name]


def searches(rows, queries, k):
    """Give (engine, search) for every search with these queries."""
    return [
        (row["engine"], one)
        for row in rows
        for one in row.get("searches", ())
        if one["queries"] == queries and one["k"] == k and "median_ms" in one
    ]


def fastest(found, least_recall=0.0, exact=False):
    """The quickest search that reaches a recall; exact ones only, or all."""
    fitting = [
        (engine, one)
        for engine, one in found
        if one["recall"] >= least_recall and not (exact and one["kind"] == APPROXIMATE)
    ]
    return min(fitting, key=lambda pair: pair[1]["median_ms"], default=None)


def ratio(name, limit, ours, theirs):
    """One aim: our median over theirs. Nothing where one of them was not measured."""
    if ours is None or theirs is None:
        return {"aim": name, "limit": limit, "value": None, "met": None}
    value = ours[1]["median_ms"] / theirs[1]["median_ms"]
    pair = {
        who: f"{engine}, {one['setting']}: {one['median_ms']:.3f} ms at {one['recall']:.3f}"
        for who, (engine, one) in (("ours", ours), ("theirs", theirs))
    }
    return {"aim": name, "limit": limit, "value": value, "met": value <= limit} | pair


def measure_aims(rows, query_sets, documents):
    """Give every aim of issue 5 that the rows say something about, for the whole product and for the engine alone."""
    ours = of_file(rows, OURS)
    peers = [row for row in rows if row not in ours]
    aims = []
    for queries in query_sets:
        for face in ("index", "engine"):
            aims += search_aims(ours, peers, queries, face)
    return aims + size_aims(ours, documents)


def search_aims(ours, peers, queries, face):
    aims = []
    mine = {k: [pair for pair in searches(ours, queries, k) if pair[1]["setting"].startswith(face)] for k in (10, 1000)}
    for k, limit in ((10, 0.45), (1000, 0.5)):
        exact = fastest(mine[k], exact=True)
        best = fastest(searches(peers, queries, k), exact=True)
        aims.append(ratio(f"{queries}, {face}: exact, k={k}, of the best exact peer", limit, exact, best))
        if exact:
            value = exact[1]["p99_ms"] / exact[1]["median_ms"]
            aims.append(at_most(f"{queries}, {face}: exact, k={k}, p99 of the median", 3, value))
    for recall in (0.95, 0.99):
        for peer, limit in (("seismic", 0.35), ("sindi", 0.6)):
            best = fastest(searches(of_file(peers, peer), queries, 10), recall)
            name = f"{queries}, {face}: k=10 at recall {recall}, of {peer}"
            aims.append(ratio(name, limit, fastest(mine[10], recall), best))
    return aims


def at_most(name, limit, value):
    return {"aim": name, "limit": limit, "value": value, "met": value <= limit}


def size_aims(ours, documents):
    aims = []
    for row in ours:
        name = row["engine"]
        if "bytes_per_posting" in row:
            limit = 3.3 if name == "everglade-postings" else 6.5
            aims.append(at_most(f"{name}: bytes per posting", limit, row["bytes_per_posting"]))
            if documents == BUILT_IN_2_S and name == OURS:
                aims.append(at_most(f"{name}: build seconds", 2, row["build_s"]))
        if "two_threads" in row:
            value = row["two_threads"]
            aims.append({"aim": f"{name}: two threads, of one", "limit": 1.85, "value": value, "met": value >= 1.85})
    return aims
