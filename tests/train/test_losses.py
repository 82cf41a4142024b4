import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.train.losses import infonce, margin_mse
from everglade.train.regularizers import flops

shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**16))


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(shapes)
def test_infonce_is_the_textbook_loop(shape):
    batch, n, seed = shape
    student, in_batch = draw(seed, batch, n), draw(seed + 1, batch, batch)
    known = draw(seed + 2, batch, batch) > 0.5
    expected = 0.0
    for i in range(batch):
        others = [in_batch[i, j].item() for j in range(batch) if j != i and not known[i, j]]
        logits = [*student[i].tolist(), *others]
        expected -= student[i, 0].item() - math.log(sum(map(math.exp, logits)))
    assert infonce(student, in_batch, known).item() == pytest.approx(expected / batch)


def test_infonce_alone_is_pairwise_nll():
    student = draw(3, 5, 2)
    expected = torch.nn.functional.softplus(student[:, 1] - student[:, 0]).mean()
    assert infonce(student).item() == pytest.approx(expected.item())


def test_infonce_does_not_use_the_diagonal():
    student, in_batch = draw(0, 3, 2), draw(1, 3, 3)
    changed = in_batch + torch.diag(torch.full((3,), 100.0))
    assert infonce(student, in_batch).equal(infonce(student, changed))


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.integers(1, 4), st.integers(2, 4), st.integers(0, 2**16)))
def test_margin_mse_is_the_textbook_loop(shape):
    batch, n, seed = shape
    student, teacher = draw(seed, batch, n), draw(seed + 1, batch, n)
    errors = [
        ((student[i, 0] - student[i, j]) - (teacher[i, 0] - teacher[i, j])).item() ** 2
        for i in range(batch)
        for j in range(1, n)
    ]
    assert margin_mse(student, teacher).item() == pytest.approx(sum(errors) / len(errors))


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(0, 2**16)))
def test_flops_is_the_four_line_double_loop(shape):
    batch, n_terms, seed = shape
    weights = draw(seed, batch, n_terms)
    expected = 0.0
    for j in range(n_terms):
        mean = sum(abs(weights[b, j].item()) for b in range(batch)) / max(batch, 1)
        expected += mean**2
    assert flops(weights).item() == pytest.approx(expected)


def test_the_losses_are_those_of_sentence_transformers():
    from sentence_transformers.sparse_encoder import losses as theirs

    weights = draw(0, 12, 9).relu().float()
    queries, positives, negatives = weights.split(4)
    teacher = draw(1, 4, 2).float()

    ranking = theirs.SparseMultipleNegativesRankingLoss(model=None)
    ours = infonce((queries * positives).sum(1, keepdim=True), queries @ positives.T)
    assert ours.item() == pytest.approx(ranking.compute_loss_from_embeddings([queries, positives], None).item())

    margin = theirs.SparseMarginMSELoss(model=None)
    student = torch.stack([(queries * positives).sum(1), (queries * negatives).sum(1)], dim=1)
    given_margin = teacher[:, 0] - teacher[:, 1]
    expected = margin.compute_loss_from_embeddings([queries, positives, negatives], given_margin)
    assert margin_mse(student, teacher).item() == pytest.approx(expected.item())

    penalty = theirs.FlopsLoss(model=None)
    assert flops(positives).item() == pytest.approx(penalty.compute_loss_from_embeddings(positives).item())
