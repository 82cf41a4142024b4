"""JSON lines and TSV to documents and queries."""

import json

import pytest

from everglade import errors
from everglade.errors import InputError
from everglade.texts import Document, Query, read_documents, read_queries


@pytest.fixture
def jsonl(tmp_path):
    def write(*objects):
        path = tmp_path / "d.jsonl"
        path.write_bytes(b"".join((o if isinstance(o, bytes) else json.dumps(o).encode()) + b"\n" for o in objects))
        return path

    return write


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"_id": "1", "text": "a"}, Document("1", "a")),
        ({"id": "1", "contents": "a"}, Document("1", "a")),
        ({"_id": "1", "id": "1", "text": "a", "contents": "a"}, Document("1", "a")),
        ({"_id": 1, "text": "a"}, Document("1", "a")),
        ({"id": 2**64 - 1, "text": "a"}, Document("18446744073709551615", "a")),
        ({"_id": "0", "title": "t", "text": "a", "metadata": {"k": [1]}}, Document("0", "a", "t", {"k": [1]})),
        ({"_id": "1", "title": None, "text": "a", "metadata": None}, Document("1", "a")),
        ({"_id": "1", "title": "t", "text": ""}, Document("1", "", "t")),
        ({"_id": "1", "text": ""}, Document("1", "")),
        ({"_id": "a b/c é", "text": " a\n\tb\0 \u2028", "url": "passed over"}, Document("a b/c é", " a\n\tb\0 \u2028")),
        (b'{"_id": "0", "_id": "1", "text": "x", "text": "last counts"}', Document("1", "last counts")),
        (b'  {"_id": "1", "text": "\\ud83d\\ude00"}\r', Document("1", "\U0001f600")),
    ],
)
def test_objects_that_are_documents(jsonl, written, expected):
    assert list(read_documents(jsonl(written))) == [expected]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"text": "a"}, "neither '_id' nor 'id' is there, only 'text'"),
        ({}, "only nothing"),
        ({"_id": "1"}, "neither 'text' nor 'contents'"),
        ({"_id": "1", "id": "2", "text": "a"}, "'_id' and 'id' are both there and differ"),
        ({"_id": "1", "text": "a", "contents": "b"}, "'text' and 'contents' are both there and differ"),
        ({"_id": None, "text": "a"}, "the id is null"),
        ({"_id": True, "text": "a"}, "the id is a boolean"),
        ({"_id": 1.0, "text": "a"}, "the id is a number with a fraction"),
        ({"_id": 2**64, "text": "a"}, "the id is a number .* more than 64 bits. Write it as a string"),
        ({"_id": ["1"], "text": "a"}, "the id is an array"),
        ({"_id": "", "text": "a"}, "the id is empty"),
        ({"_id": " 1", "text": "a"}, "begins or ends with white space"),
        ({"_id": "1\u3000", "text": "a"}, "begins or ends with white space"),
        ({"_id": "1\n2", "text": "a"}, r"the id '1\\n2' holds '\\n'"),
        ({"_id": "1\t2", "text": "a"}, "holds"),
        ({"_id": "1\0", "text": "a"}, "holds"),
        ({"_id": "1\u20282", "text": "a"}, "holds"),
        ({"_id": "x" * 4097, "text": "a"}, "has 4,097 characters"),
        ({"_id": "1", "text": None}, "the text is null"),
        ({"_id": "1", "text": 3}, "the text is a number"),
        ({"_id": "1", "text": {"a": "b"}}, "the text is an object"),
        ({"_id": "1", "text": "a", "title": 3}, "'title' is a number"),
        ({"_id": "1", "text": "a", "metadata": "m"}, "'metadata' is a string"),
        ([{"_id": "1", "text": "a"}], "found an array. Write one JSON object on each line"),
        (b"null", "found null"),
        (b'{"_id": "1", "text": "a"', "not valid JSON"),
        (b'{"_id": "1", "text": "a"} {}', "not valid JSON"),
        (b'{"_id": "1", "text": "a", "metadata": {"w": NaN}}', "not valid JSON, column 45"),
        (b'{"_id": "1", "text": "a", "metadata": {"w": -Infinity}}', "not valid JSON"),
        (b'{"_id": "1", "text": "a", "metadata": {"w": 1e999}}', "not valid JSON.*infinity"),
        (b'{"_id": "1", "text": "\\ud800"}', "not valid JSON.*surrogate"),
        (b'{"_id": "1", "text": "\xed\xa0\x80"}', "byte 23 of the line .* is not UTF-8"),
        (b'{"_id": "1", "text": "a\xff"}', "byte 24 of the line .0xff. is not UTF-8"),
        (b'{"_id": "1", "text": "a\0b"}', "not valid JSON.*control character"),
        (b'{"_id": "1", "text": "a", "metadata": {"m": ' + b"[" * 5000 + b"]" * 5000 + b"}}", "depth"),
        (b'{"a":' * 5000, "not valid JSON"),
    ],
)
def test_objects_that_are_not_documents(jsonl, written, why):
    path = jsonl({"_id": "first", "text": "a"}, b"", written)
    documents = read_documents(path)
    assert next(documents).id == "first"
    with pytest.raises(InputError, match=why) as caught:
        next(documents)
    assert (caught.value.path, caught.value.line) == (path, 3)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize("read", [read_documents, read_queries])
@pytest.mark.parametrize("again", [{"_id": "1", "text": "b"}, {"id": 1, "contents": "a"}])
def test_an_id_that_comes_twice_names_both_lines(jsonl, read, again):
    path = jsonl({"_id": "1", "text": "a"}, b"", {"_id": "2", "text": "a"}, again)
    with pytest.raises(InputError, match="line 4: the id '1' stood on line 1 already"):
        list(read(path))


def test_queries_leave_other_keys_out(jsonl):
    path = jsonl({"_id": "q1", "text": "a", "metadata": {"x": 1}}, {"_id": 2, "text": ""})
    assert read_queries(path) == [Query("q1", "a"), Query("2", "")]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("d.json", b'{"id": "1", "text": "a"}\n', Document("1", "a")),
        ("d.ndjson", b'{"id": "1", "text": "a"}\n', Document("1", "a")),
        ("docs", b'\n{"id": "1", "text": "a"}\n', Document("1", "a")),
        ("docs.v1.txt", b"1\ta\n", Document("1", "a")),
        ("d.tsv", b'{"id"\t"1"}\n', Document('{"id"', '"1"}')),
    ],
)
def test_the_form_is_known_by_name_or_by_first_line(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert list(read_documents(tmp_path / name)) == [expected]


@pytest.mark.parametrize(
    ("line", "why"),
    [("no tab", "found 1 columns, expected 2"), ("1\ta\tb", "found 3 columns"), ("\ta", "the id is empty")],
)
def test_tsv_lines_have_two_columns(tmp_path, line, why):
    (tmp_path / "d.tsv").write_text(f"0\tgood\n{line}\n")
    with pytest.raises(InputError, match=f"line 2: {why}"):
        list(read_documents(tmp_path / "d.tsv"))


@pytest.mark.parametrize(
    ("document", "full_text"),
    [
        (Document("1", "a"), "a"),
        (Document("1", " a "), " a "),
        (Document("1", "a", "t"), "t a"),
        (Document("1", "", "t"), "t"),
        (Document("1", ""), ""),
    ],
)
def test_full_text_joins_title_and_text(document, full_text):
    assert document.full_text == full_text


def test_the_error_is_the_one_of_the_tree(tmp_path):
    with pytest.raises(errors.EvergladeError):
        read_documents(tmp_path / "nothing")
