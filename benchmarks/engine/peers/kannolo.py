"""kANNolo: a navigable graph over sparse vectors with values of 8 bits, 16 neighbours, 100 candidates in the build."""

from __future__ import annotations

from importlib.metadata import version

import kannolo
import numpy as np

from peers import APPROXIMATE, Setting

EF = {10: (20, 50, 100, 200, 400, 800), 1000: (1000, 2000)}


class Engine:
    version = version("kannolo")

    def build(self, rows, folder):
        terms, indptr = rows.terms.astype(np.int32), np.asarray(rows.indptr)
        make = kannolo.SparseFixedU8HNSW.build_from_arrays
        make(terms, rows.floats(), indptr, m=16, ef_construction=100).save(str(folder / "graph"))

    def load(self, folder):
        (path,) = folder.iterdir()
        self.index = kannolo.SparseFixedU8HNSW.load(str(path))

    def settings(self, k):
        return [Setting(f"ef {ef}", APPROXIMATE, {"ef_search": ef}) for ef in EF[k]]

    def prepare(self, terms, weights):
        return terms, weights

    def search(self, query, k, ef_search):
        return self.index.search(*query, k, ef_search)

    def documents(self, found):
        return found[1].tolist()
