"""Examples as an Arrow table: what is written comes back, damage is named, and a list of the same is the twin."""

import re
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.distill import example_table, text_store
from everglade.distill.example_table import SCHEMA, ExampleTable
from everglade.distill.examples import (
    Example,
    TrainingSet,
    keep_queries,
    read_examples,
    write_examples,
)
from everglade.distill.text_store import write_texts
from everglade.errors import InputError
from everglade.train.batches import batch_at
from everglade.train.config import TrainConfig

IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def examples(draw):
    ids = draw(st.lists(IDS, min_size=1, max_size=6, unique=True))
    scores = draw(st.none() | st.lists(SINGLES, min_size=len(ids), max_size=len(ids)).map(tuple))
    return Example(draw(IDS), tuple(ids), scores)


@settings(max_examples=40)
@given(written=st.lists(examples(), max_size=12), batch=st.integers(1, 5))
def test_examples_come_back_as_they_were_in_both_forms(tmp_path_factory, written, batch):
    folder = tmp_path_factory.mktemp("round")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example_table, "_ROWS", batch)
        assert write_examples(written, folder / "a.arrow") == len(written)
    write_examples(written, folder / "a.jsonl")
    table = read_examples(folder / "a.arrow")
    assert len(table) == len(written)
    assert list(table) == written == read_examples(folder / "a.jsonl")
    assert [table[place - len(written)] for place in range(len(written))] == written
    assert list(table[1::2]) == written[1::2]
    assert list(table[::-1][:3]) == written[::-1][:3]


def some_examples(n=300):
    return [
        Example(
            f"q{i % 40}",
            tuple(f"d{(7 * i + 13 * j) % 90}" for j in range(1 + i % 5)),
            tuple(float(i - j) for j in range(1 + i % 5)) if i % 7 else None,
        )
        for i in range(n)
    ]


QUERIES = {f"q{i}": f"query {i}" for i in range(40)}
DOCUMENTS = {f"d{i}": f"document {i}" for i in range(90)}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(example_table, "_ROWS", 64)
    write_examples(some_examples(), tmp_path / "e.arrow")
    return read_examples(tmp_path / "e.arrow")


@pytest.fixture(params=["in memory", "stored"])
def texts(request, tmp_path):
    if request.param == "in memory":
        return QUERIES, DOCUMENTS
    return write_texts(QUERIES.items(), tmp_path / "q"), write_texts(DOCUMENTS.items(), tmp_path / "d")


def test_a_training_set_of_a_table_answers_as_one_of_a_list(table, texts):
    stored, listed = TrainingSet(*texts, table), TrainingSet(QUERIES, DOCUMENTS, some_examples())
    assert dict(stored.positives) == listed.positives
    assert stored.positives == listed.positives
    assert len(stored.positives) == 40
    assert stored.positives.get("q99") is None
    some = {"q3", "q39", "q5"}
    kept = keep_queries(table, some)
    assert list(kept) == keep_queries(some_examples(), some)
    assert TrainingSet(*texts, kept).positives.keys() == some
    assert list(keep_queries(kept[3:], {"q5"})) == keep_queries(keep_queries(some_examples(), some)[3:], {"q5"})
    assert stored.fingerprint == TrainingSet(*texts, read_examples(table.path)).fingerprint


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Example("q99", ("d1",)), "example 201: the query 'q99' is not among the queries"),
        (Example("q1", ("d1", "d99")), "example 201: the document 'd99' is not in the collection"),
    ],
)
def test_unknown_ids_name_the_example(tmp_path, texts, wrong, why, monkeypatch):
    monkeypatch.setattr(example_table, "_ROWS", 64)
    listed = some_examples()
    listed[200] = wrong
    listed[250] = Example("q98", ("d98",))
    write_examples(listed, tmp_path / "e.arrow")
    for given_examples in (listed, read_examples(tmp_path / "e.arrow")):
        with pytest.raises(InputError, match=why):
            TrainingSet(*texts, given_examples)
    assert TrainingSet(*texts, read_examples(tmp_path / "e.arrow")[:200])
    kept = keep_queries(read_examples(tmp_path / "e.arrow"), QUERIES.keys() - {wrong.query_id})
    assert TrainingSet(*texts, kept)


def test_what_a_loss_needs_is_asked_for(table, texts):
    stored, listed = TrainingSet(*texts, table), TrainingSet(QUERIES, DOCUMENTS, some_examples())
    for ask in ("require_negatives", "require_scores"):
        with pytest.raises(InputError) as of_list:
            getattr(listed, ask)()
        with pytest.raises(InputError) as of_table:
            getattr(stored, ask)()
        assert str(of_table.value) == str(of_list.value)
    fine = TrainingSet(*texts, table[[i for i in range(300) if i % 7 and i % 5][0] :: 35])
    assert all(len(e.document_ids) > 1 and e.scores for e in fine.examples)
    fine.require_negatives()
    fine.require_scores()


def test_the_fingerprint_changes_with_what_is_used(tmp_path, table, texts):
    write_examples(some_examples(299), tmp_path / "f.arrow")
    prints = {
        TrainingSet(*texts, table).fingerprint,
        TrainingSet(*texts, table[:299]).fingerprint,
        TrainingSet(*texts, table[1:]).fingerprint,
        TrainingSet(*texts, read_examples(tmp_path / "f.arrow")).fingerprint,
        TrainingSet({**QUERIES, "q1": "other"}, DOCUMENTS, table).fingerprint,
        TrainingSet(QUERIES, {**DOCUMENTS, "d1": "other"}, table).fingerprint,
        TrainingSet(QUERIES, write_texts({**DOCUMENTS, "d1": "other"}.items(), tmp_path / "o"), table).fingerprint,
    }
    assert len(prints) == 7


def test_a_score_beyond_single_precision_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"e\.arrow: example 2 \(query 'q2'\) has a score beyond"):
        write_examples([Example("q1", ("d",), (1.0,)), Example("q2", ("d",), (1e39,))], tmp_path / "e.arrow")
    with pytest.raises(InputError, match="examples 1 to 1"):
        write_examples([Example("q\ud800", ("d",))], tmp_path / "e.arrow")
    with pytest.raises(InputError, match="is not there"):
        write_examples([], tmp_path / "none" / "e.arrow")
    assert not list(tmp_path.iterdir())


def test_a_mistake_of_the_caller_leaves_nothing(tmp_path):
    def broken():
        yield Example("q", ("d",))
        raise KeyError("somewhere else")

    with pytest.raises(KeyError):
        write_examples(broken(), tmp_path / "e.arrow")
    assert not list(tmp_path.iterdir())


def test_every_cut_of_a_table_is_refused(tmp_path):
    write_examples(some_examples(20), tmp_path / "e.arrow")
    whole = (tmp_path / "e.arrow").read_bytes()
    for length in range(6, len(whole), 41):
        (tmp_path / "cut.arrow").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.arrow: not a whole Arrow file"):
            read_examples(tmp_path / "cut.arrow")


def test_a_flipped_byte_is_an_error_or_other_examples_and_never_a_crash(tmp_path):
    write_examples(some_examples(20), tmp_path / "e.arrow")
    whole = (tmp_path / "e.arrow").read_bytes()
    for place in range(6, len(whole), 11):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "bad.arrow").write_bytes(damaged)
        try:
            table = read_examples(tmp_path / "bad.arrow")
            training_set = TrainingSet(QUERIES, DOCUMENTS, table)
            assert len(training_set.fingerprint) == 64
            assert len(list(table)) == len(table)
            assert dict(training_set.positives) == TrainingSet(QUERIES, DOCUMENTS, list(table)).positives
            assert list(table.keep({"q1", "q2"})) == keep_queries(list(table), {"q1", "q2"})
        except InputError as error:
            said = str(error)
            assert re.match(r".*bad\.arrow: |example \d+: the (query|document) '|example \d+ is damaged", said), said


def damaged_lists(path, column, at, value):
    """Write three examples, and one wrong number into the offsets of a column of lists."""
    lists = [["d1", "d2"], ["d3"], ["d4", "d5"]], [[1.0, 2.0], [3.0], [4.0, 5.0]]
    columns = [pa.array(one, SCHEMA.field(place + 1).type) for place, one in enumerate(lists)]
    _, offsets, *_ = columns[column].buffers()
    numbers = np.frombuffer(offsets, np.int32, 4).copy()
    numbers[at] = value
    changed = pa.ListArray.from_buffers(
        columns[column].type, 3, [None, pa.py_buffer(numbers.tobytes())], children=[columns[column].values]
    )
    columns[column] = changed
    schema = SCHEMA.with_metadata({"format": "everglade examples", "version": "1"})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(["q1", "q2", "q3"]), *columns], schema=schema))


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize(("at", "value"), [(1, -5), (1, 1000), (2, 1), (0, 3)])
def test_lists_that_leave_their_values_are_refused(tmp_path, column, at, value):
    damaged_lists(tmp_path / "e.arrow", column, at, value)
    with pytest.raises(InputError, match=r"e\.arrow: .*(offsets of a list|not a whole Arrow file)"):
        read_examples(tmp_path / "e.arrow")


def test_an_example_that_is_found_to_be_bad_is_never_passed_over(table, texts, monkeypatch):
    monkeypatch.setattr(ExampleTable, "first_unknown", lambda *_: 6)
    with pytest.raises(InputError, match="example 7 is damaged"):
        TrainingSet(*texts, table)


def test_an_id_that_is_not_utf8_names_the_file(tmp_path):
    write_examples([Example("q1", ("d1", "strange")), Example("q2", ("d2",))], tmp_path / "e.arrow")
    whole = (tmp_path / "e.arrow").read_bytes()
    (tmp_path / "bad.arrow").write_bytes(whole.replace(b"strange", b"str\xffnge"))
    table = read_examples(tmp_path / "bad.arrow")
    for ask in (table.used_ids, lambda: list(table), lambda: TrainingSet(QUERIES, DOCUMENTS, table)):
        with pytest.raises(InputError, match=r"bad\.arrow: .*not UTF-8"):
            ask()


def test_a_file_that_was_replaced_has_no_digest(tmp_path):
    write_examples(some_examples(5), tmp_path / "e.arrow")
    table = read_examples(tmp_path / "e.arrow")
    before = table.digest()
    write_examples(some_examples(6), tmp_path / "e.arrow")
    assert list(table) == some_examples(5)
    for one in (table, table[1:]):
        with pytest.raises(InputError, match=r"e\.arrow: another file has been put here"):
            one.digest()
    assert read_examples(tmp_path / "e.arrow").digest() != before


def test_other_arrow_files_are_named_for_what_they_are(tmp_path):
    def write(schema, columns):
        with pa.OSFile(str(tmp_path / "o.arrow"), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=schema))
        return tmp_path / "o.arrow"

    plain = pa.schema([("query_id", pa.utf8())])
    with pytest.raises(InputError, match="not of Everglade's examples"):
        read_examples(write(plain, [["q"]]))
    with pytest.raises(InputError, match="its version is 9"):
        read_examples(write(plain.with_metadata({"format": "everglade examples", "version": "9"}), [["q"]]))
    with pytest.raises(InputError, match="its columns are"):
        read_examples(write(plain.with_metadata({"format": "everglade examples", "version": "1"}), [["q"]]))
    marked = example_table.SCHEMA.with_metadata({"format": "everglade examples", "version": "1"})
    with pytest.raises(InputError, match="is null"):
        read_examples(write(marked, [["q"], [["d", None]], [None]]))


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ([["q1", "q1"], [["d1"], []], [None, None]], "example 2: .*names no document"),
        ([["q1", "q1"], [["d1"], ["d1", "d2"]], [[1.0], [1.0]]], "example 2: .*2 documents but 1 scores"),
        ([["q1", "q1"], [["d1"], ["d1"]], [[1.0], [np.nan]]], "example 2: .*not a finite number"),
        ([["q1", "q1"], [["d1"], ["d1", "d1"]], None], "example 2: .*twice"),
    ],
)
def test_rows_that_are_no_examples_are_found(tmp_path, columns, why):
    schema = example_table.SCHEMA.with_metadata({"format": "everglade examples", "version": "1"})
    columns = [*columns[:2], columns[2] or [None, None]]
    with pa.OSFile(str(tmp_path / "e.arrow"), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    table = read_examples(tmp_path / "e.arrow")
    with pytest.raises(InputError, match=why):
        TrainingSet(QUERIES, DOCUMENTS, table)
        list(table)


def test_batches_of_a_table_are_those_of_a_list(table, texts):
    stored, listed = TrainingSet(*texts, table[1:]), TrainingSet(QUERIES, DOCUMENTS, some_examples()[1:])
    config = TrainConfig(batch_size=16, negatives_per_query=0, steps=100)
    for step in (1, 2, 19, 40):
        ours, theirs = batch_at(step, stored, config), batch_at(step, listed, config)
        assert (ours.query_ids, ours.document_ids) == (theirs.query_ids, theirs.document_ids)
        assert (ours.relevant == theirs.relevant).all()
        assert ours.relevant.sum() > 16
        assert [stored.queries[one] for one in ours.query_ids] == [QUERIES[one] for one in theirs.query_ids]
        assert [stored.documents[one] for one, *_ in ours.document_ids] == [
            DOCUMENTS[one] for one, *_ in theirs.document_ids
        ]


def test_memory_of_writing_and_checking_does_not_grow_with_the_examples(tmp_path, monkeypatch):
    """Python's and numpy's memory, which is all that could grow: the rest is mapped."""
    monkeypatch.setattr(example_table, "_ROWS", 256)
    monkeypatch.setattr(text_store, "_ROWS", 256)

    def highest(n):
        folder = tmp_path / str(n)
        folder.mkdir()
        tracemalloc.start()
        try:
            queries = write_texts(((f"q{i}", f"query {i}") for i in range(n)), folder / "q")
            documents = write_texts(((f"d{i}", f"document {i}") for i in range(n)), folder / "d")
            write_examples(
                (Example(f"q{i}", tuple(f"d{(i + j) % n}" for j in range(8)), (1.0,) * 8) for i in range(n)),
                folder / "e.arrow",
            )
            training_set = TrainingSet(queries, documents, read_examples(folder / "e.arrow"))
            training_set.require_scores()
            assert training_set.positives["q7"] == {"d7"}
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    highest(600)  # what is imported and made only once
    small, large = highest(1000), highest(4000)
    assert large - small < 3000 * 200  # a list of these examples takes 1,000 bytes for each
