"""Whether the differences between runs are more than chance: paired tests over queries, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everglade.errors import ConfigError, InputError

__all__ = ["Comparison", "compare_values", "holm", "interval_of_mean"]

RANDOMISATIONS = 20_000
BOOTSTRAPS = 10_000
VALUES_AT_A_TIME = 5_000_000
"""Values of resamples that are held at once, 8 bytes each."""
SAME = 1e-9
"""Values of a query nearer to each other than this are a tie: measures are sums in float64."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One run against the baseline in one measure, query by query."""

    run: str
    measure: str
    mean: float
    difference: float
    """Mean of the run minus mean of the baseline."""
    low: float
    high: float
    """The 95 % bootstrap confidence interval of `difference`: percentiles over resampled queries."""
    p_t: float
    """Two-sided paired t-test."""
    p_randomisation: float
    """Two-sided paired randomisation test on the mean difference (Smucker, Allan, Carterette, CIKM 2007)."""
    p_t_corrected: float
    p_randomisation_corrected: float
    """After Holm's correction for all runs that were compared in this measure."""
    wins: int
    ties: int
    losses: int


def compare_values(
    values: Mapping[str, Mapping[str, Mapping[str, float]]], baseline: str, measures: Sequence[str], seed: int = 0
) -> list[Comparison]:
    """Compare every run with the baseline, in every measure, over the queries of the judgements.

    Args:
        values: run name -> query id -> measure -> value, as `evaluate_queries` gives them for one set of judgements.
        baseline: the name of the run that the others are compared with.
        measures: which of the measures.
        seed: of the resampling. The same values and seed give the same figures.

    Returns:
        One for each run but the baseline and each measure, by measure and then in the order of the runs.

    Raises:
        ConfigError: if there is no such baseline, or nothing beside it.
        InputError: if the runs were not measured on the same queries, or on fewer than two, or a value is not finite.
    """
    if baseline not in values:
        raise ConfigError(f"there is no run {baseline!r} to compare with. The runs: {', '.join(values)}.")
    others = [run for run in values if run != baseline]
    if not others:
        raise ConfigError(f"there is only the baseline {baseline!r}. Name at least one run to compare with it.")
    queries = list(values[baseline])
    for run in others:
        if set(values[run]) != set(queries):
            raise InputError(f"{run!r} and {baseline!r} were measured on different queries: they cannot be paired.")
    if len(queries) < 2:
        raise InputError(f"{len(queries)} judged query: a paired test needs at least two.")
    compared = []
    for measure in measures:
        base = _column(values[baseline], queries, measure)
        compared += _compare_measure(
            {run: _column(values[run], queries, measure) for run in others}, base, measure, seed
        )
    return compared


def _column(rows: Mapping[str, Mapping[str, float]], queries: Sequence[str], measure: str) -> NDArray[np.float64]:
    try:
        values = np.array([rows[query][measure] for query in queries], dtype=np.float64)
    except KeyError as error:
        known = ", ".join(rows[queries[0]])
        raise ConfigError(f"there are no values of {measure!r} for every query. There are: {known}.") from error
    if not np.isfinite(values).all():
        where = queries[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise InputError(f"the value of {measure} for query {where!r} is no finite number: it cannot be tested")
    return values


def _compare_measure(
    runs: Mapping[str, NDArray[np.float64]], base: NDArray[np.float64], measure: str, seed: int
) -> list[Comparison]:
    differences = {run: values - base for run, values in runs.items()}
    p_t = {run: _t_test(difference) for run, difference in differences.items()}
    p_randomisation = {run: _randomisation_test(difference, seed) for run, difference in differences.items()}
    corrected_t = dict(zip(p_t, holm(list(p_t.values())), strict=True))
    corrected_randomisation = dict(zip(p_t, holm(list(p_randomisation.values())), strict=True))
    compared = []
    for run, difference in differences.items():
        low, high = interval_of_mean(difference, seed)
        compared.append(
            Comparison(
                run=run,
                measure=measure,
                mean=float(runs[run].mean()),
                difference=float(difference.mean()),
                low=low,
                high=high,
                p_t=p_t[run],
                p_randomisation=p_randomisation[run],
                p_t_corrected=corrected_t[run],
                p_randomisation_corrected=corrected_randomisation[run],
                wins=int((difference > SAME).sum()),
                ties=int((np.abs(difference) <= SAME).sum()),
                losses=int((difference < -SAME).sum()),
            )
        )
    return compared


def _t_test(difference: NDArray[np.float64]) -> float:
    from scipy import stats

    if np.ptp(difference) <= SAME:  # no variance: t is infinite, or 0 of 0
        return 1.0 if abs(difference[0]) <= SAME else 0.0
    return float(stats.ttest_1samp(difference, 0.0).pvalue)


def _randomisation_test(difference: NDArray[np.float64], seed: int) -> float:
    from scipy import stats

    moved = difference[np.abs(difference) > SAME]  # a change of sign of the others changes nothing
    if len(moved) < 2:  # one difference is as great with either sign
        return 1.0
    result = stats.permutation_test(
        (moved,),
        lambda sample, axis: sample.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RANDOMISATIONS,
        batch=_batch(len(moved)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _batch(n_values: int) -> int:
    """Give how many resamples to hold at a time, in some tens of megabytes; the results do not change."""
    return max(1, min(1_000, VALUES_AT_A_TIME // n_values))


def interval_of_mean(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """Give the 95 % bootstrap interval of a mean: percentiles over resampled values; of one value, that value twice.

    The same values and seed give the same.
    """
    from scipy import stats

    if len(values) < 2:
        return float(values.mean()), float(values.mean())

    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=BOOTSTRAPS,
        batch=_batch(len(values)),
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down procedure (Scandinavian Journal of Statistics, 1979).

    The i-th smallest of m is multiplied by m - i + 1; none comes out below a smaller one, or above 1.
    """
    corrected = [0.0] * len(p_values)
    greatest = 0.0
    for place, which in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        greatest = max(greatest, min(1.0, p_values[which] * (len(p_values) - place)))
        corrected[which] = greatest
    return corrected
