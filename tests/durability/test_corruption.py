"""Every flipped bit and every truncation of a small index: an error by name, a problem that a check finds, or nothing.

One byte in EVERY is tried, from a place that SEED draws; EVERGLADE_EVERY_BIT=1 tries every bit of every byte. Nothing
may change without notice: what is read is what was written, or an error, or a check finds it.
"""

import os
import random

import pytest

from everglade.errors import CorruptIndex, FormatTooNew, IndexFolderError
from everglade.index.check import check_index
from everglade.index.store import Store

SEED = 1
WHOLE = os.environ.get("EVERGLADE_EVERY_BIT") == "1"
EVERY_SEGMENT_BYTE = 1 if WHOLE else 3
EVERY_CATALOG_BYTE = 1 if WHOLE else 230
ONCE_UNSEEN = (3362, 3960)
"""Bytes of the catalog that are always tried."""
REFUSED = (CorruptIndex, FormatTooNew, IndexFolderError)


@pytest.fixture
def index(memory):
    from scripted import changes, run_change

    for change in changes()[:5]:
        run_change(memory / "i", change)
    return memory / "i"


def damages(content, every, besides=()):
    """Give (what, damaged content): flipped bits and truncations."""
    generator = random.Random(SEED)
    for place in sorted({*range(generator.randrange(every), len(content), every), *besides}):
        for bit in range(8) if WHOLE else [generator.randrange(8)]:
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            yield f"bit {bit} of byte {place}", bytes(damaged)
        yield f"cut at {place}", content[:place]


def look(folder):
    """Read all that an index says: its settings, its vectors with what searches find, and its texts."""
    from scripted import read_store

    with Store.open(folder) as store:
        contents = read_store(store)
        found = {"meta": store.meta, "hits": contents.pop("")}
        found["vectors"] = {id: vector for id, (vector, _) in contents.items()}
        found["texts"] = {id: text for id, (_, text) in contents.items()}
        return found


def test_no_damage_of_a_segment_is_passed_over(index):
    from everglade import _engine

    tried = 0
    for path in sorted(index.glob("*.segment")):
        content = path.read_bytes()
        for what, damaged in damages(content, EVERY_SEGMENT_BYTE):
            path.write_bytes(damaged)
            with pytest.raises((_engine.CorruptSegment, _engine.FormatTooNew)):
                _engine.Segment(str(path), True)
                pytest.fail(f"{path.name}, {what}, was opened")
            tried += 1
        with pytest.raises(REFUSED):  # the last one, as an index
            Store.open(index)
        path.write_bytes(content)
    assert tried > 3000


def test_damage_of_the_catalog_is_found_or_changes_no_answer(index):
    path = index / "catalog.sqlite"
    content = path.read_bytes()
    sound = look(index)
    outcomes = dict.fromkeys(["refused", "found by a check", "nothing changed"], 0)
    for what, damaged in damages(content, EVERY_CATALOG_BYTE, ONCE_UNSEEN):
        path.write_bytes(damaged)
        try:
            seen = look(index)
            changed = {part for part in sound if seen[part] != sound[part]}
        except REFUSED:
            seen, changed = None, {"refused"}
        if seen is not None and changed and not check_index(index).sound:
            changed = {"found by a check"}
        assert changed <= outcomes.keys(), (what, changed)
        for outcome in changed or {"nothing changed"}:
            outcomes[outcome] += 1
        path.unlink()
    path.write_bytes(content)
    assert outcomes["refused"] > 20, outcomes


def test_files_of_one_index_are_not_taken_for_one_another(index):
    one, two = sorted(index.glob("*.segment"))[:2]
    one_content, two_content = one.read_bytes(), two.read_bytes()
    for content in (two_content, b"", bytes(len(one_content)), one_content * 2, one_content + b"\0"):
        one.write_bytes(content)
        with pytest.raises(CorruptIndex):
            Store.open(index)
