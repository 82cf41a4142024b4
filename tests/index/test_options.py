"""What may be chosen for an index, wide impacts, no rows, weights, pruned postings, and the searches they serve."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade import _engine
from everglade.errors import ConfigError, CorruptIndex, InputError
from everglade.index import float_exact
from everglade.index.options import IndexOptions, PruneRule, parse_prune
from everglade.index.pruning import keep_postings
from everglade.index.snapshot import EXACT, Snapshot
from everglade.index.store import Store
from everglade.reference import (
    Impacts,
    quantise_documents,
    quantise_queries,
    score_weights,
    search_approximate,
    search_impacts,
)
from everglade.vectors import SparseMatrix

N_TERMS = 12
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def vectors(*rows, n_terms=N_TERMS):
    return SparseMatrix.from_rows(rows, n_terms)


def hits_of(found):
    return [[id for id in ids if id is not None] for ids in found.ids.tolist()]


# Options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"impact_bits": 12}, "8 or 16"),
        ({"impact_bits": True}, "8 or 16"),
        ({"rows": 1}, "rows is 1"),
        ({"keep_weights": None}, "keep_weights"),
        ({"reorder": "always"}, "'auto' or 'never'"),
        ({"rows": False, "keep_weights": True}, "keep_weights needs"),
        ({"rows": False, "prune": "document:3"}, "prune needs"),
    ]
    + [
        ({"prune": rule}, "document:N")
        for rule in ("", "document", "document:0", "document:2.5", "term:1", "term:0", "threshold:-1", "top:3", 3)
        + ("threshold:1.2.3", "document:1e400", "document:3 ")
    ],
)
def test_options_that_cannot_be_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        IndexOptions(**values)


def test_rules_of_pruning_are_read():
    assert parse_prune("document:64") == PruneRule("document", 64.0)
    assert parse_prune("threshold:0.3") == PruneRule("threshold", 0.3)
    assert parse_prune("term:.5") == PruneRule("term", 0.5)


def test_options_hold_for_every_segment_and_are_told(tmp_path):
    options = IndexOptions(impact_bits=16, keep_weights=True, prune="document:2")
    with Store.create(tmp_path / "i", n_terms=N_TERMS, options=options) as store:
        store.add(None, ["a"], vectors({1: 1.0, 2: 2.0, 3: 0.5}))
    with Store.open(tmp_path / "i") as store:
        store.add(None, ["b"], vectors({1: 1.0, 2: 2.0, 3: 0.5}))
        assert store.info().options == options
        for segment in store.snapshot.segments:
            assert (segment.file.is_wide, segment.file.has_weights, segment.file.is_pruned) == (True, True, True)
            assert (segment.file.n_postings, segment.file.n_row_entries) == (2, 3)
        assert store.info().impact_scale == 65_535 / 3.5
        assert store.vector("a").impacts.tolist() == [18724, 37449, 9362]


@pytest.mark.parametrize("value", ['{"impact_bits": 9}', '{"colour": 1}', "[]", '{"rows": "x"}'])
def test_hostile_options_are_refused(tmp_path, value, reseal_catalog):
    Store.create(tmp_path / "i", n_terms=N_TERMS).close()
    connection = sqlite3.connect(tmp_path / "i" / "catalog.sqlite")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'options'", (value,))
    connection.commit()
    connection.close()
    reseal_catalog(tmp_path / "i")
    with pytest.raises(CorruptIndex, match="table meta"):
        Store.open(tmp_path / "i")


def test_a_segment_that_is_not_as_the_options_say_is_damage(tmp_path, reseal_catalog):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, ["a"], vectors({1: 1.0}))
    connection = sqlite3.connect(tmp_path / "i" / "catalog.sqlite")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'options'", (json.dumps({"impact_bits": 16}),))
    connection.commit()
    connection.close()
    reseal_catalog(tmp_path / "i")
    with pytest.raises(CorruptIndex, match="width of impacts is 8"):
        Store.open(tmp_path / "i")


# Pruning

rows = st.lists(
    st.dictionaries(st.integers(0, N_TERMS - 1), st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0]), max_size=7),
    min_size=1,
    max_size=9,
)


def slowly_kept(rule, impacts, scale):
    """The same as `keep_postings`, entry by entry."""
    kind, value = parse_prune(rule)
    entries = [
        (row, int(impacts.terms[place]), int(impacts.impacts[place]), place)
        for row in range(len(impacts.indptr) - 1)
        for place in range(impacts.indptr[row], impacts.indptr[row + 1])
    ]
    kept = np.zeros(len(entries), dtype=bool)
    if kind == "threshold":
        kept[[place for _, _, impact, place in entries if impact >= value * scale]] = True
        return kept
    lists = {}
    for row, term, impact, place in entries:
        lists.setdefault(row if kind == "document" else term, []).append((-impact, term, row, place))
    for found in lists.values():
        most = int(value) if kind == "document" else int(np.ceil(round(value * len(found), 9)))
        kept[[place for *_, place in sorted(found)[:most]]] = True
    return kept


@quick
@given(
    documents=rows,
    queries=rows,
    rule=st.sampled_from(["document:1", "document:3", "threshold:0.9", "term:0.5", "term:0.1"]),
)
def test_pruned_indexes_search_in_the_two_steps_of_the_reference(documents, queries, rule, memory_folder):
    shutil.rmtree(memory_folder / "i", ignore_errors=True)
    ids = [f"d{place}" for place in range(len(documents))]
    matrix, asked = vectors(*documents), vectors(*queries)
    impacts = Impacts(matrix.indptr, matrix.terms, quantise_documents(matrix.weights, 90.0))
    kept = slowly_kept(rule, impacts, 90.0)
    assert keep_postings(rule, impacts, 90.0).tolist() == kept.tolist()
    options = IndexOptions(prune=rule)
    with Store.create(memory_folder / "i", n_terms=N_TERMS, impact_scale=90.0, options=options) as store:
        store.add(None, ids, matrix)
        rounded = quantise_queries(asked)[0]
        found = store.search(asked, 3)
        expected = search_approximate(impacts, ids, rounded, 3, mass=1.0, candidates=100, postings=kept)
        assert hits_of(found) == [ranking.ids for ranking in expected]
        whole = store.search(asked, 3, recall=1.0)
        truth = search_impacts(impacts, ids, rounded, 3)
        assert hits_of(whole) == [ranking.ids for ranking in truth]
        with pytest.raises(ConfigError, match="float_exact needs"):
            store.search(asked, 3, float_exact=True)


# Wide impacts


def test_wide_impacts_find_what_the_reference_finds(tmp_path):
    generator = np.random.default_rng(7)
    n_terms = 400
    documents = [
        {int(t): float(w) for t, w in zip(generator.choice(n_terms, 40), generator.random(40) * 3, strict=True)}
        for _ in range(60)
    ]
    heavy = dict.fromkeys(range(300), 1.0)  # 300 times 4095 is more than wide scores hold: scaled down
    asked = vectors(*documents[:5], heavy, n_terms=n_terms)
    matrix = vectors(*documents, n_terms=n_terms)
    ids = [f"d{place:02}" for place in range(60)]
    with Store.create(tmp_path / "i", n_terms=n_terms, options=IndexOptions(impact_bits=16)) as store:
        store.add(None, ids, matrix)
        scale = store.meta.impact_scale
        impacts = Impacts(matrix.indptr, matrix.terms, quantise_documents(matrix.weights, scale, wide=True))
        rounded, scales = quantise_queries(asked, _engine.MAX_WIDE_QUERY_MASS)
        found = store.search(asked, 20)
        for row, ranking in enumerate(search_impacts(impacts, ids, rounded, 20)):
            assert hits_of(found)[row] == ranking.ids
            assert found.integer_scores[row].tolist() == ranking.scores
        np.testing.assert_allclose(found.scales, scales * scale)
        exact = asked.to_scipy() @ matrix.to_scipy().T
        np.testing.assert_allclose(found.scores[:, 0], exact.toarray().max(axis=1), rtol=2e-3)


# Exact by float16 weights

float_weights = st.floats(0.0009765625, 3.0, width=16) | st.sampled_from([0.5, 1.0, 1.001, 2.0, 40.0])
float_rows = st.lists(st.dictionaries(st.integers(0, N_TERMS - 1), float_weights, max_size=6), min_size=1, max_size=25)
query_weights = st.sampled_from([1e-5, 0.3, 0.7, 1.0, 1.0001, 2.5])
float_queries = st.lists(
    st.dictionaries(st.integers(0, N_TERMS - 1), query_weights, max_size=6), min_size=1, max_size=4
)


@quick
@given(
    documents=float_rows,
    queries=float_queries,
    k=st.sampled_from([1, 3, 40]),
    bits=st.sampled_from([8, 16]),
    scale=st.sampled_from([20.0, 85.0]),
    gone=st.sets(st.integers(0, 24), max_size=5),
)
def test_float_exact_is_brute_force_over_the_weights(
    documents, queries, k, bits, scale, gone, memory_folder, monkeypatch
):
    """With heavy weights that are clipped, light ones that are dropped, and few candidates to begin with."""
    monkeypatch.setattr(float_exact, "FIRST_CANDIDATES", 1)
    shutil.rmtree(memory_folder / "i", ignore_errors=True)
    matrix, asked = vectors(*documents), vectors(*queries)
    ids = [f"d{place:02}" for place in range(len(documents))]
    scale *= 257 if bits == 16 else 1
    options = IndexOptions(impact_bits=bits, keep_weights=True)
    with Store.create(memory_folder / "i", n_terms=N_TERMS, impact_scale=scale, options=options) as store:
        half = len(ids) // 2
        store.add(None, ids[:half], matrix.rows(0, half))
        store.add(None, ids[half:], matrix.rows(half, len(ids)))
        store.delete([ids[place] for place in gone if place < len(ids)])
        found = store.search(asked, k, float_exact=True)
        whole = store.snapshot.search(asked, k, effort=EXACT)
    stored = quantise_documents(matrix.weights, scale, wide=bits == 16) > 0
    indptr = np.concatenate([[0], np.cumsum(stored)])[matrix.indptr].astype(np.int64)
    halves = matrix.weights[stored].astype(np.float16)
    for row in range(len(asked)):
        scores = score_weights(indptr, matrix.terms[stored], halves, *asked.row(row))
        ranked = sorted(
            (-score, id) for place, (score, id) in enumerate(zip(scores, ids, strict=True)) if place not in gone
        )
        expected = [(id, -score) for score, id in ranked if score < 0][:k]
        assert list(found.hits(row).items()) == expected
    assert whole.float_scores is None


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.74), (0.76, 1.24), (0.5, 4.0)], ids=["lifted", "either", "clipped"])
@pytest.mark.parametrize("k", [1, 20])
def test_float_exact_looks_beyond_equal_impacts(tmp_path, monkeypatch, low, high, k):
    """Impacts of scale 2 hardly tell these documents apart: the best by weights may be anywhere among them."""
    monkeypatch.setattr(float_exact, "FIRST_CANDIDATES", 1)
    generator = np.random.default_rng(11)
    weights = generator.uniform(low, high, (300, 4)).astype(np.float32)
    ids = [f"d{place:03}" for place in range(300)]
    asked = vectors({0: 1.0, 1: 0.9, 2: 0.3333, 3: 0.0001})
    options = IndexOptions(keep_weights=True)
    impact_scale = 2.0 if high < 4 else 85.0
    with Store.create(tmp_path / "i", n_terms=N_TERMS, impact_scale=impact_scale, options=options) as store:
        store.add(None, ids, vectors(*({term: float(w) for term, w in enumerate(row)} for row in weights)))
        found = store.search(asked, k, float_exact=True).hits(0)
    halves = weights.astype(np.float16)
    scores = score_weights(
        np.arange(0, 1201, 4), np.tile(np.arange(4, dtype=np.int32), 300), halves.ravel(), *asked.row(0)
    )
    order = np.argsort(-scores, kind="stable")[:k]
    assert found == {ids[place]: scores[place] for place in order}


def test_float_exact_knows_what_rounding_took_from_the_query(tmp_path, monkeypatch):
    """Impacts are as exact as the weights here, but a term of the query comes to nothing, and orders the documents."""
    monkeypatch.setattr(float_exact, "FIRST_CANDIDATES", 1)
    asked = vectors({0: 1.0, 1: 0.49 / 4095, 2: 1 / 4095})
    rows = [{0: 1.0, 2: (20 - place) / 64} for place in range(20)] + [{0: 1.0, 1: 3.96875}]
    options = IndexOptions(keep_weights=True)
    with Store.create(tmp_path / "i", n_terms=N_TERMS, impact_scale=64.0, options=options) as store:
        store.add(None, [f"d{place:02}" for place in range(21)], vectors(*rows))
        assert store.meta.weight_error == 0
        assert hits_of(store.search(asked, 1)) == [["d00"]]
        assert hits_of(store.search(asked, 1, float_exact=True)) == [["d20"]]
        assert hits_of(store.search(vectors({1: 1e-9, 3: 1.0}), 1, float_exact=True)) == [["d20"]]


@pytest.fixture
def clipped(memory_folder):
    """A store of 1,200 documents in two segments where some weights are beyond the scale, the vectors, and queries."""
    generator = np.random.default_rng(12)
    rows = [
        {int(t): float(w) for t, w in zip(generator.choice(N_TERMS, 5), generator.gamma(2.0, 0.4, 5), strict=True)}
        for _ in range(1200)
    ]
    rows[7] |= {3: 40.0}
    rows[800] |= {4: 3.5, 5: 3.1}
    matrix, ids = vectors(*rows), [f"d{place:04}" for place in range(1200)]
    options = IndexOptions(keep_weights=True)
    with Store.create(memory_folder / "i", n_terms=N_TERMS, impact_scale=85.0, options=options) as store:
        store.add(None, ids[:600], matrix.rows(0, 600))
        store.add(None, ids[600:], matrix.rows(600, 1200))
        yield store, matrix, vectors(*rows[:20], {3: 1e-5, 4: 1.0}, {4: 1.0})


def require_brute_force(store, matrix, asked, found, k):
    kept = quantise_documents(matrix.weights, store.meta.impact_scale) > 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr].astype(np.int64)
    halves = matrix.weights[kept].astype(np.float16)
    for row in range(len(asked)):
        scores = score_weights(indptr, matrix.terms[kept], halves, *asked.row(row))
        order = np.argsort(-scores, kind="stable")[:k].tolist()
        assert list(found.hits(row).items()) == [(f"d{place:04}", scores[place]) for place in order if scores[place]]


def test_a_clipped_weight_does_not_make_everything_a_candidate(clipped, monkeypatch):
    store, matrix, asked = clipped
    assert store.meta.weight_error > 36
    rescored = []
    real = _engine.score_documents_float
    monkeypatch.setattr(_engine, "score_documents_float", lambda *a: rescored.append(len(a[1])) or real(*a))
    found = store.search(asked, 3, float_exact=True)
    require_brute_force(store, matrix, asked, found, 3)
    assert {"d0007", "d0800"} <= set(found.ids.ravel().tolist())
    assert sum(rescored) < 0.25 * len(asked) * len(store)


@pytest.mark.parametrize("threads", [1, 3])
def test_float_exact_holds_few_candidates_at_a_time(clipped, monkeypatch, threads):
    store, matrix, asked = clipped
    monkeypatch.setattr(float_exact, "FIRST_CANDIDATES", 2)
    monkeypatch.setattr(float_exact, "CANDIDATES_AT_A_TIME", 20)
    held = []
    real = Snapshot.locate
    monkeypatch.setattr(
        Snapshot, "locate", lambda s, q, depth, *a: held.append((len(q.indptr) - 1, depth)) or real(s, q, depth, *a)
    )
    found = store.search(asked, 3, threads, float_exact=True)
    require_brute_force(store, matrix, asked, found, 3)
    assert all(queries * depth <= 20 for queries, depth in held)
    assert max(queries for queries, _ in held) > 1


def test_many_clipped_weights_are_all_found(tmp_path, monkeypatch):
    """More documents are clipped in a term than are looked at first; one of them, with a low impact score, is best."""
    monkeypatch.setattr(float_exact, "FIRST_CANDIDATES", 2)
    rows = [{1: 2.0, 2: 1.0} for _ in range(40)] + [{1: 1.5 + place} for place in range(30)] + [{2: 0.9}]
    options = IndexOptions(keep_weights=True)
    with Store.create(tmp_path / "i", n_terms=N_TERMS, impact_scale=255.0, options=options) as store:
        store.add(None, [f"d{place:04}" for place in range(71)], vectors(*rows))
        found = store.search(vectors({1: 1.0, 2: 1.0}), 4, float_exact=True)
    assert found.hits(0) == {f"d{place:04}": place - 38.5 for place in (69, 68, 67, 66)}


def test_float_exact_asks_for_what_it_needs(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, ["a"], vectors({1: 1.0}))
        with pytest.raises(ConfigError, match="keep_weights=True"):
            store.search(vectors({1: 1.0}), 1, float_exact=True)
    with Store.create(tmp_path / "j", n_terms=N_TERMS, options=IndexOptions(keep_weights=True)) as store:
        with pytest.raises(InputError, match="beyond float16"):
            store.add(None, ["a"], vectors({1: 1e5}))
        store.add(None, ["a", "b"], vectors({1: 1.0}, {1: 1.0009765625}))
        assert store.search(vectors({1: 1.0}), 2, float_exact=True).hits(0) == {"b": 1.0009765625, "a": 1.0}
        assert store.search(vectors({1: 1.0}), 2).ids.tolist() == [["a", "b"]]  # impacts cannot tell them apart
        assert store.search(vectors({1: 1.0}, {}), 0, float_exact=True).ids.shape == (2, 0)
        with pytest.raises(ConfigError, match="leave out recall"):
            store.search(vectors({1: 1.0}), 2, float_exact=True, recall=0.9)
        with pytest.raises(InputError, match="11 terms"):
            store.search(vectors({1: 1.0}, n_terms=11), 2, float_exact=True)


def test_float_exact_under_a_filter(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS, options=IndexOptions(keep_weights=True)) as store:
        ids = [f"d{place:03}" for place in range(200)]
        store.add(None, ids, vectors(*({1: 1.0 + place / 500} for place in range(200))))
        found = store.search(vectors({1: 1.0}), 3, where={"id": ids[:150]}, float_exact=True)
        assert hits_of(found) == [["d149", "d148", "d147"]]
