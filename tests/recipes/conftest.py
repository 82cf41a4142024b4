"""A collection of the shape of MS MARCO, small enough to read, and a model small enough to train in a second."""

import gzip
import json
import pickle
import random

import pytest

N_WORDS = 40
N_DOCUMENTS = 60
N_QUERIES = 24


@pytest.fixture(autouse=True, scope="module")
def _quick(one_thread, no_waiting_for_the_disk):
    """Every test of this folder runs on one thread and does not wait for the disk."""


def words():
    return [f"word{number:02}" for number in range(N_WORDS)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, write_tiny):
    """The folder of an untrained BERT of two layers that knows the words of the collection."""
    return write_tiny(words(), tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def marco(tmp_path_factory):
    """A folder of the shape of MS MARCO's: collection, queries and qrels, and the public files of training data.

    collection.tsv, queries.train.tsv, queries.dev.tsv, qrels.train.tsv, qrels.dev.tsv; msmarco-hard-negatives.jsonl.gz,
    scores.pkl.gz, triples.tsv (ids), vienna.tsv (two scores, ids).
    """
    folder = tmp_path_factory.mktemp("marco")
    draw = random.Random(5)
    documents = {1000 + number: draw.sample(words(), 8) for number in range(N_DOCUMENTS)}
    write = "".join(f"{key}\t{' '.join(text)}\n" for key, text in documents.items())
    (folder / "collection.tsv").write_text(write)
    relevant = {}
    for split, first in (("train", 1), ("dev", 500)):
        queries = range(first, first + N_QUERIES)
        for query in queries:
            relevant[query] = draw.choice(list(documents))
        asked = {query: " ".join(draw.sample(documents[relevant[query]], 3)) for query in queries}
        lines = "".join(f"{query}\t{text}\n" for query, text in asked.items())
        (folder / f"queries.{split}.tsv").write_text(lines)
        judged = "".join(f"{query}\t0\t{relevant[query]}\t1\n" for query in queries)
        (folder / f"qrels.{split}.tsv").write_text(judged)
    train = range(1, 1 + N_QUERIES)
    mined = {query: draw.sample([key for key in documents if key != relevant[query]], 8) for query in train}
    with gzip.open(folder / "msmarco-hard-negatives.jsonl.gz", "wt") as file:
        for query, negatives in mined.items():
            systems = {"bm25": negatives[:5], "msmarco-distilbert-base-tas-b": negatives[3:]}
            file.write(json.dumps({"qid": query, "pos": [relevant[query]], "neg": systems}) + "\n")
    scores = {query: {key: draw.uniform(-11, 2) for key in mined[query]} for query in train}
    for query in train:
        scores[query][relevant[query]] = draw.uniform(3, 11)
    with gzip.open(folder / "scores.pkl.gz", "wb") as file:
        pickle.dump(scores, file)
    pairs = [(query, relevant[query], mined[query][0]) for query in train]
    (folder / "triples.tsv").write_text("".join(f"{q}\t{p}\t{n}\n" for q, p, n in pairs))
    scored = [f"{scores[q][p]}\t{scores[q][n]}\t{q}\t{p}\t{n}\n" for q, p, n in pairs]
    (folder / "vienna.tsv").write_text("".join(scored))
    return folder


MINI = """
summary = "InfoNCE on given triples"
source = "the tests"

[set]
start = "bundled"
triples = ""
steps = 4
hold_out = 0.2
validate_in = 0.5

[[stage]]
name = "triples"
kind = "import"
file = "$triples"
format = "triples-ids"

[[stage]]
name = "train"
kind = "train"
start = "$start"
examples = "@triples"
steps = "$steps"
batch_size = 4
learning_rate = 1e-3
max_query_length = 8
max_document_length = 16
checkpoint_every = 1
validate_every = 2

[[stage]]
name = "encode"
kind = "encode"
model = "@train"
shard_rows = 16

[[stage]]
name = "index"
kind = "index"
vectors = "@encode"

[[stage]]
name = "bm25"
kind = "evaluate"
index = "bm25"
label = "BM25"

[[stage]]
name = "evaluate"
kind = "evaluate"
index = "@index"
label = "tuned"
"""


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    """The path of a recipe whose stages take little time."""
    path = tmp_path_factory.mktemp("recipes") / "mini.toml"
    path.write_text(MINI)
    return path


@pytest.fixture(scope="session")
def tiny_dense(tiny, tmp_path_factory):
    """A dense sentence-transformers model of the same backbone."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    folder = tmp_path_factory.mktemp("dense") / "dense"
    reader = Transformer(str(tiny), max_seq_length=32)
    pooling = Pooling(reader.get_embedding_dimension())
    SentenceTransformer(modules=[reader, pooling], device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def tiny_cross_encoder(tiny, tmp_path_factory):
    """A cross-encoder of the same backbone with a head that nobody has trained."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("cross") / "cross-encoder"
    config = BertConfig.from_pretrained(tiny)
    config.num_labels = 1
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder
