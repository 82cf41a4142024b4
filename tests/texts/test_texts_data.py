"""The readers on real collections."""

import pytest

from everglade.texts import open_collection

pytestmark = pytest.mark.data


def counts(collection):
    return {split: len(collection.queries(split)) for split in collection.splits}


def test_scifact(shared_data):
    collection = open_collection(shared_data / "scifact")
    documents = list(collection.documents())
    assert (collection.name, len(documents), counts(collection)) == ("scifact", 5183, {"train": 809, "test": 300})
    assert len({document.id for document in documents}) == 5183
    assert all(document.title and document.text for document in documents)
    known = {document.id for document in documents}
    assert {qrel.document_id for split in collection.splits for qrel in collection.qrels(split)} <= known


@pytest.mark.parametrize(
    ("name", "n_documents", "judged"),
    [
        ("squad_v11_dev", 2067, {"train": 7649, "test": 2921}),
        ("scitldr_a", 3229, {"train": 1992, "dev": 1453, "test": 1967}),
        ("medquad", 16407, {"all": 14979}),
    ],
)
def test_other_collections(shared_data, name, n_documents, judged):
    collection = open_collection(shared_data / name)
    assert sum(1 for _ in collection.documents()) == n_documents
    assert counts(collection) == judged


def test_a_collection_of_documents_only(shared_data):
    assert open_collection(shared_data / "debian").splits == ()
