import json
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade import durable
from everglade.distill import dense
from everglade.distill.dense import DenseVectors, SentenceEncoder, encode_dense, search_dense
from everglade.errors import ConfigError, MissingExtra, ModelError, VectorsError

WORDS = [f"w{i}" for i in range(30)]


class Hashing:
    """A dense model without learning: counts of letters; it can be told to fail after so many texts."""

    def __init__(self, fingerprint="aa", fail_after=None):
        self.fingerprint = fingerprint
        self.encoded = 0
        self.fail_after = fail_after

    def encode_documents(self, texts):
        self.encoded += len(texts)
        if self.fail_after is not None and self.encoded > self.fail_after:
            raise KeyboardInterrupt
        return np.array([[text.count(letter) for letter in "abcd"] for text in texts], dtype=np.float32)

    encode_queries = encode_documents


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(durable, "sync_file", lambda path: None)
    monkeypatch.setattr(durable, "sync_folder", lambda path: None)


def store(folder, vectors, ids):
    for number, start in enumerate(range(0, len(vectors), dense.SHARD_ROWS)):
        part = np.ascontiguousarray(vectors[start : start + dense.SHARD_ROWS])
        dense._write_shard(dense._shard(folder, number), part, {})
    return DenseVectors(folder, ids)


def slow_search(queries, vectors, ids, k):
    """Every score summed on its own in double precision and rounded, then everything sorted."""
    found = []
    for query in queries.astype(np.float64):
        scores = [np.float32((query * vector.astype(np.float64)).sum()) for vector in vectors]
        best = sorted(zip(scores, ids, strict=True), key=lambda hit: (-hit[0], hit[1]))[:k]
        found.append([(document_id, float(score)) for score, document_id in best])
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("vectors")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_search_is_that_of_a_slow_twin_with_ties(folders, data):
    n, d, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 45))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    # Whole numbers give many ties; the others give scores that differ in the last bits.
    whole = data.draw(st.booleans())
    vectors = draw.integers(-2, 3, (n, d)) if whole else draw.normal(size=(n, d))[draw.integers(0, n, n)]
    queries = draw.integers(-2, 3, (7, d)) if whole else draw.normal(size=(7, d))
    ids = [f"d{i}" for i in draw.permutation(n)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "SHARD_ROWS", data.draw(st.sampled_from([1, 3, 7, 64])))
        queries, vectors = queries.astype(np.float32), vectors.astype(np.float32)
        found = search_dense(queries, store(folders(), vectors, ids), k)
    assert [list(hits.items()) for hits in found] == slow_search(queries, vectors, ids, k)


def test_blocks_change_no_bit_of_a_score(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(500, 96)).astype(np.float32)
    vectors[250:] = vectors[:250]  # each vector twice, in different blocks
    queries = draw.normal(size=(33, 96)).astype(np.float32)
    ids = [f"{i:04d}" for i in draw.permutation(500)]
    found = []
    for rows, at_a_time in ((8192, 33), (64, 5), (37, 1)):
        monkeypatch.setattr(dense, "SHARD_ROWS", rows)
        folder = tmp_path / str(rows)
        folder.mkdir()
        stored = store(folder, vectors, ids)
        parts = [search_dense(queries[start : start + at_a_time], stored, 20) for start in range(0, 33, at_a_time)]
        found.append([list(hits.items()) for part in parts for hits in part])
    assert found[0] == found[1] == found[2] == slow_search(queries, vectors, ids, 20)
    for hits in found[0]:
        for (first, score), (second, other) in zip(hits[::2], hits[1::2], strict=True):
            assert score == other  # the twins stand together
            assert first < second


def test_scores_that_differ_less_than_float32_products_err_are_in_order(tmp_path):
    """The vectors are a hair apart, so that products in float32 put them in another order than the exact sums do."""
    draw = np.random.default_rng(4)
    vectors = np.repeat(draw.normal(size=(1, 256)), 400, axis=0).astype(np.float32)
    for row in range(400):
        vectors[row, row % 256] = np.nextafter(vectors[row, row % 256], np.float32(9 * (-1) ** row))
    queries = draw.normal(size=(5, 256)).astype(np.float32)
    ids = [f"{i:03d}" for i in draw.permutation(400)]
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    best, screened = np.argsort(-exact, axis=1)[:, :10], np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert any(set(one) != set(other) for one, other in zip(best, screened, strict=True))
    found = [list(hits.items()) for hits in search_dense(queries, store(tmp_path, vectors, ids), 10)]
    assert found == slow_search(queries, vectors, ids, 10)


def test_without_queries_nothing_is_found(tmp_path):
    stored = store(tmp_path, np.ones((3, 2), dtype=np.float32), ["a", "b", "c"])
    assert search_dense(np.zeros((0, 2), dtype=np.float32), stored, 2) == []


def test_k_below_one_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        search_dense(np.zeros((1, 2), dtype=np.float32), DenseVectors(tmp_path, []), 0)


def test_an_interrupted_encoding_goes_on_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "SHARD_ROWS", 10)
    rows = [(f"d{i}", "abcd" * (i % 3) + "ab") for i in range(35)]
    whole = encode_dense(Hashing(), rows, tmp_path / "whole")
    assert whole.ids == [document_id for document_id, _ in rows]
    with pytest.raises(KeyboardInterrupt):
        encode_dense(Hashing(fail_after=25), rows, tmp_path / "cut")
    model, told = Hashing(), []
    encode_dense(model, rows, tmp_path / "cut", total=35, progress=told.append)
    assert model.encoded == 15  # two shards of ten stood
    assert [progress.done for progress in told] == [0, 10, 20, 30, 35]
    for file in sorted((tmp_path / "whole").iterdir()):
        assert (tmp_path / "cut" / file.name).read_bytes() == file.read_bytes()
    assert [start for start, _ in whole.shards()] == [0, 10, 20, 30]


@pytest.mark.parametrize(
    ("model", "row", "changed"), [(Hashing("bb"), ("d3", "a"), "model"), (Hashing(), ("d3", "b"), "texts")]
)
def test_vectors_of_something_else_are_not_gone_on_with(tmp_path, model, row, changed):
    encode_dense(Hashing(), [("d3", "a")], tmp_path / "vectors")
    with pytest.raises(VectorsError, match=changed):
        encode_dense(model, [row], tmp_path / "vectors")


def _make_dense(tokenizer, folder, *, prompts=None, similarity="cosine"):
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32}
    BertModel(BertConfig(vocab_size=len(tokenizer), hidden_size=16, **sizes)).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    SentenceTransformer(
        modules=[Transformer(str(folder / "bert"), max_seq_length=16), Pooling(16, "mean")],
        prompts=prompts or {"query": "ask ", "document": "tell "},
        similarity_fn_name=similarity,
        device="cpu",
    ).save(str(folder / "dense"))
    return folder / "dense"


@pytest.fixture(scope="module")
def make_dense(word_tokenizer):
    """Writes an untrained dense model that knows some words, and gives its folder."""
    return partial(_make_dense, word_tokenizer(["ask", "tell", *WORDS]))


@pytest.fixture(scope="module")
def dense_folder(tmp_path_factory, make_dense):
    return make_dense(tmp_path_factory.mktemp("model"))


def test_the_prompts_and_the_similarity_of_a_model_are_respected(dense_folder):
    from sentence_transformers import SentenceTransformer

    encoder, other = SentenceEncoder(str(dense_folder)), SentenceTransformer(str(dense_folder), device="cpu")
    texts = ["w1 w2 w3", "w4"]
    for found, prompt in ((encoder.encode_queries(texts), "ask "), (encoder.encode_documents(texts), "tell ")):
        expected = other.encode([prompt + text for text in texts])
        assert np.linalg.norm(expected, axis=1) != pytest.approx([1, 1], abs=1e-3)
        assert found == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-6)


def test_fingerprints_tell_models_apart_and_do_not_change_by_use(make_dense, dense_folder, tmp_path):
    encoder = SentenceEncoder(str(dense_folder))
    before = encoder.fingerprint
    encoder.encode_queries(["w1", "w1 w2"])
    assert SentenceEncoder(str(dense_folder)).fingerprint == before
    prompted = make_dense(tmp_path, prompts={"query": "w1 ", "document": "w2 "})
    assert SentenceEncoder(str(prompted)).fingerprint != before


def test_a_model_that_compares_by_distance_is_refused(make_dense, tmp_path):
    with pytest.raises(ModelError, match="euclidean"):
        SentenceEncoder(str(make_dense(tmp_path, similarity="euclidean")))


def test_vectors_that_are_not_finite_are_refused(make_dense, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = make_dense(tmp_path)
    [file] = folder.rglob("model.safetensors")
    weights = load_file(file)
    weights["embeddings.word_embeddings.weight"][:] = np.nan
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        SentenceEncoder(str(folder)).encode_documents(["w1 w2"])


def drop_weights(folder, word):
    """Remove the weights whose names hold a word from a model's file."""
    from safetensors.numpy import load_file, save_file

    file = folder / "model.safetensors"
    weights = load_file(file)
    kept = {name: tensor for name, tensor in weights.items() if word not in name}
    assert len(kept) < len(weights)
    save_file(kept, file, metadata={"format": "pt"})


def test_a_folder_that_lacks_weights_is_refused(make_dense, tmp_path):
    folder = make_dense(tmp_path)
    drop_weights(folder, "layer.0.attention.self.query.weight")
    with pytest.raises(ModelError, match=r"dense lacks weights of its encoder \(encoder.layer.0.*query.weight\)"):
        SentenceEncoder(str(folder))


def test_weights_behind_a_router_are_looked_for_too(make_dense, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    make_dense(tmp_path)
    sides = [[Transformer(str(tmp_path / "bert")), Pooling(16, "mean")] for _ in range(2)]
    router = Router.for_query_document(query_modules=sides[0], document_modules=sides[1])
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "routed"))
    SentenceEncoder(str(tmp_path / "routed"))
    [file] = tmp_path.glob("routed/**/document*/model.safetensors")
    drop_weights(file.parent, "layer.0.attention.self.query.weight")
    with pytest.raises(ModelError, match=f"{file.parent.name} lacks weights"):
        SentenceEncoder(str(tmp_path / "routed"))


def test_a_pooler_that_nothing_reads_need_not_be_there(make_dense, tmp_path):
    folder = make_dense(tmp_path)
    whole = SentenceEncoder(str(folder))
    drop_weights(folder, "pooler")
    without = SentenceEncoder(str(folder))
    assert (without.encode_documents(["w1 w2"]) == whole.encode_documents(["w1 w2"])).all()
    assert without.fingerprint == SentenceEncoder(str(folder)).fingerprint, "it is not drawn at random"


def test_what_is_no_model_and_what_is_missing_are_said(dense_folder, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no folder"):
        SentenceEncoder(str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match="sentence-transformers"):
        SentenceEncoder(str(dense_folder))


def test_a_dense_source_of_negatives_is_the_slow_search(dense_folder, tmp_path):
    from everglade.distill.negatives import MiningSettings, mine_to_folder
    from everglade.texts import open_collection, read_run

    draw = np.random.default_rng(1)
    texts = [" ".join(draw.choice(WORDS, 4)) for _ in range(20)]
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{i}", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text('{"_id": "q0", "text": "w1 w2"}\n{"_id": "q1", "text": "w3"}\n')
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\n")
    settings = MiningSettings(sources=(f"dense:{dense_folder}",), depth=7)
    report = mine_to_folder(open_collection(folder), "train", settings, tmp_path / "out")
    encoder = SentenceEncoder(str(dense_folder))
    ids = [f"d{i}" for i in range(20)]
    expected = slow_search(encoder.encode_queries(["w1 w2", "w3"]), encoder.encode_documents(texts), ids, 7)
    found = read_run(report.runs["dense-dense"])
    assert [list(hits) for hits in found.values()] == [[one for one, _ in hits] for hits in expected]
    assert not (tmp_path / "out" / "unfinished").exists()
