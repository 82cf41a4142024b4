"""Sizes and posting lists read from segment files equal what their vectors and the reference say."""

import numpy as np
import pytest

from everglade.index.options import IndexOptions
from everglade.index.parts import count_postings_read, measure_parts, read_lists
from everglade.index.pruning import keep_postings
from everglade.index.snapshot import EXACT, Effort
from everglade.index.store import Store
from everglade.reference import Impacts
from everglade.vectors import SparseMatrix

N_TERMS = 40
OPTIONS = (
    IndexOptions(),
    IndexOptions(impact_bits=16, keep_weights=True),
    IndexOptions(rows=False),
    IndexOptions(prune="document:3"),
    IndexOptions(prune="term:0.4"),
    IndexOptions(prune="threshold:1.0"),
)


def draw(generator, n_rows):
    rows = []
    for _ in range(n_rows):
        terms = generator.choice(N_TERMS, size=generator.integers(0, 12), replace=False)
        rows.append(dict(zip(terms.tolist(), generator.uniform(0.1, 3, len(terms)).tolist(), strict=True)))
    return SparseMatrix.from_rows(rows, N_TERMS)


@pytest.fixture(params=OPTIONS, ids=lambda options: f"{options.impact_bits}-{options.prune}-{options.rows}")
def store(request, tmp_path):
    """Two segments, with a deleted and a replaced document."""
    generator = np.random.default_rng(1)
    with Store.create(tmp_path / "index", n_terms=N_TERMS, options=request.param) as store:
        store.add(None, [f"a{n:03}" for n in range(90)], draw(generator, 90))
        store.add(None, [*(f"b{n:03}" for n in range(50)), "a003"], draw(generator, 51))
        store.delete(["b004"])
        yield store


def test_lists_are_those_of_the_vectors(store):
    counts, greatest = np.zeros(N_TERMS, dtype=int), np.zeros(N_TERMS, dtype=int)
    meta = store.meta
    for segment in store.snapshot.segments:
        impacts = Impacts(*segment.file.rows())
        kept = np.ones(len(impacts.terms), dtype=bool)
        if meta.options.prune is not None:
            kept = keep_postings(meta.options.prune, impacts, meta.impact_scale)
        assert kept.sum() == segment.file.n_postings
        np.add.at(counts, impacts.terms[kept], 1)
        np.maximum.at(greatest, impacts.terms[kept], impacts.impacts[kept])
    lists = read_lists(store.snapshot)
    assert lists.counts.tolist() == counts.tolist()
    assert lists.greatest.tolist() == greatest.tolist()
    assert len(store.snapshot.segments) == 2 and counts.sum() > 100


def test_parts_add_up_to_the_files(store):
    sizes = measure_parts(store.snapshot)
    files = sum(file.stat().st_size for file in store.path.glob("*.segment"))
    assert sum(sizes.values()) == files == store.info().size_bytes
    options = store.meta.options
    assert (sizes["vectors"] > 0) == options.rows
    assert (sizes["weights"] > 0) == options.keep_weights
    entries = sum(segment.row.entries for segment in store.snapshot.segments)
    assert sizes["weights"] == (2 * entries if options.keep_weights else 0)
    assert sizes["order"] == sizes["cells"] == 0
    assert sizes["postings"] >= store.info().postings * (4 if options.is_wide else 3)


def test_an_exact_search_reads_the_lists_of_its_terms(store):
    queries, _ = store.snapshot.quantise(draw(np.random.default_rng(2), 30))
    lists = read_lists(store.snapshot)
    read = count_postings_read(lists, queries, EXACT)
    for row, (start, stop) in enumerate(zip(queries.indptr, queries.indptr[1:], strict=False)):
        assert read[row] == sum(lists.counts[term] for term in queries.terms[start:stop])


@pytest.mark.parametrize("mass", [0.3, 0.6, 0.9, 1.0])
def test_one_that_covers_a_mass_reads_those_that_promise_most(store, mass):
    queries, _ = store.snapshot.quantise(draw(np.random.default_rng(3), 30))
    lists = read_lists(store.snapshot)
    read = count_postings_read(lists, queries, Effort(mass))
    for row, (start, stop) in enumerate(zip(queries.indptr, queries.indptr[1:], strict=False)):
        promises = {
            int(term): int(impact) * int(lists.greatest[term])
            for term, impact in zip(queries.terms[start:stop], queries.impacts[start:stop], strict=True)
        }
        covered, expected = 0, 0
        for term in sorted(promises, key=lambda term: (-promises[term], term)):
            if covered >= mass * sum(promises.values()):
                break
            covered, expected = covered + promises[term], expected + lists.counts[term]
        assert read[row] == expected


def test_an_empty_index_has_no_lists(tmp_path):
    with Store.create(tmp_path / "index", n_terms=N_TERMS) as store:
        assert read_lists(store.snapshot).counts.sum() == 0
        assert sum(measure_parts(store.snapshot).values()) == 0
        store.add(None, ["a"], SparseMatrix.from_rows([{}], N_TERMS))
        assert read_lists(store.snapshot).counts.sum() == 0
        assert sum(measure_parts(store.snapshot).values()) == store.info().size_bytes
