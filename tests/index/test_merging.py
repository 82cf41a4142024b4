"""Merges: what is chosen, that nothing is found or lost by them, and when they take effect."""

import gc
import math
import random
import shutil
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade.errors import ConfigError, CorruptIndex, LockHeld
from everglade.index import background, merging
from everglade.index.check import check_index
from everglade.index.merging import choose_merge, group_segments
from everglade.index.options import IndexOptions
from everglade.index.repair import repair_index
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
        SegmentRow(number, f"{number}.segment", size, size, size * 100, size * 600, 0, dict(deleted).get(number, 0))
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
    assert choose_merge(rows_of(1, 4096, 8191, 5, 5, 5, 5, 5, 9000)) == [1, 4, 5, 6, 7, 8]  # large ones wait for more
    assert choose_merge(rows_of(4096, 2048, 1024, 512, 256, 128, 64, 33)) == []
    assert choose_merge(rows_of(4096, 2048, 1024, 512, 256, 128, 64, 33, 64)) == list(range(1, 10))
    assert choose_merge(rows_of(*[32_768] * 8, *[10] * 7)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert choose_merge(rows_of(*[32_768] * 8, *[10] * 8)) == list(range(9, 17))  # the lowest tier first


def test_a_merge_has_an_upper_bound():
    assert choose_merge(rows_of(*[262_145] * 20)) == []  # all of them are full
    assert choose_merge(rows_of(*[262_144] * 20)) == [1, 2]
    assert choose_merge(rows_of(*[70_000] * 8)) == [1, 2, 3, 4, 5, 6, 7]
    assert choose_merge(rows_of(131_072, 131_072)) == []  # not enough for a full one, nor eight
    assert choose_merge(rows_of(131_072, 131_072, 100_000)) == [1, 2, 3]
    assert len(choose_merge(rows_of(*[60_000] * 12))) == 8
    heavy = [row._replace(entries=2**24) for row in rows_of(*[4096] * 8)]
    assert choose_merge(heavy) == [1, 2, 3, 4]
    pruned = [row._replace(postings=0) for row in heavy]
    assert choose_merge(pruned) == [1, 2, 3, 4]
    assert choose_merge([row._replace(entries=2**25 + 1) for row in rows_of(*[4096] * 9)]) == []


def test_one_that_does_not_fit_keeps_no_other_from_merging():
    rows = rows_of(*[9000] * 8, 9001)
    for place in (0, 7):
        rows[place] = rows[place]._replace(entries=2**25)
    assert choose_merge(rows) == [1, 2, 3, 4, 5, 6, 7, 9]


SIZES = {
    "single": lambda _, turn: 1,
    "small": lambda generator, turn: generator.randint(1, 100),
    "usual": lambda generator, turn: 4096,
    "large": lambda generator, turn: generator.randint(20_000, 262_144),
    "one size for the top": lambda generator, turn: 70_000,
    "alternating": lambda generator, turn: 20_000 if turn % 2 else 3,
    "falling": lambda generator, turn: max(1, 100_000 >> turn % 17),
    "anything": lambda generator, turn: 2 ** generator.randint(0, 17),
}


@pytest.mark.parametrize("kind", SIZES)
def test_segments_stay_few_and_documents_are_seldom_written_again(kind):
    """Batches of any sizes, one merge at a time and as slow as the writer lets it be: see background.py."""
    generator = random.Random(9)
    standing, pending, turns, number = [], None, 0, 0
    times = {}  # by number of the segment: how often each batch in it was written again
    documents = most = 0
    for turn in range(1200):
        if pending and turns <= 0:
            times[number := number + 1] = [count + 1 for gone in pending for count in times.pop(gone.number)]
            merged = SegmentRow(
                number, "", sum(row.live for row in pending), 0, sum(row.entries for row in pending), 0, 0
            )
            standing = [row for row in standing if row not in pending] + [merged]
            pending = None
        size = SIZES[kind](generator, turn)
        documents += size
        number += 1
        standing.append(SegmentRow(number, "", size, 0, size * 60, 0, 0))
        times[number] = [0]
        turns -= background.count_turns(size)
        if pending is None and (numbers := choose_merge(standing)):
            pending = [row for row in standing if row.number in numbers]
            turns = 1 + sum(row.live for row in pending) // background.DOCUMENTS_FOR_A_COMMIT
        growth = math.log2(documents) + 2
        full = 2 * documents / merging.MERGED_DOCUMENTS
        most = max(most, len(standing) - full - 2 * growth)
        assert max(max(counts) for counts in times.values()) <= growth
    assert most <= 16, most


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


def damage(store, number):
    """Flip a bit of an impact of a segment, which is mapped: no reader sees it before it reads the checksum again."""
    path = store.path / f"{number:06}.segment"
    file = next(segment.file for segment in store.snapshot.segments if segment.row.number == number)
    content = bytearray(path.read_bytes())
    place = content.rindex(bytes(file.rows()[2]))
    with path.open("r+b") as opened:
        opened.seek(place)
        opened.write(bytes([content[place] ^ 1]))


@pytest.mark.parametrize("how", ["in the background", "by word"])
def test_a_damaged_segment_is_not_merged_into_a_sound_one(tmp_path, held, how):
    """Its bytes would get a checksum that makes them right for ever; so the merge fails, and all else goes on."""
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 6)
        store.add(None, ["e1", "e2"], vectors({3: 1.0}, {4: 1.0}))
        if how == "by word":
            damage(store, 2)
            held.set()
            with pytest.raises(CorruptIndex, match=r"000002\.segment"):
                store.optimise()
            assert store.delete(["d03"]) == 1
        else:
            fill(store, 1, start=6)
            damage(store, 2)
            held.set()
            with pytest.warns(UserWarning, match=r"000002\.segment.*segments stay"):
                fill(store, 2, start=7)
        ids = sorted(store.snapshot.ids())
        assert {"d00", "d01", "e1", "e2"} <= set(ids)
        assert [path.name for path in store.path.glob("*.tmp")] == []
        names = {segment.row.name for segment in store.snapshot.segments}
        assert {path.name for path in store.path.glob("*.segment")} == names
    assert {segment.name for segment in check_index(tmp_path / "i").segments if segment.problem} == {"000002.segment"}
    assert repair_index(tmp_path / "i").lost == ["d01"]
    with Store.open(tmp_path / "i") as store:
        assert sorted(store.snapshot.ids()) == [id for id in ids if id != "d01"]


def test_a_segment_whose_last_document_goes_during_a_merge_is_still_there_to_be_read(tmp_path, held):
    with Store.create(tmp_path / "i", n_terms=N_TERMS) as store:
        fill(store, 8)
        store.delete(["d02"])
        assert numbers_of(store) == [1, 2, 4, 5, 6, 7, 8]
        held.set()
        fill(store, 1, start=8)
        assert numbers_of(store) == [9, 10]
        assert {path.name for path in store.path.glob("*.segment")} == {"000009.segment", "000010.segment"}
        assert store.document("d02") is None
        assert len(store) == 8


# Reordering


def clusters(count, n_terms=400):
    """Documents of twenty kinds that share hardly a term, mixed up by their ids."""
    generator = np.random.default_rng(4)
    rows = []
    for place in range(count):
        kind = place * 7919 % 20
        terms = generator.choice(20, 6, replace=False) + kind * 20
        rows.append({int(term): float(weight) for term, weight in zip(terms, generator.random(6) + 0.5, strict=True)})
    return SparseMatrix.from_rows(rows, n_terms), rows


@pytest.mark.parametrize(
    "options",
    [
        IndexOptions(),
        IndexOptions(impact_bits=16, keep_weights=True),
        IndexOptions(prune="document:3"),
        IndexOptions(rows=False),
    ],
    ids=str,
)
def test_a_large_merged_segment_is_reordered_and_finds_the_same(memory_folder, monkeypatch, options):
    monkeypatch.setattr(merging, "REORDERED_DOCUMENTS", 300)
    monkeypatch.setattr(merging, "IDS_AT_A_TIME", 64)
    matrix, rows = clusters(400)
    ids = [f"d{place:03}" for place in range(400)]
    queries = SparseMatrix.from_rows([row for row in rows[:40]] + [{term: 1.0 for term in range(0, 400, 7)}], 400)

    def everything(store):
        found = [store.search(queries, k, where=where) for k in (3, 400) for where in (None, "n = 1")]
        found += [store.search(queries, 3, recall=0.9)]
        found += [store.search(queries, 3, float_exact=True)] if options.keep_weights else []
        vectors_ = {id: [part.tolist() for part in store.vector(id)] for id in store.snapshot.ids()}
        return [(part.ids.tolist(), part.integer_scores.tolist()) for part in found], vectors_, [
            store.document(id) for id in ids
        ]  # fmt: skip

    contents = []
    for turn, reorder in enumerate(("never", "auto", "auto")):
        options_ = replace(options, reorder=reorder)
        path = memory_folder / str(turn)
        with Store.create(path, n_terms=400, impact_scale=90.0, identity=UUID, options=options_) as store:
            for first in range(0, 400, 50):
                part = ids[first : first + 50]
                documents = [Document(id, f"text of {id}", "", {"n": int(id[1:]) % 3}) for id in part]
                store.add(documents, part, matrix.take(np.arange(first, first + 50)))
            store.delete(ids[::9])
            before = everything(store)
            store.optimise()
            assert everything(store) == before
            assert [segment.file.is_reordered for segment in store.snapshot.segments] == [reorder == "auto"]
            # Merged again, with others, some of it deleted, as something that is reordered already.
            store.delete(ids[1::50])
            extra = [Document(id, "x", "", {"n": 1}) for id in ids[:90]]
            store.add(extra, ids[:90], matrix.take(np.arange(90, 180)))
            before = everything(store)
            store.optimise()
            assert everything(store) == before
            assert store.info().options.reorder == reorder
        assert check_index(path).sound
        contents.append(((path / "000012.segment").read_bytes(), before))
    assert contents[1][0] == contents[2][0] != contents[0][0]
    assert contents[0][1] == contents[1][1]


def test_searches_go_on_while_the_ids_of_a_merge_are_sorted(monkeypatch):
    """The interpreter's lock is never held for long: not more than a few pieces' worth."""
    generator = random.Random(3)
    ids = [[f"{generator.getrandbits(60):015x}" for _ in range(30_000)] for _ in range(4)]
    runs = [merging._Run(sorted(part), np.arange(30_000 * n, 30_000 * (n + 1))) for n, part in enumerate(ids)]
    sizes = []
    real = merging._sort
    monkeypatch.setattr(merging, "_sort", lambda part, origins: sizes.append(len(part)) or real(part, origins))
    merged, origins = merging._merge_runs(runs)
    flat = [id for run in runs for id in run.ids]
    assert merged == sorted(flat)
    assert [flat[origin] for origin in origins.tolist()] == merged
    assert max(sizes) <= 2 * merging.IDS_AT_A_TIME + 4


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
        store._merges._pending.turns += 5
        monkeypatch.setattr("everglade.index.store.write_segments", no_room)
        held.set()
        with pytest.raises(OSError, match="No space"):
            fill(store, 1, start=20)
        assert not store._merges.under_way
        assert sorted(path.name for path in store.path.glob("*.segment*"))[-1] == "000008.segment"
        with Store.open(tmp_path / "i") as other:
            assert other.delete(["e1"]) == 1


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


@pytest.mark.parametrize("reorder", ["auto", "never"])
def test_optimise_puts_a_large_segment_in_order_once_though_it_stands_alone(memory_folder, monkeypatch, reorder):
    monkeypatch.setattr(merging, "REORDERED_DOCUMENTS", 300)
    matrix, rows = clusters(400)
    ids = [f"d{place:03}" for place in range(400)]
    queries = SparseMatrix.from_rows(rows[:40], 400)
    with Store.create(memory_folder / "i", n_terms=400, options=IndexOptions(reorder=reorder)) as store:
        store.add([Document(id, "") for id in ids], ids, matrix)
        before = store.search(queries, 10)
        for _ in range(2):
            assert store.optimise() == 1
            found = store.search(queries, 10)
            assert found.ids.tolist() == before.ids.tolist()
            assert found.integer_scores.tolist() == before.integer_scores.tolist()
            assert [segment.file.is_reordered for segment in store.snapshot.segments] == [reorder == "auto"]
            assert numbers_of(store) == ([2] if reorder == "auto" else [1])
    assert check_index(memory_folder / "i").sound
