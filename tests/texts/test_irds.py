"""Collections known to ir_datasets, without a network: a small one made of local files."""

import sys
from typing import NamedTuple

import ir_datasets
import pytest

from everglade.errors import InputError, MissingExtra
from everglade.texts import Document, Qrel, Query, open_collection
from everglade.texts.irds import IrdsCollection


@pytest.fixture
def local(tmp_path, monkeypatch):
    (tmp_path / "docs.tsv").write_text("d1\tone\nd2\ttwo\n")
    (tmp_path / "queries.tsv").write_text("q1\ta\nq2\tb\n")
    (tmp_path / "qrels.txt").write_text("q2 0 d1 1\nq2 0 d2 0\n")
    paths = {"docs_tsv": tmp_path / "docs.tsv", "queries_tsv": tmp_path / "queries.tsv"}
    whole = ir_datasets.create_dataset(**{key: str(path) for key, path in paths.items()})
    judged = ir_datasets.create_dataset(
        **{key: str(path) for key, path in paths.items()}, qrels_trec=str(tmp_path / "qrels.txt")
    )
    registered = {**ir_datasets.registry._registered, "local": whole, "local/test": judged}
    monkeypatch.setattr(ir_datasets.registry, "_registered", registered)
    return whole, judged


def test_splits_are_the_ids_below(local):
    collection = open_collection("irds:local")
    assert (collection.name, collection.splits) == ("local", ("test",))
    assert list(collection.documents()) == [Document("d1", "one"), Document("d2", "two")]
    assert collection.queries() == [Query("q1", "a"), Query("q2", "b")]
    assert collection.queries("test") == [Query("q2", "b")]
    assert collection.qrels("test") == [Qrel("q2", "d1", 1), Qrel("q2", "d2", 0)]
    with pytest.raises(InputError, match="local has no split 'dev'. Splits that it has: test"):
        collection.qrels("dev")


def test_an_id_with_judgements_is_its_own_split(local):
    collection = open_collection("irds:local/test")
    assert collection.splits == ("test",)
    assert collection.queries("test") == [Query("q2", "b")]
    assert collection.queries() == [Query("q1", "a"), Query("q2", "b")]


@pytest.mark.parametrize(
    ("name", "splits"),
    [("beir/scifact", ("train", "test")), ("beir/scifact/test", ("test",)), ("nano-beir/scifact", ("scifact",))],
)
def test_known_collections_open_without_a_network(name, splits):
    assert open_collection(f"irds:{name}").splits == splits


def test_unknown_ids():
    with pytest.raises(InputError, match="ir_datasets knows no 'beir/no-such'"):
        open_collection("irds:beir/no-such")


def test_without_ir_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'everglade\[data\]'"):
        open_collection("irds:beir/scifact")


class Titled(NamedTuple):
    doc_id: str
    text: str
    title: str


class Parts(NamedTuple):
    doc_id: str
    headline: str

    def default_text(self):
        return f"all of {self.headline}"


class Fake:
    def __init__(self, documents):
        self.documents = documents

    def docs_iter(self):
        return iter(self.documents)

    def has_queries(self):
        return False


class Unreachable:
    def fail(self):
        raise ConnectionError("a page of what was tried")
        yield

    docs_iter = queries_iter = qrels_iter = fail

    def has_queries(self):
        return True


@pytest.mark.parametrize(
    ("what", "read"),
    [
        ("documents", lambda one: list(one.documents())),
        ("queries", lambda one: one.queries()),
        ("queries", lambda one: one.queries("test")),
        ("judgements", lambda one: one.qrels("test")),
    ],
)
def test_what_cannot_be_downloaded_is_one_clear_error(what, read):
    collection = IrdsCollection("far", Unreachable(), {"test": Unreachable()})
    with pytest.raises(
        InputError, match=f"the {what} of irds:far cannot be read or downloaded .ConnectionError"
    ) as error:
        read(collection)
    assert "tried" not in str(error.value) and "--sets" in str(error.value)


def test_mirrors_that_all_fail_are_one_clear_error(monkeypatch):
    monkeypatch.setattr(
        Unreachable, "docs_iter", lambda _: (_ for _ in ()).throw(RuntimeError("All download sources failed"))
    )
    with pytest.raises(InputError, match="the documents of irds:far cannot be read or downloaded"):
        list(IrdsCollection("far", Unreachable(), {}).documents())


def test_documents_of_every_type():
    fake = Fake([Titled("1", "a", "t"), Titled("2", "b", None), Parts("3", "h")])
    expected = [Document("1", "a", "t"), Document("2", "b"), Document("3", "all of h")]
    assert list(IrdsCollection("fake", fake, {}).documents()) == expected
    with pytest.raises(InputError, match="irds:fake has no queries"):
        IrdsCollection("fake", fake, {}).queries()
    with pytest.raises(InputError, match="the id ' ' begins or ends"):
        list(IrdsCollection("fake", Fake([Titled(" ", "a", "")]), {}).documents())
