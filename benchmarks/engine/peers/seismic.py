"""Seismic, through pyseismic-lsr: lists of 3,500 postings on average and its other defaults for the build."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import seismic
from collection import N_TERMS

from peers import APPROXIMATE, Setting

CUTS = {10: (3, 4, 5, 6, 8, 10, 12, 16, 20), 1000: (8, 12, 16, 20)}
FACTORS = {10: (0.6, 0.7, 0.8, 0.9, 1.0), 1000: (0.6, 0.7, 0.8, 0.9)}


class Engine:
    version = version("pyseismic-lsr")

    def build(self, rows, folder):
        dataset = seismic.SeismicDataset(N_TERMS)
        ids = [str(i) for i in range(rows.count)]
        dataset.add_documents_by_id(ids, rows.terms.astype(np.int64), rows.floats(), np.asarray(rows.indptr))
        seismic.SeismicIndex.build_from_dataset(dataset).save(str(folder / "seismic"))

    def load(self, folder):
        (path,) = folder.iterdir()
        self.index = seismic.SeismicIndex.load(str(path))

    def settings(self, k):
        return [
            Setting(f"cut {cut} heap factor {factor}", APPROXIMATE, {"query_cut": cut, "heap_factor": factor})
            for cut in CUTS[k]
            for factor in FACTORS[k]
        ]

    def prepare(self, terms, weights):
        return np.array([str(term) for term in terms], dtype=seismic.get_seismic_string()), weights

    def search(self, query, k, query_cut, heap_factor):
        return self.index.search("", *query, k, query_cut, heap_factor)

    def documents(self, found):
        return [int(document) for _, _, document in found]
