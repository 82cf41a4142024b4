import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.distill.drawing import Band, draw, draw_from_bands, query_key, unite
from everglade.errors import ConfigError

IDS = [f"d{i}" for i in range(30)]
RANKINGS = st.lists(st.permutations(IDS).flatmap(lambda ids: st.integers(0, 30).map(lambda n: ids[:n])), max_size=4)
BANDS = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 25), st.integers(0, 12)).map(lambda b: Band(b[0], b[1], b[1] + b[2])),
    max_size=3,
)


def naive_union(rankings, excluded, bands, quotas, key):
    """The words of the docstring, one after the other, over documents instead of places."""
    taken, brought = [], []
    for number, (ranked, quota) in enumerate(zip(rankings, quotas, strict=True), start=1):
        drawn = []
        for band_number, band in enumerate(bands, start=1):
            window = [ranked[i - 1] for i in range(band.first, band.last + 1) if i <= len(ranked)]
            free = [one for one in window if one not in excluded and one not in drawn]
            drawn += draw(free, band.count, *key, number, band_number)
        found = [one for one in ranked if one in drawn] if bands else [one for one in ranked if one not in excluded]
        found = [one for one in found if one not in taken]
        if quota is not None:
            found = draw(found, quota, *key, number, 0)
        taken += found
        brought.append(found)
    return brought


@given(RANKINGS, st.sets(st.sampled_from(IDS)), BANDS, st.data())
def test_the_union_is_that_of_a_naive_twin(rankings, excluded, bands, data):
    quotas = data.draw(st.lists(st.none() | st.integers(1, 9), min_size=len(rankings), max_size=len(rankings)))
    key = query_key(data.draw(st.integers(0, 2**63 - 1)), "q")
    places = unite(rankings, excluded, bands, quotas, key)
    brought = [[ranked[place] for place in found] for ranked, found in zip(rankings, places, strict=True)]
    assert brought == naive_union(rankings, excluded, bands, quotas, key)
    every = [one for found in brought for one in found]
    assert len(every) == len(set(every))
    assert not excluded.intersection(every)
    for found, at, quota in zip(brought, places, quotas, strict=True):
        assert quota is None or len(found) <= quota
        assert at == sorted(at)
        assert not bands or all(any(b.first <= place + 1 <= b.last for b in bands) for place in at)


def test_the_bands_of_splade_v3_take_the_top_and_fifty_more():
    ranked = [f"d{i:04d}" for i in range(2000)]
    bands = [Band.parse("50@1-50"), Band.parse("50@1-1000")]
    places = draw_from_bands(ranked, (), bands, query_key(1, "q"))
    assert places[:50] == list(range(50))
    assert len(places) == 100
    assert all(50 <= place < 1000 for place in places[50:])
    assert sum(places[50:]) / 50 == pytest.approx(525, abs=4 * 274 / 50**0.5)  # the mean of an even draw, 4 deviations
    assert draw_from_bands(ranked, {"d0003"}, bands, query_key(1, "q"))[:4] == [0, 1, 2, 4]


def test_draws_are_even_and_depend_on_the_key_alone():
    counts = dict.fromkeys(range(10), 0)
    for i in range(3000):
        key = query_key(7, f"q{i}")
        drawn = draw(range(10), 3, *key)
        assert drawn == sorted(set(drawn)) == draw(range(10), 3, *key)
        for one in drawn:
            counts[one] += 1
    deviation = (3000 * 0.3 * 0.7) ** 0.5
    assert all(abs(count - 900) < 5 * deviation for count in counts.values())


def test_sources_with_one_ranking_draw_different_places():
    ranked = [f"d{i}" for i in range(200)]
    first, second = unite([ranked, ranked], (), [Band(20, 1, 200)], [None, None], query_key(0, "q"))
    assert first != second
    assert not set(first) & set(second)


@pytest.mark.parametrize("text", ["50@1-50", "1@1-1", "3@10-1000"])
def test_a_band_is_written_as_it_is_read(text):
    assert str(Band.parse(text)) == text


@pytest.mark.parametrize("text", ["", "50", "50@50", "0@1-2", "5@0-2", "5@3-2", "5@1-2,5@1-3", "-5@1-2", "5@1-x"])
def test_what_is_no_band_is_refused(text):
    with pytest.raises(ConfigError, match="COUNT@FIRST-LAST"):
        Band.parse(text)
