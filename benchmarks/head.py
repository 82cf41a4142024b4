"""The SPLADE head, forward and backward: ours beside plain PyTorch, with time, memory and the difference of results.

    python benchmarks/head.py [--rounds 3] [--quick]

Plain PyTorch is max over positions of log1p(relu(h @ E.T + b)) * mask, as it is usually written. The batch is as large
as 2**26 logits allow, at most 32 texts; bias is set so that 9 % of the weights are above 0. `streamed` is our head as
it runs on a CPU without 8-bit dot products. The ways take turns; shown is the best of the rounds, and their spread.

Memory is what the process grew by at its highest, gradients of hidden states and decoder included.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import time
from pathlib import Path

import torch

from everglade import _head
from everglade.model import head
from machine import write_result

DENSITY = 0.09


def plain(hidden, weight, bias, attention_mask):
    logits = torch.nn.functional.linear(hidden, weight, bias)
    weights = torch.log1p(torch.relu(logits)) * attention_mask.unsqueeze(-1)
    return weights.max(dim=1).values


def screened(*inputs):
    return head.splade_head(*inputs)


def streamed(*inputs):
    supported, head.is_supported = head.is_supported, lambda *_: False
    try:
        return head.splade_head(*inputs)
    finally:
        head.is_supported = supported


WAYS = (
    {"screened": screened, "streamed": streamed, "plain": plain}
    if _head.is_supported()
    else {
        "streamed": streamed,
        "plain": plain,
    }
)


def make_input(width, length, n_terms):
    texts = max(1, min(32, 2**26 // (length * n_terms)))
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(texts, length, width, generator=random)
    weight = torch.randn(n_terms, width, generator=random) / width**0.5
    sample = (hidden @ weight[:512].T).amax(dim=1).flatten()
    bias = torch.full((n_terms,), -sample.quantile(1 - DENSITY).item())
    return hidden, weight, bias, torch.ones(texts, length, dtype=torch.int64)


def memory_bytes(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def run(way, inputs):
    """Give seconds of forward and backward, bytes at the peak, weights and gradients."""
    *leaves, mask = inputs
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    pull = torch.ones(len(mask), len(leaves[1]))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is no longer ours
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest memory so far
    before = memory_bytes("VmRSS")
    begin = time.perf_counter()
    weights = way(*leaves, mask)
    between = time.perf_counter()
    weights.backward(pull)
    end = time.perf_counter()
    extra = memory_bytes("VmHWM") - before
    return between - begin, end - between, extra, [weights.detach(), *(leaf.grad for leaf in leaves)]


def measure(width, length, n_terms, rounds):
    inputs = make_input(width, length, n_terms)
    runs = {name: [] for name in WAYS}
    differences = {}
    for _ in range(rounds):
        results = {}
        for name, way in WAYS.items():
            forward, backward, extra, results[name] = run(way, inputs)
            runs[name].append((forward + backward, forward, extra))
        for name, found in results.items():
            scale = [float(part.abs().max()) for part in results["plain"]]
            pairs = zip(found, results["plain"], scale, strict=True)
            differences[name] = max(float((a - b).abs().max()) / s for a, b, s in pairs)
        density = float((results["plain"][0] > 0).float().mean())
    row = {"hidden": width, "length": length, "terms": n_terms, "texts": len(inputs[0]), "density": round(density, 3)}
    products = 2 * inputs[0].numel() * n_terms
    for name, measured in runs.items():
        total, forward, extra = min(measured)[0], min(m[1] for m in measured), min(m[2] for m in measured)
        row[name] = {
            "seconds": round(total, 4),
            "spread": [round(m[0], 4) for m in measured],
            "forward GFLOP/s": round(products / forward / 1e9),
            "extra_mb": round(extra / 1e6),
            "largest difference": differences[name],
        }
    ours = row[next(iter(WAYS))]
    row["plain / ours: time"] = round(row["plain"]["seconds"] / ours["seconds"], 2)
    row["plain / streamed: time"] = round(row["plain"]["seconds"] / row["streamed"]["seconds"], 2)
    row["ours / plain: memory"] = round(ours["extra_mb"] / row["plain"]["extra_mb"], 3)
    return row


def gemm_rates():
    """GFLOP/s of torch's matrix product at the head's shape: what a head that computes every logit cannot exceed."""
    rates = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        for width in (128, 768):
            a, b = torch.randn(2048, width).to(kind), torch.randn(4096, width).to(kind)
            seconds = []
            for _ in range(20):
                begin = time.perf_counter()
                torch.nn.functional.linear(a, b)
                seconds.append(time.perf_counter() - begin)
            rates[f"{name}, width {width}"] = round(2 * 2048 * 4096 * width / min(seconds) / 1e9)
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one length and the small vocabulary only")
    options = parser.parse_args()
    lengths, vocabularies = ((128,), (30_522,)) if options.quick else ((64, 128, 256), (30_522, 250_002))
    result = {"torch": torch.__version__, "8-bit dot products": _head.is_supported()}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        rows = []
        result[f"{threads} threads"] = {"GEMM GFLOP/s": gemm_rates(), "sizes": rows}
        for n_terms in vocabularies:
            for width in (128, 384, 768):
                for length in lengths:
                    rows.append(measure(width, length, n_terms, options.rounds))
                    print(threads, rows[-1], flush=True)
    print(result if options.quick else write_result("head", result))


if __name__ == "__main__":
    main()
