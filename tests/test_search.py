"""The public index: texts in, hits out, with an encoder that needs no torch."""

import re
import shutil
import sys
import tempfile
import types
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade.errors import ConfigError, CorruptIndex, IndexFolderError, InputError, ModelError, ModelMismatch
from everglade.explain import explain_vectors
from everglade.reference import Impacts, quantise_documents, quantise_queries, search_impacts
from everglade.search import Hit, Index, Match
from everglade.texts import Document, Query
from everglade.vectors import SparseMatrix, VectorsWriter

TEXTS = {
    "d1": "Aspirin and rest relieve most headaches",
    "d2": "The bridge was closed after the flood",
    "d3": "Migraine is a headache; rest helps, rest and quiet",
    "d4": "",
}
DOCUMENTS = [Document(id, text) for id, text in TEXTS.items()]


class Bag:
    """A bag of hashed words: weight log(1 + count) times a factor that each word has for itself."""

    name = "bag-of-words"

    def __init__(self, n_terms=64, fingerprint="abc123"):
        self.n_terms = n_terms
        self.fingerprint = fingerprint
        self.calls = []

    def encode_documents(self, texts):
        self.calls.append(len(texts))
        return SparseMatrix.from_rows([self._row(text) for text in texts], self.n_terms)

    encode_queries = encode_documents

    def term_names(self):
        return [f"word{term}" for term in range(self.n_terms)]

    def term(self, word):
        return zlib.crc32(word.encode()) % self.n_terms

    def _row(self, text):
        counts = {}
        for word in re.findall(r"\w+", text.lower()):
            counts[self.term(word)] = counts.get(self.term(word), 0) + 1
        return {term: float(np.log1p(count) * (1 + term / self.n_terms)) for term, count in counts.items()}


@pytest.fixture
def bag():
    return Bag()


@pytest.fixture
def memory_folder():
    """A folder in memory where there is one: durability is not what every test is about."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def index(tmp_path, bag):
    with Index.create(tmp_path / "i", bag) as index:
        index.add(DOCUMENTS)
        yield index


def brute_force(documents, texts, k, scale, bag):
    """What the reference finds over {id: text}: integer scores."""
    matrix = bag.encode_documents(list(documents.values()))
    impacts = Impacts(matrix.indptr, matrix.terms, quantise_documents(matrix.weights, scale))
    return search_impacts(impacts, list(documents), quantise_queries(bag.encode_queries(texts))[0], k)


# Searching


def test_hits_are_the_references(index, bag):
    queries = ["headache rest", "bridge", "rest", "nothing of this", "the a and is"]
    expected = brute_force(TEXTS, queries, 3, index.info().impact_scale, bag)
    scales = quantise_queries(bag.encode_queries(queries))[1] * index.info().impact_scale
    for query, ranking, scale in zip(queries, expected, scales, strict=True):
        hits = index.search(query, k=3)
        assert [hit.id for hit in hits] == ranking.ids
        assert [hit.score for hit in hits] == [score / scale for score in ranking.scores]


def test_why_sums_to_the_score_and_names_the_terms(index, bag):
    (first, *_) = hits = index.search("rest and quiet, rest for headaches", k=10)
    assert isinstance(first, Hit)
    assert isinstance(first.why[0], Match)
    for hit in hits:
        contributions = [match.contribution for match in hit.why]
        assert contributions == sorted(contributions, reverse=True)
        assert sum(contributions) == pytest.approx(hit.score, rel=1e-9)
        for match in hit.why:
            assert match.contribution == pytest.approx(match.query_weight * match.document_weight, rel=1e-12)
    rest = next(match for match in first.why if match.term == f"word{bag.term('rest')}")
    assert rest.query_weight == pytest.approx(np.log1p(2) * (1 + bag.term("rest") / 64), rel=1e-3)


def test_queries_without_terms_find_nothing(index):
    assert index.search("") == []
    assert index.search("?!") == []
    assert index.search("rest", k=0) == []
    assert index.search_many({"q": ""}) == {"q": {}}


def test_search_many_takes_queries_pairs_and_mappings_alike(index):
    expected = {text: {hit.id: hit.score for hit in index.search(text)} for text in ("rest", "flood", "xyzzy")}
    pairs = [(text, text) for text in expected]
    assert index.search_many([Query(*pair) for pair in pairs]) == expected
    assert index.search_many(iter(pairs), threads=2) == expected
    assert index.search_many(dict(pairs), k=50) == expected
    assert list(index.search_many(pairs)) == list(expected)
    assert index.search_many([]) == {}


def test_runs_hold_the_hits_best_first(index):
    run = index.search_many({"q": "the rest and headache is a flood"}, k=3)["q"]
    assert list(run) == [hit.id for hit in index.search("the rest and headache is a flood", k=3)]
    assert all(type(score) is float for score in run.values())
    assert list(run.values()) == sorted(run.values(), reverse=True)


def test_search_many_in_parts_is_search_many_at_once(index, monkeypatch):
    queries = {str(place): text for place, text in enumerate(list(TEXTS.values()) * 3)}
    whole = index.search_many(queries)
    monkeypatch.setattr("everglade.asking.QUERIES_AT_A_TIME", 5)
    assert index.search_many(queries) == whole


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([("q", "a"), ("p", "b"), ("q", "c")], "two queries have the id 'q'"),
        ([("q", "a", "b")], "number 1"),
        (["q"], "number 1"),
        ("q1", "number 1"),
        ([(1, "a")], r"str\(1\)"),
        ([("q", None)], "NoneType"),
    ],
)
def test_queries_that_cannot_be_used_are_refused(index, queries, message):
    with pytest.raises(InputError, match=message):
        index.search_many(queries)


def test_search_vectors_gives_arrays_of_the_promised_shape(index, bag):
    matrix = bag.encode_queries(["rest", "", "bridge flood"])
    ids, scores = index.search_vectors(matrix, k=3)
    assert ids.shape == scores.shape == (3, 3)
    assert ids[1].tolist() == [None] * 3
    assert scores.dtype == np.float32
    assert np.isneginf(scores[1]).all()
    for recall in (0.5, 1.0):
        assert index.search_vectors(matrix, 3, recall=recall, threads=2)[0].tolist() == ids.tolist()
    for recall in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="recall"):
            index.search_vectors(matrix, 3, recall=recall)
    with pytest.raises(InputError, match="from_scipy"):
        index.search_vectors(matrix.to_scipy(), 3)


# Searching with settings


@pytest.fixture
def rich_index(tmp_path, bag):
    """Documents with metadata, in an index that keeps weights."""
    with Index.create(tmp_path / "rich", bag, impact_bits=16, keep_weights=True) as index:
        places = enumerate(DOCUMENTS)
        index.add([Document(document.id, document.text, "", {"n": place}) for place, document in places])
        yield index


def test_every_search_takes_a_filter(rich_index, bag):
    asked = "rest and headache and flood"
    everything = [hit.id for hit in rich_index.search(asked)]
    assert everything == ["d3", "d1", "d2"]
    for where in ("n >= 1", "not n = 0", {"n": [1, 2, 3]}, "id != 'd1'"):
        hits = rich_index.search(asked, where=where)
        assert [hit.id for hit in hits] == ["d3", "d2"]
        assert rich_index.search_many({"q": asked}, where=where) == {"q": {hit.id: hit.score for hit in hits}}
        ids = rich_index.search_vectors(bag.encode_queries([asked]), 3, where=where)[0]
        assert ids.tolist() == [["d3", "d2", None]]
    assert rich_index.search(asked, where={"id": []}) == []
    with pytest.raises(ConfigError, match="character 3"):
        rich_index.search(asked, where="n ~ 1")


def test_float_exact_hits_say_why_in_weights(rich_index, bag):
    asked = "rest and quiet, rest for headaches"
    rows = {document.id: bag._row(document.text) for document in DOCUMENTS}
    query = bag._row(asked)
    hits = rich_index.search(asked, float_exact=True)
    assert {hit.id for hit in hits} >= {"d1", "d3"}
    for hit in hits:
        exact = sum(weight * float(np.float16(rows[hit.id].get(term, 0.0))) for term, weight in query.items())
        assert hit.score == pytest.approx(exact, rel=1e-6)
        assert sum(match.contribution for match in hit.why) == pytest.approx(hit.score, rel=1e-9)
        for match in hit.why:
            assert match.document_weight == np.float16(rows[hit.id][int(match.term[4:])])
    run = rich_index.search_many({"q": asked}, float_exact=True)
    assert run == {"q": {hit.id: hit.score for hit in hits}}
    scores = rich_index.search_vectors(bag.encode_queries([asked]), 2, float_exact=True)[1]
    assert scores.tolist() == [[np.float32(hit.score) for hit in hits[:2]]]


def test_wide_impacts_explain_themselves(rich_index):
    hit = rich_index.search("rest and bridge")[0]
    assert rich_index.explain("rest and bridge", hit.id).matches == hit.why
    assert sum(match.contribution for match in hit.why) == pytest.approx(hit.score, rel=1e-9)


def test_an_index_is_optimised_and_calibrated(rich_index):
    rich_index.add([Document("d5", "more rest", "", {"n": 5})])
    before = rich_index.search("rest", k=9)
    assert rich_index.optimise() == 1
    assert rich_index.search("rest", k=9) == before
    texts = [" ".join(["rest"] * n + ["flood"] * m) for n in range(1, 9) for m in range(8)]
    by_id = {f"q{place}": text for place, text in enumerate(texts)}
    for queries in (by_id, [Query(*pair) for pair in by_id.items()], rich_index.encoder.encode_queries(texts)):
        noted = rich_index.calibrate(queries)
        assert (noted.given, noted.queries) == (True, 64)
        assert rich_index.info().calibration == noted
    with pytest.raises(ConfigError, match="this index give 5 different queries"):
        rich_index.calibrate()
    assert rich_index.search("rest", k=9, recall=0.9) == before
    assert rich_index.search_many({"q": "rest"}, recall=0.99)["q"] == {hit.id: hit.score for hit in before}


def test_a_damaged_id_is_named_with_its_file_and_place(index, bag):
    index.close()
    (segment,) = index.path.glob("*.segment")
    content = bytearray(segment.read_bytes())
    assert content.endswith(b"d3d4")
    content[-3] = 0xFF
    segment.write_bytes(content)
    with Index.open(index.path, bag, verify=False) as damaged:
        with pytest.raises(CorruptIndex, match="an id is not UTF-8. Restore it from a backup") as caught:
            damaged.search("rest")
        assert str(segment) in str(caught.value)
        assert damaged.search_many({"q": "flood"}, k=1)["q"].keys() == {"d2"}


# Adding


def test_documents_may_come_in_any_form(tmp_path, bag):
    given_forms = [
        Document("a", "text a", "title", {"n": 1}),
        {"id": "b", "text": "text b", "title": None, "url": "passed over"},
        {"_id": "c", "text": "text c", "title": "t", "metadata": {}},
        ("d", "text d"),
        ("e", "text e", "t"),
    ]
    with Index.create(tmp_path / "i", bag) as index:
        assert index.add(iter(given_forms)) == 5
        assert index.document("a") == given_forms[0]
        assert index.document("b") == Document("b", "text b")
        assert index.document("c") == Document("c", "text c", "t", {})
        assert index.document("e") == Document("e", "text e", "t")
        assert index.search("title")[0].id == "a"  # titles are encoded too


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("just text", "number 2"),
        (("a",), "number 2"),
        ({"id": "a"}, "number 2.*'id' and 'text'"),
        ({"text": "a"}, "number 2"),
        (3, "number 2"),
        ((3, "text"), r"str\(3\)"),
        ({"id": 3, "text": "text"}, r"str\(3\)"),
        (("a", None), "its text is of type NoneType"),
        (Document("a", "text", "", {"n": float("inf")}), "JSON"),
    ],
)
def test_documents_that_cannot_be_used_are_refused_before_encoding(index, bag, document, message):
    bag.calls.clear()
    with pytest.raises(InputError, match=message):
        index.add([("z", "fine"), document])
    assert len(index) == len(TEXTS)
    assert bag.calls == []


def test_batches_before_a_bad_one_stay(tmp_path, bag):
    with Index.create(tmp_path / "i", bag, impact_scale=50.0) as index:
        with pytest.raises(InputError, match="number 5"):
            index.add([*DOCUMENTS, "bad"], batch_documents=2)
        assert len(index) == 4
    with Index.open(tmp_path / "i", bag) as index:
        assert len(index) == 4


def test_adding_again_replaces(index, bag):
    texts = {**TEXTS, "d2": "headache headache headache rest"}
    index.add([Document("d2", texts["d2"])])
    assert len(index) == 4
    assert index.search("bridge") == []
    expected = brute_force(texts, ["rest"], 9, index.info().impact_scale, bag)
    assert [hit.id for hit in index.search("rest")] == expected[0].ids
    assert index.delete(["d2", "d9"]) == 1
    assert index.document("d2") is None


def test_unchanged_documents_are_passed_over_when_asked(index, bag):
    bag.calls.clear()
    seen = []
    changed = [*DOCUMENTS[:3], Document("d4", "no longer empty"), Document("d5", "new")]
    assert index.add(changed, skip_unchanged=True, progress=seen.append) == 2
    assert bag.calls == [2]
    assert seen[-1].done == seen[-1].total == 5
    assert index.add([Document("d5", "newer"), Document("d5", "new")], skip_unchanged=True) == 0
    assert index.document("d5").text == "new"


def test_progress_counts_documents(tmp_path, bag):
    seen = []
    with Index.create(tmp_path / "i", bag, impact_scale=50.0) as index:
        index.add(DOCUMENTS, batch_documents=3, progress=seen.append)
        assert [progress.done for progress in seen] == [0, 3, 4]
        assert seen[-1].total == 4
        index.add(iter(DOCUMENTS), progress=seen.append)
        assert seen[-1].total is None


words = st.sampled_from(["rest", "flood", "bridge", "ache", "x"])
documents = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.lists(words, max_size=4).map(" ".join)), min_size=1, max_size=12
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=documents, sizes=st.lists(st.integers(1, 13), min_size=2, max_size=2))
def test_the_batch_size_changes_no_answer(documents, sizes, memory_folder, bag):
    answers = []
    for size in sizes:
        shutil.rmtree(memory_folder / "i", ignore_errors=True)
        with Index.create(memory_folder / "i", bag, impact_scale=90.0) as index:
            index.add(documents, batch_documents=size)
            run = index.search_many({word: word for word in ("rest", "flood bridge", "x x ache")})
            answers.append((run, index.info().impact_scale, index.info().documents))
    assert answers[0] == answers[1]


def test_the_batch_size_does_not_decide_the_impact_scale(tmp_path, bag, monkeypatch):
    """The heaviest weight comes late: without a first batch of fixed size it would be clipped by small batches only."""
    monkeypatch.setattr("everglade.adding.FIRST_BATCH", 6)
    late = [(str(place), "rest " * (1 + place * 9)) for place in range(9)]
    answers = []
    for size in (1, 4, 100):
        with Index.create(tmp_path / str(size), bag) as index:
            index.add(late, batch_documents=size)
            answers.append((index.info().impact_scale, index.search("rest", k=9), index.info().clipped_weights))
    assert answers[0] == answers[1] == answers[2]


def test_vectors_are_added_with_or_without_documents(tmp_path, bag):
    with Index.create(tmp_path / "i", n_terms=64) as index:
        index.add_vectors(["a", "b"], bag.encode_documents(["rest", "flood"]))
        index.add_vectors(["c"], bag.encode_documents(["bridge"]), [Document("c", "bridge")])
        assert index.document("c").text == "bridge"
        assert index.search_vectors(bag.encode_queries(["flood"]), 1)[0].tolist() == [["b"]]


def test_a_vectors_folder_is_added_with_its_documents(tmp_path, bag):
    ids = list(TEXTS)
    with VectorsWriter(tmp_path / "v", {"n_terms": 64, "model": {"name": "bag", "fingerprint": "abc123"}}) as writer:
        writer.append(ids[:2], bag.encode_documents([TEXTS[id] for id in ids[:2]]))
        writer.append(ids[2:], bag.encode_documents([TEXTS[id] for id in ids[2:]]))
    seen = []
    with Index.create(tmp_path / "i", bag) as index:
        assert index.add_folder(tmp_path / "v", reversed(DOCUMENTS), progress=seen.append) == 4
        assert [index.document(id) for id in ids] == DOCUMENTS
        assert seen[-1].done == 4
        assert index.search("bridge")[0].id == "d2"
        with pytest.raises(InputError, match="'d1'.*has a vector"):
            index.add_folder(tmp_path / "v", DOCUMENTS[1:])
    with Index.create(tmp_path / "l", n_terms=64, model_reference={"name": "bag", "fingerprint": "abc123"}) as index:
        assert index.info().model == {"path": "bag", "fingerprint": "abc123"}
        index.add_folder(tmp_path / "v")
    with VectorsWriter(tmp_path / "q", {"n_terms": 64, "side": "query"}) as writer:
        writer.append(["q"], bag.encode_queries(["rest"]))
    with Index.open(tmp_path / "l", bag) as index, pytest.raises(InputError, match="vectors of queries"):
        index.add_folder(tmp_path / "q")
    with VectorsWriter(tmp_path / "twice", {"n_terms": 64}) as writer:
        writer.append(["d1", "d1"], bag.encode_documents(["x", "y"]))
    with Index.create(tmp_path / "k", bag) as index:
        assert index.add_folder(tmp_path / "twice", iter(DOCUMENTS)) == 2
        assert len(index) == 1
    with Index.create(tmp_path / "j", Bag(fingerprint="other")) as index, pytest.raises(ModelMismatch, match="abc123"):
        index.add_folder(tmp_path / "v")


# Models


def test_create_needs_a_vocabulary(tmp_path, bag):
    with pytest.raises(ConfigError, match="n_terms"):
        Index.create(tmp_path / "i")
    with pytest.raises(ConfigError, match="64"):
        Index.create(tmp_path / "i", bag, n_terms=65)
    Index.create(tmp_path / "i", bag, 64).close()


def test_another_model_is_refused_with_both_names(index, tmp_path):
    index.close()
    with pytest.raises(ModelMismatch, match=r"bag-of-words.*abc123.*bag-of-words.*def456.*make another index"):
        Index.open(tmp_path / "i", Bag(fingerprint="def456"))
    with pytest.raises(ModelMismatch, match="64 terms"):
        Index.open(tmp_path / "i", Bag(n_terms=65))
    with Index.open(tmp_path / "i", Bag()) as opened:
        assert opened.search("bridge")[0].id == "d2"


def test_a_model_that_was_trained_meanwhile_adds_nothing(index, bag):
    bag.fingerprint = "trained"
    with pytest.raises(ModelMismatch, match="trained"):
        index.add(DOCUMENTS)
    assert index.info().generation == 1


def test_an_index_of_vectors_asks_for_a_model(tmp_path, bag):
    with Index.create(tmp_path / "i", n_terms=64) as index:
        index.add_vectors(["a"], bag.encode_documents(["rest"]))
        for use in (lambda: index.search("rest"), lambda: index.add(DOCUMENTS), lambda: index.search_many({"q": "x"})):
            with pytest.raises(ModelError, match="model="):
                use()
        assert len(index) == 1
    with Index.open(tmp_path / "i", model=bag) as index:
        assert [hit.id for hit in index.search("rest")] == ["a"]


def test_the_model_is_loaded_when_it_is_needed_and_checked(index, tmp_path, monkeypatch):
    index.close()
    loads = []
    module = types.ModuleType("everglade.model.splade")

    class Splade:
        @staticmethod
        def load(name):
            loads.append(name)
            return Bag(fingerprint="abc123" if len(loads) == 1 else "changed")

    module.Splade = Splade
    monkeypatch.setitem(sys.modules, "everglade.model.splade", module)
    with Index.open(tmp_path / "i") as opened:
        assert len(opened) == 4
        assert loads == []
        assert opened.search("bridge")[0].id == "d2"
        assert opened.search("rest")
        assert loads == ["bag-of-words"]
    with Index.open(tmp_path / "i") as opened, pytest.raises(ModelMismatch, match="changed"):
        opened.search("bridge")


def test_a_model_folder_is_kept_by_its_whole_path(tmp_path, bag, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    bag.name = "model"
    with Index.create("i", bag) as index:
        assert index.info().model == {"path": str(tmp_path / "model"), "fingerprint": "abc123"}


# Explaining and describing


def test_explain_agrees_with_the_hit(index):
    hit = index.search("rest and bridge")[0]
    explanation = index.explain("rest and bridge", hit.id)
    assert explanation.matches == hit.why
    assert explanation.score == pytest.approx(hit.score, rel=1e-12)
    missed = {term for term, _ in explanation.missed}
    assert missed == {term for term, _ in explanation.query} - {match.term for match in hit.why}
    weights = [weight for _, weight in explanation.document]
    assert weights == sorted(weights, reverse=True)
    assert {"score", "query", "document", "matches", "missed"} == set(explanation.to_dict())
    assert explanation.to_dict()["matches"][0]["term"] == hit.why[0].term


def test_explain_knows_documents_that_did_not_rank(index):
    explanation = index.explain("bridge", "d4")
    assert (explanation.score, explanation.matches, explanation.document) == (0.0, (), ())
    assert len(explanation.missed) == 1
    with pytest.raises(InputError, match="no document 'd9'"):
        index.explain("bridge", "d9")


def test_explain_vectors_by_hand():
    query = (np.array([1, 4, 6]), np.array([1.0, 2.0, 0.5]))
    document = (np.array([0, 4, 6]), np.array([9.0, 0.25, 3.0]))
    explanation = explain_vectors(query, document, "abcdefg")
    assert explanation.score == 2.0
    assert explanation.matches == (("g", 0.5, 3.0, 1.5), ("e", 2.0, 0.25, 0.5))
    assert explanation.missed == (("b", 1.0),)
    assert [term for term, _ in explanation.document] == ["a", "g", "e"]


def test_info_counts(index, bag):
    index.add([Document("d1", "changed")])
    info = index.info()
    assert (info.documents, info.deleted, info.segments, info.generation) == (4, 1, 2, 2)
    assert info.postings == sum(len(bag._row(text)) for text in TEXTS.values()) + 1
    assert info.size_bytes == sum(path.stat().st_size for path in index.path.glob("*.segment"))
    assert info.bytes_per_posting == info.size_bytes / info.postings
    assert info.model == {"path": "bag-of-words", "fingerprint": "abc123"}
    assert info.to_dict() == asdict(info)
    assert len(index) == 4


def test_term_shares_leave_out_what_was_replaced(index, bag):
    index.add([Document("d1", "flood")])
    shares = index.term_shares()
    rows = bag.encode_documents(["flood", *list(TEXTS.values())[1:]])
    assert shares.tolist() == (np.bincount(rows.terms, minlength=64) / 4).tolist()


def test_a_closed_index_says_so(index):
    index.close()
    index.close()
    for use in (lambda: index.search("rest"), lambda: index.add(DOCUMENTS), index.info, lambda: index.delete(["d1"])):
        with pytest.raises(IndexFolderError, match="has been closed"):
            use()


def test_another_process_is_followed_by_refresh(index, tmp_path, bag):
    with Index.open(tmp_path / "i", bag) as reader:
        index.add([Document("d9", "volcano")])
        assert reader.search("volcano") == []
        reader.refresh()
        assert [hit.id for hit in reader.search("volcano")] == ["d9"]
