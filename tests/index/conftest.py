"""What the tests of the index share: small vectors, and the reference's answer over a dictionary of them."""

import shutil
import sqlite3
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from everglade.index.rows import insert_documents
from everglade.index.values import DocumentRow
from everglade.reference import Impacts, quantise_documents, quantise_queries, search_impacts
from everglade.vectors import SparseMatrix

N_TERMS = 12


class Model:
    """What a store should hold: a dictionary from id to {term: weight}, searched by brute force."""

    def __init__(self):
        self.rows = {}

    def impacts(self, scale):
        matrix = SparseMatrix.from_rows(self.rows.values(), N_TERMS)
        impacts = quantise_documents(matrix.weights, scale or 1.0)
        return Impacts(matrix.indptr, matrix.terms, impacts)

    def search(self, queries, k, scale):
        found = search_impacts(self.impacts(scale), list(self.rows), quantise_queries(queries)[0], k)
        return [list(zip(ranking.ids, ranking.scores, strict=True)) for ranking in found]


def hits_of(found):
    """The hits of each query as (id, integer score) pairs."""
    return [
        [(id, score) for id, score in zip(ids, scores, strict=True) if id is not None]
        for ids, scores in zip(found.ids.tolist(), found.integer_scores.tolist(), strict=True)
    ]


def matrix_of(rows):
    return SparseMatrix.from_rows(rows, N_TERMS)


def every_term():
    """One query for each term, and one for all of them."""
    return matrix_of([*({term: 1.0} for term in range(N_TERMS)), {term: 1.0 + term for term in range(N_TERMS)}])


def require_equal(store, model, k=7):
    """Fail unless the store holds what the model holds and finds what the model finds."""
    scale = store.meta.impact_scale
    assert len(store) == len(model.rows)
    assert sorted(store.snapshot.ids()) == sorted(model.rows)
    for depth in (k, len(model.rows) + 3):
        found = store.search(every_term(), depth)
        assert found.ids.shape == (N_TERMS + 1, depth)
        assert hits_of(found) == model.search(every_term(), depth, scale)
    for id, row in model.rows.items():
        terms, impacts = store.vector(id)
        weights = np.array([row[term] for term in sorted(row)], dtype=np.float32)
        expected = quantise_documents(weights, scale or 1.0)
        stored = dict(zip(sorted(row), expected.tolist(), strict=True))
        assert dict(zip(terms.tolist(), impacts.tolist(), strict=True)) == {t: i for t, i in stored.items() if i}


@pytest.fixture
def small_vectors():
    """The helpers above, as one value."""

    class Helpers:
        pass

    helpers = Helpers()
    helpers.Model, helpers.hits_of, helpers.matrix_of = Model, hits_of, matrix_of
    helpers.every_term, helpers.require_equal, helpers.N_TERMS = every_term, require_equal, N_TERMS
    return helpers


@pytest.fixture
def memory_folder():
    """A folder in memory where there is one: durability is not what these tests are about."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def reseal_catalog():
    """A function that gives every row of a folder's catalog the checksum that it should have."""

    def reseal(folder):
        connection = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
        rows = connection.execute("SELECT key, value FROM meta").fetchall()
        sums = [(zlib.crc32(f"{key}\0{value}".encode()), key) for key, value in rows]
        connection.executemany("UPDATE meta SET checksum = ? WHERE key = ?", sums)
        columns = ", ".join(DocumentRow._fields)
        documents = [DocumentRow(*row) for row in connection.execute(f"SELECT {columns} FROM documents").fetchall()]
        connection.execute("DELETE FROM documents")
        insert_documents(connection, documents)
        connection.close()

    return reseal
