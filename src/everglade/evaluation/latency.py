"""How long one query takes, asked alone and in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from everglade.errors import InputError

__all__ = ["Latency", "measure_latency"]

WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of single queries in milliseconds."""

    median_ms: float
    p99_ms: float
    n_queries: int


def measure_latency(search: Callable[[str], object], queries: Sequence[str]) -> Latency:
    """Time `search` on each query in turn, after a few to warm up.

    Raises:
        InputError: if there are no queries.
    """
    if not queries:
        raise InputError("there are no queries to time")
    for query in queries[:WARM_UP]:
        search(query)
    times_ms = []
    for query in queries:
        begin = time.perf_counter()
        search(query)
        times_ms.append((time.perf_counter() - begin) * 1000)
    return Latency(float(np.median(times_ms)), float(np.percentile(times_ms, 99)), len(queries))
