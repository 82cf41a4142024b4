"""Files of every kind as they were first written: today's writer gives the same bytes, and today's reader reads them.

A file here never changes, since files like it lie on the disks of others. A new kind of file is added with

    python tests/engine/test_golden.py NAME
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from everglade import _engine

sys.path.insert(0, str(Path(__file__).parent))
from made import impacts, write

GOLDEN = Path(__file__).parent / "golden"
ROWS = [{0: 1, 3: 255}, {}, {3: 2, 5: 7, 11: 200}, {0: 9}]
IDS = ["", "a", "é", "\U0001f600"]
ORDER = np.array([2, 0, 3, 1], np.uint32)
POSTINGS = np.array([False, True, True, False, True, True])
WEIGHTS = np.array([0.004, 1.0, 0.0, 65504, 2**-24, 0.1], np.float16)
WIDE_ROWS = [{term: 257 * impact for term, impact in row.items()} for row in ROWS]

KINDS = {
    "plain": (ROWS, 12, {}),
    "empty": ([], 12, {}),
    "wide_vocabulary": (ROWS, 70_000, {}),
    "wide": (WIDE_ROWS, 12, {}),
    "reordered": (ROWS, 12, {"order": ORDER}),
    "pruned": (ROWS, 12, {"postings": POSTINGS}),
    "without_rows": (ROWS, 12, {"rows": False}),
    "weights": (ROWS, 12, {"weights": WEIGHTS}),
    "wide_reordered_without_rows": (WIDE_ROWS, 12, {"order": ORDER, "rows": False}),
    "cells": (ROWS, 12, {"cells_from": 2}),
    "wide_reordered_pruned_cells": (WIDE_ROWS, 12, {"order": ORDER, "postings": POSTINGS, "cells_from": 2}),
    "wide_reordered_pruned_weights": (WIDE_ROWS, 12, {"order": ORDER, "postings": POSTINGS, "weights": WEIGHTS}),
}


def make(path: Path, name: str) -> None:
    rows, n_terms, features = KINDS[name]
    dtype = np.uint16 if rows is WIDE_ROWS else np.uint8
    write(path, impacts(rows, dtype), IDS[: len(rows)], n_terms, number=7, **features)


def test_every_golden_file_has_a_kind():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.segment" for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_the_writer_gives_the_same_bytes(tmp_path, name):
    make(tmp_path / "made", name)
    assert (tmp_path / "made").read_bytes() == (GOLDEN / f"{name}.segment").read_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_the_reader_reads_them(name):
    rows, n_terms, features = KINDS[name]
    segment = _engine.Segment(GOLDEN / f"{name}.segment")
    order = features.get("order", np.arange(len(rows)))
    assert (segment.number, segment.n_terms, segment.n_documents) == (7, n_terms, len(rows))
    assert segment.ids_all() == [IDS[row] for row in order]
    for local, row in enumerate(order):
        terms, values = segment.document(local)
        assert dict(zip(terms.tolist(), values.tolist(), strict=True)) == rows[row]
    assert segment.has_weights == ("weights" in features)
    assert segment.n_dense_blocks == {"cells": 2, "wide_reordered_pruned_cells": 1}.get(name, 0)
    if segment.has_weights:
        starts = np.cumsum([0, *map(len, rows)])
        entries = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in order])
        assert segment.weights().tolist() == WEIGHTS[entries].tolist()


if __name__ == "__main__":
    make(GOLDEN / f"{sys.argv[1]}.segment", sys.argv[1])
