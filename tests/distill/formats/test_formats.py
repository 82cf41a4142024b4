"""Every format of other tools: a file in its documented shape gives the examples it means, and flaws are named."""

import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet
import pytest

from everglade.distill.examples import Example, write_examples
from everglade.distill.formats import FORMATS, Options, find_format, read_source
from everglade.distill.formats.rows import document_key, query_key
from everglade.errors import ConfigError, InputError

QRELS = {"q1": {"d1": 1, "d9": 2}, "q2": {"d2": 1}, "q3": {"d3": 0}}


def write_rows(path, rows):
    """Write rows in the form the name's ending says."""
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
        return path
    opened = pa.ipc.new_stream if path.name.endswith(".stream.arrow") else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as file, opened(file, table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.fixture(params=["rows.jsonl", "rows.jsonl.gz", "rows.parquet", "rows.arrow", "rows.stream.arrow"])
def rows_file(request, tmp_path):
    return lambda rows: write_rows(tmp_path / request.param, rows)


def examples_of(path, format=None, **options):
    source = read_source(path, format, Options(**options))
    return [row.example for row in source.rows], source.notes


def texts_example(query, *documents, scores=None):
    return Example(query_key(query), tuple(map(document_key, documents)), scores)


@pytest.mark.parametrize("anchor", ["anchor", "query"])
@pytest.mark.parametrize(
    ("label", "n", "scores", "assumed"),
    [
        ({}, 0, None, None),
        ({}, 2, None, None),
        ({"label": 2.5}, 1, (0.0, -2.5), "margins"),
        ({"score": [2.5]}, 1, (0.0, -2.5), "margins"),
        ({"labels": [9.0, 6.5]}, 1, (9.0, 6.5), "scores"),
        ({"scores": [2.5, 0.0, -1.0]}, 3, (0.0, -2.5, 0.0, 1.0), "margins"),
        ({"label": [1, 2.0, 3.0, 4.0]}, 3, (1.0, 2.0, 3.0, 4.0), "scores"),
    ],
)
def test_columns_are_taken_by_name(tmp_path, anchor, label, n, scores, assumed):
    names = ["negative"] if n == 1 else [f"negative_{i}" for i in range(1, n + 1)]
    # The label first and the query last: by position all of it would be wrong.
    row = {**label, **{name: f"text {name}" for name in names}, "positive": "yes", anchor: "ask"}
    file = write_rows(tmp_path / "rows.jsonl", [row, row])
    source = read_source(file)
    rows = list(source.rows)
    assert source.format == "columns"
    assert [one.example for one in rows] == 2 * [texts_example("ask", "yes", *row_texts(row, names), scores=scores)]
    assert rows[0].query == "ask"
    assert rows[0].documents == ("yes", *row_texts(row, names))
    assert [what for what in source.notes.assumed if assumed and assumed in what] or not assumed


def row_texts(row, names):
    return [row[name] for name in names]


def test_columns_come_from_every_kind_of_table(rows_file):
    rows = [{"anchor": f"q{i}", "positive": "p", "negative": f"n{i}", "label": float(i)} for i in range(5)]
    found, notes = examples_of(rows_file(rows))
    assert found == [texts_example(f"q{i}", "p", f"n{i}", scores=(0.0, 0.0 - i)) for i in range(5)]
    assert len(notes.assumed) == 1


GOOD = {"anchor": "q", "positive": "p", "negative": "n"}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({**GOOD, "query": "q"}, "one column must be 'anchor' or 'query'"),
        ({"sentence1": "q", "sentence2": "p", "label": 1}, "no known format has the columns"),
        ({"positive": "p", "negative": "n"}, "no known format has the columns"),
        ({"anchor": "q", "negative": "n"}, "no known format has the columns"),
        ({**GOOD, "label": 1.0, "score": 2.0}, "several columns may be the label"),
        ({**GOOD, "negative_1": "m"}, "negatives must be"),
        ({"anchor": "q", "positive": "p", "negative_2": "m"}, "negatives must be"),
        ({"anchor": "q", "positive": "p", "label": 1.0}, "no negative"),
        ({**GOOD, "hard": "m"}, r"not clear what \['hard'\] are"),
        ({**GOOD, "label": [1.0, 2.0, 3.0]}, "3 numbers for 1 negatives"),
        ({**GOOD, "label": True}, "bool and not a number"),
        ({**GOOD, "label": "high"}, "not valid JSON"),
        ({**GOOD, "label": None}, "not a list"),
        ({**GOOD, "positive": 5}, "'positive' is int and not a text"),
        ({**GOOD, "negative": ["n"]}, "'negative' is list and not a text"),
    ],
)
def test_ambiguous_columns_are_refused(tmp_path, row, why):
    file = write_rows(tmp_path / "rows.jsonl", [row])
    with pytest.raises(InputError, match=why) as caught:
        examples_of(file)
    assert "rows.jsonl" in str(caught.value)


def test_later_rows_must_be_like_the_first(tmp_path):
    first = {**GOOD, "label": [1.0, 2.0]}
    for second, why in (
        (GOOD, "the columns are"),
        ({**first, "label": [1.0]}, "other rows have not"),
        ({**first, "label": [1.0, float("nan")]}, "not valid JSON"),
    ):
        with pytest.raises(InputError, match=rf"rows\.jsonl, line 2: .*{why}"):
            examples_of(write_rows(tmp_path / "rows.jsonl", [first, second]))
    with pytest.raises(InputError, match=r"rows\.parquet: row 2: .*not a finite number"):
        examples_of(write_rows(tmp_path / "rows.parquet", [first, {**first, "label": [1.0, float("nan")]}]))


def test_columns_of_ids_are_passed_over_and_that_is_said(tmp_path):
    found, notes = examples_of(write_rows(tmp_path / "r.jsonl", [{**GOOD, "query_id": 5, "_id": 1}]))
    assert found == [texts_example("q", "p", "n")]
    assert "_id, query_id" in notes.assumed[0]


def test_a_text_that_comes_twice_in_an_example_is_left_out_and_counted(tmp_path):
    row = {
        "anchor": "q",
        "positive": "p",
        "negative_1": "p",
        "negative_2": "n",
        "negative_3": "n",
        "label": [4, 3, 2, 1],
    }
    only = {**row, "negative_2": "p", "negative_3": "p"}
    found, notes = examples_of(write_rows(tmp_path / "r.jsonl", [row, only]))
    assert found == [texts_example("q", "p", "n", scores=(4.0, 2.0))]
    assert sorted(notes.left_out.values()) == [1, 5]


def test_hard_negatives_of_the_systems_asked_for_are_taken_in_turns(rows_file):
    rows = [
        {"qid": 7, "pos": [1, 2], "neg": {"bm25": [3, 4, 2], "tas-b": [4, 5, 6]}},
        {"qid": 8, "pos": [], "neg": {"bm25": [3], "tas-b": [1]}},
    ]
    file = rows_file(rows)
    found, notes = examples_of(file)
    assert found == [Example("7", ("1", "3", "4", "5", "6")), Example("7", ("2", "3", "4", "5", "6"))]
    assert notes.left_out == {"queries without a positive": 1}
    assert examples_of(file, systems=("tas-b",), negatives=2)[0][0] == Example("7", ("1", "4", "5"))
    assert examples_of(file, systems=("tas-b", "bm25"), negatives=3)[0][1] == Example("7", ("2", "4", "3", "5"))
    with pytest.raises(InputError, match=r"no line has negatives of \['dpr'\]. There are \['bm25', 'tas-b'\]"):
        examples_of(file, systems=("bm25", "dpr"))


def test_a_system_without_negatives_is_null_in_parquet(tmp_path):
    rows = [{"qid": 1, "pos": [1], "neg": {"bm25": [3], "tas-b": None, "dpr": None}}]
    schema = pa.schema(
        [
            ("qid", pa.int64()),
            ("pos", pa.list_(pa.int64())),
            ("neg", pa.struct([(name, pa.list_(pa.int64())) for name in ("bm25", "tas-b", "dpr")])),
        ]
    )
    rows += [{"qid": 2, "pos": [1], "neg": {"bm25": None, "tas-b": [4, 5], "dpr": None}}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "t.parquet")
    assert examples_of(tmp_path / "t.parquet")[0] == [Example("1", ("1", "3")), Example("2", ("1", "4", "5"))]
    assert examples_of(tmp_path / "t.parquet", systems=("tas-b",))[0][0] == Example("1", ("1",))
    with pytest.raises(InputError, match=r"no line has negatives of \['dpr'\]. There are \['bm25', 'tas-b'\]"):
        examples_of(tmp_path / "t.parquet", systems=("dpr",))


def test_triplets_of_ids_with_margins(rows_file):
    rows = [{"query_id": 1, "positive_id": 2, "negative_id": 3, "score": 4.5}]
    found, notes = examples_of(rows_file(rows))
    assert found == [Example("1", ("2", "3"), (0.0, -4.5))]
    assert "margin" in notes.assumed[0]
    del rows[0]["score"]
    assert examples_of(rows_file(rows))[0] == [Example("1", ("2", "3"))]


def test_tevatron_1_carries_texts(rows_file):
    passages = [{"docid": f"d{i}", "title": "T" if i else "", "text": f"text {i}"} for i in range(4)]
    rows = [{"query_id": "q", "query": "ask", "positive_passages": passages[:2], "negative_passages": passages[1:]}]
    source = read_source(rows_file(rows))
    assert list(source.rows) == [
        (Example("q", ("d0", "d2", "d3")), "ask", ("text 0", "T text 2", "T text 3")),
        (Example("q", ("d1", "d2", "d3")), "ask", ("T text 1", "T text 2", "T text 3")),
    ]


def test_tevatron_2_names_documents(rows_file):
    rows = [
        {"query_id": "q", "query_text": "ask", "positive_document_ids": ["a"], "negative_document_ids": ["b", "c"]},
        {"query_id": "r", "query_text": "say", "positive_document_ids": ["a"], "negative_document_ids": []},
    ]
    source = read_source(rows_file(rows), None, Options(negatives=1))
    assert list(source.rows) == [(Example("q", ("a", "b")), "ask", None), (Example("r", ("a",)), "say", None)]


@pytest.mark.parametrize("as_text", [False, True])
def test_pylate_takes_the_best_for_positive_or_asks_the_qrels(tmp_path, as_text):
    rows = [{"query_id": "q1", "document_ids": ["d5", "d1", "d6"], "scores": [0.5, 0.25, 0.75]}]
    if as_text:
        rows = [{name: value if name == "query_id" else json.dumps(value) for name, value in rows[0].items()}]
    file = write_rows(tmp_path / "train.parquet", rows)
    found, notes = examples_of(file)
    assert found == [Example("q1", ("d6", "d5", "d1"), (0.75, 0.5, 0.25))]
    assert "highest score" in notes.assumed[0]
    found, notes = examples_of(file, qrels=QRELS, negatives=1)
    assert found == [Example("q1", ("d1", "d5"), (0.25, 0.5))]
    assert notes.left_out == {"relevant documents without a score": 1}
    assert not notes.assumed


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"query_id": "q", "document_ids": ["a", "a"], "scores": [1.0, 2.0]}, "twice"),
        ({"query_id": "q", "document_ids": ["a"], "scores": [1.0, 2.0]}, "1 documents but 2 scores"),
        ({"query_id": 1.5, "document_ids": ["a"], "scores": [1.0]}, "not an id"),
        ({"query_id": "q", "document_ids": "a", "scores": [1.0]}, "not valid JSON"),
        ({"query_id": "q", "document_ids": [" a"], "scores": [1.0]}, "white space"),
        ({"query_id": "q", "document_ids": ["a"], "scores": None}, "not a list"),
    ],
)
def test_flaws_of_pylate_rows_are_named(tmp_path, row, why):
    with pytest.raises(InputError, match=rf"t\.parquet: row 1: .*{why}"):
        examples_of(write_rows(tmp_path / "t.parquet", [row]))


def test_own_examples_and_pylates_are_not_mistaken_for_each_other(tmp_path):
    rows = [{"query_id": "q", "document_ids": ["a", "b"], "scores": [1.0, 2.0]}]
    with pytest.raises(InputError, match="those of everglade, .* and of pylate"):
        find_format(write_rows(tmp_path / "t.jsonl", rows))
    assert find_format(write_rows(tmp_path / "t.arrow", rows)) == "pylate"
    write_examples([Example("q", ("a", "b"), (1.0, 2.0))], tmp_path / "own.arrow")
    assert find_format(tmp_path / "own.arrow") == "everglade"
    assert examples_of(tmp_path / "own.arrow")[0] == [Example("q", ("a", "b"), (1.0, 2.0))]
    assert examples_of(tmp_path / "t.jsonl", "everglade")[0] == [Example("q", ("a", "b"), (1.0, 2.0))]
    assert examples_of(tmp_path / "t.jsonl", "pylate")[0] == [Example("q", ("b", "a"), (2.0, 1.0))]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.stream.arrow", "folder"])
def test_a_table_without_scores_says_so(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_rows(folder / "t.parquet" if name == "folder" else tmp_path / name, [{"query_id": "q", "document_ids": []}])
    with pytest.raises(InputError, match=f"{name}: the columns are query_id and document_ids without scores"):
        find_format(tmp_path / name)
    with pytest.raises(InputError, match="neither JSON lines nor an Arrow file|with another format than everglade"):
        examples_of(tmp_path / name, "everglade")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.stream.arrow"])
def test_wide_rows_are_not_held_by_the_thousand(tmp_path, name):
    """Of what Python holds; 640 of these rows are 26 MB."""
    rows = [{"anchor": f"q{i}", "positive": "p" * 40_000, "negative": "n"} for i in range(640)]
    source = read_source(write_rows(tmp_path / name, rows))
    del rows
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.rows) == 640
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_positives_alone_are_what_no_negatives_means(tmp_path):
    (tmp_path / "a.trec").write_text("q1 Q0 d1 1 2 t\nq1 Q0 d4 2 1 t\nq2 Q0 d2 1 1 t\n")
    found, notes = examples_of(tmp_path / "a.trec", qrels=QRELS, negatives=0)
    assert found == [Example("q1", ("d1",), (2.0,))]
    assert notes.left_out == {"relevant documents without a score": 1, "queries without a negative": 1}


def test_a_column_with_a_number_of_thousands_of_digits_is_not_a_negative(tmp_path):
    with pytest.raises(InputError, match="not clear what"):
        examples_of(write_rows(tmp_path / "t.jsonl", [{**GOOD, "negative_" + "9" * 5000: "n"}]))


RUN = "q1 Q0 d5 1 0.5 t\nq1 Q0 d9 2 1.5 t\nq1 Q0 d4 3 0.75 t\nq2 Q0 d7 1 2 t\nq3 Q0 d1 1 1 t\nq4 Q0 d1 1 1 t\n"


def test_a_run_with_scores_and_qrels(tmp_path):
    (tmp_path / "a.trec").write_text(RUN)
    found, notes = examples_of(tmp_path / "a.trec", qrels=QRELS)
    assert found == [Example("q1", ("d9", "d4", "d5"), (1.5, 0.75, 0.5))]
    assert notes.left_out == {"relevant documents without a score": 2, "queries without a relevant document": 2}
    assert examples_of(tmp_path / "a.trec", qrels=QRELS, negatives=1)[0][0].document_ids == ("d9", "d4")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("q1 Q0 d8 1 1 t", "the query 'q1' began on line 1. Put its lines together"),
        ("q4 Q0 d1 2 1 t", "the document 'd1' stands twice"),
        ("q5 d1 1", "found 3 columns"),
        ("q5 Q0 d1 1 nan t", "not a finite decimal"),
        ("q5 Q0 d1 1 1e999 t", "not a finite decimal"),
    ],
)
def test_flaws_of_a_run_are_named(tmp_path, line, why):
    (tmp_path / "a.trec").write_text(RUN + line + "\n")
    with pytest.raises(InputError, match=rf"a\.trec, line 7: .*{why}"):
        examples_of(tmp_path / "a.trec", qrels=QRELS)


@pytest.mark.parametrize(
    ("format", "line", "scores"),
    [
        ("naver", "q\tp\tn\t9.5\t-1.25", (9.5, -1.25)),
        ("vienna", "9.5\t-1.25\tq\tp\tn", (9.5, -1.25)),
        ("triples", "q\tp\tn", None),
    ],
)
def test_triples_by_line(tmp_path, format, line, scores):
    (tmp_path / "t.tsv").write_text(line + "\n")
    assert examples_of(tmp_path / "t.tsv", f"{format}-ids")[0] == [Example("q", ("p", "n"), scores)]
    source = read_source(tmp_path / "t.tsv", f"{format}-texts")
    assert list(source.rows) == [(texts_example("q", "p", "n", scores=scores), "q", ("p", "n"))]
    with pytest.raises(InputError, match="may be any of naver-ids, .*Say which"):
        read_source(tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("format", "line", "why"),
    [
        ("naver-ids", "9.5\t1.0\tq\tp\tn", "'p' is not a finite decimal number. Is it another format"),
        ("vienna-ids", "q\tp\tn\t9.5\t1.0", "'q' is not a finite decimal number. Is it another format"),
        ("vienna-texts", "1.0\tinf\tq\tp\tn", "'inf' is not a finite"),
        ("naver-texts", "q\tp\tn\t1.0", "found 4 columns, expected 5"),
        ("naver-ids", "q\tp\tp\t1.0\t2.0", "twice"),
        ("triples-ids", "q\tp\t", "id is empty"),
    ],
)
def test_flaws_of_triples_are_named(tmp_path, format, line, why):
    (tmp_path / "t.tsv").write_text("\n" + line + "\n")
    with pytest.raises(InputError, match=rf"t\.tsv, line 2: .*{why}"):
        examples_of(tmp_path / "t.tsv", format)


def test_shards_of_a_folder_are_one_table(tmp_path):
    for place in (1, 0):
        write_rows(tmp_path / f"part-{place}.parquet", [{"query_id": place, "positive_id": 2, "negative_id": 3}])
    assert examples_of(tmp_path)[0] == [Example("0", ("2", "3")), Example("1", ("2", "3"))]


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.parquet", "t.arrow", "t.stream.arrow"])
def test_cut_and_garbled_files_are_named(tmp_path, name):
    rows = [{"query_id": i, "positive_id": 2 * i, "negative_id": 7 * i + 3, "score": i / 7} for i in range(200)]
    whole = write_rows(tmp_path / name, rows).read_bytes()
    for length in range(0, len(whole) - 8, max(1, len(whole) // 23)):
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(InputError, match=name):
            examples_of(tmp_path / name)
    for place in range(4, len(whole), max(1, len(whole) // 61)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(damaged)
        try:
            assert len(examples_of(tmp_path / name)[0]) <= 200
        except InputError as error:
            assert name in str(error)


def test_what_is_asked_must_fit_the_format(tmp_path):
    (tmp_path / "a.trec").write_text(RUN)
    with pytest.raises(ConfigError, match="no format 'xml'. Known are everglade, columns"):
        read_source(tmp_path / "a.trec", "xml")
    with pytest.raises(ConfigError, match="give qrels"):
        read_source(tmp_path / "a.trec")
    with pytest.raises(ConfigError, match="leave the qrels"):
        read_source(tmp_path / "a.trec", "naver-ids", Options(qrels=QRELS))
    with pytest.raises(ConfigError, match="no systems"):
        read_source(tmp_path / "a.trec", "naver-ids", Options(systems=("bm25",)))
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        read_source(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no rows"):
        read_source(tmp_path / "empty.jsonl")
    assert len(FORMATS) == 15
