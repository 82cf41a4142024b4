"""Lines damaged at random give an InputError that names the line, or the same values; never another exception."""

import gzip
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade.errors import InputError
from everglade.texts import (
    Rejects,
    read_documents,
    read_qrels,
    read_queries,
    read_run,
    read_text_triples,
    read_triples,
)

EXAMPLES = int(os.environ.get("EVERGLADE_EXAMPLES", "60"))
word = st.text("abé0 \"'\\", max_size=5)
lenient = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])


def json_line(i, text):
    return json.dumps({"_id": f"d{i}", "title": text, "text": text, "metadata": {"n": [i]}}, ensure_ascii=False)


FORMS = {
    "documents.jsonl": (json_line, read_documents),
    "documents.tsv": (lambda i, text: f"d{i}\t{text}", read_documents),
    "queries.jsonl": (lambda i, text: json.dumps({"_id": f"q{i}", "text": text}), read_queries),
    "qrels.tsv": (lambda i, text: f"q1\td{i}\t{i}", read_qrels),
    "qrels.txt": (lambda i, text: f"q1 0 d{i} {i}", read_qrels),
    "triples.tsv": (lambda i, text: f"q{i}\td{i}\td{i + 1}", read_triples),
    "text_triples.tsv": (lambda i, text: f"q{text}\t{text}d\tb{text}", read_text_triples),
    "trec.run": (lambda i, text: f"q1 Q0 d{i} {i + 1} {9 - i} t", lambda *a: list(read_run(*a).get("q1", {}).items())),
    "msmarco.run": (lambda i, text: f"q1\td{i}\t{i + 1}", lambda *a: list(read_run(*a).get("q1", {}).items())),
}
single_byte = st.binary(min_size=1, max_size=1).filter(lambda byte: byte != b"\n")


@st.composite
def damage(draw, line):
    place = draw(st.integers(0, len(line)))
    kind = draw(st.sampled_from(["insert", "replace", "delete", "cut", "double", "nest"]))
    if kind == "insert":
        return line[:place] + draw(st.binary(min_size=1, max_size=4)).replace(b"\n", b" ") + line[place:]
    if kind == "replace":
        return line[:place] + draw(single_byte) + line[place + 1 :]
    if kind == "delete":
        return line[:place] + line[place + draw(st.integers(1, 9)) :]
    if kind == "cut":
        return line[:place]
    if kind == "double":
        return line[:place] + line
    return line[:place] + b"[" * draw(st.sampled_from([1, 300, 5000])) + line[place:]


@pytest.mark.parametrize("form", FORMS)
@lenient
@given(st.data())
def test_a_damaged_line_is_named_or_harmless(tmp_path, form, data):
    make, read = FORMS[form]
    good = [make(i, text).encode() for i, text in enumerate(data.draw(st.lists(word, min_size=2, max_size=5)))]
    at = data.draw(st.integers(0, len(good) - 1))
    bad = [*good[:at], data.draw(damage(good[at])), *good[at + 1 :]]
    path = tmp_path / form

    def values(lines, *options):
        path.write_bytes(b"\n".join(lines) + b"\n")
        return list(read(path, *options))

    whole = values(good)
    others = [value for i, value in enumerate(whole) if i != at]
    rejects = Rejects()
    skipped = values(bad, rejects)
    try:
        strict = values(bad)
    except InputError as error:
        assert error.path == path
        assert rejects.count > 0
        # A line that stays good in itself may clash with a later one, by its id or by its number of columns.
        assert error.line == at + 1 or (error.line > at + 1 and len(values([bad[at]])) <= 1)
    else:
        assert rejects.count == 0
        assert strict == skipped
        assert all(value in strict for value in others)
    if rejects.count == 1:
        # Gone are the damaged line, and at most one good line that clashes with it.
        assert sum(value not in skipped for value in whole) <= 2


@pytest.mark.parametrize("form", FORMS)
@lenient
@given(st.data())
def test_any_bytes_at_all(tmp_path, form, data):
    _, read = FORMS[form]
    (tmp_path / form).write_bytes(data.draw(st.binary(max_size=60).filter(lambda content: content[:2] != b"\x1f\x8b")))
    try:
        list(read(tmp_path / form))
    except InputError as error:
        assert error.path == tmp_path / form
        assert error.line is not None
    list(read(tmp_path / form, Rejects()))


PACKED = gzip.compress(b"".join(json_line(i, "text " * i).encode() + b"\n" for i in range(20)), mtime=0)


@lenient
@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255), st.booleans())
def test_damaged_gzip_is_an_input_error(tmp_path, place, flip, cut):
    path = tmp_path / "documents.jsonl.gz"
    content = bytearray(PACKED)
    content[place] ^= flip
    path.write_bytes(PACKED[:place] if cut else content)
    try:
        documents = list(read_documents(path))
    except InputError as error:
        assert error.path == path
    else:
        # Some bits of a gzip file say nothing of its content.
        assert not cut
        assert [document.id for document in documents] == [f"d{i}" for i in range(20)]
