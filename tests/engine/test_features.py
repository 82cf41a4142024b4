"""Segments of every kind: what they give back, what they find, and how they score single documents."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade import _engine
from everglade.reference import Impacts, score_impacts, score_weights, search_approximate, search_impacts

sys.path.insert(0, str(Path(__file__).parent))
from made import N_TERMS, as_rankings, impacts, rankings, write

KINDS = {"wide": 1, "reordered": 2, "pruned": 4, "without_rows": 8, "weights": 0}
COMBINATIONS = [
    frozenset(name for place, name in enumerate(KINDS) if number >> place & 1) for number in range(1 << len(KINDS))
]
ALLOWED = [kinds for kinds in COMBINATIONS if not ("without_rows" in kinds and kinds & {"pruned", "weights"})]


class Made:
    """One segment of some kinds, with everything it was made of."""

    def __init__(self, path: Path, kinds: frozenset[str], ids: list[str], rows: list[dict[int, int]], seed: int):
        rng = np.random.default_rng(seed)
        self.kinds, self.ids = kinds, ids
        self.documents = impacts(rows, np.uint16 if "wide" in kinds else np.uint8)
        n_entries = len(self.documents.terms)
        self.order = rng.permutation(len(ids)).astype(np.uint32) if "reordered" in kinds else None
        self.postings = rng.random(n_entries) < 0.6 if "pruned" in kinds else None
        self.weights = (rng.random(n_entries) * 4).astype(np.float16) if "weights" in kinds else None
        self.summary = write(
            path,
            self.documents,
            ids,
            order=self.order,
            postings=self.postings,
            weights=self.weights,
            rows="without_rows" not in kinds,
            cells_from=int(rng.integers(1, 4)) if rng.random() < 0.5 else None,
        )
        self.file = _engine.Segment(path)

    @property
    def kept(self) -> np.ndarray:
        return np.ones(len(self.documents.terms), dtype=bool) if self.postings is None else self.postings

    def hide(self, rows: np.ndarray) -> np.ndarray:
        """The bitmap by local of what is hidden by row."""
        return np.packbits(rows if self.order is None else rows[self.order], bitorder="little")


def joined(parts: list[Impacts]) -> Impacts:
    counts = np.concatenate([np.diff(part.indptr) for part in parts])
    return Impacts(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([part.terms for part in parts]),
        np.concatenate([part.impacts.astype(np.uint16) for part in parts]),
    )


def only(documents: Impacts, entries: np.ndarray) -> Impacts:
    indptr = np.concatenate([[0], np.cumsum(entries)])[documents.indptr]
    return Impacts(indptr.astype(np.int64), documents.terms[entries], documents.impacts[entries])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def a_few(folder: Path, kinds: frozenset[str], seed: int = 1) -> Made:
    rng = np.random.default_rng(seed)
    most = 65_535 if "wide" in kinds else 255
    rows = [
        {int(t): int(rng.choice([1, 2, most])) for t in rng.choice(N_TERMS, rng.integers(0, 6), replace=False)}
        for _ in range(30)
    ]
    return Made(folder / "few", kinds, [f"{i:02}" for i in range(30)], rows, seed)


# --- what is written is read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", ALLOWED, ids=lambda kinds: "+".join(sorted(kinds)) or "plain")
def test_a_segment_gives_back_what_was_written(folder, kinds):
    made = a_few(folder, kinds)
    file, documents = made.file, made.documents
    order = np.arange(30) if made.order is None else made.order
    assert file.features == sum(KINDS[kind] for kind in kinds)
    assert (file.is_wide, file.is_reordered) == ("wide" in kinds, "reordered" in kinds)
    assert (file.is_pruned, file.has_rows) == ("pruned" in kinds, "without_rows" not in kinds)
    assert file.has_weights == ("weights" in kinds)
    assert (file.n_documents, file.n_row_entries) == (30, len(documents.terms))
    assert file.n_postings == made.summary["postings"] == np.count_nonzero(made.kept)
    assert file.ids_all() == [made.ids[row] for row in order]
    assert [file.find(id) for id in made.ids] == np.argsort(order).tolist()
    assert file.find("3") == file.find("99") == -1
    indptr, terms, values = file.rows()
    assert (indptr.dtype, terms.dtype, values.dtype) == (np.int64, np.int32, documents.impacts.dtype)
    entries = np.concatenate([np.arange(documents.indptr[row], documents.indptr[row + 1]) for row in order])
    assert np.diff(indptr).tolist() == np.diff(documents.indptr)[order].tolist()
    assert terms.tolist() == documents.terms[entries].tolist()
    assert values.tolist() == documents.impacts[entries].tolist()
    for local in range(30):
        own_terms, own_values = file.document(local)
        assert (own_terms.dtype, own_values.dtype) == (np.int32, documents.impacts.dtype)
        assert own_terms.tolist() == terms[indptr[local] : indptr[local + 1]].tolist()
        assert own_values.tolist() == values[indptr[local] : indptr[local + 1]].tolist()
    if "weights" in kinds:
        weights = file.weights()
        assert weights.dtype == np.float16
        assert weights.tolist() == made.weights[entries].tolist()
        assert not weights.flags.writeable


def test_weights_outlive_their_segment(folder):
    made = a_few(folder, frozenset({"weights"}))
    weights, expected = made.file.weights(), made.weights.tolist()
    del made.file
    (folder / "few").unlink()
    assert weights.tolist() == expected


def test_one_extreme_of_every_width(folder):
    documents = impacts([{0: 1, 70_000: 65_535}, {3: 256}], np.uint16)
    weights = np.array([0, 65504, 2**-24], np.float16)
    write(folder / "extreme", documents, ["a", "b"], 1 << 24, order=np.array([1, 0], np.uint32), weights=weights)
    file = _engine.Segment(folder / "extreme")
    assert file.rows()[1].tolist() == [3, 0, 70_000]
    assert file.rows()[2].tolist() == [256, 1, 65_535]
    assert file.weights().tolist() == [2**-24, 0, 65504]
    query = impacts([{70_000: 65_536}], np.uint32)
    assert rankings([file], [None], query, 2) == [(["a"], [65_536 * 65_535])]
    one = np.array([1.5], np.float32)
    locals_ = np.array([0, 1], np.uint32)
    assert _engine.score_documents_float(file, locals_, np.array([3], np.int32), one).tolist() == [1.5 * 2**-24, 0]
    assert _engine.score_documents_float(file, locals_, query.terms, one).tolist() == [0, 1.5 * 65504]


# --- search over segments of all kinds together -----------------------------------------------------------------------

some_rows = st.dictionaries(st.integers(0, N_TERMS - 1), st.sampled_from([1, 2, 255]), max_size=5)
some_queries = st.lists(
    st.dictionaries(st.integers(0, N_TERMS - 1), st.sampled_from([0, 1, 2, 4095]), max_size=5), max_size=4
)


@st.composite
def collections(draw):
    """Kinds for each of three segments, and ids with their row, segment, and whether they are hidden."""
    kinds = draw(st.lists(st.sampled_from(ALLOWED), min_size=3, max_size=3))
    ids = sorted(draw(st.sets(st.text("aé\U0001f600z\x00", max_size=3), max_size=25)))
    return kinds, [(i, draw(some_rows), draw(st.integers(0, 2)), draw(st.booleans())) for i in ids]


def make_all(
    folder: Path, collection: tuple, seed: int
) -> tuple[list[Made], list[np.ndarray | None], list[np.ndarray]]:
    kinds, entries = collection
    made, hidden, gone = [], [], []
    for number in range(3):
        members = [entry for entry in entries if entry[2] == number]
        scale = 257 if "wide" in kinds[number] else 1
        rows = [{term: value * scale for term, value in row.items()} for _, row, _, _ in members]
        made.append(Made(folder / "s", kinds[number], [i for i, *_ in members], rows, seed + number))
        gone.append(np.array([flag for *_, flag in members], dtype=bool))
        hidden.append(made[-1].hide(gone[-1]) if gone[-1].any() else None)
    return made, hidden, gone


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    collection=collections(),
    query_rows=some_queries,
    k=st.integers(1, 30),
    extra=st.integers(0, 10),
    mass=st.sampled_from([0.01, 0.3, 0.5, 0.75, 0.999, 1.0]),
    seed=st.integers(0, 1000),
)
def test_search_equals_the_reference(folder, collection, query_rows, k, extra, mass, seed):
    made, hidden, gone = make_all(folder, collection, seed)
    files = [one.file for one in made]
    ids = [id for one in made for id in one.ids]
    documents = joined([one.documents for one in made])
    postings = np.concatenate([one.kept for one in made])
    alive = ~np.concatenate(gone)
    queries = impacts(query_rows, np.uint32)

    # A hidden row is an empty one to the exact search, and keeps its bounds in the approximate one.
    shown = np.repeat(alive, np.diff(documents.indptr))
    expected = search_impacts(only(documents, postings & shown), ids, queries, k)
    assert rankings(files, hidden, queries, k) == expected
    assert rankings(files, hidden, queries, k, threads=2) == expected
    assert rankings(files[::-1], hidden[::-1], queries, k) == expected

    found = _engine.search_approximate(files, hidden, *queries, k, 1, mass, k + extra)
    twice = _engine.search_approximate(files[::-1], hidden[::-1], *queries, k, 2, mass, k + extra)
    named = {"mass": mass, "candidates": k + extra, "postings": postings, "shown": alive}
    approximate = search_approximate(documents, ids, queries, k, **named)
    assert as_rankings(files, queries, k, found) == approximate
    assert as_rankings(files[::-1], queries, k, twice) == approximate
    if mass == 1 and postings.all():
        assert approximate == expected


@pytest.fixture(scope="module")
def tied(folder):
    """Two and a half windows of equal scores in a random order, so that only ranks decide; wide and narrow."""
    rng = np.random.default_rng(5)
    n = 2 * 16_384 + 9_000
    held = rng.random((n, 4)) < [0.9, 0.5, 0.05, 0.0005]
    indptr = np.concatenate([[0], np.cumsum(held.sum(axis=1))])
    values = rng.choice([1, 2], held.sum())
    ids = [f"{i:06}" for i in range(n)]
    order = rng.permutation(n).astype(np.uint32)
    files = []
    for dtype in (np.uint8, np.uint16):
        documents = Impacts(indptr, np.nonzero(held)[1].astype(np.int32), values.astype(dtype))
        write(folder / f"tied{dtype.__name__}", documents, ids, order=order)
        files.append(_engine.Segment(folder / f"tied{dtype.__name__}"))
    return files, documents, ids, order


@pytest.mark.parametrize("k", [1, 10, 300, 2000])
def test_ranks_decide_ties_over_windows(tied, k):
    files, documents, ids, order = tied
    queries = impacts([{0: 1}, {0: 1, 1: 1}, {1: 3, 2: 1, 3: 5}, {3: 1}], np.uint32)
    gone = np.random.default_rng(8).random(len(ids)) < 0.3
    shown = np.repeat(~gone, np.diff(documents.indptr))
    expected = search_impacts(only(documents, shown), ids, queries, k)
    for file in files:
        hidden = [np.packbits(gone[order], bitorder="little")]
        assert rankings([file], hidden, queries, k) == expected
        assert rankings([file], hidden, queries, k, threads=3) == expected


# --- scores of single documents ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", ALLOWED, ids=lambda kinds: "+".join(sorted(kinds)) or "plain")
def test_scores_equal_the_reference(folder, kinds):
    made = a_few(folder, kinds, seed=3)
    order = np.arange(30) if made.order is None else made.order
    locals_ = np.random.default_rng(4).integers(0, 30, 50).astype(np.uint32)
    terms = np.array([7, 2, 2, 11, 0, 5], np.int32)
    values = np.array([9, 4095, 1, 0, 77, 3], np.uint32)
    expected = score_impacts(made.documents, terms, values)[order][locals_]
    scores = _engine.score_documents(made.file, locals_, terms, values)
    assert scores.dtype == np.uint32
    assert scores.tolist() == expected.tolist()
    assert _engine.score_documents(made.file, locals_[:0], terms, values).tolist() == []
    weights = np.array([0.1, 3.7, 1e-3, 0.0, 2.0, 1e30], np.float32)
    if "weights" in kinds:
        found = _engine.score_documents_float(made.file, locals_, terms, weights)
        exact = score_weights(made.documents.indptr, made.documents.terms, made.weights, terms, weights)
        assert found.dtype == np.float64
        assert found.tolist() == exact[order][locals_].tolist()
    else:
        with pytest.raises(ValueError, match="keeps no weights"):
            _engine.score_documents_float(made.file, locals_, terms, weights)
        with pytest.raises(ValueError, match="keeps no weights"):
            made.file.weights()


# --- refusals ---------------------------------------------------------------------------------------------------------

ROWS = impacts([{1: 5, 4: 6}, {2: 7}])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"order": np.array([0], np.uint32)}, "names 1 documents, but there are 2"),
        ({"order": np.array([0, 0], np.uint32)}, "0 is there twice or too large"),
        ({"order": np.array([0, 2], np.uint32)}, "2 is there twice or too large"),
        ({"postings": np.ones(2, bool)}, "3 terms, but 2 of them"),
        ({"postings": np.ones(3, bool), "rows": False}, "a pruned segment needs its rows"),
        ({"weights": np.ones(2, np.float16)}, "3 terms but 2 weights"),
        ({"weights": np.ones(3, np.float16), "rows": False}, "weights are kept in the rows"),
        ({"weights": np.array([1, np.inf, 1], np.float16)}, "weight 1 is negative or not finite"),
        ({"weights": np.array([1, 1, np.nan], np.float16)}, "weight 2 is negative or not finite"),
        ({"weights": np.array([-1, 1, 1], np.float16)}, "weight 0 is negative or not finite"),
    ],
)
def test_write_refuses(folder, features, message):
    with pytest.raises(ValueError, match=message):
        write(folder / "refused", ROWS, ["a", "b"], **features)
    assert not list(folder.glob("refused*"))


@pytest.mark.parametrize(
    "features",
    [
        {"order": np.array([0, 1])},
        {"postings": np.ones(3, np.uint8)},
        {"weights": np.ones(3, np.float32)},
        {"weights": np.ones(3, np.uint16)},
    ],
)
def test_write_refuses_other_types(folder, features):
    with pytest.raises(TypeError):
        write(folder / "refused", ROWS, ["a", "b"], **features)


def test_a_zero_impact_is_refused_even_where_it_is_no_posting(folder):
    wide = Impacts(ROWS.indptr, ROWS.terms, np.array([5, 0, 7], np.uint16))
    with pytest.raises(ValueError, match="document 0: the impact of term 4 is 0"):
        write(folder / "refused", wide, ["a", "b"], postings=np.array([True, False, True]))


def test_a_query_may_be_as_heavy_as_the_widest_segment_allows(folder):
    write(folder / "narrow", ROWS, ["a", "b"])
    write(folder / "wide", Impacts(ROWS.indptr, ROWS.terms, ROWS.impacts.astype(np.uint16)), ["a", "b"])
    narrow, wide = _engine.Segment(folder / "narrow"), _engine.Segment(folder / "wide")
    limit = _engine.MAX_WIDE_QUERY_MASS
    assert limit == 65_536
    assert rankings([wide], [None], impacts([{1: limit}], np.uint32), 1) == [(["a"], [5 * limit])]
    above = impacts([{}, {1: limit, 2: 1}], np.uint32)
    assert rankings([narrow], [None], above, 1)[1] == (["a"], [5 * limit])
    for files in ([wide], [narrow, wide]):
        with pytest.raises(ValueError, match="query 1: its impacts sum to 65537, more than 65536"):
            rankings(files, [None] * len(files), above, 1)
    with pytest.raises(ValueError, match="more than 65536"):
        _engine.score_documents(wide, np.array([0], np.uint32), above.terms, above.impacts)


def test_approximate_search_refuses(folder):
    write(folder / "one", ROWS, ["a", "b"])
    segment, query = _engine.Segment(folder / "one"), impacts([{1: 1}], np.uint32)
    for k, mass, candidates, message in [
        (2, 0.0, 5, "mass must be above 0"),
        (2, 1.01, 5, "at most 1"),
        (2, float("nan"), 5, "mass"),
        (2, 0.5, 1, "candidates must be at least k"),
        (2, 0.5, -1, "candidates must be at least 1"),
        (0, 0.5, 5, "k must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            _engine.search_approximate([segment], [None], *query, k, 1, mass, candidates)
    assert _engine.search_approximate([], [], *query, 3, 1, 0.5, 3)[0].tolist() == [[-1, -1, -1]]


def test_scores_refuse(folder):
    write(folder / "one", ROWS, ["a", "b"], weights=np.ones(3, np.float16))
    segment = _engine.Segment(folder / "one")
    one = np.array([1], np.int32)
    first = np.array([0], np.uint32)
    weight = np.array([1], np.float32)
    for call, message in [
        (lambda: _engine.score_documents(segment, first + 2, one, first), "no document 2"),
        (lambda: _engine.score_documents(segment, first, one + 11, first), "term 12 is not in the vocabulary of 12"),
        (lambda: _engine.score_documents(segment, first, one[:0], first), "one impact for each term"),
        (lambda: _engine.score_documents_float(segment, first + 2, one, weight), "no document 2"),
        (lambda: _engine.score_documents_float(segment, first, -one, weight), "term -1"),
        (lambda: _engine.score_documents_float(segment, first, one, -weight), "negative or not finite"),
        (lambda: _engine.score_documents_float(segment, first, one, weight * np.inf), "negative or not finite"),
        (lambda: _engine.score_documents_float(segment, first, one, weight[:0]), "one weight for each term"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
