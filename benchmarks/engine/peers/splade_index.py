"""splade-index: its numba search over a matrix by term. Its own class wants a sentence-transformers model: left out."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from splade_index.numba.retrieve_utils import _retrieve_numba_functional

from peers import EXACT, Setting


class Engine:
    version = version("splade-index")

    def build(self, rows, folder):
        by_term = rows.to_scipy().tocsc()
        indices, indptr = by_term.indices.astype(np.int32), by_term.indptr.astype(np.int32)
        np.savez(folder / "csc.index.npz", data=by_term.data, indices=indices, indptr=indptr, num_docs=rows.count)

    def load(self, folder):
        with np.load(folder / "csc.index.npz") as arrays:
            self.scores = {name: arrays[name] for name in ("data", "indices", "indptr")}
            self.scores["num_docs"] = int(arrays["num_docs"])
        # The first search compiles, for many seconds; the package's own loading does the same.
        self.search(self.prepare(np.zeros(1, np.int32), np.ones(1, np.float32)), 1)

    def settings(self, k):
        return [Setting("numba", EXACT, {})]

    def prepare(self, terms, weights):
        return [terms], [weights]

    def search(self, query, k):
        return _retrieve_numba_functional(*query, self.scores, k=k, show_progress=False)

    def documents(self, found):
        return [d for d, score in zip(found[0][0].tolist(), found[1][0].tolist(), strict=True) if score > 0]
