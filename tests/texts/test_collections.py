"""A path or a name is known for what it is, or the error says what was looked for."""

import gzip

import pytest

from everglade.errors import InputError
from everglade.texts import Document, FileCollection, Qrel, Query, open_collection


def fill(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return folder


BEIR = {
    "corpus.jsonl": '{"_id": "d1", "title": "t", "text": "one"}\n{"_id": "d2", "title": "", "text": "two"}\n',
    "queries.jsonl": '{"_id": "q1", "text": "a"}\n{"_id": "q2", "text": "b"}\n{"_id": "q3", "text": "c"}\n',
    "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq2\td1\t1\nq1\td2\t1\n",
    "qrels/test.tsv": "q3\td1\t1\nmissing\td2\t1\n",
}
MSMARCO = {
    "collection.tsv": 'd1\tone "quoted\nd2\ttwo\n',
    "queries.train.tsv": "q1\ta\nq2\tb\n",
    "queries.dev.tsv": "q3\tc\nq4\td\n",
    "queries.dev.small.tsv": "q3\tc\n",
    "queries.eval.tsv": "q9\tz\n",
    "qrels.train.tsv": "q2\t0\td1\t1\n",
    "qrels.dev.tsv": "q3\t0\td2\t1\n",
    "qrels.dev.small.tsv": "q3\t0\td2\t1\n",
}
NAVER = {
    "full_collection/raw.tsv": "d1\tone\nd2\ttwo\n",
    "train_queries/queries/raw.tsv": "q1\ta\n",
    "train_queries/qrels.json": '{"q1": {"d1": 1}}',
    "dev_queries/raw.tsv": "q2\tb\nq3\tc\n",
    "dev_qrel.json": '{"q2": {"d2": 1}}',
}


@pytest.fixture(params=[False, True], ids=["plain", "gz"])
def packed(request):
    return lambda files: {name + ".gz": content for name, content in files.items()} if request.param else files


@pytest.mark.parametrize("spec", ["{}", "beir:{}"])
def test_beir_folders(tmp_path, packed, spec):
    folder = fill(tmp_path / "small", packed(BEIR))
    collection = open_collection(spec.format(folder))
    assert (collection.name, collection.splits) == ("small", ("train", "test"))
    assert list(collection.documents()) == [Document("d1", "one", "t"), Document("d2", "two")]
    assert collection.queries() == [Query("q1", "a"), Query("q2", "b"), Query("q3", "c")]
    assert collection.queries("train") == [Query("q1", "a"), Query("q2", "b")]
    assert collection.queries("test") == [Query("q3", "c")]
    assert collection.qrels("train") == [Qrel("q2", "d1", 1), Qrel("q1", "d2", 1)]
    assert collection.qrels("test") == [Qrel("q3", "d1", 1), Qrel("missing", "d2", 1)]


@pytest.mark.parametrize("spec", ["{}", "msmarco:{}"])
def test_msmarco_folders(tmp_path, packed, spec):
    collection = open_collection(spec.format(fill(tmp_path / "ms", packed(MSMARCO))))
    assert collection.splits == ("train", "dev", "dev.small", "eval")
    assert list(collection.documents()) == [Document("d1", 'one "quoted'), Document("d2", "two")]
    assert collection.queries("train") == [Query("q2", "b")]
    assert collection.queries("dev.small") == collection.queries("dev") == [Query("q3", "c")]
    assert collection.queries("eval") == [Query("q9", "z")]
    assert [query.id for query in collection.queries()] == ["q1", "q2", "q3", "q4", "q9"]
    assert collection.qrels("dev") == [Qrel("q3", "d2", 1)]
    with pytest.raises(InputError, match="the split 'eval' of ms has no judgements.*: train, dev, dev.small"):
        collection.qrels("eval")


@pytest.mark.parametrize("spec", ["{}", "naver:{}"])
def test_naver_folders(tmp_path, packed, spec):
    collection = open_collection(spec.format(fill(tmp_path / "data", packed(NAVER))))
    assert collection.splits == ("train", "dev")
    assert list(collection.documents()) == [Document("d1", "one"), Document("d2", "two")]
    assert collection.queries("train") == [Query("q1", "a")]
    assert collection.queries("dev") == [Query("q2", "b")]
    assert collection.qrels("dev") == [Qrel("q2", "d2", 1)]


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        ({"raw.tsv": "d1\tone\n"}, ()),
        ({"val_collection/raw.tsv": "d1\tone\n", "dev_queries/raw.tsv": "q1\ta\n", "qrel/qrel.json": "{}"}, ("dev",)),
        ({"collection/raw.tsv": "d1\tone\n", "queries/raw.tsv": "q1\ta\n", "qrel.json": '{"q1":{"d1":1}}'}, ("all",)),
    ],
)
def test_other_naver_folders(tmp_path, files, splits):
    collection = open_collection(fill(tmp_path, files))
    assert (collection.splits, list(collection.documents())) == (splits, [Document("d1", "one")])
    if splits == ("all",):
        assert collection.queries("all") == [Query("q1", "a")]


@pytest.mark.parametrize(
    ("name", "spec"),
    [("d.jsonl", "{}"), ("d.jsonl.gz", "{}"), ("d.tsv", "tsv:{}"), ("d.jsonl", "jsonl:{}"), ("d", "{}")],
)
def test_single_files(tmp_path, name, spec):
    tsv = "tsv" in name
    fill(tmp_path, {name: "d1\tone\n" if tsv else '{"id": "d1", "contents": "one"}\n'})
    collection = open_collection(spec.format(tmp_path / name))
    assert (collection.name, collection.splits) == ("d", ())
    assert list(collection.documents()) == [Document("d1", "one")]
    with pytest.raises(InputError, match="the collection d has no queries, only documents"):
        collection.queries()


def test_plain_files_come_before_packed_ones_and_hidden_ones_not_at_all(tmp_path):
    others = ["corpus.jsonl.gz", "qrels/test.tsv.gz", "qrels/._test.tsv", "qrels/notes.md"]
    files = BEIR | dict.fromkeys(others, "bad")
    collection = open_collection(fill(tmp_path, files))
    assert collection.splits == ("train", "test")
    assert (len(list(collection.documents())), len(collection.qrels("test"))) == (2, 2)


def test_splits_have_other_names_too(tmp_path):
    files = {f"qrels/{name}.tsv": "" for name in ("test", "all", "dev", "train", "zero")}
    assert open_collection(fill(tmp_path, BEIR | files)).splits == ("train", "dev", "test", "all", "zero")


def test_a_split_that_is_not_there(tmp_path):
    collection = open_collection(fill(tmp_path / "small", BEIR))
    for ask in (collection.queries, collection.qrels):
        with pytest.raises(InputError, match="small has no split 'dev'. Splits that it has: train, test"):
            ask("dev")
    with pytest.raises(InputError, match="has no split 'x'. Splits that it has: none"):
        open_collection(tmp_path / "small" / "corpus.jsonl").qrels("x")


def test_judgements_without_queries(tmp_path):
    files = {name: content for name, content in BEIR.items() if name != "queries.jsonl"}
    collection = open_collection(fill(tmp_path / "small", files))
    with pytest.raises(InputError, match="no queries for the split 'test', only judgements"):
        collection.queries("test")


def test_one_query_id_with_two_texts(tmp_path):
    collection = open_collection(fill(tmp_path, MSMARCO | {"queries.dev.small.tsv": "q3\tother\n"}))
    with pytest.raises(InputError, match="queries.dev.small.tsv: the query 'q3' has another text in an earlier split"):
        collection.queries()


def test_queries_of_every_split_and_shared_ones(tmp_path):
    collection = open_collection(fill(tmp_path, MSMARCO | {"queries.tsv": "q0\ty\n"}))
    assert [query.id for query in collection.queries()] == ["q0", "q1", "q2", "q3", "q4", "q9"]


def test_what_is_no_collection(tmp_path):
    fill(tmp_path, {"queries.jsonl": "", "qrels/test.tsv": ""})
    with pytest.raises(InputError) as caught:
        open_collection(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: not a collection. Looked for corpus.jsonl (beir); collection.tsv (msmarco); raw.tsv or "
        f"full_collection/raw.tsv (naver), each also as .gz; found qrels, queries.jsonl"
    )
    with pytest.raises(InputError, match=r"Looked for collection.tsv \(msmarco\), each"):
        open_collection(f"msmarco:{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("nowhere", "nowhere: no such file or folder. A name that is no path begins with one of irds:, jsonl:"),
        ("hf:org/name", "no such file or folder. A name that is no path"),
        ("beir:nowhere", "no such folder. beir: is followed by a folder with corpus.jsonl"),
        ("jsonl:nowhere", "no such file"),
    ],
)
def test_what_is_not_there(tmp_path, monkeypatch, spec, why):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=why):
        open_collection(spec)


def test_opening_reads_nothing(tmp_path):
    collection = open_collection(fill(tmp_path, dict.fromkeys(BEIR, "not what it should be")))
    assert isinstance(collection, FileCollection)
    documents = collection.documents()
    with pytest.raises(InputError, match="corpus.jsonl, line 1"):
        next(documents)
