"""Significance against textbook values and enumerations."""

import itertools
import math

import numpy as np
import pytest

from everglade.errors import ConfigError, InputError
from everglade.evaluation import significance
from everglade.evaluation.significance import compare_values, holm


def rows(values):
    return {str(number): {"nDCG@10": value} for number, value in enumerate(values)}


def compare_one(base, other, **options):
    (compared,) = compare_values({"base": rows(base), "other": rows(other)}, "base", ["nDCG@10"], **options)
    return compared


def test_the_randomisation_test_is_the_share_of_signs_that_differ_as_much():
    random = np.random.default_rng(3)
    base, other = random.random(10), random.random(10)
    difference = other - base
    signs = itertools.product((-1, 1), repeat=10)
    sums = [abs(sum(sign * value for sign, value in zip(some, difference, strict=True))) for some in signs]
    expected = sum(value >= abs(difference.sum()) - 1e-12 for value in sums) / 2**10
    assert compare_one(base, other).p_randomisation == pytest.approx(expected)


def test_with_many_queries_the_randomisation_test_comes_near_the_normal_one():
    random = np.random.default_rng(4)
    base = random.random(400)
    other = base + random.normal(0.01, 0.1, 400)
    compared = compare_one(base, other)
    difference = other - base
    z = difference.mean() / (difference.std(ddof=1) / math.sqrt(400))
    expected = math.erfc(abs(z) / math.sqrt(2))
    assert compared.p_randomisation == pytest.approx(expected, abs=0.01)
    assert compared.p_t == pytest.approx(expected, abs=0.005)


def test_the_t_test_is_the_textbooks():
    # Student's sleep (Biometrika, 1908): t = 4.0621, p = .002833 for the paired samples of ten patients.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    compared = compare_one(first, second)
    assert compared.p_t == pytest.approx(0.002833, abs=1e-6)
    assert compared.difference == pytest.approx(1.58)
    assert (compared.wins, compared.ties, compared.losses) == (9, 1, 0)


def test_the_interval_is_that_of_resampled_means():
    random = np.random.default_rng(5)
    base = random.random(50)
    other = base + random.normal(0.05, 0.2, 50)
    compared = compare_one(base, other)
    slow = np.random.default_rng(6)
    means = [float(np.mean(slow.choice(other - base, 50))) for _ in range(20_000)]
    low, high = np.percentile(means, [2.5, 97.5])
    assert compared.low == pytest.approx(low, abs=0.004)
    assert compared.high == pytest.approx(high, abs=0.004)


def test_equal_runs_do_not_differ():
    compared = compare_one([0.5, 0.25, 1.0], [0.5, 0.25, 1.0])
    assert (compared.difference, compared.low, compared.high) == (0, 0, 0)
    assert compared.p_t == compared.p_randomisation == compared.p_t_corrected == 1
    assert compared.ties == 3


def test_one_query_that_moved_proves_nothing():
    compared = compare_one([0.5, 0.25, 1.0], [0.5, 0.75, 1.0])
    assert compared.p_randomisation == 1
    assert (compared.wins, compared.ties, compared.losses) == (1, 2, 0)


def test_the_same_difference_everywhere_is_no_error():
    compared = compare_one([0.25] * 12, [0.5] * 12)
    assert compared.p_t == 0
    assert compared.p_randomisation == pytest.approx(2 / 2**12)


def test_holm_on_the_example_of_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_each_measure_is_corrected_for_the_runs_compared():
    random = np.random.default_rng(7)
    base = random.random(40)
    values = {name: rows(base + random.normal(0.05, 0.2, 40)) for name in "abc"} | {"base": rows(base)}
    compared = compare_values(values, "base", ["nDCG@10"])
    assert [one.run for one in compared] == ["a", "b", "c"]
    assert [one.p_t_corrected for one in compared] == holm([one.p_t for one in compared])


def test_the_same_seed_gives_the_same_figures_and_another_nearly():
    random = np.random.default_rng(8)
    base, other = random.random(60), random.random(60)
    assert compare_one(base, other) == compare_one(base, other)
    assert compare_one(base, other, seed=1).low == pytest.approx(compare_one(base, other).low, abs=0.01)


def test_how_many_resamples_are_held_at_a_time_changes_nothing(monkeypatch):
    random = np.random.default_rng(9)
    base, other = random.random(60), random.random(60)
    whole = compare_one(base, other)
    monkeypatch.setattr(significance, "VALUES_AT_A_TIME", 60 * 7)
    assert compare_one(base, other) == whole


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="no run 'other'"):
        compare_values({"base": rows([1, 2])}, "other", ["nDCG@10"])
    with pytest.raises(ConfigError, match="only the baseline"):
        compare_values({"base": rows([1, 2])}, "base", ["nDCG@10"])
    with pytest.raises(InputError, match="different queries"):
        compare_values({"base": rows([1, 2]), "other": rows([1, 2, 3])}, "base", ["nDCG@10"])
    with pytest.raises(ConfigError, match="no values of 'AP' for every query. There are: nDCG@10"):
        compare_values({"base": rows([1, 2]), "other": rows([1, 2])}, "base", ["AP"])
    with pytest.raises(InputError, match="nDCG@10 for query '1' is no finite number"):
        compare_values({"base": rows([1, 2]), "other": rows([1, math.nan])}, "base", ["nDCG@10"])
    with pytest.raises(InputError, match="at least two"):
        compare_values({"base": rows([1]), "other": rows([1])}, "base", ["nDCG@10"])
