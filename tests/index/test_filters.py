"""Filters: the language against a twin in Python, and that filter and search are of one state."""

import json
import shutil
import sqlite3
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade.errors import ConfigError, CorruptIndex
from everglade.index import catalog, filters, snapshot
from everglade.index.filters import parse_filter
from everglade.index.options import IndexOptions
from everglade.index.store import Store
from everglade.texts import Document
from everglade.vectors import SparseMatrix

N_TERMS = 12
ABSENT = object()


def vectors(*rows):
    return SparseMatrix.from_rows(rows, N_TERMS)


def make(path, metadata):
    """A store with a document for each metadata, all with the same vector."""
    store = Store.create(path, n_terms=N_TERMS)
    documents = [Document(f"d{place}", "", "", value) for place, value in enumerate(metadata)]
    store.add(documents, [document.id for document in documents], vectors(*[{1: 1.0}] * len(documents)))
    return store


def shown_ids(store, where):
    found = store.search(vectors({1: 1.0}), len(store) + 1, where=where)
    return {id for id in found.ids[0] if id is not None}


METADATA = [
    {"year": 2019, "lang": "en", "draft": True, "source": {"kind": "blog", "stars": 4.5}},
    {"year": 2020, "lang": "de", "draft": False, "source": {"kind": "paper"}},
    {"year": "2021", "lang": "EN", "tags": ["a", "b"]},
    {"year": None, "lang": "", "published in": {"a.b": 1}, "id": "inner"},
    {"year": 2020.5, "größe": "ä", "n": -3},
    None,
    {},
]


@pytest.mark.parametrize(
    ("where", "places"),
    [
        ("year >= 2019", [0, 1, 4]),
        ("year > 2019 and year < 2.0205e3", [1]),
        ("year = '2021'", [2]),
        ('year >= "2"', [2]),
        ("lang in ('en', \"de\")", [0, 1]),
        ("lang not in ('en', 'de')", [2, 3, 4, 5, 6]),
        ("lang = ''", [3]),
        ("draft = true", [0]),
        ("draft = false", [1]),
        ("draft = 1", []),
        ("year = null", [3, 5, 6]),
        ("year != null and year != 2019", [1, 2, 4]),
        ("not year = 2019", [1, 2, 3, 4, 5, 6]),
        ("year != 2019", [1, 2, 3, 4, 5, 6]),
        ("year in (2019, null, 'x', true)", [0, 3, 5, 6]),
        ("source.kind = 'blog' or source.kind = 'paper'", [0, 1]),
        ("source.stars >= 4", [0]),
        ("source = 'blog'", []),
        ("tags = 'a'", []),
        ("`published in`.`a.b` = 1", [3]),
        ("`id` = 'inner'", [3]),
        ("id = 'd3'", [3]),
        ("id in ('d1', 'd5', 'nobody')", [1, 5]),
        ("id < 'd2' and not id = 'd0'", [1]),
        ("größe = 'ä'", [4]),
        ("n = -3 and n < -2.5", [4]),
        ("lang = 'en' or lang = 'de' and year = 2020", [0, 1]),
        ("(lang = 'en' or lang = 'de') and year = 2020", [1]),
        ("not (lang = 'en' or not year = 2020)", [1]),
        ("NOT lang IN ('en') AND year = 2020", [1]),
        ({"lang": "en"}, [0]),
        ({"year": [2019, 2020], "draft": False}, [1]),
        ({"source.kind": ("blog", "x"), "lang": "en"}, [0]),
        ({"id": ["d1", "d2"], "year": 2020}, [1]),
        ({"year": None}, [3, 5, 6]),
        ({"draft": True}, [0]),
        ({"lang": []}, []),
        ({}, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_what_a_filter_lets_through(store, where, places):
    assert shown_ids(store, where) == {f"d{place}" for place in places}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with make(tmp_path_factory.mktemp("filters") / "i", METADATA) as store:
        yield store


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "empty"),
        ("year", "character 5: found its end"),
        ("year >", "character 7: found its end, wanted a string"),
        ("year = 'x", "character 8.*without its closing quote"),
        ("year = 2019 lang = 'en'", "character 13: found 'lang', wanted the end"),
        ("year == 2019", "character 7: found '='"),
        ("(year = 1", "wanted '\\)'"),
        ("year in 1", "wanted '\\('"),
        ("year in ()", "wanted a string"),
        ("year in (1,", "wanted a string"),
        ("year not 3", "wanted 'in'"),
        ("and = 3", "name of a field"),
        ("= 3", "name of a field"),
        ("year < true", "character 6: < takes a number or a string, not true"),
        ("year < null", "character 6: < takes a number or a string, not null"),
        ("year = 20x", "character 8"),
        ("year=2019or lang='de'", "character 6"),
        ("year; DROP TABLE documents", "character 5"),
        ("id = 3", "in quotes"),
        ("id > 3", "in quotes"),
        ("year = 1e999", "finite"),
        (f"year = {'9' * 400}", "finite"),
        (f"year = {'9' * 5000}", "finite"),
        ({"a": 10**400}, "finite"),
        ('`a"b` = 1', "double quote"),
        (f"{'(' * 20}a = 1{')' * 20}", "nested"),
        (" or ".join(["a = 1"] * 201), "more than 200 conditions"),
        ({"a b": 1}, "not the name"),
        ({3: 1}, "not the name"),
        ({"a": {"b": 1}}, "type dict"),
        ({"a": [[1]]}, "type list"),
        ({"a": float("nan")}, "finite"),
        ({"a": "\ud800"}, "surrogate"),
        ({f"a{place}": 1 for place in range(201)}, "201 fields"),
        (3, "type int"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_its_place(where, message):
    with pytest.raises(ConfigError, match=message):
        parse_filter(where)


def test_the_largest_filters_are_no_trouble_to_sqlite(tmp_path):
    with make(tmp_path / "i", METADATA) as store:
        deep = "year = 1"
        for _ in range(filters.MAX_NESTING // 2):
            deep = f"not (draft = true and {deep})"
        # Where draft is true each step turns the one within it round, six times from false; elsewhere all are true.
        assert filters.MAX_NESTING // 2 == 6
        assert shown_ids(store, deep) == {f"d{place}" for place in range(1, 7)}
        wide = " or ".join([f"source.kind = 'k{place}'" for place in range(199)] + ["year = 2019"])
        assert shown_ids(store, wide) == {"d0"}
        assert shown_ids(store, {"id": [f"d{place}" for place in range(3, 50_000)]}) == {"d3", "d4", "d5", "d6"}
        assert shown_ids(store, {"year": [*range(2000, 2020), 10**30]}) == {"d0"}


WHOLE = [10**18 + 1, 10**18 + 2, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 2**64 + 1, 2**65]


@pytest.mark.parametrize("asked", [10**18 + 1, 10**18 + 2, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("operator", ["=", "<", ">="])
def test_whole_numbers_of_64_bits_are_exact(numbers, asked, operator):
    expected = {f"d{n}" for n, number in enumerate(WHOLE) if holds((operator, "n", asked), {"n": number})}
    assert shown_ids(numbers, f"n {operator} {asked}") == expected
    assert shown_ids(numbers, f"n {operator} {asked:+024d}") == expected
    if operator == "=":
        assert shown_ids(numbers, {"n": asked}) == expected


@pytest.mark.parametrize("asked", [2**64, 2**64 + 1, float(2**64)])
def test_greater_numbers_are_doubles(numbers, asked):
    assert shown_ids(numbers, f"n = {asked}") == shown_ids(numbers, {"n": asked}) == {"d5", "d6"}
    assert shown_ids(numbers, f"n > {asked}") == {"d7"}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    with make(tmp_path_factory.mktemp("numbers") / "i", [{"n": number} for number in WHOLE]) as store:
        yield store


@pytest.mark.parametrize("value", ["x' OR '1'='1", 'x") OR 1=1 --', "%", "_", "\\", "?", ":a", "\0"])
def test_values_and_names_are_never_sql(tmp_path, value):
    with make(tmp_path / "i", [{"a": value, value.replace("`", ""): 1}, {"a": "other"}]) as store:
        assert shown_ids(store, {"a": value}) == {"d0"}
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        assert shown_ids(store, f"a = '{quoted}'") == {"d0"}
        if '"' not in value:
            assert shown_ids(store, f"`{value}` = 1") == {"d0"}


# A twin in Python

scalars = st.sampled_from([0, 1, 2, 2.0, 2.5, -1, "", "a", "b", "é", True, False, None])
names = st.sampled_from(["a", "b.c", "b.d", "é"])
metadata = st.none() | st.dictionaries(
    st.sampled_from(["a", "b", "é"]),
    scalars | st.dictionaries(st.sampled_from("cd"), scalars, max_size=2) | st.lists(scalars, max_size=2),
    max_size=3,
)
conditions = st.recursive(
    st.tuples(st.just("in"), names, st.lists(scalars, min_size=1, max_size=3))
    | st.tuples(st.sampled_from(["=", "!="]), names, scalars)
    | st.tuples(
        st.sampled_from(["<", "<=", ">", ">="]),
        names,
        scalars.filter(lambda value: value is not None and not isinstance(value, bool)),
    ),
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner) | st.tuples(st.just("not"), inner),
    max_leaves=6,
)


def as_text(condition):
    match condition:
        case ("not", inner):
            return f"not ({as_text(inner)})"
        case ("and" | "or" as word, left, right):
            return f"({as_text(left)}) {word} ({as_text(right)})"
        case ("in", name, values):
            return f"{name} in ({', '.join(map(literal, values))})"
        case (operator, name, value):
            return f"{name} {operator} {literal(value)}"


def literal(value):
    return json.dumps(value, ensure_ascii=False)


def same(found, wanted):
    if wanted is None:
        return found is None or found is ABSENT
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(wanted, str):
        return isinstance(found, str) and found == wanted
    return isinstance(found, int | float) and found == wanted


def holds(condition, document):
    match condition:
        case ("not", inner):
            return not holds(inner, document)
        case ("and", left, right):
            return holds(left, document) and holds(right, document)
        case ("or", left, right):
            return holds(left, document) or holds(right, document)
    operator, name, wanted = condition
    found = document
    for label in name.split("."):
        found = found.get(label, ABSENT) if isinstance(found, dict) else ABSENT
    if operator == "in":
        return any(same(found, value) for value in wanted)
    if operator in ("=", "!="):
        return same(found, wanted) == (operator == "=")
    kinds = str if isinstance(wanted, str) else int | float
    if not isinstance(found, kinds) or isinstance(found, bool):
        return False
    return {"<": found < wanted, "<=": found <= wanted, ">": found > wanted, ">=": found >= wanted}[operator]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.lists(metadata, min_size=1, max_size=8), asked=st.lists(conditions, min_size=1, max_size=4))
def test_filters_agree_with_python(documents, asked, memory_folder):
    shutil.rmtree(memory_folder / "i", ignore_errors=True)
    with make(memory_folder / "i", documents) as store:
        for condition in asked:
            expected = {f"d{place}" for place, document in enumerate(documents) if holds(condition, document)}
            assert shown_ids(store, as_text(condition)) == expected, as_text(condition)


# The search that a filter is part of


@pytest.mark.parametrize("options", [IndexOptions(), IndexOptions(impact_bits=16), IndexOptions(rows=False)], ids=str)
def test_few_documents_are_found_as_many_are(tmp_path, monkeypatch, options):
    generator = np.random.default_rng(5)
    ids = [f"d{place:03}" for place in range(300)]
    rows = [{int(t): float(generator.choice([0.5, 1.0])) for t in generator.choice(N_TERMS, 3)} for _ in ids]
    documents = [Document(id, "", "", {"group": int(generator.integers(4))}) for id in ids]
    queries = vectors(*rows[:20], {1: 1.0}, {})
    with Store.create(tmp_path / "i", n_terms=N_TERMS, options=options) as store:
        for start in range(0, 300, 100):
            span = slice(start, start + 100)
            store.add(documents[span], ids[span], vectors(*rows[span]))
        store.delete(ids[::7])
        answers = []
        for share in (0.0, 1.0):
            monkeypatch.setattr(snapshot, "SELECTIVE_SHARE", share)
            found = [store.search(queries, k, where="group in (1, 3)") for k in (1, 7, 400)]
            answers.append([(part.ids.tolist(), part.integer_scores.tolist()) for part in found])
        assert answers[0] == answers[1]
        whole = store.search(queries, 300)
        groups = {document.id: document.metadata["group"] for document in documents}
        for row, ids_found in enumerate(answers[0][2][0]):
            expected = [id for id in whole.ids[row] if id is not None and groups[id] in (1, 3)]
            assert [id for id in ids_found if id is not None] == expected


def test_a_filter_is_asked_once_for_each_segment(tmp_path, monkeypatch):
    asked = []
    ask = catalog._ask_page
    monkeypatch.setattr(catalog, "_ask_page", lambda *a: asked.append(a[2].number) or ask(*a))
    with make(tmp_path / "i", METADATA) as store:
        assert shown_ids(store, "year = 2019") == shown_ids(store, {"year": 2019}) == {"d0"}
        assert asked == [1]
        store.add([Document("e", "", "", {"year": 2019})], ["e"], vectors({1: 1.0}))
        store.delete(["d0"])
        assert shown_ids(store, "year = 2019") == {"e"}
        assert asked == [1, 2]
        assert parse_filter("year = 2019") in store.snapshot.answers
        monkeypatch.setattr(snapshot, "FILTERS_KEPT", 3)
        for year in range(5):
            shown_ids(store, {"year": year})
        assert len(store.snapshot.answers) == 3
        assert shown_ids(store, "year = 2019") == {"e"}


def test_a_reader_with_a_new_filter_sees_the_newest_commit(tmp_path):
    with make(tmp_path / "i", METADATA) as store, Store.open(tmp_path / "i") as reader:
        held = reader.snapshot
        store.add([Document("d1", "", "", {"year": 1})], ["d1"], vectors({1: 1.0}))
        store.optimise()
        assert shown_ids(reader, {"year": [1, 2019]}) == {"d0", "d1"}
        assert reader.meta.version == store.meta.version
        assert held.meta.generation == 1
        assert held.search(vectors({1: 1.0}), 9).ids.tolist()[0][:7] == [f"d{place}" for place in range(7)]


def test_an_empty_index_can_be_asked(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS, options=IndexOptions(keep_weights=True)) as store:
        for settings_ in ({}, {"float_exact": True}, {"recall": 0.9}):
            assert store.search(vectors({1: 1.0}), 2, where="a = 1", **settings_).ids.tolist() == [[None, None]]
        store.add([Document("d", "", "", {"a": 1})], ["d"], vectors({1: 1.0}))
        assert shown_ids(store, "a = 1") == {"d"}


def test_damage_is_named(tmp_path):
    with make(tmp_path / "i", METADATA) as store:
        connection = sqlite3.connect(store.path / "catalog.sqlite")
        connection.execute("UPDATE documents SET local = 99 WHERE id = 'd0'")
        connection.commit()
        connection.close()
        with pytest.raises(CorruptIndex, match="documents does not fit"):
            shown_ids(store, "year = 2019")


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "two stores"])
def test_filter_and_search_are_of_one_state(tmp_path, shared):
    """Every commit turns each document's field and its term round together: a mixture of states would show both."""
    ids = [f"{place:02}" for place in range(20)]
    failures, searches, done = [], [], threading.Event()

    def turn(generation):
        sides = [(place + generation) % 2 for place in range(20)]
        documents = [Document(id, "", "", {"side": side}) for id, side in zip(ids, sides, strict=True)]
        writer.add(documents, ids, vectors(*({side: 1.0 + side} for side in sides)))

    writer = Store.create(tmp_path / "i", n_terms=N_TERMS, impact_scale=1.0)
    turn(0)
    reader = writer if shared else Store.open(tmp_path / "i")

    def search(number):
        while not done.is_set():
            # New filters each time: they must be asked of the catalog.
            found = reader.search(vectors({0: 1.0, 1: 1.0}), 25, where=f"side = 1 and not other = {len(searches)}")
            scores = found.integer_scores[0]
            hits = [int(id) for id in found.ids[0] if id is not None]
            if scores[:10].tolist() != [2 * 4095] * 10 or scores[10:].any() or len({hit % 2 for hit in hits}) != 1:
                failures.append((hits, scores))
                return
            searches.append(hits[0])

    threads = [threading.Thread(target=search, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for generation in range(1, 25):
            turn(generation)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        writer.close()
        reader.close()
    assert not failures
    assert len(set(searches)) == 2
