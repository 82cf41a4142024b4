"""Which points a sweep has."""

from itertools import product

import pytest

from everglade.errors import ConfigError
from everglade.frontier.settings import AXES, USUAL_AXES, Choice, FrontierSettings


def test_each_value_alone_beside_the_point_that_changes_nothing():
    settings = FrontierSettings(document_terms=(64, None, 32), bits=("8", "float"), recall=(0.9,))
    assert list(settings.choices()) == [
        Choice(),
        Choice(document_terms=64),
        Choice(document_terms=32),
        Choice(bits="float"),
        Choice(recall=0.9),
    ]


def test_the_usual_points_where_nothing_is_named():
    points = list(FrontierSettings().choices())
    assert len(points) == len(set(points)) == 1 + sum(map(len, USUAL_AXES.values())) >= 12
    assert {point.group for point in points[1:]} == set(AXES.values())


def test_the_usual_points_of_so_many_hits_that_all_is_exact():
    for settings in (FrontierSettings(convention="beir"), FrontierSettings(k=1000)):
        points = list(settings.choices())
        assert len(points) == 1 + sum(map(len, USUAL_AXES.values())) - len(USUAL_AXES["recall"])
        assert not any(point.recall for point in points)


def test_every_combination_that_is_possible():
    settings = FrontierSettings(prune=(None, "term:0.5"), bits=("8", "float"), recall=(None, 0.9), cross=True)
    expected = [
        Choice(prune=prune, bits=bits, recall=recall)
        for prune, bits, recall in product((None, "term:0.5"), ("8", "float"), (None, 0.9))
        if bits == "8" or (prune is None and recall is None)
    ]
    assert list(settings.choices()) == expected
    assert len(expected) == 5
    assert list(FrontierSettings(cross=True).choices()) == [Choice()]


def test_what_a_point_is_called():
    assert Choice().label == "all of it"
    assert Choice(document_terms=64).label == "64 doc terms"
    assert Choice(bits="float").label == "float16"
    both = Choice(prune="term:0.5", query_terms=8)
    assert both.label == "term:0.5, 8 query terms"
    assert both.group == "several at once"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"document_terms": (0,)}, "document_terms is 0: it must be a whole number"),
        ({"query_terms": (2.5,)}, "query_terms is 2.5"),
        ({"prune": ("half",)}, "prune is 'half'. Give document:N"),
        ({"bits": ("32",)}, "bits is '32': it must be one of 8, 16, float"),
        ({"recall": (1.0,)}, "recall is 1.0: it must be above 0 and below 1"),
        ({"bits": ("float",), "recall": (0.9,), "cross": True}, "no point is left"),
        ({"recall": (0.9,), "k": 101}, "a search for 101 hits is always exact: .* may be 100 at most"),
        ({"recall": (0.9,), "convention": "beir"}, "a search for 101 hits is always exact: .* may be 99 at most"),
        ({"convention": "mine"}, "no convention 'mine'"),
        ({"measures": ("nDCG@200",)}, "nDCG@200 looks at 200 hits"),
        ({"k": 0}, "k is 0"),
        ({"queries": -1}, "queries is -1"),
    ],
)
def test_what_cannot_be_swept_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        FrontierSettings(**values)
