"""A model small enough to train in a second, and a task that only expansion can solve."""

import random

import pytest

from everglade.distill.examples import Example, TrainingSet
from everglade.texts import Document, Query

N_CONCEPTS = 24
TEXTS = {
    "queries": [f"ask{i}" for i in range(N_CONCEPTS)],
    "documents": [f"tell{i}" for i in range(N_CONCEPTS)],
}


@pytest.fixture(autouse=True, scope="module")
def _quick(one_thread, no_waiting_for_the_disk):
    """Every test of this folder runs on one thread and does not wait for the disk."""


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, word_tokenizer):
    """The folder of a BERT of one untrained layer that knows the words of the toy task and no others."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from everglade.model.settings import SpladeSettings
    from everglade.model.splade import Splade

    tokenizer = word_tokenizer([*TEXTS["queries"], *TEXTS["documents"]])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    mlm = BertForMaskedLM(config)
    with torch.no_grad():
        # Each word starts out as itself and as nothing else.
        torch.nn.init.orthogonal_(mlm.bert.embeddings.word_embeddings.weight)
        torch.nn.init.eye_(mlm.cls.predictions.transform.dense.weight)
        mlm.cls.predictions.bias.fill_(-1.0)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    Splade(mlm, tokenizer, SpladeSettings(16, 16), name="tiny").save(folder)
    return folder


@pytest.fixture
def tiny(tiny_folder):
    from everglade.model.splade import Splade

    return Splade.load(tiny_folder)


@pytest.fixture(scope="session")
def toy():
    """Queries and documents share concepts but no word: (training set, validation documents, queries, qrels)."""
    draw = random.Random(7)
    concepts = [sorted(draw.sample(range(N_CONCEPTS), 3)) for _ in range(80)]
    documents = [Document(f"d{i:02d}", " ".join(f"tell{c}" for c in chosen)) for i, chosen in enumerate(concepts)]

    def ask(i):
        return " ".join(f"ask{c}" for c in draw.sample(concepts[i], 2))

    queries = {f"q{i:02d}": ask(i) for i in range(80)}
    others = [draw.sample([f"d{j:02d}" for j in range(80) if j != i], 4) for i in range(80)]
    examples = [Example(f"q{i:02d}", (f"d{i:02d}", *others[i]), (9.0, 1.0, 0.5, 0.0, -1.0)) for i in range(80)]
    training_set = TrainingSet(queries, {document.id: document.text for document in documents}, examples)
    asked = [Query(f"v{i:02d}", ask(i)) for i in range(0, 80, 2)]
    qrels = {f"v{i:02d}": {f"d{i:02d}": 1} for i in range(0, 80, 2)}
    return training_set, documents, asked, qrels
