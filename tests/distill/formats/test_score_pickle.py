"""The reader of score pickles: Python's own pickles are its oracle, and nothing hostile is ever run."""

import gzip
import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.distill.examples import Example
from everglade.distill.formats import Options, read_source
from everglade.distill.formats.score_pickle import parse_scores
from everglade.errors import InputError

INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300) | st.integers(0, 10**7)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TABLES = st.dictionaries(INTS, st.dictionaries(INTS, FLOATS, max_size=5), max_size=5)


def parsed(content):
    return list(parse_scores(io.BytesIO(content)))


@given(TABLES, st.sampled_from([1, 2, 3, 4, 5]), st.booleans())
def test_what_python_writes_is_read_as_it_was(table, protocol, in_python):
    content = dump_in_python(table, protocol) if in_python else pickle.dumps(table, protocol)
    if protocol == 1 and any(abs(n) >= 2**31 for query, scores in table.items() for n in (query, *scores)):
        with pytest.raises(InputError, match="the opcode LONG"):
            parsed(content)
        return
    assert parsed(content) == list(table.items())


def dump_in_python(table, protocol):
    """Python's own pickler in Python ends its batches otherwise than the one in C."""
    file = io.BytesIO()
    pickle._Pickler(file, protocol).dump(table)
    return file.getvalue()


@pytest.mark.parametrize("n", [1, 2, 999, 1000, 1001, 2000, 2001])
@pytest.mark.parametrize("in_python", [False, True])
def test_batches_of_a_thousand_items(n, in_python):
    rng = np.random.default_rng(n)
    ids = rng.permutation(9_000_000)[:n].tolist()
    inner = dict(zip(ids, rng.normal(size=n).tolist(), strict=True))
    for table in ({5: inner, 6: {1: 2.0}, 7: dict(inner)}, {q: {q: 1.5} for q in ids}):
        content = dump_in_python(table, 4) if in_python else pickle.dumps(table)
        assert parsed(content) == list(table.items())


def test_pieces_of_the_file_may_end_anywhere(monkeypatch):
    table = {q: {100_000 * q + d: d / 3 for d in range(50)} for q in range(20)}
    content = pickle.dumps(table)
    for piece in (1, 2, 3, 13, 14, 15, 101):
        monkeypatch.setattr("everglade.distill.formats.score_pickle._PIECE_BYTES", piece)
        assert parsed(content) == list(table.items())


class Runs:
    def __reduce__(self):
        return os.system, ("touch canary",)


HOSTILE = {
    "a call": pickle.dumps({1: Runs()}),
    "a call at the top": pickle.dumps(Runs()),
    "a call as a key, protocol 1": pickle.dumps({1: {2: Runs()}}, 1),
    "a class by its name": b"\x80\x02}cos\nsystem\n.",
    "a class by what is on the stack": b"\x80\x04}\x8c\x02os\x8c\x06system\x93.",
    "protocol 0": pickle.dumps({1: {2: 3.0}}, 0),
    "texts as keys": pickle.dumps({"1": {"2": 3.0}}),
    "ints as scores": pickle.dumps({1: {2: 3}}),
    "a boolean as a score": pickle.dumps({1: {2: True}}),
    "nothing as a score": pickle.dumps({1: {2: None}}),
    "a numpy number": pickle.dumps({1: {2: np.float32(3)}}),
    "another kind of dict": pickle.dumps(OrderedDict({1: {2: 3.0}})),
    "a list": pickle.dumps([1]),
    "an int": pickle.dumps(1),
    "scores without queries": pickle.dumps({1: 2.0}),
    "a dict too deep": pickle.dumps({1: {2: {3: 4.0}}}),
    "a value from the memo": b"\x80\x02}q\x00(K\x01h\x00u.",
    "NaN": pickle.dumps({1: {2: float("nan"), 3: 1.0}}),
    "infinity among many": pickle.dumps({1: {70_000 + i: float("inf") if i == 40 else 1.0 for i in range(80)}}),
    "a document twice": b"\x80\x02}K\x01}(K\x02G" + bytes(8) + b"K\x02G" + bytes(8) + b"us.",
    "a huge int": b"\x80\x02}\x8a\xff" + bytes(255) + b"}s.",
    "a text of 2^60 bytes": b"\x80\x04}\x8d" + (2**60).to_bytes(8, "little") + b"x",
    "marks without end": b"\x80\x02}" + b"(" * 9999,
    "dicts without end": b"\x80\x02" + b"}" * 9999,
    "no end": pickle.dumps({1: {2: 3.0}})[:-1],
    "more after the end": pickle.dumps({1: {2: 3.0}}) + b"x",
    "empty": b"",
    "an end at once": b".",
    "no pickle": b"query\tdocument\n",
    "items that never began": b"\x80\x02}u.",
    "a pair that is not set": b"\x80\x02}K\x01}K\x02G" + bytes(8) + b"K\x03}ss.",
    "a dict as a score": b"\x80\x02}K\x01}K\x05}s.",
    "a dict as a score after a document": b"\x80\x02}K\x01}(K\x02G" + bytes(8) + b"uK\x05}s.",
    "unknown bytes": b"\x80\x02}\xff",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_anything_else_ends_the_reading(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.pkl").write_bytes(content)
    with pytest.raises(InputError, match=r"s\.pkl: .*found .*before byte [0-9,]+ of the unpacked content"):
        list(read_source(tmp_path / "s.pkl", None, Options(qrels={"1": {"2": 1}})).rows)
    assert not (tmp_path / "canary").exists()


class Plain(pickle._Unpickler):
    """Python's unpickler in Python, where a number of a memo is a key. In C it is room to take, however large."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"{module}.{name}")


@given(st.data())
def test_damaged_pickles_are_refused_or_read_and_nothing_else(data):
    content = bytearray(pickle.dumps({q: {q * d: d / 7 for d in range(1, 9)} for q in range(1, 9)}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parsed(bytes(content))
    except InputError:
        return
    try:
        whole = Plain(io.BytesIO(bytes(content))).load()
    except Exception:  # noqa: BLE001 - Python minds the lengths of frames, which say nothing of what is in them
        return
    assert whole == dict(found)


def test_a_query_is_given_before_the_next_is_read():
    class Watched(io.BytesIO):
        most = 0

        def read(self, size=-1):
            self.most = max(self.most, self.tell())
            return super().read(size)

    content = pickle.dumps({q: {q * 1000 + d: 0.5 for d in range(1000)} for q in range(500)})
    file = Watched(content)
    next(iter(parse_scores(file)))
    assert file.most < len(content) / 3


def test_qrels_make_examples_of_scores(tmp_path):
    table = {1: {10: 1.5, 11: -2.0, 12: 0.25}, 2: {10: 1.0}, 3: {10: 1.0}, 4: {10: 1.0, 11: 2.0}}
    with gzip.open(tmp_path / "s.pkl.gz", "wb") as file:
        pickle.dump(table, file)
    qrels = {"1": {"11": 1, "12": 1}, "2": {"10": 1}, "4": {"12": 1}}
    source = read_source(tmp_path / "s.pkl.gz", None, Options(qrels=qrels))
    assert source.format == "score-pickle"
    assert [row.example for row in source.rows] == [
        Example("1", ("11", "10"), (-2.0, 1.5)),
        Example("1", ("12", "10"), (0.25, 1.5)),
    ]
    assert source.notes.left_out == {
        "queries without a negative": 1,
        "queries without a relevant document": 1,
        "relevant documents without a score": 1,
    }
    content = (tmp_path / "s.pkl.gz").read_bytes()
    for damaged in (content[:-9], content[:30], content[:40] + b"\xff\xff" + content[42:]):
        (tmp_path / "s.pkl.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"s\.pkl\.gz"):
            list(read_source(tmp_path / "s.pkl.gz", None, Options(qrels=qrels)).rows)


def test_a_query_that_comes_twice_is_named(tmp_path):
    one = b"K\x01}K\x02G" + bytes(8) + b"ss"
    (tmp_path / "s.pkl").write_bytes(b"\x80\x02}" + one + one + b".")
    with pytest.raises(InputError, match="the query 1 comes twice, as number 1 and 2"):
        list(read_source(tmp_path / "s.pkl", None, Options(qrels={})).rows)
