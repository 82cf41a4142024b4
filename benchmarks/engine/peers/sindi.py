"""SINDI of vsag, through pyvsag: float values or 8 bits, with and without the second scoring of candidates."""

from __future__ import annotations

import json

import numpy as np
import pyvsag
from collection import N_TERMS

from peers import APPROXIMATE, EXACT, ROUNDED, Setting

PRUNE_RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CANDIDATES = {10: (50, 100, 200), 1000: (2000,)}


class Engine:
    version = pyvsag.__version__

    def __init__(self, rounded=False, reorder=False):
        self.rounded, self.reorder = rounded, reorder
        chosen = {
            "term_id_limit": N_TERMS,
            "window_size": 50_000,
            "doc_prune_ratio": 0.0,
            "use_quantization": rounded,
            "use_reorder": reorder,
        }
        whole = {"dtype": "sparse", "metric_type": "ip", "dim": 1024, "index_param": chosen}
        self.index = pyvsag.Index("sindi", json.dumps(whole))

    def build(self, rows, folder):
        terms, indptr = rows.terms.astype(np.uint32), rows.indptr.astype(np.uint32)
        ids = np.arange(rows.count, dtype=np.int64)
        self.index.build(index_pointers=indptr, indices=terms, values=rows.floats(), ids=ids)
        self.index.save(str(folder / "sindi"))

    def load(self, folder):
        self.index.load(str(folder / "sindi"))

    def settings(self, k):
        kind = ROUNDED if self.rounded and not self.reorder else EXACT
        settings = []
        for ratio in PRUNE_RATIOS:
            for candidates in CANDIDATES[k] if self.reorder else (k,):
                name = f"prune {ratio}" + (f" candidates {candidates}" if self.reorder else "")
                chosen = {"query_prune_ratio": ratio, "term_prune_ratio": 0.0, "n_candidate": candidates}
                # With 8 bits in the first step, whether the candidates hold all of the best is a matter of luck.
                is_exact = ratio == 0 and not (self.reorder and self.rounded)
                parameters = {"parameters": json.dumps({"sindi": chosen})}
                settings.append(Setting(name, kind if is_exact else APPROXIMATE, parameters))
        return settings

    def prepare(self, terms, weights):
        return np.array([0, len(terms)], dtype=np.uint32), terms.astype(np.uint32), weights

    def search(self, query, k, parameters):
        return self.index.knn_search(*query, k, parameters)

    def documents(self, found):
        """Where there are fewer hits than k, the last are document 0 with distance 0."""
        ids, distances = found
        return ids[0][distances[0] != 0]
