"""From an id to its row, for millions of ids: a 64-bit hash, and a table of (hash, row) that can lie in a mapped file.

The hash of n bytes starts from n and takes in 8 bytes at a time, little-endian, the last ones filled up with zeros:
h <- mix(h xor word), where mix is the finaliser of splitmix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195).
It does not depend on the machine or the process, so that it can be written down.

The table is open addressing with the entries in the order of their hashes: entry i stands at max(home(i), place of the
entry before + 1), where home scales the upper half of the hash to 1.5 slots an entry. A search walks from home until it
meets the hash, a larger one or an empty slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["EMPTY", "MOST_ENTRIES", "Lookup", "hash_id", "hash_words", "mix", "mix_number"]

EMPTY = 2**32 - 1
"""The row of an empty slot."""

MOST_ENTRIES = 2**33 // 3
"""With more, 1.5 slots an entry times the upper half of a hash would not fit into 64 bits."""

_MASK = 2**64 - 1
_START = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give splitmix64's finaliser of each number."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND)
    return value ^ (value >> np.uint64(31))


def mix_number(value: int) -> int:
    """Give splitmix64's finaliser of one number, of which the lower 64 bits count."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def hash_id(value: str) -> int:
    """Give the hash of one id. Half a character is no text that a file holds, but may be asked for."""
    content = value.encode("utf-8", "surrogatepass")
    found = (len(content) * _START) & _MASK
    for start in range(0, len(content), 8):
        found = mix_number(found ^ int.from_bytes(content[start : start + 8], "little"))
    return found


def hash_words(content: memoryview, offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Give the hash of `content[offsets[i]:offsets[i + 1]]` for each i. The offsets must lie within the content."""
    lengths = np.diff(offsets)
    found = lengths.astype(np.uint64) * np.uint64(_START)
    begin, end = (int(offsets[0]), int(offsets[-1])) if len(lengths) else (0, 0)
    padded = np.zeros(end - begin + 8, dtype=np.uint8)
    padded[: end - begin] = np.frombuffer(content[begin:end], dtype=np.uint8)
    # Every eight bytes that follow each other, as one number, wherever they begin.
    words = np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded.data, strides=(1,))
    active = np.flatnonzero(lengths > 0)
    taken = 0
    while len(active):
        left = lengths[active] - taken
        word = words[offsets[active] - begin + taken]
        spare = (8 * (8 - np.minimum(left, 8))).astype(np.uint64)
        found[active] = mix(found[active] ^ ((word << spare) >> spare))
        taken += 8
        active = active[left > 8]
    return found


class Lookup(NamedTuple):
    """The table: (S,) uint64 hashes and (S,) uint32 rows, EMPTY where nothing stands; the last slot is empty."""

    hashes: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    n_entries: int

    @classmethod
    def build(cls, hashes: NDArray[np.uint64]) -> Lookup:
        """Make the table in which hash i leads to row i."""
        n = len(hashes)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        slots = np.maximum.accumulate(_homes(ordered, n) - np.arange(n)) + np.arange(n)
        size = int(slots[-1]) + 2 if n else 1
        table = cls(np.zeros(size, dtype=np.uint64), np.full(size, EMPTY, dtype=np.uint32), n)
        table.hashes[slots], table.rows[slots] = ordered, order
        return table

    def candidates(self, value: int) -> Iterator[int]:
        """Give the rows that have this hash, one after the other; seldom more than one."""
        slot, last = ((value >> 32) * _homes_of(self.n_entries)) >> 32, len(self.rows) - 1
        while slot < last:
            row, there = int(self.rows[slot]), int(self.hashes[slot])
            if row == EMPTY or there > value:
                return
            if there == value:
                yield row
            slot += 1

    def holds(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Say of each hash whether it is in the table."""
        found = np.zeros(len(hashes), dtype=bool)
        slots = np.minimum(_homes(hashes, self.n_entries), len(self.rows) - 1)
        active = np.arange(len(hashes))
        while len(active):
            there, wanted = self.hashes[slots], hashes[active]
            taken = self.rows[slots] != EMPTY
            found[active] = taken & (there == wanted)
            on = taken & (there < wanted) & (slots < len(self.rows) - 1)
            active, slots = active[on], slots[on] + 1
        return found


def _homes_of(n_entries: int) -> int:
    return max(1, n_entries + n_entries // 2)


def _homes(hashes: NDArray[np.uint64], n_entries: int) -> NDArray[np.int64]:
    return (((hashes >> np.uint64(32)) * np.uint64(_homes_of(n_entries))) >> np.uint64(32)).astype(np.int64)
