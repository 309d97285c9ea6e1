"""Ranks, coverage and TARP: right for exact posteriors, wrong for wrong ones, and equal to what a loop would count.

The exact posteriors are those of a conjugate Gaussian: theta ~ N(0, 1), y ~ N(theta, sd), so theta | y is
N(y / (1 + sd^2), sd^2 / (1 + sd^2)).
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xrayflow.errors import DataError
from xrayflow.studies.validation import (
    TruthAndDraws,
    binomial_band,
    calibrate,
    coverage,
    coverage_deviation,
    ranks,
    tarp_ranks,
)
from xrayflow.studies.validation.calibration import expected_coverage, rank_bins, uniformity

SOURCES, DRAWS = 600, 200
NAMES = ("a", "b")


def gaussian_answers(
    width: float = 1.0,
    shift: float = 0.0,
    correlation: float = 0.0,
    weighted: bool = False,
    sources: int = SOURCES,
    seed: int = 5,
) -> TruthAndDraws:
    """Draws of a conjugate Gaussian's posteriors, `width` times too wide, shifted by so many deviations.

    Args:
        width: Of the draws over the right one.
        shift: In posterior deviations.
        correlation: Between the two parameters' draws; the right one is 0.
        weighted: Draw from a wider normal and weigh.
        sources: How many.
        seed: Of everything.
    """
    random = np.random.default_rng(seed)
    sd = 0.5 + 2.0 * random.random((sources, 2))
    truth = random.normal(size=(sources, 2))
    seen = truth + sd * random.normal(size=truth.shape)
    mean, spread = seen / (1.0 + sd**2), sd / np.sqrt(1.0 + sd**2)
    base = random.normal(size=(sources, DRAWS, 2))
    base[..., 1] = correlation * base[..., 0] + np.sqrt(1.0 - correlation**2) * base[..., 1]
    if weighted:
        base *= 1.5
        log_weight = -0.5 * np.square(base).sum(-1) * (1.0 / width**2 - 1.0 / 1.5**2)
        draws = mean[:, None] + spread[:, None] * (base + shift)
        return TruthAndDraws.of(NAMES, truth, draws, np.exp(log_weight))
    return TruthAndDraws.of(NAMES, truth, mean[:, None] + spread[:, None] * (width * base + shift))


@pytest.mark.parametrize("weighted", [False, True])
def test_exact_posteriors_pass_everything(weighted: bool) -> None:
    """Each p-value below 1e-3 happens by chance once in a thousand; the seed is fixed and five values are looked at."""
    found = calibrate(gaussian_answers(weighted=weighted), seed=1)
    assert found.sources == SOURCES
    assert (found.rank_p > 1e-3).all()
    assert found.tarp_p > 1e-3
    # Kolmogorov's 99.9 % quantile at 600 sources
    assert (found.deviation < stats.kstwo.ppf(0.999, SOURCES)).all()
    assert found.tarp_deviation < stats.kstwo.ppf(0.999, SOURCES)


@pytest.mark.parametrize("weighted", [False, True])
def test_over_confident_posteriors_fail_by_the_computed_amount(weighted: bool) -> None:
    """At half the width the central interval of level p holds 2 Phi(z_p / 2) - 1 of the truths."""
    found = calibrate(gaussian_answers(width=0.5, weighted=weighted), seed=1)
    assert (found.rank_p < 1e-6).all()
    assert found.tarp_p < 1e-6
    levels = np.linspace(0.01, 0.9, 90)  # beyond, as few as 60 effective draws do not tell
    right = 2.0 * stats.norm.cdf(0.5 * stats.norm.ppf(0.5 + 0.5 * levels)) - 1.0
    np.testing.assert_allclose(coverage(found.rank, levels), np.stack([right, right], 1), atol=0.08)
    np.testing.assert_allclose(found.deviation, (levels - right).max(), atol=0.07)


def test_under_confident_and_shifted_posteriors_fail_too() -> None:
    wide, shifted = calibrate(gaussian_answers(width=2.0), 1), calibrate(gaussian_answers(shift=0.5), 1)
    middle = (wide.rank > 0.25) & (wide.rank < 0.75)
    assert middle.mean() > 0.7
    assert shifted.rank.mean() < 0.4
    assert (wide.rank_p < 1e-6).all()
    assert (shifted.rank_p < 1e-6).all()


def test_a_wrong_correlation_is_seen_by_tarp_alone() -> None:
    found = calibrate(gaussian_answers(correlation=0.98, sources=3000), 1)
    assert (found.rank_p > 1e-3).all()
    assert found.tarp_p < 1e-4


def test_ranks_are_what_a_loop_counts() -> None:
    answers = gaussian_answers(sources=40)
    found = ranks(answers, np.random.default_rng(3))
    for source in range(40):
        for parameter in range(2):
            below = int((answers.draws[source, :, parameter] < answers.truth[source, parameter]).sum())
            assert below <= found[source, parameter] * (DRAWS + 1) <= below + 1


def test_tarp_ranks_are_what_a_loop_counts() -> None:
    answers = gaussian_answers(sources=30)
    found = tarp_ranks(answers, np.random.default_rng(8))
    reference = np.random.default_rng(8).random((30, 2))
    low, high = answers.truth.min(axis=0), answers.truth.max(axis=0)
    for source in range(30):
        point = low + reference[source] * (high - low)
        far = np.linalg.norm((answers.truth[source] - point) / (high - low))
        below = sum(bool(np.linalg.norm((draw - point) / (high - low)) < far) for draw in answers.draws[source])
        assert below <= found[source] * (DRAWS + 1) <= below + 1


def test_weights_count_as_repeated_draws() -> None:
    truth, draws = np.array([[0.5]]), np.array([[[0.0], [1.0], [2.0]]])
    weighted = TruthAndDraws.of(("a",), truth, draws, np.array([[3.0, 1.0, 0.0]]))
    repeated = TruthAndDraws.of(("a",), truth, np.array([[[0.0], [0.0], [0.0], [1.0]]]))
    assert weighted.ess[0] == pytest.approx(16 / 10)
    assert repeated.ess[0] == pytest.approx(4)
    u = [ranks(weighted, np.random.default_rng(i))[0, 0] for i in range(200)]
    assert 1.6 * 0.75 / 2.6 <= min(u) <= max(u) <= (1.6 * 0.75 + 1.0) / 2.6


def test_draws_that_equal_the_truth_leave_the_ranks_uniform() -> None:
    random = np.random.default_rng(1)
    coins = (random.random((2000, 21, 1)) < 0.5).astype(float)
    answers = TruthAndDraws.of(("a",), coins[:, 0], coins[:, 1:])
    assert calibrate(answers, 2).rank_p[0] > 1e-3


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.floats(1e-6, 1.0) | st.just(0.0), st.floats(0.5, 0.99))
def test_the_binomial_band_holds_its_share(sources: int, level: float, probability: float) -> None:
    low, high = binomial_band(np.array([level]), sources, probability)
    assert 0.0 <= low[0] <= high[0] <= 1.0
    counts = np.arange(sources + 1)
    inside = (counts / sources >= low[0] - 1e-12) & (counts / sources <= high[0] + 1e-12)
    assert stats.binom.pmf(counts, sources, level)[inside].sum() >= probability - 1e-9


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_the_deviation_of_coverage_is_the_largest_on_a_fine_grid(values: list[float]) -> None:
    rank = np.array(values)[:, None]
    inside = np.abs(2.0 * rank[:, 0] - 1.0)
    levels = np.unique(np.clip(np.concatenate([inside, inside - 1e-9, [0.0, 1.0]]), 0.0, 1.0))
    largest = np.abs(coverage(rank, levels)[:, 0] - levels).max()
    assert coverage_deviation(rank)[0] == pytest.approx(largest, abs=1e-6)


def test_expected_coverage_is_the_distribution_function_of_the_ranks() -> None:
    np.testing.assert_allclose(expected_coverage(np.array([0.1, 0.4, 0.9]), np.array([0.0, 0.4, 1.0])), [0, 2 / 3, 1])


def test_the_uniformity_of_uniform_ranks_is_uniform() -> None:
    """1000 p-values of right ranks: their own Kolmogorov-Smirnov p-value is below 1e-4 once in ten thousand."""
    random = np.random.default_rng(4)
    p = [uniformity(random.random(400)) for _ in range(1000)]
    assert stats.kstest(p, "uniform").pvalue > 1e-4
    assert rank_bins(400) == 20


GOOD = {"names": ("a",), "truth": np.zeros((3, 1)), "draws": np.ones((3, 4, 1)), "weights": np.ones((3, 4))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ("a", "b")}, r"truths of shape \(3, 1\) for 2 parameters; give \(source, parameter\)"),
        ({"truth": np.zeros((0, 1))}, r"truths of shape \(0, 1\)"),
        ({"draws": np.ones((3, 1))}, r"draws of shape \(3, 1\) for truths of shape \(3, 1\); give"),
        ({"draws": np.ones((3, 0, 1))}, r"draws of shape \(3, 0, 1\)"),
        ({"weights": np.ones((3, 5))}, r"weights of shape \(3, 5\) for draws of shape \(3, 4, 1\)"),
        ({"truth": np.array([[0.0], [np.nan], [0.0]])}, "truths of source 1 are not finite; leave that source out"),
        ({"draws": np.full((3, 4, 1), np.inf)}, "draws of source 0 are not finite"),
        ({"weights": np.full((3, 4), np.nan)}, "weights of source 0 are not finite"),
        ({"weights": np.array([[1.0] * 4, [0.0] * 4, [1.0] * 4])}, "weights of source 1 are negative or all 0"),
        ({"weights": -np.ones((3, 4))}, "weights of source 0 are negative or all 0"),
    ],
)
def test_what_are_no_answers_is_refused(changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TruthAndDraws.of(**{**GOOD, **changes})  # type: ignore[arg-type]


def test_answers_can_be_selected() -> None:
    answers = gaussian_answers(sources=5)
    assert answers.select(np.array([True, False, True, False, False])).sources == 2
    np.testing.assert_array_equal(answers.select(np.array([4])).draws[0], answers.draws[4])
