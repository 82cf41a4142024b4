"""The engine through its binding: equal to the reference on ids and exact scores, and unharmed by bad files."""

from __future__ import annotations

import os
import runpy
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade import _engine
from everglade.reference import Impacts, Ranking, search_impacts

sys.path.insert(0, str(Path(__file__).parent))
from made import N_TERMS, UUID, impacts, rankings, write

WINDOW = 16_384
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("segments")


# --- equal to the reference -------------------------------------------------------------------------------------------

# Few terms and few different impacts make equal scores common.
rows = st.dictionaries(st.integers(0, N_TERMS - 1), st.sampled_from([1, 2, 255]), max_size=5)
queries_of_rows = st.lists(
    st.dictionaries(st.integers(0, N_TERMS - 1), st.sampled_from([0, 1, 2, 4095]), max_size=5), max_size=4
)


@st.composite
def collections(draw):
    """Ids with their rows, their segment, and whether they are deleted."""
    ids = sorted(draw(st.sets(st.text("aé\U0001f600z\x00", max_size=3), max_size=25)))
    return [(i, draw(rows), draw(st.integers(0, 2)), draw(st.booleans())) for i in ids]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(collection=collections(), query_rows=queries_of_rows, k=st.integers(1, 30))
def test_search_equals_the_reference(folder, collection, query_rows, k):
    segments, deletions = [], []
    for segment in range(3):
        members = [entry for entry in collection if entry[2] == segment]
        write(folder / "s", impacts([row for _, row, _, _ in members]), [i for i, _, _, _ in members])
        segments.append(_engine.Segment(folder / "s"))
        gone = np.array([gone for *_, gone in members], dtype=bool)
        deletions.append(np.packbits(gone, bitorder="little") if gone.any() else None)
    alive = [(i, row) for i, row, _, gone in collection if not gone]
    queries = impacts(query_rows, np.uint32)
    expected = search_impacts(impacts([row for _, row in alive]), [i for i, _ in alive], queries, k)
    assert rankings(segments, deletions, queries, k) == expected
    assert rankings(segments, deletions, queries, k, threads=2) == expected
    assert rankings(segments[::-1], deletions[::-1], queries, k) == expected


@pytest.fixture(scope="module")
def wide(folder):
    """Tiny documents over more than two windows: terms in every window, in one, at the edges, and in none."""
    rng = np.random.default_rng(7)
    n = 2 * WINDOW + 777
    dense = rng.random((n, 6)) < [0.9, 0.3, 0.02, 0.002, 0.0, 0.0]
    dense[[0, WINDOW - 1, WINDOW, 2 * WINDOW - 1, 2 * WINDOW, n - 1], 4] = True
    dense[WINDOW + 5, 5] = True
    dense[17:WINDOW] &= rng.random((WINDOW - 17, 1)) < 0.5
    counts = dense.sum(axis=1)
    documents = Impacts(
        np.concatenate([[0], np.cumsum(counts)]),
        np.nonzero(dense)[1].astype(np.int32),
        rng.choice([1, 2, 3, 200], dense.sum()).astype(np.uint8),
    )
    ids = [f"{i:06}" for i in range(n)]
    write(folder / "wide", documents, ids)
    return _engine.Segment(folder / "wide"), documents, ids


WIDE_QUERIES = [{0: 1}, {0: 3, 1: 2, 2: 5, 3: 4095, 4: 7, 5: 1}, {4: 1}, {5: 9, 3: 1}, {2: 1, 3: 1}, {11: 5}, {}]


@pytest.mark.parametrize("k", [1, 10, 200, 1000, 40_000])
def test_more_than_one_window(wide, k):
    segment, documents, ids = wide
    queries = impacts(WIDE_QUERIES, np.uint32)
    expected = search_impacts(documents, ids, queries, k)
    assert rankings([segment], [None], queries, k) == expected
    assert rankings([segment], [None], queries, k, threads=2) == expected


def test_deletions_over_windows(wide):
    segment, documents, ids = wide
    gone = np.random.default_rng(3).random(len(ids)) < 0.5
    kept = np.flatnonzero(~gone)
    rows_kept = Impacts(
        np.concatenate([[0], np.cumsum(np.diff(documents.indptr)[kept])]),
        documents.terms[~np.repeat(gone, np.diff(documents.indptr))],
        documents.impacts[~np.repeat(gone, np.diff(documents.indptr))],
    )
    queries = impacts(WIDE_QUERIES, np.uint32)
    expected = search_impacts(rows_kept, [ids[i] for i in kept], queries, 300)
    assert rankings([segment], [np.packbits(gone, bitorder="little")], queries, 300) == expected
    assert rankings([segment], [np.full((len(ids) + 7) // 8, 255, np.uint8)], queries, 5) == [Ranking([], [])] * 7


def test_ties_across_segments_go_to_the_smaller_id(folder):
    """The k-th score of one segment must not shut out an equal score of the next."""
    for number, ids in enumerate((["b", "d", "f"], ["a", "c", "e"])):
        write(folder / f"tie{number}", impacts([{1: 2}] * 3), ids)
    segments = [_engine.Segment(folder / f"tie{number}") for number in range(2)]
    query = impacts([{1: 3}], np.uint32)
    for order in (segments, segments[::-1]):
        assert rankings(order, [None, None], query, 2) == [Ranking(["a", "b"], [6, 6])]
        assert rankings(order, [None, None], query, 5) == [Ranking(["a", "b", "c", "d", "e"], [6] * 5)]


def test_a_term_named_twice_counts_twice(folder):
    write(folder / "twice", impacts([{1: 2}]), ["a"])
    query = Impacts(np.array([0, 2]), np.array([1, 1], np.int32), np.array([3, 4], np.uint32))
    assert rankings([_engine.Segment(folder / "twice")], [None], query, 1) == [Ranking(["a"], [14])]


def test_the_greatest_score_fits(folder):
    n_terms = 5000
    write(folder / "max", impacts([{t: 255 for t in range(n_terms)}]), ["a"], n_terms)
    segment = _engine.Segment(folder / "max")
    query = impacts([{t: 4095 for t in range(4096)}], np.uint32)
    assert rankings([segment], [None], query, 1) == [Ranking(["a"], [4096 * 4095 * 255])]
    limit = impacts([{0: 16_843_008}], np.uint32)
    assert rankings([segment], [None], limit, 1) == [Ranking(["a"], [16_843_008 * 255])]


def test_no_segments_no_queries(folder):
    write(folder / "one", impacts([{1: 2}]), ["a"])
    assert rankings([], [], impacts([{1: 1}, {}], np.uint32), 3) == [Ranking([], [])] * 2
    assert rankings([_engine.Segment(folder / "one")], [None], impacts([], np.uint32), 3) == []


def test_python_threads_search_together(wide):
    """The lock of the interpreter is released, and searches do not disturb each other."""
    segment, documents, ids = wide
    queries = impacts(WIDE_QUERIES, np.uint32)
    expected = search_impacts(documents, ids, queries, 50)
    found: list[list[Ranking]] = []
    workers = [
        threading.Thread(target=lambda: found.append(rankings([segment], [None], queries, 50))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 4


# --- what a segment holds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_terms", [300, 65_536, 65_537, 1 << 24])
def test_a_segment_gives_back_what_was_written(folder, n_terms):
    documents = impacts([{0: 1, n_terms - 1: 255}, {}, {7: 9}])
    ids = ["", "a\x00b", "é"]
    summary = write(folder / "back", documents, ids, n_terms, number=2**64 - 1)
    segment = _engine.Segment(str(folder / "back"))
    size = (folder / "back").stat().st_size
    assert summary == {"documents": 3, "postings": 3, "size_bytes": size, "crc32c": segment.crc32c}
    assert (segment.n_documents, segment.n_postings, segment.n_terms) == (3, 3, n_terms)
    assert (segment.number, segment.uuid, segment.size_bytes) == (2**64 - 1, UUID, size)
    assert segment.path == str(folder / "back")
    assert [segment.id(i) for i in range(3)] == ids
    assert segment.ids(np.array([2, 0, 2], np.uint32)) == ["é", "", "é"]
    assert [segment.find(i) for i in [*ids, "a", "zz", "\U0001f600"]] == [0, 1, 2, -1, -1, -1]
    for i, row in enumerate([{0: 1, n_terms - 1: 255}, {}, {7: 9}]):
        terms, values = segment.document(i)
        assert (terms.dtype, values.dtype) == (np.int32, np.uint8)
        assert dict(zip(terms.tolist(), values.tolist(), strict=True)) == row


def test_an_empty_segment(folder):
    assert write(folder / "empty", impacts([]), [])["documents"] == 0
    segment = _engine.Segment(folder / "empty")
    assert segment.find("") == -1
    assert rankings([segment], [None], impacts([{1: 1}], np.uint32), 4) == [Ranking([], [])]


def test_writing_twice_gives_the_same_bytes(folder):
    for name in ("first", "second"):
        write(folder / name, impacts([{1: 2, 3: 4}, {1: 1}]), ["a", "b"])
    assert (folder / "first").read_bytes() == (folder / "second").read_bytes()


def test_a_replaced_file_stays_readable(folder):
    write(folder / "swap", impacts([{1: 2}]), ["old"])
    segment = _engine.Segment(folder / "swap")
    write(folder / "swap", impacts([{1: 2}] * 3), ["new", "newer", "newest"])
    assert segment.id(0) == "old"
    (folder / "swap").unlink()
    assert rankings([segment], [None], impacts([{1: 1}], np.uint32), 4) == [Ranking(["old"], [2])]


def test_paths_need_not_be_utf8(folder):
    path = os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")
    write(path, impacts([{1: 2}]), ["a"])
    assert _engine.Segment(path).path == path
    with pytest.raises(FileNotFoundError) as caught:
        _engine.Segment(path + "x")
    assert caught.value.filename == path + "x"


# --- refusals ---------------------------------------------------------------------------------------------------------

GOOD = {
    "indptr": np.array([0, 2, 3]),
    "terms": np.array([1, 4, 2], np.int32),
    "impacts": np.array([5, 6, 7], np.uint8),
    "ids": ["a", "b"],
    "n_terms": N_TERMS,
    "uuid": UUID,
    "number": 0,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": np.array([], np.int64)}, "indptr is empty"),
        ({"indptr": np.array([1, 2, 3])}, "indptr must start at 0"),
        ({"indptr": np.array([0, 4, 3])}, "never fall"),
        ({"indptr": np.array([0, -1, 3])}, "never fall"),
        ({"indptr": np.array([0, 2, 2])}, "end at the number of terms"),
        ({"impacts": np.array([5, 6], np.uint8)}, "3 terms but 2 impacts"),
        ({"terms": np.array([1, 12, 2], np.int32)}, "document 0: term 12 is not in the vocabulary of 12"),
        ({"terms": np.array([-1, 4, 2], np.int32)}, "document 0: term -1"),
        ({"terms": np.array([4, 1, 2], np.int32)}, "document 0: term 1 follows 4"),
        ({"terms": np.array([4, 4, 2], np.int32)}, "document 0: term 4 follows 4"),
        ({"impacts": np.array([5, 6, 0], np.uint8)}, "document 1: the impact of term 2 is 0"),
        ({"ids": ["a"]}, "one id for each document"),
        ({"ids": ["b", "a"]}, "document 1: its id 'a' follows 'b'"),
        ({"ids": ["a", "a"]}, "sorted by the bytes of their ids, each once"),
        ({"ids": ["a", "\ud800"]}, "surrogates"),
        ({"n_terms": (1 << 24) + 1}, "at most 2\\^24 terms"),
        ({"uuid": b"short"}, "16 bytes"),
    ],
)
def test_write_refuses(folder, change, message):
    values = {**GOOD, **change}
    with pytest.raises(ValueError, match=message):
        _engine.write_segment(
            str(folder / "refused"),
            *(values[key] for key in ("uuid", "number", "n_terms", "indptr", "terms", "impacts", "ids")),
        )
    assert not list(folder.glob("refused*"))


def test_write_refuses_other_types(folder):
    def write_with(**change):
        values = {**GOOD, **change}
        keys = ("uuid", "number", "n_terms", "indptr", "terms", "impacts", "ids")
        _engine.write_segment(str(folder / "refused"), *(values[key] for key in keys))

    for change in (
        {"indptr": GOOD["indptr"].astype(np.int32)},
        {"terms": GOOD["terms"].astype(np.int64)},
        {"impacts": GOOD["impacts"].astype(np.float32)},
        {"terms": np.repeat(GOOD["terms"], 2)[::2]},
        {"ids": ["a", 7]},
    ):
        with pytest.raises(TypeError):
            write_with(**change)


def test_a_failed_write_leaves_nothing(folder):
    with pytest.raises(FileNotFoundError) as caught:
        write(folder / "missing" / "s", impacts([{1: 1}]), ["a"])
    assert caught.value.filename.endswith("missing/s.tmp")
    (folder / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write(folder / "taken", impacts([{1: 1}]), ["a"])
    assert not list(folder.glob("*.tmp"))


def test_what_a_killed_writer_left_is_no_hindrance(folder):
    (folder / "killed.tmp").write_bytes(b"half a segm")
    write(folder / "killed", impacts([{1: 1}]), ["a"])
    assert _engine.Segment(folder / "killed").n_documents == 1
    assert not (folder / "killed.tmp").exists()


def test_search_refuses(folder):
    write(folder / "refuses", impacts([{1: 2}] * 9), list("abcdefghi"))
    write(folder / "other", impacts([{1: 2}]), ["a"], n_terms=N_TERMS + 1)
    segment, other = _engine.Segment(folder / "refuses"), _engine.Segment(folder / "other")
    one = impacts([{1: 1}], np.uint32)
    cases = [
        (([segment], [None], *one, 0, 1), "k must be at least 1"),
        (([segment], [None], *one, -1, 1), "k must be at least 1"),
        (([segment], [None], *one, 1, 0), "threads must be at least 1"),
        (([segment], [], *one, 1, 1), "one entry of hidden documents for each segment"),
        (([segment], [np.zeros(1, np.uint8)], *one, 1, 1), "take 2 bytes, not 1"),
        (([segment], [np.zeros(3, np.uint8)], *one, 1, 1), "take 2 bytes, not 3"),
        (([segment], [np.zeros(0, np.uint8)], *one, 1, 1), "take 2 bytes, not 0"),
        (([segment, other], [None, None], *one, 1, 1), "different vocabularies"),
        (([segment], [None], *impacts([{N_TERMS: 1}], np.uint32), 1, 1), "query 0: term 12 is not in the vocabulary"),
        (([segment], [None], *impacts([{-1: 1}], np.uint32), 1, 1), "query 0: term -1"),
        (([segment], [None], *impacts([{}, {1: 16_843_009}], np.uint32), 1, 1), "query 1: its impacts sum to 16843009"),
        (([segment], [None], *impacts([{t: 2**32 - 1 for t in range(9)}], np.uint32), 1, 1), "could overflow"),
        (([segment], [None], one.indptr + 1, one.terms, one.impacts, 1, 1), "indptr of the queries"),
        (([segment], [None], np.array([0, 9]), one.terms, one.impacts, 1, 1), "indptr of the queries"),
        (([segment], [None], np.array([], np.int64), one.terms, one.impacts, 1, 1), "indptr of the queries"),
        (([segment], [None], one.indptr, one.terms, one.impacts[:0], 1, 1), "one impact for each term"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            _engine.search(*arguments)
    with pytest.raises(ValueError, match="path must be auto, scan or cells, not 'blocks'"):
        _engine.search([segment], [None], *one, 1, 1, path="blocks")
    with pytest.raises(MemoryError):
        _engine.search([segment], [None], *one, 2**62, 1)
    with pytest.raises(TypeError):
        _engine.search([segment], [None], one.indptr, one.terms.astype(np.int64), one.impacts, 1, 1)
    for wrong in (lambda: segment.id(9), lambda: segment.ids(np.array([9], np.uint32)), lambda: segment.document(9)):
        with pytest.raises(ValueError, match="no document 9 in this segment of 9"):
            wrong()


# --- bad files --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(folder):
    write(folder / "small", impacts([{0: 1, 3: 255}, {}, {3: 2}]), ["a", "bc", "é"])
    return (folder / "small").read_bytes()


def test_every_flipped_byte_is_found(folder, small):
    path = folder / "damaged"
    path.write_bytes(small)
    with path.open("r+b", buffering=0) as file:
        for place in range(len(small)):
            os.pwrite(file.fileno(), bytes([small[place] ^ 1 << place % 8]), place)
            with pytest.raises((_engine.CorruptSegment, _engine.FormatTooNew)) as caught:
                _engine.Segment(path)
            assert caught.value.args[0] == str(path)
            if isinstance(caught.value, _engine.CorruptSegment):
                assert 0 <= caught.value.args[1] <= len(small)
            os.pwrite(file.fileno(), small[place : place + 1], place)
    assert _engine.Segment(path).ids(np.arange(3, dtype=np.uint32)) == ["a", "bc", "é"]


def test_every_other_length_is_found(folder, small):
    path = folder / "cut"
    path.write_bytes(small + bytes(65))
    for length in [len(small) + 64, len(small) + 1, *range(len(small) - 1, -1, -1)]:
        os.truncate(path, length)
        with pytest.raises(_engine.CorruptSegment):
            _engine.Segment(path)


def test_a_newer_format_is_told_apart_from_damage(folder, small):
    newer = bytearray(small)
    struct.pack_into("<H", newer, 8, 2)
    (folder / "newer").write_bytes(newer)
    with pytest.raises(_engine.FormatTooNew) as caught:
        _engine.Segment(folder / "newer")
    assert "its format is 2" in caught.value.args[1]


def test_verify_false_leaves_out_the_checksums(folder, small):
    damaged = bytearray(small)
    damaged[-1] ^= 1
    (folder / "unverified").write_bytes(damaged)
    assert _engine.Segment(folder / "unverified", verify=False).id(0) == "a"
    damaged[-1] = 0xFF
    (folder / "unverified").write_bytes(damaged)
    with pytest.raises(_engine.CorruptSegment, match="UTF-8"):
        _engine.Segment(folder / "unverified", verify=False).id(2)


@pytest.mark.parametrize("path", ["/dev/null", "."])
def test_only_regular_files_are_mapped(path):
    with pytest.raises(OSError, match="cannot map"):
        _engine.Segment(path)


# --- the stub ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["_engine", "_head"])
def test_the_stub_describes_what_is_built(module):
    script = runpy.run_path(str(ROOT / "engine" / "stub.py"))
    stub = (script["PACKAGE"] / f"{module}.pyi").read_text()
    assert stub == script["generate"](module), f"run: python engine/stub.py {module} >src/everglade/{module}.pyi"
