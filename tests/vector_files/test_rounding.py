"""Weights become what other tools make of them."""

import numpy as np
import pytest

from everglade.errors import ConfigError
from everglade.vector_files import Round, Rounding

WEIGHTS = np.array([0.004, 0.995, 1.15, 2.345, 2.355, 2.999])


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        (Rounding(), np.float32(WEIGHTS)),
        (Rounding(100, Round.nearest), [0, 100, 115, 235, 236, 300]),  # naver's export
        (Rounding(51.2, Round.nearest), [0, 51, 59, 120, 121, 154]),  # Pyserini's encoders
        (Rounding(100, Round.down), [0, 99, 114, 234, 235, 299]),  # pyterrier-pisa: 1.15 * 100 is 114.99...
        (Rounding(1, Round.down), [0, 0, 1, 2, 2, 2]),  # Anserini of a file with fractions
        (Rounding(100, Round.up), [1, 100, 115, 235, 236, 300]),
    ],
)
def test_roundings_by_their_definitions(rounding, expected):
    np.testing.assert_array_equal(rounding.apply(WEIGHTS), np.array(expected, dtype=np.float32))
    assert rounding.apply(WEIGHTS).dtype == np.float32


def test_each_is_what_the_tool_itself_computes():
    weights = np.random.default_rng(0).uniform(0, 4, 2000)
    assert Rounding(100, Round.down).apply(weights).tolist() == [int(w * 100.0) for w in weights.tolist()]
    assert Rounding(100, Round.nearest).apply(weights).tolist() == np.rint(weights * 100).astype(int).tolist()
    pyserini = [round(w / 5 * 256) for w in weights.tolist()]
    assert Rounding(256 / 5, Round.nearest).apply(weights).tolist() == pyserini


def test_nine_bits_are_those_of_lucene():
    """Measured on FeatureField of Lucene 9.9.1: 2.999 is stored as 2.9921875, 3.14159 as 3.140625."""
    stored = Rounding(1, Round.nine_bits).apply(np.array([2.999, 3.14159, 1.0, 0.5, 0.0]))
    assert stored.tolist() == [2.9921875, 3.140625, 1.0, 0.5, 0.0]
    weights = np.random.default_rng(1).uniform(1e-3, 64, 2000)
    lost = 1 - Rounding(1, Round.nine_bits).apply(weights) / weights
    assert 0 < lost.max() < 2**-8
    assert lost.min() > -1e-7


@pytest.mark.parametrize("times", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_none(times):
    with pytest.raises(ConfigError, match="give a positive number"):
        Rounding(times)
