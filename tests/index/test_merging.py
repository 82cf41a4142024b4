"""Merges: what is chosen, that nothing is found or lost by them, and when they take effect."""

import gc
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade.errors import ConfigError, LockHeld
from everglade.index import background, merging
from everglade.index.merging import choose_merge, group_segments
from everglade.index.options import IndexOptions
from everglade.index.store import Store
from everglade.index.values import SegmentRow
from everglade.texts import Document
from everglade.vectors import SparseMatrix

N_TERMS = 12
UUID = "0123456789abcdef" * 2


def vectors(*rows):
    return SparseMatrix.from_rows(rows, N_TERMS)


def rows_of(*sizes, deleted=()):
    return [
        SegmentRow(number, f"{number}.segment", size, size * 100, size * 600, 0, dict(deleted).get(number, 0))
        for number, size in enumerate(sizes, start=1)
    ]


def state_of(store):
    """Everything a reader can see but the layout."""
    found = store.search(vectors(*({term: 1.0, (term + 3) % N_TERMS: 0.7} for term in range(N_TERMS))), 50)
    ids = sorted(store.snapshot.ids())
    return found.ids.tolist(), found.integer_scores.tolist(), [(id, store.document(id)) for id in ids]


def numbers_of(store):
    return [segment.row.number for segment in store.snapshot.segments]


def fill(store, count, start=0):
    for place in range(start, start + count):
        document = Document(f"d{place:02}", f"text {place}", "", {"n": place})
        store.add([document], [document.id], vectors({place % N_TERMS: 1.0 + place, (place * 5 + 1) % N_TERMS: 1.0}))


@pytest.fixture
def held(monkeypatch):
    """Merges stand still until this event is set. The thread of a merge is done soon after that."""
    released = threading.Event()
    real = background.merge_segments

    def wait_first(*arguments):
        assert released.wait(30)
        return real(*arguments)

    monkeypatch.setattr(background, "merge_segments", wait_first)
    yield released
    released.set()


# What is chosen


def test_eight_of_like_size_become_one():
    assert choose_merge(rows_of(*[4096] * 7)) == []
    assert choose_merge(rows_of(*[4096] * 8)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert choose_merge(rows_of(1, 4096, 8191, 5, 5, 5, 5, 5, 9000)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert choose_merge(rows_of(*[32_768] * 8, *[10] * 7)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert choose_merge(rows_of(*[32_768] * 8, *[10] * 8)) == list(range(9, 17))  # the lowest tier first


def test_a_merge_has_an_upper_bound():
    assert choose_merge(rows_of(*[262_144] * 20)) == []
    assert choose_merge(rows_of(*[70_000] * 8)) == []
    assert len(choose_merge(rows_of(*[60_000] * 12))) == 8
    heavy = [row._replace(postings=2**24) for row in rows_of(*[4096] * 8)]
    assert choose_merge(heavy) == []


def test_a_worn_segment_is_written_anew():
    assert choose_merge(rows_of(10_000, 10_000, deleted=[(1, 3000)])) == []
    assert choose_merge(rows_of(10_000, 10_000, 10_000, deleted=[(1, 3001), (2, 4000)])) == [2]
    assert choose_merge(rows_of(400_000, deleted=[(1, 200_000)])) == [1]
    assert choose_merge(rows_of(1000, deleted=[(1, 999)])) == []  # not worth a file


def test_groups_hold_what_fits_in_the_order_of_segments():
    assert group_segments(rows_of(5, 5, 5, 5), 10) == [[1, 2], [3, 4]]
    assert group_segments(rows_of(5, 5, 5, 5), 100) == [[1, 2, 3, 4]]
    assert group_segments(rows_of(50, 5, 5, 50, 5), 20) == [[2, 3]]
    assert group_segments(rows_of(50, 5, 50, deleted=[(1, 2), (3, 45)]), 20) == [[1], [2, 3]]
    assert group_segments(rows_of(50), 20) == group_segments([], 20) == []


# Nothing is found or lost by a merge

rows = st.dictionaries(st.integers(0, 11), st.sampled_from([0.004, 0.5, 1.0, 2.0, 7.5]), max_size=5)
batches = st.lists(st.dictionaries(st.sampled_from("aBbz9é\ufb01\U0001d11e"), rows, max_size=6), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=batches,
    gone=st.lists(st.sampled_from("aBbz9é"), max_size=4),
    most=st.integers(1, 20),
    options=st.sampled_from(
        [
            IndexOptions(),
            IndexOptions(impact_bits=16, keep_weights=True),
            IndexOptions(rows=False),
            IndexOptions(prune="document:2"),
            IndexOptions(prune="threshold:0.9", keep_weights=True),
        ]
    ),
)
def test_optimising_changes_no_answer(batches, gone, most, options, memory_folder, small_vectors):
    shutil.rmtree(memory_folder / "i", ignore_errors=True)
    with Store.create(memory_folder / "i", n_terms=N_TERMS, impact_scale=30.0, options=options) as store:
        for batch in batches:
            store.add(None, list(batch), small_vectors.matrix_of(batch.values()))
        store.delete(gone)
        before, vectors_before = state_of(store), {id: store.vector(id) for id in store.snapshot.ids()}
        weights = weights_of(store) if options.keep_weights else None
        assert store.optimise(most) == len(store.snapshot.segments)
        assert state_of(store) == before
        assert sum(segment.row.documents for segment in store.snapshot.segments) == len(store)
        for id, vector in vectors_before.items():
            assert [part.tolist() for part in store.vector(id)] == [part.tolist() for part in vector]
        if weights is not None:
            assert weights_of(store) == weights
        generation = store.meta.generation
    with Store.open(memory_folder / "i") as store:
        assert state_of(store) == before
        assert store.meta.generation == generation


def weights_of(store):
    found = {}
    for segment in store.snapshot.segments:
        indptr = segment.file.rows()[0]
        for local, id in zip(segment.live().tolist(), segment.ids(segment.live()), strict=True):
            found[id] = segment.file.weights()[indptr[local] : indptr[local + 1]].tolist()
    return found


def test_optimise_leaves_one_segment_without_the_deleted(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 5)
        store.delete(["d01"])
        before = state_of(store)
        assert store.optimise() == 1
        assert state_of(store) == before
        assert (store.info().deleted, store.info().segments, store.meta.generation) == (0, 1, 6)
        assert [path.name for path in store.path.glob("*.segment*")] == ["000006.segment"]
        assert store.optimise() == 1
        assert numbers_of(store) == [6]  # nothing was left to do
        store.add(None, ["d03"], vectors({7: 2.0}))
        assert store.optimise(1) == 2  # one is larger than that, and stays in one piece
        with pytest.raises(ConfigError, match="segment_documents"):
            store.optimise(0)


def test_a_reader_keeps_its_snapshot_through_a_merge(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 4)
        with Store.open(tmp_path / "i") as reader:
            with pytest.raises(LockHeld):
                reader.optimise()
            snapshot, before = reader.snapshot, state_of(reader)
            store.optimise()
            assert reader.snapshot is snapshot
            assert state_of(reader) == before
            reader.refresh()
            assert numbers_of(reader) == [5]
            assert state_of(reader) == before
            assert (
                snapshot.search(vectors({1: 1.0}), 3).ids.tolist() == reader.search(vectors({1: 1.0}), 3).ids.tolist()
            )


# In the background


def test_a_merge_takes_effect_with_the_second_commit_after_it_began(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 9)
        assert numbers_of(store) == [*range(1, 9), 10]
        fill(store, 1, start=9)
        assert numbers_of(store) == [9, 10, 11]
        assert sorted(path.name for path in store.path.glob("*.segment*")) == [f"{n:06}.segment" for n in (9, 10, 11)]
    with Store.open(tmp_path / "i") as store:
        assert len(store) == 10
        assert (store.meta.generation, store.meta.revision) == (10, 1)


def test_closing_waits_for_a_merge(tmp_path):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 8)
        before = state_of(store)
    with Store.open(tmp_path / "i") as store:
        assert numbers_of(store) == [9]
        assert state_of(store) == before
        assert store.meta.next_segment == 10


def test_what_goes_while_a_merge_is_under_way_is_hidden_in_it(tmp_path, held, monkeypatch):
    monkeypatch.setattr(background, "DOCUMENTS_FOR_A_COMMIT", 1)
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 6)
        store.add(None, ["e1", "e2", "e3"], vectors({7: 1.0}, {7: 2.0}, {7: 3.0}))
        store.delete(["e1"])  # before the merge, which leaves it out
        fill(store, 1, start=6)
        store.delete(["d02"])  # the last of its segment, which goes with it
        store.add(None, ["d03", "e3"], vectors({7: 9.0}, {7: 1.0}))
        store.delete(["nobody"])
        assert numbers_of(store) == [1, 2, 5, 6, 7, 8, 10]
        before = state_of(store)
        held.set()
    with Store.open(tmp_path / "i") as store:
        assert state_of(store) == before
        segments = [segment.row for segment in store.snapshot.segments]
        assert [(row.number, row.documents, row.deleted) for row in segments] == [(9, 9, 3), (10, 2, 0)]
        assert store.document("d02") is None
        assert store.document("d03") == Document("d03", "")
        assert store.vector("d03").terms.tolist() == [7]
        assert store.delete(["e2", "e3"]) == 2


def test_searches_and_other_commits_do_not_wait_for_a_merge(tmp_path, held, monkeypatch):
    monkeypatch.setattr(background, "DOCUMENTS_FOR_A_COMMIT", 1)
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 8)
        assert store._merges.under_way
        fill(store, 4, start=8)
        assert store.search(vectors({1: 1.0}), 1).ids[0, 0] is not None
        assert len(numbers_of(store)) == 12
        held.set()


@pytest.mark.parametrize("slow", [0.0, 0.05])
def test_the_same_history_leaves_the_same_bytes_however_fast_merges_are(tmp_path, monkeypatch, slow):
    monkeypatch.setattr(merging, "TIER", 3)
    real = background.merge_segments

    def slowly(*arguments):
        time.sleep(slow)
        return real(*arguments)

    contents = []
    for turn in range(2):
        if turn:
            monkeypatch.setattr(background, "merge_segments", slowly)
        with Store.create(tmp_path / str(turn), n_terms=N_TERMS, identity=UUID) as store:
            fill(store, 10)
            store.delete(["d04", "d05"])
            fill(store, 4, start=10)
        files = {path.name: path.read_bytes() for path in (tmp_path / str(turn)).glob("*.segment")}
        connection = sqlite3.connect(tmp_path / str(turn) / "catalog.sqlite")
        contents.append((files, list(connection.iterdump())))
        connection.close()
    assert contents[0] == contents[1]


def test_a_merge_without_room_is_given_up_with_a_warning(tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device", "000009.segment")

    monkeypatch.setattr(background, "merge_segments", no_room)
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 8)
        with pytest.warns(UserWarning, match="No space left.*segments stay"):
            fill(store, 2, start=8)
        fill(store, 2, start=10)  # it is not tried again at every commit
        with pytest.raises(OSError, match="No space left"):
            store.optimise()
        assert len(numbers_of(store)) == 12


def test_a_forgotten_store_keeps_the_lock_until_its_merge_has_been_written(tmp_path, held):
    store = Store.create(tmp_path / "i", n_terms=N_TERMS)
    fill(store, 8)
    thread = store._merges._pending._thread
    del store
    gc.collect()
    with Store.open(tmp_path / "i") as other:
        with pytest.raises(LockHeld):
            other.delete(["d01"])
        held.set()
        thread.join()
        del thread
        gc.collect()
        assert other.delete(["d01"]) == 1
        assert {path.name for path in other.path.glob("*.segment")} == {row.row.name for row in other.snapshot.segments}


def test_a_commit_stands_when_there_is_no_thread_for_a_merge(tmp_path, monkeypatch):
    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 7)
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        with pytest.warns(UserWarning, match="can't start new thread"):
            fill(store, 1, start=7)
        assert len(store) == 8
        fill(store, 1, start=8)


def test_our_own_mistake_in_a_merge_is_not_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "merge_segments", lambda *_: 1 / 0)
    store = Store.create(tmp_path / "i", n_terms=N_TERMS)
    fill(store, 8)
    with pytest.raises(ZeroDivisionError):
        store.close()
    with Store.open(tmp_path / "i") as store:
        assert len(store) == 8


def test_a_failed_write_gives_the_merge_up(tmp_path, held, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device", "000010.segment")

    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 7)
        store.add(None, ["e1", "e2"], vectors({1: 1.0}, {1: 1.0}))
        monkeypatch.setattr(background, "DOCUMENTS_FOR_A_COMMIT", 1)
        store._merges._pending.due += 5
        monkeypatch.setattr("everglade.index.store.write_segments", no_room)
        held.set()
        with pytest.raises(OSError, match="No space"):
            fill(store, 1, start=20)
        assert not store._merges.under_way
        assert sorted(path.name for path in store.path.glob("*.segment*"))[-1] == "000008.segment"
        with Store.open(tmp_path / "i") as other:
            assert other.delete(["e1"]) == 1


def test_an_index_from_before_there_were_merges_is_merged(tmp_path):
    """A catalog as the first version left it: without the newer keys and without the index on documents."""
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 5)
        before = state_of(store)
    connection = sqlite3.connect(tmp_path / "i" / "catalog.sqlite")
    connection.execute("DROP INDEX documents_by_segment")
    newer = ("revision", "options", "weight_error", "calibration")
    connection.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in newer])
    connection.commit()
    connection.close()
    with Store.open(tmp_path / "i") as store:
        assert state_of(store) == before
        assert store.optimise() == 1
        assert state_of(store) == before


def test_files_in_the_folder_are_those_of_the_catalog(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "TIER", 2)
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        for turn in range(12):
            fill(store, 1, start=turn)
            if turn % 4 == 3:
                store.delete([f"d{turn - 1:02}"])
    with Store.open(tmp_path / "i") as store:
        names = {segment.row.name for segment in store.snapshot.segments}
        assert {path.name for path in Path(store.path).glob("*.segment*")} == names
        assert len(store) == 9
