"""What a store refuses, survives and promises; equality with the reference is in test_store_properties.py."""

import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from everglade.errors import ConfigError, CorruptIndex, FormatTooNew, IndexFolderError, InputError, LockHeld
from everglade.index import segments, snapshot
from everglade.index.store import Store, is_index
from everglade.reference import MAX_QUERY_IMPACT
from everglade.texts import Document
from everglade.vectors import SparseMatrix

N_TERMS = 12


def vectors(*rows):
    return SparseMatrix.from_rows(rows, N_TERMS)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, ["a", "b"], vectors({1: 1.0, 2: 2.0}, {2: 1.0}))
        yield store


# Making and opening


def test_create_refuses_what_is_there(store, tmp_path):
    with pytest.raises(IndexFolderError, match="exists already. Open it"):
        Store.create(store.path, n_terms=N_TERMS)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(IndexFolderError, match="exists already. Remove it"):
        Store.create(tmp_path / "full", n_terms=N_TERMS)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(IndexFolderError):
        Store.create(tmp_path / "file", n_terms=N_TERMS)
    (tmp_path / "empty").mkdir()
    Store.create(tmp_path / "empty", n_terms=N_TERMS).close()


def test_create_takes_the_place_of_an_interrupted_one(tmp_path):
    partial = tmp_path / "deep" / "i.partial"
    partial.mkdir(parents=True)
    (partial / "catalog.sqlite").write_bytes(b"half")
    with pytest.raises(IndexFolderError, match="interrupted"):
        Store.open(tmp_path / "deep" / "i")
    Store.create(tmp_path / "deep" / "i", n_terms=N_TERMS).close()
    assert not partial.exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("n_terms", 0), ("n_terms", -1), ("n_terms", 2**24 + 1), ("n_terms", True), ("n_terms", "9")]
    + [("impact_scale", value) for value in (0.0, -1.0, float("nan"), float("inf"))],
)
def test_create_refuses_settings_out_of_range(tmp_path, setting, value):
    with pytest.raises(ConfigError, match=setting):
        Store.create(tmp_path / "i", **{"n_terms": N_TERMS, setting: value})
    assert list(tmp_path.iterdir()) == []


def test_open_says_what_is_missing(tmp_path):
    with pytest.raises(IndexFolderError, match=r"no index folder at .*nowhere"):
        Store.open(tmp_path / "nowhere")
    with pytest.raises(IndexFolderError, match="is not an index"):
        Store.open(tmp_path)
    assert not is_index(tmp_path)


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    for use in (lambda: store.search(vectors({1: 1.0}), 1), lambda: len(store), lambda: store.document("a")):
        with pytest.raises(IndexFolderError, match="has been closed"):
            use()
    with pytest.raises(IndexFolderError, match="has been closed"):
        store.add(None, ["c"], vectors({1: 1.0}))
    with pytest.raises(IndexFolderError, match="has been closed"):
        store.delete(["a"])
    with pytest.raises(IndexFolderError, match="has been closed"):
        store.refresh()


# What goes in


@pytest.mark.parametrize(
    "id", ["", "a\0b", "a\nb", "a\rb", "\ud800", 1, 0, True, None, b"a", np.int64(3), ("a",), ["a"]], ids=repr
)
def test_ids_that_cannot_be_are_refused(store, id):
    before = store.meta
    with pytest.raises(InputError, match="id"):
        store.add(None, ["c", id], vectors({1: 1.0}, {1: 1.0}))
    with pytest.raises(InputError, match="id"):
        store.delete([id])
    assert store.meta == before


def test_a_number_as_id_comes_with_advice(store):
    with pytest.raises(InputError, match=r"give str\(17\)"):
        store.delete([17])


def test_strange_ids_are_kept_as_they_are(store):
    strange = [" ", "a b", "\t", "\x85", "\u2028", "\U0001f600", "x" * 5000, "e\u0301", "é", "../..", "%00"]
    store.add(None, strange, vectors(*[{5: 1.0}] * len(strange)))
    assert store.search(vectors({5: 1.0}), 50).ids[0, : len(strange)].tolist() == sorted(strange)
    assert store.delete(strange) == len(strange)


def test_one_string_is_not_a_list_of_ids(store):
    with pytest.raises(InputError, match="list of ids"):
        store.delete("ab")
    with pytest.raises(InputError, match="list of ids"):
        store.add(None, "cd", vectors({1: 1.0}, {1: 1.0}))
    assert len(store) == 2


def test_rows_that_do_not_fit_are_refused(store):
    with pytest.raises(InputError, match="1 ids for 2 rows"):
        store.add(None, ["c"], vectors({1: 1.0}, {1: 1.0}))
    with pytest.raises(InputError, match="have 11 terms, the index 12"):
        store.add(None, ["c"], SparseMatrix.from_rows([{1: 1.0}], 11))
    with pytest.raises(InputError, match="SparseMatrix.from_scipy"):
        store.add(None, ["c"], np.ones((1, N_TERMS)))
    with pytest.raises(InputError, match="the queries have 11 terms"):
        store.search(SparseMatrix.from_rows([{1: 1.0}], 11), 1)
    with pytest.raises(ConfigError, match="negative"):
        store.search(vectors({1: 1.0}), -1)


@pytest.mark.parametrize(
    "document",
    [
        Document("c", "\ud800"),
        Document("c", "text", "\udfff"),
        Document("c", None),
        Document("c", "text", None),
        Document("c", "text", "", {"n": float("nan")}),
        Document("c", "text", "", {"n": {1, 2}}),
        Document("c", "text", "", ["not", "a", "dict"]),
        Document("other", "text"),
    ],
    ids=repr,
)
def test_documents_that_cannot_be_stored_are_refused_whole(store, document):
    with pytest.raises(InputError, match=r"'c'|ids"):
        store.add([Document("d", "fine"), document], ["d", "c"], vectors({1: 1.0}, {1: 1.0}))
    assert sorted(store.snapshot.ids()) == ["a", "b"]


def test_documents_come_back_as_they_went_in(store):
    nested = {"n": 1, "list": [1.5, None, "é"], "deep": {"half a pair": "\ud800"}}
    documents = [Document("c", "line\nline\0end", "t\u00eftle", nested), Document("d", "", "", {}), Document("e", "x")]
    store.add(documents, ["c", "d", "e"], vectors({}, {}, {1: 1.0}))
    with Store.open(store.path) as reader:
        assert [reader.document(id) for id in "cde"] == documents
        assert json.dumps(reader.document("c").metadata) == json.dumps(nested)
        assert reader.document("a") == Document("a", "")
        assert reader.document("nobody") is None


def test_the_last_of_two_in_one_batch_counts_and_is_counted(store):
    store.add([Document("c", "old"), Document("c", "new")], ["c", "c"], vectors({1: 9.0}, {4: 1.0}))
    assert store.document("c").text == "new"
    assert store.vector("c").terms.tolist() == [4]
    assert store.info().replaced_in_batch == 1
    assert store.info().deleted == 0


def test_a_document_without_terms_is_kept_and_never_found(store):
    store.add(None, ["empty"], vectors({}))
    assert len(store) == 3
    assert store.vector("empty").terms.tolist() == []
    assert "empty" not in store.search(vectors(dict.fromkeys(range(N_TERMS), 1.0)), 9).ids[0].tolist()


def test_adding_nothing_commits_nothing(store):
    store.add(None, [], vectors())
    store.add([], [], vectors())
    assert store.delete([]) == store.delete(["nobody"]) == 0
    assert store.meta.generation == 1


def test_deleting_counts_what_existed(store):
    assert store.delete(["a", "a", "nobody"]) == 1
    assert store.delete(iter(["a", "b"])) == 1
    assert len(store) == 0
    assert list(store.path.glob("*.segment")) == []


# Impacts


def test_a_small_first_commit_leaves_room_above(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, ["none"], vectors({}))
        assert store.meta.impact_scale is None
        store.add(None, ["a"], vectors({1: 4.0}))
        assert store.meta.impact_scale == 255 / 6.0
        store.add(None, ["b"], vectors({1: 6.1, 2: 1e-6}))
        assert (store.info().clipped_weights, store.info().dropped_weights) == (1, 1)
        assert store.vector("b").impacts.tolist() == [255]
        assert store.meta.impact_scale == 255 / 6.0
    with Store.open(tmp_path / "i") as store:
        assert store.meta.impact_scale == 255 / 6.0


def test_light_weights_still_leave_room_up_to_three_and_a_half():
    assert segments.choose_scale(vectors({1: 0.1})) == 255 / 3.5
    assert segments.choose_scale(vectors({1: 2.0}, *[{}] * 998)) == 255 / 3.5
    assert segments.choose_scale(vectors({1: 2.0}, *[{}] * 999)) == 255 / 2.0


def test_a_given_scale_is_used(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS, impact_scale=100) as store:
        store.add(None, ["a"], vectors({1: 0.5, 2: 2.55}))
        assert store.vector("a").impacts.tolist() == [50, 255]


def test_scores_are_the_dot_products_up_to_rounding(tmp_path):
    generator = np.random.default_rng(3)
    dense = np.where(generator.random((300, N_TERMS)) < 0.4, generator.random((300, N_TERMS)) * 3, 0).astype(np.float32)
    rows = [{term: float(row[term]) for term in np.flatnonzero(row)} for row in dense]
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        store.add(None, [f"{place:03}" for place in range(300)], vectors(*rows))
        found = store.search(vectors(*rows[:20]), 300)
        scale = store.meta.impact_scale
    for query, ids, scores in zip(dense[:20], found.ids, found.scores, strict=True):
        for id, score in zip(ids, scores, strict=True):
            if id is not None:
                # Half an impact of rounding for each document weight, half a query impact for each query weight.
                bound = 0.5 / scale * query.sum() + 0.5 / 4095 * query.max() * dense[int(id)].sum()
                assert abs(score - query @ dense[int(id)]) <= bound * 1.01 + 1e-6
        assert np.all(scores[[id is None for id in ids]] == -np.inf)


def test_a_query_too_heavy_for_its_scores_is_scaled_down(tmp_path):
    with Store.create(tmp_path / "i", n_terms=5000) as store:
        store.add(None, ["a"], SparseMatrix.from_rows([dict.fromkeys(range(5000), 1.0)], 5000))
        found = store.search(SparseMatrix.from_rows([dict.fromkeys(range(5000), 1.0)], 5000), 1)
        whole = store.search(SparseMatrix.from_rows([dict.fromkeys(range(4000), 1.0)], 5000), 1)
        assert found.scales[0] < whole.scales[0] == MAX_QUERY_IMPACT * store.info().impact_scale
    scores = [one.integer_scores[0, 0] / one.scales[0] for one in (found, whole)]
    assert scores == pytest.approx([5000, 4000], rel=0.005)


# Shapes and numbers of hits


def test_more_hits_than_documents_are_padded(store):
    found = store.search(vectors({2: 1.0}, {7: 1.0}, {}), 5, threads=0)
    assert found.ids.tolist() == [["a", "b", None, None, None], [None] * 5, [None] * 5]
    assert found.integer_scores.dtype == np.uint32
    assert found.scores.dtype == np.float32
    assert np.isneginf(found.scores).tolist() == [[False, False, True, True, True], [True] * 5, [True] * 5]


def test_no_hits_and_no_queries_have_a_shape(store):
    assert store.search(vectors({2: 1.0}), 0).ids.shape == (1, 0)
    assert store.search(vectors(), 3).scores.shape == (0, 3)
    store.delete(["a", "b"])
    assert store.search(vectors({2: 1.0}), 3).ids.tolist() == [[None] * 3]


# Damage


@pytest.fixture
def two_segments(store):
    store.add(None, ["c", "d"], vectors({1: 1.0, 3: 2.0}, {2: 1.0}))
    store.close()
    return sorted(store.path.glob("*.segment"))


def require_corrupt(path, file, why="segment"):
    with pytest.raises(CorruptIndex, match=why) as caught:
        Store.open(path)
    assert caught.value.path == file


def test_a_missing_segment_is_named(two_segments):
    two_segments[1].unlink()
    require_corrupt(two_segments[0].parent, two_segments[1], "missing")


def test_a_truncated_segment_is_named(two_segments):
    content = two_segments[0].read_bytes()
    for length in (0, 1, 63, 64, 200, len(content) // 2, len(content) - 1):
        two_segments[0].write_bytes(content[:length])
        require_corrupt(two_segments[0].parent, two_segments[0])
    two_segments[0].write_bytes(content + b"\0")
    require_corrupt(two_segments[0].parent, two_segments[0])


def test_any_flipped_byte_is_found(two_segments):
    content = two_segments[0].read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        two_segments[0].write_bytes(damaged)
        with pytest.raises((CorruptIndex, FormatTooNew), match=two_segments[0].name):
            Store.open(two_segments[0].parent)


def test_swapped_segments_are_found(two_segments):
    first, second = two_segments
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    require_corrupt(first.parent, first, "number")


def test_the_segment_of_another_index_is_found(two_segments, tmp_path):
    with Store.create(tmp_path / "other", n_terms=N_TERMS) as other:
        other.add(None, ["a", "b"], vectors({1: 1.0, 2: 2.0}, {2: 1.0}))
    shutil.copy(tmp_path / "other" / two_segments[0].name, two_segments[0])
    require_corrupt(two_segments[0].parent, two_segments[0], "index")


def test_an_older_copy_of_the_same_segment_is_found(tmp_path):
    """Same index, same number, same size: only the checksum in the catalog tells them apart."""
    Store.create(tmp_path / "i", n_terms=N_TERMS, impact_scale=10.0).close()
    shutil.copytree(tmp_path / "i", tmp_path / "twin")
    for name, weight in (("i", 1.0), ("twin", 2.0)):
        with Store.open(tmp_path / name) as store:
            store.add(None, ["a"], vectors({1: weight}))
    shutil.copy(tmp_path / "twin" / "000001.segment", tmp_path / "i")
    require_corrupt(tmp_path / "i", tmp_path / "i" / "000001.segment", "checksum")


def test_a_missing_catalog_is_named(two_segments):
    folder = two_segments[0].parent
    (folder / "catalog.sqlite").unlink()
    require_corrupt(folder, folder / "catalog.sqlite", "missing")


# Writers


def test_a_second_writer_is_refused_at_once_and_may_follow(store):
    with Store.open(store.path) as second:
        assert len(second) == 2
        with pytest.raises(LockHeld) as caught:
            second.add(None, ["c"], vectors({1: 1.0}))
        assert caught.value.pid == os.getpid()
        with pytest.raises(LockHeld):
            second.delete(["a"])
        store.close()
        second.add(None, ["c"], vectors({1: 1.0}))
        assert len(second) == 3


WRITER = """
import sys
from everglade.index.store import Store
from everglade.vectors import SparseMatrix
store = Store.open(sys.argv[1])
store.add(None, ["from the child"], SparseMatrix.from_rows([{1: 1.0}], 12))
print("added", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_a_killed_writer_is_free(store):
    store.close()
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child, Store.open(store.path) as second:
        assert child.stdout.readline() == b"added\n"
        with pytest.raises(LockHeld) as caught:
            second.add(None, ["c"], vectors({1: 1.0}))
        assert caught.value.pid == child.pid
        child.kill()
        child.wait()
        second.add(None, ["c"], vectors({1: 1.0}))
        assert sorted(second.snapshot.ids()) == ["a", "b", "c", "from the child"]


def test_a_writer_that_waited_sees_what_was_written_meanwhile(store):
    with Store.open(store.path) as second:
        store.add(None, ["c"], vectors({1: 1.0}))
        store.close()
        second.add(None, ["a"], vectors({7: 1.0}))
        assert sorted(second.snapshot.ids()) == ["a", "b", "c"]
        assert second.meta.generation == 3


def test_the_next_writer_removes_what_no_row_names(store):
    strays = [store.path / name for name in ("000009.segment", "000003.segment.tmp", "catalog.json.tmp")]
    for path in strays:
        path.write_bytes((store.path / "000001.segment").read_bytes())
    kept = store.path / "notes.txt"
    kept.write_text("precious")
    store.add(None, ["c"], vectors({1: 1.0}))
    assert strays[0].exists()  # a writer at work does not look again at every commit
    store.close()
    with Store.open(store.path) as second:
        second.delete(["nobody"])
        assert not any(path.exists() for path in strays)
        assert kept.exists()
        assert len(second) == 3


def test_no_segment_is_removed_or_written_over_that_another_index_may_miss(store, tmp_path):
    with Store.create(tmp_path / "other", n_terms=N_TERMS) as other:
        other.add(None, ["z"], vectors({1: 1.0}))
    foreign, unreadable = store.path / "000009.segment", store.path / "000003.segment"
    shutil.copy(tmp_path / "other" / "000001.segment", foreign)
    unreadable.write_bytes(b"no segment")
    store.close()
    with Store.open(store.path) as second:
        second.add(None, ["c"], vectors({1: 1.0}))
        with pytest.raises(IndexFolderError, match=r"000003\.segment.*Move it"):
            second.add(None, ["d"], vectors({1: 1.0}))
        assert unreadable.read_bytes() == b"no segment"
        assert foreign.exists()
        unreadable.unlink()
        second.add(None, ["d"], vectors({1: 1.0}))
        assert len(second) == 4


def test_a_failed_write_leaves_the_index_usable(store, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device", "000002.segment")

    real = segments.write_segment
    calls = []

    def second_fails(*arguments):
        calls.append(arguments)
        return real(*arguments) if len(calls) == 1 else no_space()

    monkeypatch.setattr(segments, "SEGMENT_DOCUMENTS", 1)
    monkeypatch.setattr(segments, "write_segment", second_fails)
    with pytest.raises(OSError, match="No space"):
        store.add(None, ["a", "c"], vectors({9: 1.0}, {9: 1.0}))
    assert [path.name for path in store.path.glob("*.segment*")] == ["000001.segment"]
    assert store.search(vectors({9: 1.0}), 5).ids[0, 0] is None
    with Store.open(store.path) as other:
        other.delete(["nobody"])  # the failed writer has let go of the lock
    monkeypatch.setattr(segments, "write_segment", real)
    store.add(None, ["a", "c"], vectors({9: 1.0}, {9: 1.0}))
    assert store.search(vectors({9: 1.0}), 2).ids.tolist() == [["a", "c"]]


# Readers beside a writer


def test_a_reader_sees_a_commit_when_it_refreshes(store):
    with Store.open(store.path) as reader:
        store.add(None, ["b", "c"], vectors({5: 1.0}, {5: 1.0}))
        held = reader.snapshot
        assert sorted(held.ids()) == ["a", "b"]
        reader.refresh()
        assert sorted(reader.snapshot.ids()) == ["a", "b", "c"]
        assert reader.snapshot.segments[0].file is held.segments[0].file  # what is open stays open
        # The writer drops the first segment; who still holds it goes on reading it.
        store.delete(["a"])
        assert not (store.path / "000001.segment").exists()
        assert sorted(held.ids()) == ["a", "b"]
        assert held.search(vectors({2: 1.0}), 2).ids.tolist() == [["a", "b"]]


def test_a_segment_dropped_while_it_is_opened_is_no_damage(store, monkeypatch):
    real = snapshot.open_file
    dropped = []

    def drop_first(path, *arguments, **settings):
        if not dropped:
            dropped.append(path)
            store.add(None, ["a", "b"], vectors({6: 1.0}, {6: 1.0}))
            assert not path.exists()
        return real(path, *arguments, **settings)

    monkeypatch.setattr(snapshot, "open_file", drop_first)
    with Store.open(store.path) as reader:
        assert dropped
        assert reader.search(vectors({6: 1.0}), 3).ids.tolist() == [["a", "b", None]]


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "two stores"])
def test_searches_during_adds_see_whole_commits(tmp_path, shared):
    """Every commit gives all documents the same new weight; a search that saw half of one would find two scores."""
    ids = [f"{place:02}" for place in range(20)]
    query = vectors({1: 1.0})
    failures, searches = [], []
    done = threading.Event()
    writer = Store.create(tmp_path / "i", n_terms=N_TERMS, impact_scale=1.0)
    writer.add(None, ids, vectors(*[{1: 1.0}] * 20))
    reader = writer if shared else Store.open(tmp_path / "i")

    def search():
        last = 0
        while not done.is_set():
            if not shared:
                reader.refresh()
            found = reader.search(query, 25)
            scores = set(found.integer_scores[0, :20].tolist())
            if found.ids[0].tolist() != [*ids, *[None] * 5] or len(scores) != 1 or min(scores) < last:
                failures.append((found.ids, found.integer_scores))
                return
            last = max(scores)
            searches.append(last)
            reader.document("03")

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for weight in range(2, 40):
            writer.add(None, ids, vectors(*[{1: float(weight)}] * 20))
            writer.delete(["nobody"])
    finally:
        done.set()
        for thread in threads:
            thread.join()
        writer.close()
        reader.close()
    assert not failures
    assert len(set(searches)) > 1  # they did see several states
