"""Work on many queries at a time, for what the engine does by single query: it lets go of Python's lock meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["count_threads", "for_each"]

T = TypeVar("T")


def count_threads(threads: int) -> int:
    """Give `threads`, or where that is 0 one for each core."""
    return threads or os.cpu_count() or 1


def for_each(work: Callable[[int], T], count: int, threads: int) -> list[T]:
    """Give what `work` gives for 0 to `count`, exclusive, done by so many threads at a time; 0 means all cores."""
    workers = min(count_threads(threads), count)
    if workers <= 1:
        return [work(place) for place in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, range(count)))
