"""SeenIds is a dict from id to first line, in less memory."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from everglade.texts.seen import SeenIds


@given(st.lists(st.text(max_size=3), max_size=300))
def test_it_equals_a_dict(ids):
    seen, twin = SeenIds(), {}
    for line, value in enumerate(ids, start=1):
        assert seen.add(value, line) == twin.setdefault(value, line)
    assert len(seen) == len(twin)


def test_it_grows_and_forgets_nothing():
    seen = SeenIds()
    tracemalloc.start()
    try:
        assert all(seen.add(f"document-{i}", i + 1) == i + 1 for i in range(50_000))
        assert tracemalloc.get_traced_memory()[0] / 50_000 <= 48
    finally:
        tracemalloc.stop()
    assert all(seen.add(f"document-{i}", 2**39) == i + 1 for i in range(50_000))
    assert seen.add("another", 2**39) == 2**39
    assert len(seen) == 50_001


def test_ids_that_share_a_slot_are_told_apart(monkeypatch):
    from everglade.texts import seen as module

    # All marks alike, so that only the second hash tells the ids apart.
    monkeypatch.setattr(module, "hash", lambda value: hash(value) if value.endswith("\0") else 5, raising=False)
    seen, ids = SeenIds(), [f"d{i}" for i in range(900)]
    assert [seen.add(value, i) for i, value in enumerate(ids)] == list(range(900))
    assert [seen.add(value, 0) for value in ids] == list(range(900))
