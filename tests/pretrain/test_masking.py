import numpy as np
import pytest

from everglade.pretrain.masking import mask_tokens
from everglade.pretrain.spans import draw_spans, draw_window

MASK, RANDOM = 4, np.arange(5, 1000)


def draw(seed=0):
    return np.random.default_rng(seed)


def test_the_shares_are_those_of_bert():
    ids = np.arange(1000, 61_000)
    words = np.arange(60_000)
    hidden, places, labels = mask_tokens(ids, words, 0.15, MASK, RANDOM, draw())
    assert len(places) == 9000
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(labels, ids[places])
    elsewhere = np.delete(np.arange(60_000), places)
    np.testing.assert_array_equal(hidden[elsewhere], ids[elsewhere])
    became = hidden[places]
    masked, kept = (became == MASK).mean(), (became == labels).mean()
    # Of 9,000 draws the shares are within 4 standard deviations, sqrt(p (1 - p) / n), of what they should be.
    assert abs(masked - 0.8) < 4 * (0.16 / 9000) ** 0.5
    assert abs(kept - 0.1) < 4 * (0.09 / 9000) ** 0.5
    others = became[(became != MASK) & (became != labels)]
    assert np.isin(others, RANDOM).all()
    assert len(np.unique(others)) > 400  # of 995


def test_every_token_is_as_likely_and_special_ones_never():
    words = np.array([-1, *range(10), -1])
    counts = np.zeros(12)
    for seed in range(1000):
        places = mask_tokens(np.arange(5, 17), words, 0.2, MASK, RANDOM, draw(seed)).places
        assert len(places) == 2
        counts[places] += 1
    assert counts[0] == counts[-1] == 0
    # Binomial(1000, 0.2): a standard deviation of 13.
    assert (np.abs(counts[1:-1] - 200) < 4.5 * 12.7).all()


@pytest.mark.parametrize(("tokens", "share", "wanted"), [(1, 0.15, 1), (3, 0.01, 1), (100, 0.15, 15), (0, 0.15, 0)])
def test_a_row_has_at_least_one_hidden_token_if_it_has_any(tokens, share, wanted):
    words = np.array([-1, *range(tokens), -1])
    assert len(mask_tokens(np.arange(5, 7 + tokens), words, share, MASK, RANDOM, draw()).places) == wanted


def test_whole_words_are_hidden_whole():
    words = np.array([-1, 0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, -1])
    for seed in range(200):
        places = mask_tokens(np.arange(5, 18), words, 0.3, MASK, RANDOM, draw(seed), whole_words=True).places
        chosen = set(words[places].tolist())
        assert places.tolist() == [place for place, word in enumerate(words) if word in chosen]
        assert 3 <= len(places) <= 6  # 0.3 of 11 tokens, and at most all but one token of the longest word more


def test_equal_seeds_hide_equally_and_the_row_given_is_left_alone():
    ids, words = np.arange(5, 105), np.arange(100)
    first, again, other = (mask_tokens(ids, words, 0.15, MASK, RANDOM, draw(seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first.places != other.places).any()
    assert (ids == np.arange(5, 105)).all()


def test_windows_are_whole_texts_or_come_from_anywhere():
    assert draw_window(5, 8, draw()) == range(5)
    starts = [draw_window(10, 8, draw(seed)) for seed in range(300)]
    assert {window.start for window in starts} == {0, 1, 2}
    assert {len(window) for window in starts} == {8}


@pytest.mark.parametrize(
    ("n", "shortest", "longest"), [(16, 8, 100), (17, 8, 100), (40, 8, 10), (200, 4, 62), (7, 1, 3)]
)
def test_spans_share_no_token(n, shortest, longest):
    for seed in range(200):
        first, second = draw_spans(n, shortest, longest, draw(seed))
        assert 0 <= first.start < first.stop <= second.start < second.stop <= n
        assert all(shortest <= len(span) <= longest for span in (first, second))


def test_every_pair_of_places_is_as_likely():
    """Two spans of 2 in 6 tokens, as a list of all ways they can stand gives them."""
    ways = {(a, b): 0 for a in range(5) for b in range(a + 2, 5)}
    for seed in range(3000):
        first, second = draw_spans(6, 2, 2, draw(seed))
        ways[first.start, second.start] += 1
    assert len(ways) == 6
    assert all(abs(count - 500) < 4.5 * 21 for count in ways.values())
