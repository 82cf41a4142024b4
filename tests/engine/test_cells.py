"""Cells: which segments have them, and that searches which skip by them find what the reference finds."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade import _engine
from everglade.reference import Impacts, search_impacts

sys.path.insert(0, str(Path(__file__).parent))
from made import impacts, rankings, write

WINDOW = 16_384
CELL = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


def sections(path: Path) -> dict[int, tuple[int, int]]:
    """Where each kind of section lies in a file: its offset and length."""
    head = path.read_bytes()[: 64 + 64 * 24]
    (count,) = struct.unpack_from("<I", head, 60)
    entries = [struct.unpack_from("<IIQQ", head, 64 + 24 * i) for i in range(count)]
    return {kind: (offset, length) for kind, _, offset, length in entries}


def cells_of(path: Path, kind: int, dtype: type) -> np.ndarray:
    offset, length = sections(path)[kind]
    return np.frombuffer(path.read_bytes(), dtype, length // np.dtype(dtype).itemsize, offset).reshape(
        -1, WINDOW // CELL
    )


# --- what is written --------------------------------------------------------------------------------------------------


def test_only_dense_blocks_have_cells(folder):
    """The blocks of a term in windows 0 and 1 with as many postings as it takes, and one fewer."""
    held = np.zeros((WINDOW + 3000, 2), dtype=bool)
    held[:2560, 0] = True
    held[WINDOW : WINDOW + 2559, 0] = True
    held[WINDOW - 2560 : WINDOW + 2560, 1] = True
    values = np.random.default_rng(1).integers(1, 256, held.sum()).astype(np.uint8)
    documents = Impacts(
        np.concatenate([[0], np.cumsum(held.sum(axis=1))]), np.nonzero(held)[1].astype(np.int32), values
    )
    ids = [f"{i:06}" for i in range(len(held))]
    without = write(folder / "without", documents, ids, cells_from=None)
    for cells_from, n_blocks in ((2559, 4), (2560, 3), (2561, 0), (None, 0)):
        write(folder / "dense", documents, ids, cells_from=cells_from)
        assert _engine.Segment(folder / "dense").n_dense_blocks == n_blocks
        assert (16 in sections(folder / "dense")) == (n_blocks > 0)
    assert (folder / "dense").read_bytes() == (folder / "without").read_bytes()
    written = write(folder / "dense", documents, ids)
    assert 3 * (8 + 3 * 1024) <= written["size_bytes"] - without["size_bytes"] <= 3 * (8 + 3 * 1024) + 4 * 64
    dense = np.zeros((3, WINDOW), dtype=int)
    dense[0, :2560] = values[np.nonzero(held)[1] == 0][:2560]
    of_second = values[np.nonzero(held)[1] == 1]
    dense[1, -2560:], dense[2, :2560] = of_second[:2560], of_second[2560:]
    by_cell = dense.reshape(3, -1, CELL)
    assert (cells_of(folder / "dense", 17, np.uint8) == by_cell.max(axis=2)).all()
    before = np.cumsum((by_cell > 0).sum(axis=2), axis=1) - (by_cell > 0).sum(axis=2)
    assert (cells_of(folder / "dense", 18, np.uint16) == before).all()


def test_cells_are_of_a_newer_minor_version(folder):
    for cells_from, minor in ((1, 1), (None, 0)):
        write(folder / "minor", impacts([{1: 2}]), ["a"], cells_from=cells_from)
        assert struct.unpack_from("<HH", (folder / "minor").read_bytes(), 8) == (1, minor)


# --- what is found ----------------------------------------------------------------------------------------------------


@st.composite
def postings(draw):
    """Documents over up to two windows and a half, in one of several ways that could mislead bounds."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.sampled_from([1, 15, 16, 17, 500, WINDOW, WINDOW + 1, 2 * WINDOW + 900]))
    shares = draw(st.lists(st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]), min_size=1, max_size=5))
    held = random.random((n, len(shares))) < shares
    if draw(st.booleans()):  # runs of documents without any posting, and a document with all terms
        held[(np.arange(n) // draw(st.sampled_from([16, 100, 5000]))) % 2 == 0] = False
        held[random.integers(n)] = True
    most = draw(st.sampled_from([1, 2, 255]))
    values = random.integers(1, most + 1, held.shape) if draw(st.booleans()) else np.full(held.shape, most)
    values += np.where(np.arange(n) % 997 == 5, most, 0)[:, None] * draw(st.integers(0, 1))
    return held, np.minimum(values, 255)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=postings(),
    query_rows=st.lists(
        st.dictionaries(st.integers(0, 5), st.sampled_from([1, 2, 4095]), min_size=1, max_size=5),
        min_size=1,
        max_size=3,
    ),
    k=st.sampled_from([1, 2, 10, 33, 70, 1000]),
    cells_from=st.sampled_from([1, 2, 100, 5000]),
    wide=st.booleans(),
    reordered=st.booleans(),
    hidden_share=st.sampled_from([0.0, 0.3, 0.999]),
)
def test_search_with_cells_equals_the_reference(folder, made, query_rows, k, cells_from, wide, reordered, hidden_share):
    held, values = made
    random = np.random.default_rng(len(held))
    dtype = np.uint16 if wide else np.uint8
    documents = Impacts(
        np.concatenate([[0], np.cumsum(held.sum(axis=1))]).astype(np.int64),
        np.nonzero(held)[1].astype(np.int32),
        (values[held] * (257 if wide else 1)).astype(dtype),
    )
    ids = [f"{i:06}" for i in range(len(held))]
    order = random.permutation(len(held)).astype(np.uint32) if reordered else None
    write(folder / "made", documents, ids, order=order, cells_from=cells_from)
    segment = _engine.Segment(folder / "made")
    gone = random.random(len(held)) < hidden_share
    shown = np.repeat(~gone, np.diff(documents.indptr))
    kept = Impacts(
        np.concatenate([[0], np.cumsum(shown)])[documents.indptr].astype(np.int64),
        documents.terms[shown],
        documents.impacts[shown],
    )
    hidden = [np.packbits(gone if order is None else gone[order], bitorder="little")] if hidden_share else [None]
    queries = impacts(query_rows, np.uint32)
    expected = search_impacts(kept, ids, queries, k)
    assert rankings([segment], hidden, queries, k) == expected
    assert rankings([segment], hidden, queries, k, threads=2) == expected


def test_cells_in_some_segments_only(folder):
    """Equal scores in every segment, so that the floor of one must not shut out the ids of another."""
    random = np.random.default_rng(6)
    n, segments, parts, all_ids = 20_000, [], [], []
    for number, cells_from in enumerate((1, None, 4000)):
        values = np.where(random.random(n) < 0.9, 3, 7).astype(np.uint8)
        documents = Impacts(np.arange(n + 1), np.full(n, 2, np.int32), values)
        ids = [f"{i * 3 + number:06}" for i in range(n)]
        write(folder / f"some{number}", documents, ids, cells_from=cells_from)
        segments.append(_engine.Segment(folder / f"some{number}"))
        parts.append(values)
        all_ids += ids
    documents = Impacts(np.arange(3 * n + 1), np.full(3 * n, 2, np.int32), np.concatenate(parts))
    query = impacts([{2: 5}], np.uint32)
    for k in (1, 10, 40, 3000):
        expected = search_impacts(documents, all_ids, query, k)
        assert rankings(segments, [None] * 3, query, k) == expected
        assert rankings(segments[::-1], [None] * 3, query, k, threads=2) == expected


def test_a_large_vocabulary(folder):
    rows = [{0: 9, 249_999: 1 + i % 3, 100_000 + i: 200} for i in range(3000)]
    documents, ids = impacts(rows), [f"{i:04}" for i in range(3000)]
    write(folder / "words", documents, ids, 250_000)
    segment = _engine.Segment(folder / "words")
    assert segment.n_dense_blocks == 2
    queries = impacts([{249_999: 3}, {0: 1, 249_999: 2, 101_234: 5}], np.uint32)
    assert rankings([segment], [None], queries, 20) == search_impacts(documents, ids, queries, 20)
