"""The streamed head equals its slow twin, in values and gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade import _head
from everglade.model import head
from everglade.model.head import splade_head, splade_head_naive, splade_head_sum


@pytest.fixture(params=["streamed", "screened"], autouse=True)
def way(request, monkeypatch):
    """Every test runs with the plain streamed head, and with the one that screens in 8 bits where that is possible."""
    if request.param == "streamed":
        monkeypatch.setattr(head, "is_supported", lambda *_: False)
    elif not _head.is_supported():
        pytest.skip("this processor has no 8-bit dot products")
    return request.param


def random_input(seed: int, texts: int, length: int, width: int, terms: int, *, dtype=torch.float32, bias: bool = True):
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(texts, length, width, generator=random, dtype=dtype)
    weight = torch.randn(terms, width, generator=random, dtype=dtype)
    offset = torch.randn(terms, generator=random, dtype=dtype) - 1 if bias else None
    mask = (torch.rand(texts, length, generator=random) < 0.6).long()
    return hidden, weight, offset, mask


def gradients(function, hidden, weight, bias, mask, seed: int):
    leaves = [None if x is None else x.clone().requires_grad_() for x in (hidden, weight, bias)]
    weights = function(*leaves, mask)
    direction = torch.randn(weights.shape, generator=torch.Generator().manual_seed(seed), dtype=weights.dtype)
    (weights * direction).sum().backward()
    return weights.detach(), [None if x is None else x.grad for x in leaves]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**16),
    texts=st.integers(1, 5),
    length=st.integers(1, 9),
    width=st.integers(1, 8),
    terms=st.integers(1, 200),
    bias=st.booleans(),
    activation=st.sampled_from(["relu", "log1p_relu"]),
    position_terms=st.none() | st.integers(1, 20),
)
def test_equals_the_naive_head(seed, texts, length, width, terms, bias, activation, position_terms):
    options = {"activation": activation, "position_terms": position_terms}
    hidden, weight, offset, mask = random_input(seed, texts, length, width, terms, bias=bias)
    mask[0] = 0  # one row without any position
    slow, slow_gradients = gradients(partial(splade_head_naive, **options), hidden, weight, offset, mask, seed)
    fast, fast_gradients = gradients(partial(splade_head, **options), hidden, weight, offset, mask, seed)
    torch.testing.assert_close(fast, slow, atol=1e-6, rtol=0)
    torch.testing.assert_close(splade_head(hidden, weight, offset, mask, **options), slow, atol=1e-6, rtol=0)
    assert not fast[0].any()
    for fast_gradient, slow_gradient in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(fast_gradient, slow_gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_gradcheck(bias):
    hidden, weight, offset, mask = random_input(3, 3, 5, 4, 130, dtype=torch.float64, bias=bias)
    leaves = [None if x is None else x.requires_grad_() for x in (hidden, weight, offset)]
    assert torch.autograd.gradcheck(splade_head, (*leaves, mask), atol=1e-6)


def test_equals_the_naive_head_on_realistic_sizes():
    hidden, weight, offset, mask = random_input(23, 6, 70, 48, 2500)
    offset -= 19  # about one term in ten is active
    slow, slow_gradients = gradients(splade_head_naive, hidden, weight, offset, mask, 1)
    fast, fast_gradients = gradients(splade_head, hidden, weight, offset, mask, 1)
    assert 0.02 < (slow > 0).float().mean() < 0.3
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=0)
    for fast_gradient, slow_gradient in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(fast_gradient, slow_gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kept", [1, 8])
def test_the_largest_terms_of_a_position_never_lose_to_their_own_rounding(kind, kept):
    hidden, weight, offset, _ = random_input(37, 8, 32, 384, 2000)
    hidden, weight, offset = hidden.to(kind), weight.to(kind), offset.to(kind)
    mask = torch.ones(8, 32, dtype=torch.int64)
    slow = splade_head_naive(hidden, weight, offset, mask, position_terms=kept)
    fast = splade_head(hidden, weight, offset, mask, position_terms=kept)
    assert ((fast > 0) == (slow > 0)).all()
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=0)


def test_gradient_checkpointing_changes_nothing():
    from torch.utils.checkpoint import checkpoint

    hidden, weight, offset, mask = random_input(41, 3, 20, 16, 300)
    expected, expected_gradients = gradients(splade_head, hidden, weight, offset, mask, 3)
    again = partial(checkpoint, splade_head, use_reentrant=False)
    found, found_gradients = gradients(again, hidden, weight, offset, mask, 3)
    assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(found_gradients, expected_gradients, strict=True))


def test_no_texts():
    hidden, weight, offset, mask = random_input(43, 0, 5, 16, 30)
    assert splade_head(hidden, weight, offset, mask).shape == (0, 30)


def test_no_positions():
    weights, found = gradients(splade_head, *random_input(0, 3, 0, 4, 20), seed=0)
    assert weights.shape == (3, 20)
    assert not weights.any()
    assert [part.shape for part in found] == [(3, 0, 4), (20, 4), (20,)]
    assert not any(part.any() for part in found)


def test_threads_change_no_bit():
    hidden, weight, offset, mask = random_input(29, 5, 40, 16, 700)
    found = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        found.append(gradients(splade_head, hidden, weight, offset, mask, 2))
        torch.set_num_threads(before)
    (one, one_gradients), (three, three_gradients) = found
    assert torch.equal(one, three)
    assert all(torch.equal(a, b) for a, b in zip(one_gradients, three_gradients, strict=True))


@pytest.mark.parametrize("foreign", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_hidden(foreign):
    hidden, weight, offset, mask = random_input(31, 3, 6, 4, 50)
    mask[:] = 1
    hidden[1, 2, 0] = foreign
    weights = splade_head(hidden, weight, offset, mask)
    assert weights[[0, 2]].isfinite().all() and not weights[1].isfinite().all()
    hidden[1, 2, 0], weight[7, 1] = 1, foreign
    weights = splade_head(hidden, weight, offset, mask)
    assert not weights[:, 7].isfinite().all() and weights[:, 8].isfinite().all()


def test_chunks_change_nothing(monkeypatch):
    hidden, weight, offset, mask = random_input(5, 4, 16, 8, 300)
    whole, whole_gradients = gradients(splade_head, hidden, weight, offset, mask, 0)
    monkeypatch.setattr(head, "_CPU_CHUNK", 1)
    assert len(head._chunks(300, mask)) == 5
    parts, part_gradients = gradients(splade_head, hidden, weight, offset, mask, 0)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)
    for part, one in zip(part_gradients, whole_gradients, strict=True):
        torch.testing.assert_close(part, one, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(splade_head(hidden, weight, offset, mask), whole, atol=1e-6, rtol=0)


def test_masked_positions_do_not_matter():
    hidden, weight, offset, mask = random_input(7, 3, 6, 4, 50)
    mask[:, 2] = 0
    before = splade_head(hidden, weight, offset, mask)
    hidden[mask == 0] = torch.nan
    torch.testing.assert_close(splade_head(hidden, weight, offset, mask), before, atol=0, rtol=0)
    torch.testing.assert_close(splade_head(hidden, weight, offset, mask.bool()), before, atol=0, rtol=0)


def test_only_what_needs_a_gradient_gets_one():
    hidden, weight, offset, mask = random_input(11, 3, 6, 4, 50)
    frozen = splade_head(hidden.requires_grad_(), weight, offset, mask)
    frozen.sum().backward()
    assert hidden.grad is not None and weight.grad is None and offset.grad is None


def test_never_holds_all_logits():
    texts, length, width, terms = 4, 64, 8, 40_000
    hidden, weight, offset, mask = random_input(13, texts, length, width, terms)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, kinds, values=(), options=None):
            nonlocal largest
            result = function(*values, **(options or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.untyped_storage().nbytes())
            return result

    with Watch():
        gradients(splade_head, hidden, weight, offset, mask, 0)
    assert largest < texts * length * terms * 4 / 2


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision(kind):
    hidden, weight, offset, mask = random_input(17, 4, 12, 16, 90)
    expected, expected_gradients = gradients(splade_head_naive, hidden, weight, offset, mask, 0)
    with torch.autocast("cpu", dtype=kind):
        cast, cast_gradients = gradients(splade_head, hidden, weight, offset, mask, 0)
    stored, stored_gradients = gradients(splade_head, hidden.to(kind), weight.to(kind), offset.to(kind), mask, 0)
    for weights, found in ((cast, cast_gradients), (stored, stored_gradients)):
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights, expected, atol=0.05, rtol=0.05)
        for gradient, wanted in zip(found, expected_gradients, strict=True):
            assert torch.nn.functional.cosine_similarity(gradient.float().flatten(), wanted.flatten(), dim=0) > 0.97
    assert [g.dtype for g in stored_gradients] == [kind] * 3


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
@pytest.mark.parametrize("kept", [None, 5, 100, 300])
def test_sum_pooling(activation, kept, monkeypatch):
    monkeypatch.setattr(head, "_CPU_CHUNK", 1)  # the vocabulary comes in two chunks
    hidden, weight, offset, mask = random_input(19, 3, 7, 4, 100)
    offset += 1  # so that more than 5 terms of a position are active
    expected = torch.zeros(3, 100)
    for text in range(3):
        for position in range(7):
            if mask[text, position]:
                logits = weight @ hidden[text, position] + offset
                least = logits.sort(descending=True).values[min(kept or 100, 100) - 1]
                value = torch.log1p(torch.relu(logits)) * (logits >= least)
                expected[text] += torch.log1p(value) if activation == "log1p_relu" else value
    found = splade_head_sum(hidden, weight, offset, mask, activation=activation, position_terms=kept)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert kept != 5 or (found > 0).sum() < (splade_head_sum(hidden, weight, offset, mask) > 0).sum()
