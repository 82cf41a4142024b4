"""A run that is written has one order, for every reader."""

import gzip
import struct

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.errors import InputError
from everglade.texts import read_run, write_run


def rows(path):
    return [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]


def as_c_float(text):
    """What C's (float)atof(text) gives."""
    return struct.unpack("f", struct.pack("f", float(text)))[0]


def in_order(hits):
    return sorted(hits, key=lambda document: (-hits[document], document))


scores = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-9, 1.0 + 1e-7, 12.25, -3.0, 5e-324, 1e-39, 1.1754943508222875e-38]),
    st.floats(-1e37, 1e37),
    st.integers(-(2**32), 2**32).map(float),
)
run_of_one = st.dictionaries(st.text("abz09é\U0001f600", min_size=1, max_size=3), scores, max_size=40)


@settings(deadline=None)
@given(run_of_one)
def test_every_reader_gets_the_same_order(tmp_path_factory, hits):
    path = tmp_path_factory.mktemp("runs") / "a.run"
    write_run({"q": hits}, path)
    written = rows(path)
    assert [row[2] for row in written] == in_order(hits)
    assert [row[3] for row in written] == [str(rank) for rank in range(1, len(hits) + 1)]
    for parse in (float, as_c_float, lambda text: np.float32(text), lambda text: np.float64(text)):
        values = [parse(row[4]) for row in written]
        assert all(a > b for a, b in zip(values, values[1:], strict=False))
    assert not any(0 < abs(as_c_float(row[4])) < np.finfo(np.float32).tiny for row in written)
    back = read_run(path)
    assert list(back.get("q", {})) == in_order(hits)
    write_run(back, path)
    assert [row[2] for row in rows(path)] == in_order(hits)


@given(st.lists(st.floats(0.0078125, 100, width=32), unique=True, max_size=30))
def test_scores_that_differ_are_written_as_they_are(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("runs") / "a.run"
    write_run({"q": {str(i): value for i, value in enumerate(values)}}, path)
    assert [as_c_float(row[4]) for row in rows(path)] == sorted(values, reverse=True)


def test_equal_scores_are_lowered_by_the_least_step(tmp_path):
    write_run({"q": {"b": 1.0, "a": 1.0, "d": 0.0, "c": 1.0, "e": 0.0}}, tmp_path / "a.run")
    ulp = 2.0**-24
    assert [(row[2], as_c_float(row[4])) for row in rows(tmp_path / "a.run")] == [
        ("a", 1.0),
        ("b", 1.0 - ulp),
        ("c", 1.0 - 2 * ulp),
        ("d", 0.0),
        ("e", -float(np.finfo(np.float32).tiny)),
    ]


def test_trec_eval_ranks_ties_as_we_do(tmp_path):
    hits = {f"d{i:02}": float(i % 3) for i in range(30)}
    write_run({"q": hits}, tmp_path / "a.run")
    for rank, document in enumerate(in_order(hits), start=1):
        qrels = [ir_measures.Qrel("q", document, 1)]
        for measure in (ir_measures.RR, ir_measures.RR @ 100):  # trec_eval's own, and the one of MS MARCO
            found = ir_measures.calc_aggregate([measure], qrels, ir_measures.read_trec_run(str(tmp_path / "a.run")))
            assert found[measure] == pytest.approx(1 / rank)


def test_integer_scores_of_numpy_are_ordered(tmp_path):
    write_run({"q": {"a": np.uint32(1), "b": np.uint32(300), "c": np.uint32(2**32 - 1)}}, tmp_path / "a.run")
    assert list(read_run(tmp_path / "a.run")["q"]) == ["c", "b", "a"]


def test_the_exact_shape(tmp_path):
    write_run({"q1": {"d1": 12.5, "d2": 3}, "q2": {}, "q3": {"d1": 1e-5}}, tmp_path / "a.run", tag="mine")
    assert (tmp_path / "a.run").read_bytes() == (
        b"q1 Q0 d1 1 12.5 mine\nq1 Q0 d2 2 3 mine\nq3 Q0 d1 1 9.99999975e-06 mine\n"
    )


def test_gzip_runs(tmp_path):
    run = {"q": {"d2": 2.0, "d1": 1.0}}
    write_run(run, tmp_path / "a.run.gz")
    first = (tmp_path / "a.run.gz").read_bytes()
    write_run(run, tmp_path / "a.run.gz")
    assert (tmp_path / "a.run.gz").read_bytes() == first
    assert gzip.decompress(first) == b"q Q0 d2 1 2 everglade\nq Q0 d1 2 1 everglade\n"
    assert read_run(tmp_path / "a.run.gz") == run


@pytest.mark.parametrize("word", ["", "a b", "a\t", "a\u00a0b", "a\x1cb", "a\u2028b", "\ud800"])
@pytest.mark.parametrize("place", ["query id", "document id", "tag"])
def test_words_that_would_break_a_line_are_refused(tmp_path, word, place):
    path = tmp_path / "a.run"
    path.write_text("the old one")
    run = {word if place == "query id" else "q": {"d0": 2.0, word if place == "document id" else "d": 1.0}}
    with pytest.raises(InputError, match=f"the {place} "):
        write_run(run, path, tag=word if place == "tag" else "t")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.run", "the old one")]


def test_ids_that_no_reader_would_take_back_are_refused(tmp_path):
    for word in ("a\0b", "a\x01b", "x" * 4097):
        with pytest.raises(InputError, match="the id"):
            write_run({"q": {word: 1.0}}, tmp_path / "a.run")


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 1.1e38, -1.1e38])
def test_scores_that_no_reader_could_order_are_refused(tmp_path, score):
    with pytest.raises(InputError, match="query 'q' has a score that is not a number between -1e38 and 1e38"):
        write_run({"q": {"d": 1.0, "e": score}}, tmp_path / "a.run")


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(InputError, match="is not there. Make it first"):
        write_run({}, tmp_path / "none" / "a.run")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", {}),
        (
            "q1 Q0 d1 1 0.5 t\nq1 Q0 d2 2 1.5 t\nq2 Q0 d1 1 -1e-3 t\n",
            {"q1": {"d2": 1.5, "d1": 0.5}, "q2": {"d1": -0.001}},
        ),
        ("q1\tQ0\td2\t0\t1\tt\r\nq1\tQ0\td1\t0\t1\tt\r\n", {"q1": {"d1": 1.0, "d2": 1.0}}),
        ("q1 Q0 d\u00a01 1 2 t\n", {"q1": {"d\u00a01": 2.0}}),
        ("\ufeffq1  0 d1 x .5 t \n", {"q1": {"d1": 0.5}}),
        ("2\t7\t1\n2\t9\t2\n1\t7\t4\n", {"2": {"7": 1.0, "9": 0.5}, "1": {"7": 0.25}}),
    ],
)
def test_forms_of_runs(tmp_path, content, expected):
    (tmp_path / "a.run").write_bytes(content.encode())
    run = read_run(tmp_path / "a.run")
    assert run == expected
    assert [list(hits) for hits in run.values()] == [list(hits) for hits in expected.values()]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("q1 Q0 d2 2 nan t", "the score 'nan'"),
        ("q1 Q0 d2 2 inf t", "the score 'inf'"),
        ("q1 Q0 d2 2 1e999 t", "the score '1e999'"),
        ("q1 Q0 d2 2 1_0 t", "the score '1_0'"),
        ("q1 Q0 d2 2 high t", "the score 'high' is not a finite decimal number"),
        ("q1 Q0 d 2 2 1 t", "found 7 columns, expected 6 as on the lines before"),
        ("q1 d2 2", "found 3 columns, expected 6"),
        ("q1 Q0 d1 2 1 t", "document 'd1' of query 'q1' stood on line 1 already"),
        ("q1 Q0 d\x002 2 1 t", "the id"),
    ],
)
def test_lines_that_are_no_hit(tmp_path, line, why):
    (tmp_path / "a.run").write_text(f"q1 Q0 d1 1 2 t\n\n{line}\n")
    with pytest.raises(InputError, match=f"line 3: .*{why}"):
        read_run(tmp_path / "a.run")


@pytest.mark.parametrize("rank", ["0", "-1", "1.5", "x", "\u0661"])
def test_msmarco_ranks_count_from_one(tmp_path, rank):
    (tmp_path / "a.run").write_text(f"1\t2\t{rank}\n")
    with pytest.raises(InputError, match="line 1: the rank"):
        read_run(tmp_path / "a.run")
