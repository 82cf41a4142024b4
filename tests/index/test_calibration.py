"""Approximate search by the recall that is wanted."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from everglade import _engine
from everglade.errors import ConfigError, CorruptIndex
from everglade.index import calibration
from everglade.index.calibration import Efforts, choose_effort, is_fresh, sample_queries
from everglade.index.options import IndexOptions
from everglade.index.snapshot import EXACT, Effort
from everglade.index.store import Store
from everglade.index.values import Calibration, CalibrationRow
from everglade.vectors import SparseMatrix

N_TERMS = 300


def corpus(n_documents=1500, seed=3):
    """Documents whose terms follow Zipf's law, with the weights of SPLADE vectors."""
    generator = np.random.default_rng(seed)
    shares = 1 / np.arange(1, N_TERMS + 1)
    rows = []
    for _ in range(n_documents):
        terms = generator.choice(N_TERMS, 30, replace=False, p=shares / shares.sum())
        rows.append(dict(zip(terms.tolist(), generator.gamma(2.0, 0.4, 30).tolist(), strict=True)))
    return SparseMatrix.from_rows(rows, N_TERMS)


@pytest.fixture(scope="module", params=[None, "document:8"])
def store(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "i"
    with (
        pytest.MonkeyPatch.context() as patch,
        Store.create(path, n_terms=N_TERMS, options=IndexOptions(prune=request.param)) as store,
    ):
        patch.setattr(calibration, "QUERIES", 120)
        matrix = corpus()
        store.add(None, [f"d{place:04}" for place in range(len(matrix))], matrix)
        yield store


def test_what_is_noted_is_what_a_search_reaches(store, monkeypatch):
    noted = store.calibrate()
    assert store.meta.calibration == noted == store.info().calibration
    assert (noted.documents, noted.queries, noted.given) == (1500, calibration.QUERIES, False)
    assert {(row.k, row.recall) for row in noted.rows} == {(k, r) for k in (10, 100) for r in calibration.RECALLS}
    with Store.open(store.path) as reader:
        assert reader.meta.calibration == noted
    monkeypatch.setattr(calibration, "SEED", 8)
    monkeypatch.setattr(calibration, "QUERIES", 300)
    fresh = sample_queries(store.snapshot)
    for k in (10, 100):
        truth = store.search(fresh, k, recall=1.0)
        for recall in (0.8, 0.95, 0.99):
            found = store.search(fresh, k, recall=recall)
            reached = np.mean([len({*a} & {*b}) / k for a, b in zip(truth.ids, found.ids, strict=True)])
            assert reached >= recall - 0.03
    cheap = choose_effort(noted, 10, 0.8)
    assert cheap.mass is not None
    assert cheap.mass < 1


def test_calibrating_again_gives_the_same(store):
    first, version = store.calibrate(), store.meta.version
    assert store.calibrate() == first
    assert store.meta.version == (version[0], version[1] + 1)


def test_real_queries_may_be_given(store):
    noted = store.calibrate(corpus(60, seed=4).top_terms(5))
    assert (noted.queries, noted.given) == (60, True)


def test_too_few_different_queries_are_refused(store):
    """They would choose by chance, and measure with what chose."""
    queries = corpus(calibration.LEAST_QUERIES, seed=5).top_terms(5)
    nothing = SparseMatrix.from_rows([{}], N_TERMS)
    one_less = queries.rows(0, len(queries) - 1)
    before = store.meta.calibration
    for given in (one_less, SparseMatrix.stack([one_less, one_less, nothing])):
        with pytest.raises(ConfigError, match=rf"of the {len(given)} queries .* 49 have terms .* at least 50"):
            store.calibrate(given)
    assert store.meta.calibration == before
    assert store.calibrate(SparseMatrix.stack([queries, one_less, nothing])).queries == len(queries)
    assert store.calibrate(SparseMatrix.stack([queries, queries])) == store.calibrate(queries)


def test_recall_one_and_deep_searches_are_exact(store):
    store.calibrate()
    queries = corpus(5, seed=9)
    exact = store.snapshot.search(queries, 150, effort=EXACT)
    for recall in (1.0, 0.8):
        assert store.search(queries, 150, recall=recall).ids.tolist() == exact.ids.tolist()


def test_a_small_index_is_searched_exactly_and_a_large_one_measured_once(tmp_path, monkeypatch):
    measured = []
    real = calibration.measure
    monkeypatch.setattr(calibration, "measure", lambda *a, **k: measured.append(1) or real(*a, **k))
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        matrix = corpus(600)
        store.add(None, [f"d{place}" for place in range(200)], matrix.rows(0, 200))
        exact = store.search(matrix.rows(0, 3), 10)
        assert store.search(matrix.rows(0, 3), 10, recall=0.5).ids.tolist() == exact.ids.tolist()
        assert measured == []
        monkeypatch.setattr(calibration, "SMALL_INDEX", 100)
        for _ in range(2):
            store.search(matrix.rows(0, 3), 10, recall=0.9)
        assert len(measured) == 1
        store.add(None, [f"e{place}" for place in range(400)], matrix.rows(200, 600))
        store.search(matrix.rows(0, 3), 10, recall=0.9)
        assert len(measured) == 2  # the index has grown
        assert store.meta.calibration is None


def test_an_index_is_measured_once_however_many_threads_ask(store, monkeypatch):
    monkeypatch.setattr(calibration, "SMALL_INDEX", 100)
    measured, together = [], threading.Barrier(4)
    real = calibration.measure
    monkeypatch.setattr(calibration, "measure", lambda *a, **k: measured.append(k["threads"]) or real(*a, **k))
    with Store.open(store.path) as reader:
        snapshot = replace(reader.snapshot, meta=replace(reader.meta, calibration=None))
        efforts = Efforts()

        def choose(_):
            together.wait()
            return efforts.choose(snapshot, 10, 0.9)

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(choose, range(4)))) == 1
    assert measured == [0]  # on all cores


def test_an_index_that_gives_too_few_queries_is_searched_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "SMALL_INDEX", 100)
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, [f"d{place:03}" for place in range(200)], SparseMatrix.from_rows([{1: 1.0}] * 200, N_TERMS))
        found = store.search(SparseMatrix.from_rows([{1: 1.0}], N_TERMS), 2, recall=0.9)
        assert found.ids.tolist() == [["d000", "d001"]]


@pytest.mark.parametrize("effort", [EXACT, None], ids=["whole vectors", "usual"])
def test_threads_find_the_same_and_score_whole_vectors_at_the_same_time(store, monkeypatch, effort):
    """Where postings are pruned the exact search scores every document; that is done by as many threads as asked."""
    workers = set()
    real = _engine.score_documents
    monkeypatch.setattr(
        _engine, "score_documents", lambda *a: (workers.add(threading.get_ident()), time.sleep(0.01), real(*a))[-1]
    )
    queries = corpus(9, seed=6)
    alone = store.snapshot.search(queries, 150, 1, effort=effort)
    assert workers <= {threading.get_ident()}
    workers.clear()
    together = store.snapshot.search(queries, 150, 3, effort=effort)
    assert together.ids.tolist() == alone.ids.tolist()
    assert together.integer_scores.tolist() == alone.integer_scores.tolist()
    if store.meta.options.prune and effort is EXACT:
        assert 1 < len(workers) <= 3


def test_the_least_effort_that_reaches_the_recall_is_chosen():
    rows = (
        CalibrationRow(10, 0.9, 0.6, 5, 0.92),
        CalibrationRow(10, 0.95, 0.8, 5, 0.96),
        CalibrationRow(100, 0.9, None, 5, 1.0),
    )
    noted = Calibration(100, 50, False, rows)
    assert choose_effort(noted, 10, 0.5) == choose_effort(noted, 1, 0.9) == Effort(0.6, 5)
    assert choose_effort(noted, 5, 0.93) == Effort(0.8, 5)
    assert choose_effort(noted, 10, 0.96) == choose_effort(noted, 11, 0.5) == choose_effort(noted, 101, 0.1)
    assert choose_effort(noted, 10, 0.96).mass is None
    assert is_fresh(noted, 50)
    assert is_fresh(noted, 200)
    assert not is_fresh(noted, 49)
    assert not is_fresh(noted, 201)
    assert not is_fresh(None, 100)


def test_a_query_is_made_of_heavy_terms_of_two_documents(tmp_path):
    rows = [{100 * n + term: 1.0 + term for term in range(40)} for n in range(3)]
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, ["a", "b", "c"], SparseMatrix.from_rows(rows, N_TERMS))
        queries = sample_queries(store.snapshot)
        assert len(queries) == 3
        for terms, weights in map(queries.row, range(3)):
            assert min(terms % 100) >= 40 - calibration.HEAVIEST
            assert set(np.unique_counts(terms // 100).counts) == {calibration.TERMS_OF_EACH}
            assert weights == pytest.approx(1.0 + terms % 100, abs=0.12)  # half a step of impacts: 60 / 255 / 2


def test_queries_are_made_from_documents_that_can_be_found(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, ["a", "b", "c"], SparseMatrix.from_rows([{1: 1.0}, {2: 1.0, 3: 2.0}, {}], N_TERMS))
        store.delete(["a"])
        queries = sample_queries(store.snapshot)
        assert queries.terms.tolist() == [2, 3]
        store.delete(["b", "c"])
        assert len(sample_queries(store.snapshot)) == 0
        with pytest.raises(ConfigError, match="this index give 0 different queries .* searched exactly"):
            store.calibrate()


@pytest.mark.parametrize(
    "value",
    ["3", "{}", '{"documents": -1, "queries": 3, "given": false, "rows": []}']
    + ['{"documents": 1, "queries": 3, "given": null, "rows": []}']
    + ['{"documents": 1, "queries": 3, "given": true, "rows": 7}']
    + [
        f'{{"documents": 1, "queries": 3, "given": false, "rows": [{row}]}}'
        for row in (
            *("3", "[10]", "[10, 2.0, 0.5, 5, 0.9]", "[10, 0.9, 0, 5, 0.9]", '["x", 0.9, 0.5, 5, 0.9]', "null"),
            *(
                "[10, null, 0.5, 5, 0.9]",
                "[10, 0.9, 0.5, 5, null]",
                "[10, 0.9, 0.5, null, 0.9]",
                "[10, true, 0.5, 5, 1]",
            ),
        )
    ],
)
def test_a_hostile_calibration_is_refused(tmp_path, value):
    Store.create(tmp_path / "i", n_terms=N_TERMS).close()
    connection = sqlite3.connect(tmp_path / "i" / "catalog.sqlite")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'calibration'", (value,))
    connection.commit()
    connection.close()
    with pytest.raises(CorruptIndex, match="table meta cannot be understood: .*calibration"):
        Store.open(tmp_path / "i")
