"""Every format of vectors gives the same rows, and what cannot be used is one clear error each."""

import gzip
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.errors import InputError
from everglade.texts import Rejects
from everglade.vector_files import Round, Rounding, Vocabulary, read_vector_files
from everglade.vector_files.reading import find_files

FORMATS = [
    "anserini-topics.tsv",
    "anserini-topics.jsonl",
    "weighted-topics.tsv",
    "pisa-queries.txt",
    "pyserini.jsonl",
    "pyterrier.jsonl",
    "array.json",
]
EXPECTED = {"q1": {6: 3.0, 7: 1.0, 8: 1.0}, "q2": {3: 2.0, 4: 2.0, 5: 1.0}, "q-3": {11: 1.0, 12: 1.0}, "4": {}, "5": {}}


def read(sources, vocabulary, rounding=None, **settings):
    found = {}
    for shard in read_vector_files(sources, vocabulary, rounding, **settings):
        for row, id in enumerate(shard.ids):
            terms, weights = shard.matrix.row(row)
            assert (np.diff(terms) > 0).all()
            found[id] = dict(zip(terms.tolist(), weights.tolist(), strict=True))
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_says_the_same(golden, vocabulary, name):
    assert read([golden / name], vocabulary) == EXPECTED


@pytest.mark.parametrize("name", FORMATS)
def test_gzip_and_a_name_without_a_suffix(golden, vocabulary, tmp_path, name):
    content = (golden / name).read_bytes()
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    assert read([tmp_path / f"{name}.gz"], vocabulary) == EXPECTED
    (tmp_path / "vectors").write_bytes(content)
    assert read([tmp_path / "vectors"], vocabulary) == EXPECTED


def test_a_byte_order_mark_and_carriage_returns(golden, vocabulary, tmp_path):
    for name in ("anserini-topics.tsv", "pyserini.jsonl", "array.json"):
        content = (golden / name).read_bytes().replace(b"\n", b"\r\n")
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content)
        assert read([tmp_path / name], vocabulary) == EXPECTED


def test_fractions_stay_or_are_rounded(golden, vocabulary):
    stored = read([golden / "seismic.jsonl"], vocabulary)
    assert stored["2"] == pytest.approx({9: 1.15, 10: 3.14159, 12: 0.004})
    assert read([golden / "seismic.jsonl"], vocabulary, Rounding(100, Round.nearest)) == {
        "1": {6: 300.0, 7: 100.0},
        "2": {9: 115.0, 10: 314.0},
    }
    whole = read([golden / "seismic.jsonl"], vocabulary, Rounding(1, Round.down))
    assert whole == {"1": {6: 2.0}, "2": {9: 1.0, 10: 3.0}}


def test_a_folder_is_its_files_by_name(golden, vocabulary, tmp_path):
    (tmp_path / "deep").mkdir()
    rows = [json.dumps({"id": f"d{number}", "vector": {"flood": number + 1}}) + "\n" for number in range(5)]
    (tmp_path / "b.jsonl").write_text("".join(rows[2:4]))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("".join(rows[:2]).encode()))
    (tmp_path / "deep" / "c.json").write_text(rows[4])
    (tmp_path / "README.md").write_text("not vectors")
    (tmp_path / ".hidden.jsonl").write_text("not vectors")
    assert [file.name for file in find_files([tmp_path])] == ["a.jsonl.gz", "b.jsonl", "c.json"]
    assert read([tmp_path], vocabulary) == {f"d{number}": {6: number + 1.0} for number in range(5)}
    shards = list(read_vector_files([tmp_path], vocabulary, shard_rows=2))
    assert [shard.ids for shard in shards] == [["d0", "d1"], ["d2", "d3"], ["d4"]]


BAD_LINES = [
    ("x.jsonl", '{"id": "1", "vector": {"flod": 1}}', "the token 'flod' is not in the vocabulary .*vocab.txt"),
    ("x.jsonl", '{"id": "1", "vector": {"flood": "1"}}', "the weight of 'flood' is '1', which is not a number"),
    ("x.jsonl", '{"id": "1", "vector": {"pain": 1, "flood": true}}', "the weight of 'flood' is 'True'"),
    ("x.jsonl", '{"id": "1", "vector": {"flood": null}}', "the weight of 'flood' is 'None'"),
    ("x.jsonl", '{"id": "1", "vector": {"pain": 1, "flood": -0.5}}', "the weight of 'flood' is -0.5: it must be"),
    ("x.jsonl", '{"id": "1", "vector": {"flood": 1e31}}', "the weight of 'flood' is 1e"),
    ("x.jsonl", '{"id": "1", "vector": {"flood": NaN}}', "not valid JSON"),
    ("x.jsonl", '{"id": "1", "vector": [0.1, 0.2]}', "the vector is an array, as dense ones are"),
    ("x.jsonl", '{"id": "1", "vector": "flood"}', "the vector is a string"),
    ("x.jsonl", '{"id": "1", "text": "flood"}', "none of 'vector', 'toks', 'query_toks' is there, only 'id', 'text'"),
    ("x.jsonl", '{"vector": {"flood": 1}}', "none of 'id', '_id', 'docno', 'docid', 'qid' is there"),
    ("x.jsonl", '{"id": "1", "docno": "2", "vector": {}}', "'id' and 'docno' are there and differ"),
    ("x.jsonl", '{"id": 1.5, "vector": {}}', "the id is a number"),
    ("x.jsonl", '{"id": "", "vector": {}}', "the id is empty"),
    ("x.jsonl", "[1]", "found an array. Write each vector as one JSON object"),
    ("x.jsonl", '{"id": "1", "vector": {"flood": 1}', "not valid JSON"),
    ("x.tsv", "1 flood flood", "there is no tab"),
    ("x.tsv", "1\tflood\tflood", "found 3 columns, expected 2"),
    ("x.tsv", "1\tflood floods", "the token 'floods' is not in the vocabulary"),
    ("x.tsv", "\tflood", "the id is empty"),
    ("x.tsv", '1\t{"flood": -1}', "the weight of 'flood' is -1"),
    ("x.tsv", '1\t{"flood": 1', "not valid JSON"),
]


@pytest.mark.parametrize(("name", "line", "why"), BAD_LINES)
def test_a_line_that_cannot_be_used(vocabulary, tmp_path, name, line, why):
    good = '{"id": "0", "vector": {"flood": 1}}' if name.endswith("jsonl") else "0\tflood"
    path = tmp_path / name
    path.write_text(f"{good}\n\n{line}\n{good.replace('0', '9', 1)}\n")
    with pytest.raises(InputError, match=f"{name}, line 3: .*{why}"):
        read([path], vocabulary)
    rejects = Rejects()
    assert read([path], vocabulary, rejects=rejects) == {"0": {6: 1.0}, "9": {6: 1.0}}
    assert rejects.count == 1


def test_an_element_of_an_array_that_cannot_be_used(vocabulary, tmp_path):
    path = tmp_path / "x.json"
    path.write_text('[{"id": "1", "vector": {"flood": 1}}, {"id": "2", "vector": {"flod": 1}}, 3]')
    with pytest.raises(InputError, match="x.json: element 2 of the array: the token 'flod'"):
        read([path], vocabulary)
    rejects = Rejects()
    assert read([path], vocabulary, rejects=rejects) == {"1": {6: 1.0}}
    assert rejects.count == 2
    path.write_text('[{"id": "1"')
    with pytest.raises(InputError, match=r"x.json: not valid JSON"):
        read([path], vocabulary)


def test_an_id_that_comes_twice_names_its_first_place(golden, vocabulary, tmp_path):
    (tmp_path / "b.tsv").write_text("1\tflood\n2\tflood\n1\tpain\n")
    with pytest.raises(InputError, match="b.tsv, line 3: the id '1' stood on line 1 already"):
        read([tmp_path / "b.tsv"], vocabulary)
    (tmp_path / "a.tsv").write_text("7\tflood\n\n2\tflood\n")
    (tmp_path / "aa.tsv").write_text("")
    with pytest.raises(InputError, match=r"b.tsv, line 2: the id '2' stood on line 3 of .*a.tsv already"):
        read([tmp_path], vocabulary)


def test_what_is_not_there(golden, vocabulary, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read([tmp_path / "x.tsv"], vocabulary)
    with pytest.raises(InputError, match="no file of vectors is in this folder"):
        read([tmp_path], vocabulary)
    shutil.copy(golden / "array.json", tmp_path / "x.json.gz")
    with pytest.raises(InputError, match="the name says gzip"):
        read([tmp_path / "x.json.gz"], vocabulary)


TOKENS = ["a", "##b", "[CLS]", "{", "}", "{}", '"', ",", "é", "日", "a:b", "#"]
weights = st.dictionaries(st.sampled_from(TOKENS), st.integers(1, 40), min_size=1, max_size=6)


@given(st.lists(weights, min_size=1, max_size=5), st.sampled_from(["text", "object", "title"]))
def test_whatever_is_written_is_read_again(tmp_path_factory, rows, form):
    vocabulary = Vocabulary("made", {token: term for term, token in enumerate(TOKENS)}, len(TOKENS))
    lines = []
    for number, row in enumerate(rows):
        words = " ".join(token for token, count in row.items() for _ in range(count))
        if form == "text":
            if words == "{}":
                return  # the one text that is an object, and none of a tokenizer that divides at braces
            lines.append(f"q {number}\t{words}")
        else:
            lines.append(
                json.dumps({"id": f"q {number}", **({"vector": row} if form == "object" else {"title": words})})
            )
    path = tmp_path_factory.mktemp("made") / "made"
    path.write_text("\n".join(lines), encoding="utf-8")
    found = read([path], vocabulary)
    assert found == {
        f"q {number}": {vocabulary.ids[token]: float(count) for token, count in row.items()}
        for number, row in enumerate(rows)
    }
