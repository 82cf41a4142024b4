import json

import numpy as np
import pytest

from everglade.distill.candidates import Source, read_sources
from everglade.distill.drawing import Band
from everglade.distill.false_negatives import Rule
from everglade.distill.mining_statistics import Sample
from everglade.distill.negatives import MiningSettings
from everglade.errors import ConfigError


@pytest.mark.parametrize("specs", [["bm26"], ["bm25:x"], ["dense"], ["splade:"], ["bm25", "bm25"], ["run:a", "run:a"]])
def test_senseless_sources_are_refused(specs):
    with pytest.raises(ConfigError, match="source"):
        MiningSettings(sources=tuple(specs))


def test_sources_are_named_without_their_paths():
    found = read_sources(["bm25", "splade:/a/b/final", "splade:/a/c/final/", "dense:org/MiniLM L6", "run:x/y.trec.gz"])
    assert found[1] == Source("splade", "/a/b/final", "splade-final")
    assert [source.name for source in found] == [
        "bm25", "splade-final", "splade-final-2", "dense-MiniLM_L6", "run-y"
    ]  # fmt: skip


def test_settings_are_read_as_they_are_written():
    values = {"sources": ["bm25", "run:x"], "quotas": [3, 4], "bands": "50@1-50,50@1-1000", "teacher": "bm25"}
    settings = MiningSettings.from_dict({**values, "margin": "95%", "negatives_per_query": 8})
    assert settings.margin == Rule("share", 0.95)
    assert settings.bands == (Band(50, 1, 50), Band(50, 1, 1000))
    assert (settings.hits, settings.quota_of_each) == (1000, (3, 4))
    assert MiningSettings.from_dict(settings.to_dict()) == settings
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()
    assert (MiningSettings().hits, MiningSettings(quotas=2).quota_of_each) == (100, (2,))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"source": ["bm25"]}, "Did you mean sources"),
        ({"sources": []}, "at least one source"),
        ({"quotas": 0}, "quotas must be"),
        ({"quotas": [1, 2]}, "2 quotas for 1 sources"),
        ({"bands": ["9@5-1"]}, "COUNT@FIRST-LAST"),
        ({"bands": 3}, "bands must be"),
        ({"depth": 10, "bands": "1@1-11"}, "place 11, but depth is 10"),
        ({"depth": 1.5}, "depth must be"),
        ({"negatives_per_query": 0}, "negatives_per_query must be"),
        ({"seed": -1}, "seed must be"),
        ({"margin": 1.0}, "margin needs a teacher"),
        ({"margin": "far", "teacher": "bm25"}, "cannot be read"),
        ({"teacher": "nonsense:x"}, "no known kind"),
        ({"teacher": "dense"}, "cannot be read"),
    ],
)
def test_senseless_settings_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        MiningSettings.from_dict(values)


def test_a_sample_is_the_stream_while_it_fits_and_an_even_part_of_it_after():
    sample, again = Sample(most=64), Sample(most=64)
    for number in range(64):
        assert sample.values.tolist() == list(range(number))
        sample.add(number)
    for number in range(64, 40_000):
        sample.add(number)
    for number in range(40_000):
        again.add(number)
    assert again.values.tolist() == sample.values.tolist()
    assert len(set(sample.values.tolist())) == 64
    assert abs(sample.values.mean() - 20_000) < 5 * 40_000 / 12**0.5 / 8  # 5 deviations of the mean of 64


@pytest.mark.parametrize("period", [2, 3, 16, 100])
def test_a_sample_of_a_periodic_stream_holds_each_number_alike(period):
    sample = Sample(most=1000)
    for number in range(50_000):
        sample.add(number % period)
    counts = np.bincount(sample.values.astype(int), minlength=period)
    share = 1 / period
    assert (abs(counts - 1000 * share) < 5 * (1000 * share * (1 - share)) ** 0.5).all()
