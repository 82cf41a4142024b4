"""Which examples an optimiser step sees: a pure function of the seed and the step, so there is no state to save.

Position p of the run (counted from 0 over all steps and processes) is `example_at(seed, p // n, p % n, n)` of the n
examples: every epoch visits each once, in an order of its own. The negatives an example is shown are drawn from
(seed, epoch, example).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade.distill.examples import Example, TrainingSet
from everglade.distill.lookup import mix_number

if TYPE_CHECKING:
    from torch import Tensor

    from everglade.model.splade import Side, Splade
    from everglade.train.config import TrainConfig

__all__ = [
    "Batch",
    "Tokens",
    "Visit",
    "batch_at",
    "documents_of",
    "example_at",
    "keyed_place",
    "piece_seed",
    "read_rows",
    "visits_at",
]

_ORDER, _NEGATIVES, _DROPOUT = range(3)
"""Streams of random numbers that must not meet although they share a seed."""

_SHUFFLED = 2**20
_ROUNDS = 8


class Visit(NamedTuple):
    """One appearance of an example in the run."""

    epoch: int
    example: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Everything one optimiser step needs, over all processes, as ids: B queries with n documents each."""

    query_ids: list[str]
    document_ids: list[tuple[str, ...]]
    """One tuple of n ids for each query, the positive first."""
    teacher: NDArray[np.float32] | None
    """(B, n) scores of a teacher, or None."""
    relevant: NDArray[np.bool_]
    """(B, B): whether the positive of query j is known to be relevant to query i; the diagonal is true."""


class Tokens(NamedTuple):
    """Texts as a model reads them, padded to the longest; documents of up to M passages have the shape (B, M, L)."""

    input_ids: Tensor
    """(B, L) int64."""
    attention_mask: Tensor
    """(B, L) int64, 0 on padding and in every place of a passage that a document does not have."""


def visits_at(step: int, n_examples: int, batch_size: int, seed: int) -> list[Visit]:
    """Give the visits of an optimiser step, counted from 1."""
    first = (step - 1) * batch_size
    places = [divmod(position, n_examples) for position in range(first, first + batch_size)]
    return [Visit(epoch, example_at(seed, epoch, place, n_examples)) for epoch, place in places]


def documents_of(example: Example, visit: Visit, negatives: int, seed: int) -> list[int]:
    """Give the places in `example.document_ids` that a visit shows: 0, the positive, then the drawn negatives.

    Negatives are drawn without repetition; an example with fewer than asked for shows each as evenly often as it can.
    """
    available = len(example.document_ids) - 1
    generator = np.random.default_rng([seed, _NEGATIVES, visit.epoch, visit.example])
    drawn: list[int] = []
    while len(drawn) < negatives:
        drawn += (generator.permutation(available)[: negatives - len(drawn)] + 1).tolist()
    return [0, *drawn]


def batch_at(step: int, training_set: TrainingSet, config: TrainConfig) -> Batch:
    """Give the batch of an optimiser step, counted from 1; the same whoever asks and whenever."""
    visits = visits_at(step, len(training_set.examples), config.batch_size, config.seed)
    examples = [training_set.examples[visit.example] for visit in visits]
    places = [
        documents_of(example, visit, config.negatives_per_query, config.seed)
        for example, visit in zip(examples, visits, strict=True)
    ]
    teacher = None
    if all(example.scores is not None for example in examples):
        rows = [[(example.scores or ())[p] for p in chosen] for example, chosen in zip(examples, places, strict=True)]
        teacher = np.array(rows, dtype=np.float32)
    known = [training_set.positives[example.query_id] for example in examples]
    return Batch(
        query_ids=[example.query_id for example in examples],
        document_ids=[
            tuple(example.document_ids[p] for p in chosen) for example, chosen in zip(examples, places, strict=True)
        ],
        teacher=teacher,
        relevant=_relevant([example.positive for example in examples], known),
    )


def _relevant(positives: list[str], known: list[frozenset[str]]) -> NDArray[np.bool_]:
    """Give (B, B): whether the positive of column j is among the known of row i."""
    columns: dict[str, list[int]] = {}
    for column, positive in enumerate(positives):
        columns.setdefault(positive, []).append(column)
    found = np.zeros((len(known), len(positives)), dtype=bool)
    for row, mine in enumerate(known):
        for positive in mine:
            if positive in columns:
                found[row, columns[positive]] = True
    return found


def piece_seed(seed: int, *place: int) -> int:
    """Give the seed of the dropout masks at a place of the run (step, process, piece, side): a pure function."""
    return int(np.random.SeedSequence([seed, _DROPOUT, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def read_rows(
    batch: Batch, training_set: TrainingSet, model: Splade, rows: range, *, document_length: int | None = None
) -> tuple[Tokens, Tokens]:
    """Give the tokens of rows of a batch: their queries, and their documents one after another.

    They are read as the model reads them when it encodes: its prefixes, its maximum lengths, its passages. Only
    `document_length` tokens are taken of a document, or of each of its passages, if it is given.
    """
    queries = [training_set.queries[batch.query_ids[row]] for row in rows]
    documents = [training_set.documents[document_id] for row in rows for document_id in batch.document_ids[row]]
    return _tokenize(model, queries, "query"), _tokenize(model, documents, "document", document_length)


def _tokenize(model: Splade, texts: list[str], side: Side, max_length: int | None = None) -> Tokens:
    tokens = Tokens(**model.tokenize(texts, side, max_length=max_length))
    if tokens.input_ids.shape[1] == 0:
        # No backbone takes texts of no length, so texts that are all empty get one position, which is masked.
        return Tokens(*(part.new_zeros(len(texts), 1) for part in tokens))
    return tokens


def example_at(seed: int, epoch: int, place: int, n_examples: int) -> int:
    """Give the example at a place of an epoch's order: a permutation of range(n_examples) for each seed and epoch.

    Up to 2^20 examples the order is a shuffled list, of which the last two are kept. Beyond that it is `keyed_place`,
    which takes no memory.
    """
    if n_examples <= _SHUFFLED:
        return int(_epoch_order(seed, epoch, n_examples)[place])
    return keyed_place(place, n_examples, _order_keys(seed, epoch))


def keyed_place(place: int, n: int, keys: tuple[int, ...]) -> int:
    """Give where a permutation of range(n), chosen by the keys, sends a place.

    It is a balanced Feistel network over the least even number of bits that n fits in, one round a key: halves
    (l, r) <- (r, l xor f(r + key)), with the finaliser of splitmix64 as f. What comes out beyond n goes in again until
    it does not, which keeps it a permutation (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains", cycle
    walking); as 2^bits < 4 n, that takes less than 4 turns on average.
    """
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for key in keys:
            left, right = right, left ^ (mix_number(right + key) & mask)
        place = left << half | right
        if place < n:
            return place


@lru_cache(maxsize=2)
def _order_keys(seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(np.random.SeedSequence([seed, _ORDER, epoch]).generate_state(_ROUNDS, np.uint64).tolist())


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, n_examples: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(n_examples)
