"""How fast this machine multiplies; torch is not asked, as a plan should not wait for it."""

from __future__ import annotations

import functools
import os
import time
from itertools import cycle
from pathlib import Path

import numpy as np

__all__ = ["has_gpu", "measure_speed", "screens_here"]

_ROWS, _WIDTH, _INNER = (64, 512), 768, 3072
_MEASURED_S = 0.25


@functools.cache
def measure_speed() -> float:
    """Give the multiply-adds a second of a float32 product of BERT's size, on the threads numpy takes.

    The best of what fits into a quarter of a second counts. The longer products are the faster ones; on a busy machine
    the shorter ones find all its cores free now and then.
    """
    weight = np.ones((_WIDTH, _INNER), np.float32)
    batches = cycle(np.ones((rows, _WIDTH), np.float32) for rows in _ROWS)
    best, until = 0.0, time.perf_counter() + _MEASURED_S
    while (began := time.perf_counter()) < until:
        rows = next(batches)
        rows @ weight
        best = max(best, rows.size * _INNER / (time.perf_counter() - began))
    return best


def screens_here() -> bool:
    """Whether this processor computes the SPLADE head in 8-bit integers."""
    from everglade import _head

    return _head.is_supported()


def has_gpu() -> bool:
    """Whether a GPU of NVIDIA's is there for torch to take."""
    return any(Path("/dev").glob("nvidia[0-9]*")) and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
