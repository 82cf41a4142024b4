"""Many texts to compressed sparse rows: batches of similar length, one on each core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from everglade.model.batches import plan_batches
from everglade.model.head_screened import ScreenedDecoder, is_supported
from everglade.model.passages import merge_passages
from everglade.vectors import SparseMatrix

if TYPE_CHECKING:
    from everglade.model.tokens import Ids
    from everglade.progress import Meter

__all__ = ["KeptDecoder", "SparseRows", "dense_to_sparse", "encode_in_batches", "evaluating"]

SparseRows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]

_BATCH_WEIGHTS = 2**22  # entries of the (B, V) weights of one batch


def encode_in_batches(
    ids: Sequence[Ids],
    encode: Callable[[list[Ids]], SparseMatrix],
    *,
    batch_tokens: int,
    n_terms: int,
    workers: int,
    meter: Meter,
    owners: NDArray[np.int64] | None = None,
) -> SparseMatrix:
    """Give the row of each text, in order; of a text that owns several rows of tokens, their maximum.

    With several workers each encodes batches of its own on one thread of torch: operations as small as those of a batch
    leave several threads waiting for each other.

    Args:
        ids: The texts' tokens, or those of their passages.
        encode: Gives the rows of a batch, longest text first; called from several threads at once.
        batch_tokens: A batch holds at most that many tokens, padding included, but always at least one text.
        n_terms: Size of the vocabulary.
        workers: Batches encoded at once.
        meter: Advanced after every batch by the texts that are finished.
        owners: Which text each row of `ids` belongs to, ascending; None where each is a text.
    """
    lengths = [len(row) for row in ids]
    if workers > 1:
        batch_tokens = min(batch_tokens, max(1, sum(lengths) // workers))  # a small piece of work is shared too
    batches = plan_batches(lengths, batch_tokens, max(1, _BATCH_WEIGHTS // n_terms))
    tokens = [[ids[row] for row in batch] for batch in batches]
    count = len if owners is None else partial(_count_finished, np.bincount(owners), owners)
    parts = []
    with _each_in_turn(encode, tokens, min(workers, len(tokens))) as encoded:
        for batch, rows in zip(batches, encoded, strict=True):
            parts.append(rows)
            meter.advance(count(batch))
    matrix = SparseMatrix.stack(parts).take(np.argsort(np.concatenate(batches)))
    return matrix if owners is None else merge_passages(matrix, owners)


def _count_finished(missing: NDArray[np.int64], owners: NDArray[np.int64], batch: NDArray[np.int64]) -> int:
    """Take a batch of passages off those that each text is `missing`; give how many texts have none left."""
    encoded = owners[batch]
    np.subtract.at(missing, encoded, 1)
    return int(np.count_nonzero(missing[np.unique(encoded)] == 0))


@contextmanager
def _each_in_turn(
    encode: Callable[[list[Ids]], SparseMatrix], batches: list[list[Ids]], workers: int
) -> Iterator[Iterator[SparseMatrix]]:
    if workers < 2:
        yield map(encode, batches)
        return
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    # Autocasting is a setting of the thread.
    cast, kind = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def encode_alike(batch: list[Ids]) -> SparseMatrix:
        with torch.autocast("cpu", kind, enabled=cast):
            return encode(batch)

    try:
        yield pool.map(encode_alike, batches)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the workers' setting reaches some libraries as a whole


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model in evaluation, not in training, for a while."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class KeptDecoder:
    """Keeps a decoder ready for the screening from batch to batch, for as long as its weights stay what they are.

    Changes are seen by torch's version counters, which writing through `.data` passes by.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[object, ...], ScreenedDecoder] | None = None
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[KeptDecoder], tuple[()]]:
        """Leave the decoder behind when a model is copied: it is made again when it is asked for."""
        return KeptDecoder, ()

    def of(self, decoder: nn.Linear, bias: Tensor | None, shift: float) -> ScreenedDecoder | None:
        """Give a decoder with the bias to be used, into which `shift` went; None where it cannot be screened."""
        if not is_supported(decoder.weight, decoder.weight):
            return None
        # The tensors themselves are kept, so that no other can take their place in memory meanwhile.
        tensors = [tensor for tensor in (decoder.weight, decoder.bias) if tensor is not None]
        state = (shift, *tensors, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
        with self._lock:
            if self._kept is None or not _same(self._kept[0], state):
                self._kept = (state, ScreenedDecoder(decoder.weight, bias))
            kept = self._kept[1]
        return kept if kept.is_finite else None


def _same(before: tuple[object, ...], now: tuple[object, ...]) -> bool:
    return len(before) == len(now) and all(
        a is b if isinstance(b, Tensor) else a == b for a, b in zip(before, now, strict=True)
    )


def dense_to_sparse(weights: Tensor) -> SparseRows:
    """Give weights, (B, V), as compressed sparse rows: indptr, terms, weights."""
    texts, terms = weights.nonzero(as_tuple=True)
    indptr = np.cumsum([0, *torch.bincount(texts, minlength=len(weights)).tolist()])
    return indptr, terms.to(torch.int32).cpu().numpy(), weights[texts, terms].cpu().numpy()
