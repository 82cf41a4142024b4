"""The Triton kernel equals plain torch: on a GPU if there is one, otherwise in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="triton comes with torch for CUDA")

from everglade.model import head
from everglade.model.head_triton import best_logits

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Triton's interpreter has no bfloat16.
KINDS = [torch.float32, torch.float16, *([torch.bfloat16] if DEVICE == "cuda" else [])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 70, 40, 300), (2, 5, 130, 129), (1, 64, 64, 128), (2, 1, 3, 2)])
def test_largest_logits_and_positions(kind, shape):
    texts, length, width, terms = shape
    random = torch.Generator().manual_seed(sum(shape))
    hidden = torch.randn(texts, length, width, generator=random).to(DEVICE, kind)
    weight = torch.randn(terms, width, generator=random).to(DEVICE, kind)
    mask = (torch.rand(texts, length, generator=random) < 0.6).long().to(DEVICE)
    mask[:, 0], mask[0, :] = 1, 0  # one text has no position
    best, positions = best_logits(hidden, weight, mask)
    logits = (hidden.double() @ weight.double().T).masked_fill(mask.unsqueeze(-1) == 0, -torch.inf)
    expected = logits.max(dim=1).values
    assert best[0].eq(-torch.inf).all()
    torch.testing.assert_close(best[1:], expected[1:].float(), atol=1e-4, rtol=1e-3)
    chosen = logits.gather(1, positions.long().unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(chosen[1:], expected[1:], atol=1e-4, rtol=1e-3)


def test_what_is_no_number_is_not_hidden():
    hidden, weight = torch.ones(2, 5, 4, device=DEVICE), torch.ones(140, 4, device=DEVICE)
    hidden[0, 3, 1], weight[7, 0] = torch.nan, torch.nan
    best, _ = best_logits(hidden, weight, torch.ones(2, 5, device=DEVICE))
    assert best[0].isnan().all()
    assert best[1].isnan().nonzero().tolist() == [[7]]


@pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU here")
def test_the_head_on_a_gpu_equals_the_naive_one():
    random = torch.Generator().manual_seed(1)
    inputs = [torch.randn(size, generator=random).to(DEVICE) for size in ((4, 33, 48), (700, 48), (700,))]
    mask = (torch.rand(4, 33, generator=random) < 0.7).long().to(DEVICE)
    found = []
    for function in (head.splade_head, head.splade_head_naive):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        weights = function(*leaves, mask)
        weights.sum().backward()
        found.append([weights.detach(), *(leaf.grad for leaf in leaves)])
    for ours, naive in zip(*found, strict=True):
        torch.testing.assert_close(ours, naive, atol=1e-3, rtol=1e-3)
