"""Block-Max Pruning, through bmp: documents as they come, and in an order that puts similar ones together.

Documents keep their steps of 1/64; the engine rounds query weights to at most 32 levels, so that even alpha 1, which it
calls safe, does not find all of the best. The order of order.py is part of the build time of the ordered index.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from bmp import Indexer, Searcher
from collection import N_TERMS, STEP
from order import similar_order

from peers import APPROXIMATE, Setting

ALPHAS = (0.7, 0.8, 0.9, 1.0)


class Engine:
    version = version("bmp")

    def __init__(self, block, ordered):
        self.block, self.ordered = block, ordered

    def build(self, rows, folder):
        order = similar_order(rows) if self.ordered else np.arange(rows.count)
        names = [str(term) for term in range(N_TERMS)]
        indexer = Indexer(str(folder / "index.bmp"), bsize=self.block, compress_range=False)
        for i in order.tolist():
            terms, weights = rows.row(i)
            levels = np.rint(weights / STEP).astype(int).tolist()
            indexer.add_document(str(i), {names[t]: w for t, w in zip(terms.tolist(), levels, strict=True)})
        indexer.finish()

    def load(self, folder):
        self.searcher = Searcher(str(folder / "index.bmp"))

    def settings(self, k):
        return [Setting(f"alpha {alpha}", APPROXIMATE, {"alpha": alpha}) for alpha in ALPHAS]

    def prepare(self, terms, weights):
        return {str(term): weight for term, weight in zip(terms.tolist(), weights.tolist(), strict=True)}

    def search(self, query, k, alpha):
        return self.searcher.search(query, k, alpha, 1.0)

    def documents(self, found):
        return [int(name) for name in found[0]]
