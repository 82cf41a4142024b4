"""Make a large set of synthetic vectors out of real ones.

    export OPENBLAS_NUM_THREADS=1    # many small products, which threads make slower
    python benchmarks/engine/synthetic.py --data DATA --documents 2000000 --out DATA/docs_2M.npz [--seed 1]
    python benchmarks/engine/synthetic.py --data DATA --documents 8800000 --out DATA/docs_8.8M.npz

Each synthetic document is a real one that keeps 75 % of its terms; as many terms as it lost come from a neighbour,
which is a document within 24 places in the order of order.py (halves of points along principal axes). Every weight is
multiplied by a number drawn from .85 to 1.15. Length, weights, popularity of terms and clusters stay as they were;
there are more near duplicates than in real text, which flatters engines that prune blocks. The real documents are used
in turn, in a new random order each time. Vectors are written as they are made: memory holds the real ones and a chunk.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from collection import N_TERMS, Rows, read_npz
from order import similar_order

KEEP = 0.75
REACH = 24
JITTER = 0.15
CHUNK = 20_000


def take(rows, which):
    """Give the entries of some rows: the position in `which` of each, and where it stands in `rows`."""
    lengths = rows.indptr[which + 1] - rows.indptr[which]
    owner = np.repeat(np.arange(len(which)), lengths)
    first = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - first[owner] + rows.indptr[which][owner]


def recombine(rows, base, neighbour, random):
    """Make one chunk: the kept entries of `base`, then as many of `neighbour` as were lost, by row and term."""
    owner, at = take(rows, base)
    kept = random.random(len(at)) < KEEP
    lost = np.bincount(owner[~kept], minlength=len(base))
    keys = owner[kept] * N_TERMS + rows.terms[at[kept]]
    other, other_at = take(rows, neighbour)
    other_keys = other * N_TERMS + rows.terms[other_at]
    new = ~np.isin(other_keys, keys, assume_unique=True)
    other, other_at, other_keys = other[new], other_at[new], other_keys[new]
    shuffled = np.lexsort((random.random(len(other)), other))
    starts = np.searchsorted(other, np.arange(len(base)))
    chosen = shuffled[np.arange(len(other)) - starts[other] < lost[other]]
    keys = np.concatenate([keys, other_keys[chosen]])
    weights = np.concatenate([rows.weights[at[kept]], rows.weights[other_at[chosen]]])
    order = np.argsort(keys)
    jittered = np.rint(weights[order] * random.uniform(1 - JITTER, 1 + JITTER, len(order)))
    lengths = np.bincount(keys // N_TERMS, minlength=len(base))
    return Rows(lengths, (keys[order] % N_TERMS).astype(np.uint16), np.clip(jittered, 1, 255).astype(np.uint8))


def synthesise(rows, count, seed):
    """Give `count` synthetic documents, a chunk at a time; `indptr` of a chunk holds lengths."""
    random = np.random.default_rng(seed)
    order = similar_order(rows, seed)
    place = np.empty(rows.count, dtype=np.int64)
    place[order] = np.arange(rows.count)
    bases = np.concatenate([random.permutation(rows.count) for _ in range(-(-count // rows.count))])[:count]
    for start in range(0, count, CHUNK):
        base = bases[start : start + CHUNK]
        step = random.integers(1, REACH + 1, len(base)) * random.choice([-1, 1], len(base))
        neighbour = order[np.clip(place[base] + step, 0, rows.count - 1)]
        yield recombine(rows, base, neighbour, random)


def write_npz(chunks, path):
    """Write chunks as one npz file: streams on disk first, because an npz names the length before the numbers."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        terms_path, weights_path = Path(folder) / "terms", Path(folder) / "weights"
        lengths = []
        with terms_path.open("wb") as terms, weights_path.open("wb") as weights:
            for chunk in chunks:
                lengths.append(chunk.indptr)
                chunk.terms.tofile(terms)
                chunk.weights.tofile(weights)
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        indptr.tofile(Path(folder) / "indptr")
        partial = Path(folder) / "partial"
        with zipfile.ZipFile(partial, "w") as archive:
            for name, dtype in (("indptr", np.int64), ("terms", np.uint16), ("weights", np.uint8)):
                add_array(archive, Path(folder) / name, name, np.dtype(dtype))
        partial.replace(path)
    return indptr


def add_array(archive, path, name, dtype):
    shape = (path.stat().st_size // dtype.itemsize,)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with (
        archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member,
        path.open("rb") as numbers,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        shutil.copyfileobj(numbers, member, 2**20)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=2_000_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = read_npz(options.data / "docs.npz")
    indptr = write_npz(synthesise(rows, options.documents, options.seed), options.out)
    print(f"{options.out}: {len(indptr) - 1} documents, {indptr[-1]} postings")


if __name__ == "__main__":
    main()
