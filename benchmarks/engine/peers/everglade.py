"""Everglade: exactly through Index.search_vectors, exactly and approximately through the engine under it.

An index is measured as it is after adding, and after `optimise`, which puts documents that share terms beside each
other. What the engine alone takes is timed with query impacts made beforehand, and gives places rather than ids.
"""

from __future__ import annotations

import numpy as np
from collection import N_TERMS

from everglade import Index, SparseMatrix, __version__, _engine
from everglade.reference import MAX_IMPACT, quantise_documents, quantise_queries
from peers import APPROXIMATE, ROUNDED, Setting

MASSES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
PART = 262_144
"""Documents of one commit, so that 8.8 million fit into memory while they are added."""
CANDIDATES = {10: (20, 50, 100), 1000: (1000, 2000)}


class Engine:
    version = __version__

    def __init__(self, rows=True, optimised=False):
        self.rows = rows
        self.optimised = optimised
        self.index = None

    def build(self, rows, folder):
        """Make an index; without vectors by document only its segments, which are all that is measured then."""
        if not self.rows:
            scale = MAX_IMPACT / float(rows.floats().max())
            for number, (ids, matrix) in enumerate(self.parts(rows), 1):
                impacts = quantise_documents(matrix.weights, scale)
                kept = impacts > 0
                indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
                vectors = (indptr, matrix.terms[kept], impacts[kept])
                _engine.write_segment(
                    folder / f"{number}.segment", bytes(16), number, N_TERMS, *vectors, ids, rows=False
                )
            return
        with Index.create(folder / "index", n_terms=N_TERMS) as index:
            for ids, matrix in self.parts(rows):
                index.add_vectors(ids, matrix)
            if self.optimised:
                index.optimise()

    def parts(self, rows):
        for start, part in rows.chunks(PART):
            ids = [f"{start + i:08d}" for i in range(part.count)]
            yield ids, SparseMatrix(part.indptr, part.terms, part.floats(), N_TERMS)

    def load(self, folder):
        if self.rows:
            self.index = Index.open(folder / "index")
        self.files = [_engine.Segment(path) for path in sorted(folder.rglob("*.segment"))]
        self.hidden = [None] * len(self.files)

    def settings(self, k):
        settings = [Setting("engine, exact", ROUNDED, {})]
        if self.rows:
            settings.insert(0, Setting("index, exact", ROUNDED, {"recall": None}))
            settings += [Setting(f"index, recall {least}", APPROXIMATE, {"recall": least}) for least in (0.95, 0.99)]
            settings += [
                Setting(f"engine, mass {mass} candidates {candidates}", APPROXIMATE, {"effort": (mass, candidates)})
                for mass in MASSES
                for candidates in CANDIDATES[k]
            ]
        return settings

    def prepare(self, terms, weights):
        matrix = SparseMatrix(np.array([0, len(terms)]), terms, weights, N_TERMS)
        impacts, _ = quantise_queries(matrix)
        return matrix, (impacts.indptr, impacts.terms, impacts.impacts.astype(np.uint32))

    def search(self, query, k, effort=None, **of_index):
        if of_index:
            return self.index.search_vectors(query[0], k, **of_index)[0][0]
        if effort is None:
            return _engine.search(self.files, self.hidden, *query[1], k, 1)
        return _engine.search_approximate(self.files, self.hidden, *query[1], k, 1, *effort)

    def documents(self, found):
        if isinstance(found, np.ndarray):
            return [int(id) for id in found if id is not None]
        segments, locals_, _ = found
        return [
            int(self.files[s].id(d)) for s, d in zip(segments[0].tolist(), locals_[0].tolist(), strict=True) if s >= 0
        ]

    def batch(self, queries, k, threads):
        many = SparseMatrix.stack([query[0] for query in queries])
        impacts, _ = quantise_queries(many)
        arguments = (impacts.indptr, impacts.terms, impacts.impacts.astype(np.uint32), k, threads)
        return lambda: _engine.search(self.files, self.hidden, *arguments)
