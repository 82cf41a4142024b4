"""An order in which documents that resemble each other stand near each other, made cheaply.

Documents, scaled to length one, are turned into points along the 64 strongest directions of the matrix (subspace
iteration from a random start, Halko, Martinsson and Tropp, arXiv 0909.4061, algorithm 4.4), and the points are cut in
two halves along their principal axis, again and again, down to 16 documents. It is not the graph bisection that
block-max engines are published with, but needs numpy and scipy alone.
"""

from __future__ import annotations

import numpy as np

DIRECTIONS = 64
SUBSPACE_STEPS = 3
LEAF = 16
POWER_STEPS = 6


def similar_order(rows, seed=0):
    """Give the row numbers in such an order. The same rows and seed give the same order."""
    random = np.random.default_rng(seed)
    points = project(rows, random)
    order = np.arange(rows.count)
    parts = [(0, rows.count)]
    while parts:
        start, stop = parts.pop()
        if stop - start <= LEAF:
            continue
        here = points[order[start:stop]]
        along = here @ principal_axis(here - here.mean(axis=0), random)
        half = (stop - start) // 2
        order[start:stop] = order[start:stop][np.argpartition(along, half)]
        parts += [(start, start + half), (start + half, stop)]
    return order


def project(rows, random):
    """Give the points, of length one."""
    matrix = rows.to_scipy()
    matrix.data /= np.repeat(np.sqrt(matrix.multiply(matrix).sum(axis=1)), np.diff(matrix.indptr))
    points = matrix @ random.standard_normal((matrix.shape[1], DIRECTIONS), dtype=np.float32)
    for _ in range(SUBSPACE_STEPS):
        points = matrix @ np.linalg.qr(matrix.T @ points)[0]
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)


def principal_axis(centred, random):
    axis = random.standard_normal(DIRECTIONS, dtype=np.float32)
    for _ in range(POWER_STEPS):
        axis = centred.T @ (centred @ axis)
        axis /= max(float(np.linalg.norm(axis)), 1e-9)
    return axis
