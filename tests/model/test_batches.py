"""Every text is in one batch, and no batch is larger than asked."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from everglade.model.batches import plan_batches


@given(st.lists(st.integers(0, 50)), st.integers(1, 200), st.integers(1, 9))
def test_batches_are_bounded_and_complete(lengths, batch_tokens, batch_rows):
    batches = plan_batches(lengths, batch_tokens, batch_rows)
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(len(lengths)))
    longest = [max(lengths[place] for place in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    for batch, length in zip(batches, longest, strict=True):
        assert 1 <= len(batch) <= batch_rows
        assert len(batch) == 1 or len(batch) * length <= batch_tokens
        assert lengths[batch[0]] == length
