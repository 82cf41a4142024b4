import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.errors import ConfigError
from everglade.train.losses import infonce, kl_divergence, margin_mse, pairwise_nll, parse_objective, rank_loss

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


STUDENT = torch.tensor([[2.0, 1.0, 0.0], [0.5, 0.5, 1.5], [-1.0, 3.0, 0.0]], dtype=torch.float64)
TEACHER = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)


def softmax(row):
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def test_three_by_three_by_hand():
    def softplus(value):
        return math.log(1 + math.exp(value))

    pairs = [softplus(-1), softplus(-2), softplus(0), softplus(1), softplus(4), softplus(1)]
    assert pairwise_nll(STUDENT).item() == pytest.approx(sum(pairs) / 6)
    nll = [-math.log(softmax(row)[0]) for row in STUDENT.tolist()]
    assert infonce(STUDENT).item() == pytest.approx(sum(nll) / 3)
    # Margins 1 2, 0 -1, -4 -1 against 1 2, 2 2, -1 0.
    assert margin_mse(STUDENT, TEACHER).item() == pytest.approx((0 + 0 + 4 + 9 + 9 + 1) / 6)
    kl = 0.0
    for theirs, ours in zip(TEACHER.tolist(), STUDENT.tolist(), strict=True):
        kl += sum(p * math.log(p / q) for p, q in zip(softmax(theirs), softmax(ours), strict=True))
    assert kl_divergence(STUDENT, TEACHER).item() == pytest.approx(kl / 3)
    assert kl_divergence(TEACHER + 7, TEACHER).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_a_temperature_divides_the_scores(temperature):
    colder, in_batch = STUDENT / temperature, STUDENT.T / temperature
    assert infonce(STUDENT, STUDENT.T, None, temperature).equal(infonce(colder, in_batch))
    assert pairwise_nll(STUDENT, temperature).item() == pytest.approx(pairwise_nll(colder).item())
    expected = kl_divergence(colder, TEACHER / temperature) * temperature**2
    assert kl_divergence(STUDENT, TEACHER, temperature).item() == pytest.approx(expected.item())


def test_pairwise_nll_with_one_negative_is_infonce_without_others():
    assert pairwise_nll(STUDENT[:, :2]).item() == pytest.approx(infonce(STUDENT[:, :2]).item())


def test_an_objective_is_a_weighted_sum():
    in_batch, relevant = draw(5, 3, 3), torch.eye(3, dtype=torch.bool)
    objective = parse_objective("kl + 0.05 margin_mse+2*infonce + .5 pairwise_nll")
    assert objective == ((1.0, "kl"), (0.05, "margin_mse"), (2.0, "infonce"), (0.5, "pairwise_nll"))
    expected = (
        kl_divergence(STUDENT, TEACHER, 2.0)
        + 0.05 * margin_mse(STUDENT, TEACHER)
        + 2 * infonce(STUDENT, in_batch, relevant, 2.0)
        + 0.5 * pairwise_nll(STUDENT, 2.0)
    )
    found = rank_loss(objective, STUDENT, in_batch, relevant, TEACHER, 2.0)
    assert found.item() == pytest.approx(expected.item())
    assert rank_loss(((1.0, "infonce"),), STUDENT, in_batch, relevant, None).equal(infonce(STUDENT, in_batch))


@pytest.mark.parametrize(
    "text",
    ["", "kl +", "kl margin_mse", "2kl", "-1 kl", "kl + kl", "0 kl", "nll", "kl - 0.5 infonce", "1e999 kl", "KL"],
)
def test_what_is_no_objective_is_refused(text):
    with pytest.raises(ConfigError, match="loss"):
        parse_objective(text)


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

    warmer = theirs.SparseMultipleNegativesRankingLoss(model=None, scale=0.25)
    expected = warmer.compute_loss_from_embeddings([queries, positives], None)
    found = infonce((queries * positives).sum(1, keepdim=True), queries @ positives.T, temperature=4.0)
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_losses_over_several_negatives_are_those_of_sentence_transformers(temperature):
    from sentence_transformers.sparse_encoder import losses as theirs

    queries, *documents = draw(2, 20, 9).relu().float().split(4)  # a positive and three negatives
    student = torch.stack([(queries * column).sum(1) for column in documents], dim=1)
    teacher = draw(3, 4, 4).float()
    kl = theirs.SparseDistillKLDivLoss(model=None, temperature=temperature)
    expected = kl.compute_loss_from_embeddings([queries, *documents], teacher)
    assert kl_divergence(student, teacher, temperature).item() == pytest.approx(expected.item(), rel=1e-5)
    margin = theirs.SparseMarginMSELoss(model=None)
    expected = margin.compute_loss_from_embeddings([queries, *documents], teacher)
    assert margin_mse(student, teacher).item() == pytest.approx(expected.item())
