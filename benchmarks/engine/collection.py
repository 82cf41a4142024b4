"""Sparse vectors as the engines are given them: arrays in a folder that several processes map, numpy and nothing else.

The npz files hold `indptr`, `terms` and `weights`. Whole-number weights are steps of 1/64, as those of the documents
are; float weights are as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

N_TERMS = 30522
STEP = 1 / 64


class Rows(NamedTuple):
    """Row i holds `terms[indptr[i]:indptr[i+1]]`, ascending, with their `weights`."""

    indptr: np.ndarray
    terms: np.ndarray
    weights: np.ndarray

    @property
    def count(self):
        return len(self.indptr) - 1

    @property
    def postings(self):
        return int(self.indptr[-1])

    def floats(self):
        """The weights as float32."""
        step = STEP if np.issubdtype(self.weights.dtype, np.integer) else 1
        return self.weights.astype(np.float32) * np.float32(step)

    def first(self, count):
        end = int(self.indptr[min(count, self.count)])
        return Rows(self.indptr[: count + 1], self.terms[:end], self.weights[:end])

    def row(self, i):
        span = slice(int(self.indptr[i]), int(self.indptr[i + 1]))
        return self.terms[span].astype(np.int32), self._replace(weights=self.weights[span]).floats()

    def to_scipy(self, dtype=np.float32):
        from scipy.sparse import csr_array

        parts = (self.floats().astype(dtype, copy=False), self.terms.astype(np.int32), self.indptr)
        return csr_array(parts, shape=(self.count, N_TERMS))

    def chunks(self, size):
        """Give the rows `size` at a time, each time with the number of the first."""
        for start in range(0, self.count, size):
            indptr = self.indptr[start : start + size + 1]
            span = slice(int(indptr[0]), int(indptr[-1]))
            yield start, Rows(indptr - indptr[0], self.terms[span], self.weights[span])


def read_npz(path):
    """Read an npz file of vectors, with the terms of each row in ascending order."""
    with np.load(path) as arrays:
        rows = Rows(arrays["indptr"].astype(np.int64), arrays["terms"], arrays["weights"])
    descends = np.flatnonzero(rows.terms[1:] <= rows.terms[:-1]) + 1
    if np.isin(descends, rows.indptr).all():
        return rows
    order = np.lexsort((rows.terms, np.repeat(np.arange(rows.count), np.diff(rows.indptr))))
    return Rows(rows.indptr, rows.terms[order], rows.weights[order])


def save_rows(rows, folder):
    folder.mkdir(parents=True)
    for name, array in rows._asdict().items():
        np.save(folder / f"{name}.npy", array)


def open_rows(folder):
    return Rows(*(np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in Rows._fields))
