import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.train.batches import batch_at, read_rows
from everglade.train.config import TrainConfig
from everglade.train.penalties import Penalties, count_idf
from everglade.train.regularizers import df_flops, df_weights, flops, idf_flops, idf_weights, l1, only_dense


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(0, 2**16)))
def test_penalties_are_their_double_loops(shape):
    batch, n_terms, seed = shape
    weights, factors = draw(seed, batch, n_terms), draw(seed + 1, n_terms).sigmoid()
    plain = weighted = inverse = total = 0.0
    for j in range(n_terms):
        mean = sum(abs(weights[b, j].item()) for b in range(batch)) / max(batch, 1)
        plain += mean**2
        weighted += (df_weights(factors)[j].item() * mean) ** 2
        inverse += (mean / factors[j].item()) ** 2
        total += mean
    assert flops(weights).item() == pytest.approx(plain)
    assert df_flops(weights, factors).item() == pytest.approx(weighted)
    assert idf_flops(weights, factors).item() == pytest.approx(inverse)
    assert l1(weights).item() == pytest.approx(total)


def test_flops_and_its_threshold_are_those_of_sentence_transformers():
    from sentence_transformers.sparse_encoder import losses as theirs

    weights = draw(0, 8, 9).relu().float()
    assert flops(weights).item() == pytest.approx(theirs.FlopsLoss(None).compute_loss_from_embeddings(weights).item())
    counts = (weights > 0).sum(dim=1)
    assert len(set(counts.tolist())) > 3
    for threshold in (3, 4, 5):
        expected = theirs.FlopsLoss(None, threshold=threshold).compute_loss_from_embeddings(weights)
        assert flops(only_dense(weights, threshold)).item() == pytest.approx(expected.item())
    assert only_dense(weights, 0) is weights


def test_the_generalised_logistic_of_df_flops():
    shares = torch.tensor([0.0, 0.01, 0.1, 0.5, 1.0], dtype=torch.float64)
    found = df_weights(shares, alpha=0.1, beta=10.0)
    assert found[[0, 2, 4]].tolist() == pytest.approx([0.0, 0.5, 1.0])
    power = 0.5 ** (math.log(2) / math.log(0.1))
    assert found[3].item() == pytest.approx(1 / (1 + (power - 1) ** 10))
    assert (found.diff() > 0).all()
    assert df_weights(shares, alpha=0.5, beta=2.0)[3].item() == pytest.approx(0.5)


def test_idf_falls_with_document_frequency_to_one():
    idf = idf_weights(torch.tensor([0, 4, 9]), 9)
    assert idf.tolist() == pytest.approx([1 + math.log(10), 1 + math.log(2), 1.0])
    weights = draw(1, 4, 3)
    assert idf_flops(weights, idf) < flops(weights)


def test_idf_is_counted_in_the_tokens_of_positive_documents(tiny, toy):
    training_set = toy[0]
    idf = count_idf(training_set, tiny)
    texts = [training_set.documents[example.positive] for example in training_set.examples]
    for word in ("tell0", "tell7", "ask0"):
        term = tiny.tokenizer.convert_tokens_to_ids(word)
        frequency = sum(word in text.split() for text in texts)
        assert idf[term].item() == pytest.approx(1 + math.log(81 / (frequency + 1)))
    assert idf[tiny.tokenizer.cls_token_id].item() == 1.0


def test_running_document_frequencies_are_means_of_batches(tiny, toy):
    config = TrainConfig(regularizer_d="df_flops", batch_size=8)
    penalties = Penalties(config, tiny.n_terms)
    shares = []
    for step in (1, 2, 3):
        batch = batch_at(step, toy[0], config)
        queries, documents = (tiny(*side) for side in read_rows(batch, toy[0], tiny, range(8)))
        shares.append((documents > 0).double().mean(dim=0))
        penalties.observe(queries, documents)
    mean = torch.stack(shares).mean(dim=0)
    assert (penalties.tensors()["document_shares"] - mean).abs().max() < 1e-12
    assert "query_shares" not in penalties.tensors()
    positives, negatives = documents[::2], documents[1::2]
    expected = (df_flops(positives, mean) + df_flops(negatives, mean)) / 2
    assert penalties.of_documents(positives, negatives).item() == pytest.approx(expected.item())
    again = Penalties(config, tiny.n_terms)
    again.load(penalties.tensors())
    penalties.observe(queries, documents)
    again.observe(queries, documents)
    assert again.of_documents(positives, negatives).equal(penalties.of_documents(positives, negatives))


def test_each_side_has_its_own_penalty():
    config = TrainConfig(regularizer_q="l1", regularizer_d="flops", threshold_d=2)
    penalties = Penalties(config, 5)
    vectors = torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0]])
    assert penalties.of_queries(vectors).item() == 3.0
    assert penalties.of_documents(vectors, vectors[:0]).item() == 0.75
    assert penalties.of_documents(vectors, vectors[1:]).item() == (0.75 + 3.0) / 2


def test_after_a_hundred_batches_the_running_frequency_forgets_the_oldest():
    """The mean of all 102 would be 2 / 102; of an exponential mean with weight 1 / 100 it is 1 - 0.99^2."""
    penalties = Penalties(TrainConfig(regularizer_d="df_flops"), 3)
    for batch in range(102):
        vectors = torch.full((2, 3), float(batch >= 100))
        penalties.observe(vectors, vectors)
    assert penalties.tensors()["document_shares"].tolist() == pytest.approx([1 - 0.99**2] * 3, rel=1e-12)
