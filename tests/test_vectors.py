"""SparseMatrix keeps its promises; a vectors folder is whole or is not there."""

import json

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from everglade.errors import InputError, VectorsError
from everglade.vectors import SparseMatrix, VectorsWriter, read_manifest, read_vectors

N_TERMS = 9
row = st.lists(st.tuples(st.integers(0, N_TERMS - 1), st.sampled_from([0.0, 0.25, 1.0, 3.5])), max_size=12)


def matrix_of(rows):
    indptr = np.cumsum([0, *map(len, rows)])
    return SparseMatrix(indptr, [t for r in rows for t, _ in r], [w for r in rows for _, w in r], N_TERMS)


def dense(matrix):
    table = np.zeros((len(matrix), matrix.n_terms))
    for i in range(len(matrix)):
        for term, weight in zip(*matrix.row(i), strict=True):
            table[i, term] += weight
    return table


@given(st.lists(row, max_size=6))
def test_canonical_rows_are_equal_sorted_and_without_zeros(rows):
    matrix = matrix_of(rows)
    canonical = matrix.canonical()
    np.testing.assert_array_equal(dense(canonical), dense(matrix))
    assert (canonical.weights > 0).all()
    for i in range(len(canonical)):
        assert (np.diff(canonical.row(i)[0]) > 0).all()


@given(st.lists(row, max_size=6))
def test_rows_are_canonical_when_making_them_so_changes_nothing(rows):
    matrix = matrix_of(rows)
    canonical = matrix.canonical()
    same = canonical.terms.tolist() == matrix.terms.tolist() and canonical.indptr.tolist() == matrix.indptr.tolist()
    assert matrix.is_canonical == same
    assert canonical.is_canonical and canonical.canonical() is canonical


@given(st.lists(row, max_size=6))
def test_scipy_there_and_back(rows):
    matrix = matrix_of(rows).canonical()
    back = SparseMatrix.from_scipy(scipy.sparse.csc_array(matrix.to_scipy()))
    np.testing.assert_array_equal(dense(back), dense(matrix))


@given(st.lists(row, max_size=6), st.integers(0, 5))
def test_top_terms_keeps_the_heaviest(rows, k):
    matrix = matrix_of(rows)
    kept = dense(matrix.top_terms(k))
    for full, cut in zip(dense(matrix), kept, strict=True):
        order = sorted(np.flatnonzero(full), key=lambda term: (-full[term], term))[:k]
        expected = np.zeros(N_TERMS)
        expected[order] = full[order]
        np.testing.assert_array_equal(cut, expected)


@given(st.lists(row, min_size=1, max_size=6), st.data())
def test_take_stack_and_rows(rows, data):
    matrix = matrix_of(rows)
    order = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)), dtype=np.int64)
    np.testing.assert_array_equal(dense(matrix.take(order)), dense(matrix)[order])
    cut = data.draw(st.integers(0, len(rows)))
    halves = SparseMatrix.stack([matrix.rows(0, cut), matrix.rows(cut, len(rows))])
    np.testing.assert_array_equal(dense(halves), dense(matrix))


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_a_bad_weight_names_its_row(weight):
    with pytest.raises(InputError, match="row 1 has the weight"):
        SparseMatrix([0, 1, 2], [0, 1], [1.0, weight], N_TERMS)


@pytest.mark.parametrize(
    ("indptr", "terms", "weights", "why"),
    [
        ([0, 1], [N_TERMS], [1.0], "n_terms is 9"),
        ([0, 1], [-1], [1.0], "terms run from -1"),
        ([0, 2], [1], [1.0], "indptr must"),
        ([1, 1], [1], [1.0], "indptr must"),
        ([0, 2, 1], [1], [1.0], "indptr must"),
        ([], [], [], "must not be empty"),
        ([0, 1], [1], [1.0, 2.0], "1 terms but 2 weights"),
    ],
)
def test_arrays_that_are_no_matrix_are_refused(indptr, terms, weights, why):
    with pytest.raises(InputError, match=why):
        SparseMatrix(np.array(indptr, dtype=np.int64), np.array(terms), np.array(weights), N_TERMS)


ROWS = [[(1, 1.0), (3, 0.5)], [], [(0, 2.0)]]
DESCRIPTION = {"n_terms": N_TERMS, "model": "none"}


def write(path, description=DESCRIPTION, ids=("a", "ü", "c")):
    with VectorsWriter(path, description) as writer:
        writer.append(list(ids[:2]), matrix_of(ROWS).rows(0, 2))
        writer.append(list(ids[2:]), matrix_of(ROWS).rows(2, 3))


def test_a_folder_comes_back_as_it_was_written(tmp_path):
    write(tmp_path / "v")
    shards = list(read_vectors(tmp_path / "v"))
    assert [shard.ids for shard in shards] == [["a", "ü"], ["c"]]
    np.testing.assert_array_equal(dense(SparseMatrix.stack([shard.matrix for shard in shards])), dense(matrix_of(ROWS)))
    manifest = read_manifest(tmp_path / "v")
    assert (manifest["rows"], manifest["postings"], manifest["description"]) == (3, 3, DESCRIPTION)


def test_an_interrupted_folder_is_not_there_and_is_taken_up(tmp_path):
    writer = VectorsWriter(tmp_path / "v", DESCRIPTION)
    writer.append(["a", "ü"], matrix_of(ROWS).rows(0, 2))
    assert not (tmp_path / "v").exists()
    with pytest.raises(VectorsError, match="interrupted"):
        read_manifest(tmp_path / "v")
    (tmp_path / "v.partial" / "shard-00001.safetensors.tmp").write_bytes(b"half")
    with VectorsWriter(tmp_path / "v", DESCRIPTION) as writer:
        assert writer.n_rows == 2
        writer.append(["c"], matrix_of(ROWS).rows(2, 3))
    write(tmp_path / "w")
    left, right = (sorted(f.name for f in (tmp_path / name).iterdir()) for name in "vw")
    assert left == right
    assert all((tmp_path / "v" / name).read_bytes() == (tmp_path / "w" / name).read_bytes() for name in left)


def test_other_settings_are_not_mixed_in(tmp_path):
    VectorsWriter(tmp_path / "v", DESCRIPTION)
    with pytest.raises(VectorsError, match="model"):
        VectorsWriter(tmp_path / "v", DESCRIPTION | {"model": "another"})
    assert VectorsWriter(tmp_path / "v", DESCRIPTION | {"model": "another"}, fresh=True).n_rows == 0


def test_a_finished_folder_is_not_written_over(tmp_path):
    write(tmp_path / "v")
    with pytest.raises(VectorsError, match="exists already"):
        VectorsWriter(tmp_path / "v", DESCRIPTION)


def test_a_changed_or_missing_shard_is_noticed(tmp_path):
    write(tmp_path / "v")
    shard = tmp_path / "v" / "shard-00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(VectorsError, match=r"shard-00001.*sha256"):
        list(read_vectors(tmp_path / "v"))
    shard.unlink()
    with pytest.raises(VectorsError, match="missing"):
        list(read_vectors(tmp_path / "v"))


def test_parts_are_read_together_and_only_when_all_are_there(tmp_path):
    write(tmp_path / "v" / "2-of-2", DESCRIPTION | {"part": [2, 2]}, ids=("d", "e", "f"))
    with pytest.raises(VectorsError, match="lacks the parts 1-of-2"):
        read_manifest(tmp_path / "v")
    write(tmp_path / "v" / "1-of-2", DESCRIPTION | {"part": [1, 2]})
    assert [value for shard in read_vectors(tmp_path / "v") for value in shard.ids] == ["a", "ü", "c", "d", "e", "f"]
    assert read_manifest(tmp_path / "v")["rows"] == 6
    assert read_manifest(tmp_path / "v")["description"] == DESCRIPTION


def test_a_manifest_of_another_kind_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "something"}))
    with pytest.raises(VectorsError, match="not a vectors manifest"):
        read_manifest(tmp_path)
