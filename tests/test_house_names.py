"""The code of the house plan runs as it is printed there, and the names it promises exist."""

import inspect

import numpy as np
import pytest
import torch

import everglade
from everglade import Index, Query, SparseMatrix, Splade
from everglade.bundled import bundled_model
from everglade.model.head import splade_head
from everglade.train.regularizers import flops

# The first code block of the plan, as it is printed there but for the length of a comment.
PRINTED = """
from everglade import Splade, Index, evaluate

model = Splade.load("path-or-hub-id")                       # any Hugging Face MLM, sentence-transformers or Everglade
index = Index.create("glade.idx", model)                    # a folder
index.add(documents)                                        # iterable of Document; streams
hits = index.search("what helps a headache", k=10)          # list[Hit]: id, score, and why
print(evaluate(index.search_many(queries, k=1000), qrels, ["RR@10", "nDCG@10"]))
"""


def test_the_printed_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "path-or-hub-id").symlink_to(bundled_model())
    documents = (
        everglade.Document(id, text)
        for id, text in {"d1": "Aspirin relieves a headache.", "d2": "The bridge was closed."}.items()
    )
    namespace = {"documents": documents, "queries": [Query("q", "headache pills")], "qrels": {"q": {"d1": 1}}}
    exec(PRINTED, namespace)
    hits = namespace["hits"]
    assert hits[0].id == "d1"
    assert sum(match.contribution for match in hits[0].why) == pytest.approx(hits[0].score)
    assert capsys.readouterr().out == "{'RR@10': 1.0, 'nDCG@10': 1.0}\n"
    namespace["index"].close()


def test_the_promised_names(tmp_path):
    model = Splade.load(bundled_model())
    matrix = model.encode_documents(["one text", "another"])
    assert isinstance(matrix, SparseMatrix)
    assert (SparseMatrix.from_scipy(matrix.to_scipy()).weights == matrix.weights).all()
    assert len(model.encode_queries(["a query"])) == 1
    model.save(tmp_path / "saved")
    with Index.create(tmp_path / "i", model=None, n_terms=model.n_terms) as index:
        index.add_vectors(["a", "b"], matrix)
        ids, scores = index.search_vectors(matrix, 2, recall=None, threads=1)
        assert ids.shape == scores.shape == (2, 2)
        assert index.delete(["a"]) == 1
    with Index.open(tmp_path / "i") as index:
        assert len(index) == 1
    assert list(inspect.signature(everglade.evaluate).parameters) == ["run", "qrels", "measures"]


def test_the_promised_training_names():
    weights = splade_head(torch.randn(2, 3, 4), torch.randn(9, 4), torch.randn(9), torch.ones(2, 3))
    assert weights.shape == (2, 9)
    assert flops(weights).shape == ()
    np.testing.assert_allclose(flops(weights), (weights.mean(dim=0) ** 2).sum())
