"""Are posteriors as wide as they should be? Ranks, coverage and TARP of sources whose truths are known.

If truth and draws come from one posterior, the truth's rank among L draws takes each of its L + 1 values as often as
any other. With a uniform number U that spreads each value over its width,

    u = (L [share of draws below the truth] + U) / (L + 1)

is exactly uniform in 0 .. 1. Weighted draws take their effective number for L, which is nearly so. L draws tell levels
up to about 1 - 2 / L apart. Everything here follows from such u:

* ranks (SBC): u of each parameter. A hump means posteriors that are too wide, a bowl too narrow ones, a slope a shift.
* coverage: the share of truths in the central interval of each level, |2 u - 1| <= level.
* TARP: u of the distance from a random reference point, over all parameters at once. Its distribution function is the
  expected coverage of credible regions around such points. It also sees wrong correlations, which the others cannot.

Source: Talts et al. 2018, arXiv 1804.06788 (SBC); Lemos et al. 2023, arXiv 2302.03026 (TARP).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from xrayflow.studies.validation.truths import Numbers, TruthAndDraws

LEVELS: Numbers = np.linspace(0.0, 1.0, 101)
"""Credible levels at which curves are given."""

FEWEST_PER_BIN, MOST_BINS = 20, 20
"""Ranks expected in a bin of a histogram."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """All of it for one set of answers.

    Attributes:
        names: The parameters'.
        sources: Their number.
        rank: (source, parameter) ranks u.
        rank_p: (parameter,) p-value of their being uniform, from the histogram.
        deviation: (parameter,) largest distance of coverage from its level.
        tarp: (source,) ranks of the distances from reference points.
        tarp_p: p-value of their being uniform (Kolmogorov-Smirnov).
        tarp_deviation: Largest distance of the expected coverage from its level.
    """

    names: tuple[str, ...]
    sources: int
    rank: Numbers
    rank_p: Numbers
    deviation: Numbers
    tarp: Numbers
    tarp_p: float
    tarp_deviation: float


def calibrate(answers: TruthAndDraws, seed: int) -> Calibration:
    """Ranks, coverage and TARP.

    Args:
        answers: Truths and draws.
        seed: Of the reference points and of what breaks ties.
    """
    generator = np.random.default_rng(seed)
    rank = ranks(answers, generator)
    tarp = tarp_ranks(answers, generator)
    return Calibration(
        answers.names,
        answers.sources,
        rank,
        np.array([uniformity(column) for column in rank.T]),
        coverage_deviation(rank),
        tarp,
        float(stats.kstest(tarp, "uniform").pvalue),
        float(stats.kstest(tarp, "uniform").statistic),
    )


def ranks(answers: TruthAndDraws, generator: np.random.Generator) -> Numbers:
    """(source, parameter) the rank u of each truth among its draws.

    Args:
        answers: Truths and draws.
        generator: Gives U.
    """
    truth = answers.truth[:, None]
    below = np.einsum("sd,sdp->sp", answers.weights, (answers.draws < truth).astype(np.float64))
    tied = np.einsum("sd,sdp->sp", answers.weights, (answers.draws == truth).astype(np.float64))
    return _spread(below, tied, answers.ess[:, None], generator)


def tarp_ranks(answers: TruthAndDraws, generator: np.random.Generator) -> Numbers:
    """(source,) the rank u of the truth's distance from a reference point among those of its draws.

    Reference points are uniform in the box that the truths span, and distances are in units of its sides.

    Args:
        answers: Truths and draws.
        generator: Gives the reference points and U.
    """
    low, high = answers.truth.min(axis=0), answers.truth.max(axis=0)
    side = np.where(high > low, high - low, 1.0)
    reference = generator.random(answers.truth.shape)
    to_truth = np.square((answers.truth - low) / side - reference).sum(axis=-1)
    to_draws = np.square((answers.draws - low) / side - reference[:, None]).sum(axis=-1)
    below = (answers.weights * (to_draws < to_truth[:, None])).sum(axis=1)
    tied = (answers.weights * (to_draws == to_truth[:, None])).sum(axis=1)
    return _spread(below, tied, answers.ess, generator)


def coverage(rank: Numbers, levels: Numbers = LEVELS) -> Numbers:
    """The share of truths inside their central intervals.

    Args:
        rank: (source, parameter).
        levels: (level,) 0 .. 1.

    Returns:
        (level, parameter).
    """
    inside = np.abs(2.0 * rank - 1.0)
    share: Numbers = (inside[None] <= np.asarray(levels)[:, None, None]).mean(axis=1)
    return share


def coverage_deviation(rank: Numbers) -> Numbers:
    """(parameter,) largest |share inside - level|, over all levels and not only those of a grid.

    Args:
        rank: (source, parameter).
    """
    return np.array([stats.kstest(np.abs(2.0 * column - 1.0), "uniform").statistic for column in rank.T])


def expected_coverage(rank: Numbers, levels: Numbers = LEVELS) -> Numbers:
    """(level,) TARP's curve: the share of ranks up to each level.

    Args:
        rank: (source,) of `tarp_ranks`.
        levels: (level,) 0 .. 1.
    """
    share: Numbers = (rank[None] <= np.asarray(levels)[:, None]).mean(axis=1)
    return share


def binomial_band(levels: Numbers, sources: int, probability: float = 0.95) -> tuple[Numbers, Numbers]:
    """Between which shares a right coverage lies, at each level by itself.

    Args:
        levels: (level,) 0 .. 1.
        sources: Number of truths.
        probability: What the band holds.
    """
    tail = 0.5 * (1.0 - probability)
    levels = np.asarray(levels, dtype=np.float64)
    low = np.asarray(stats.binom.ppf(tail, sources, levels) / sources)
    high = np.asarray(stats.binom.ppf(1.0 - tail, sources, levels) / sources)
    return np.maximum(0.0, low), high


def rank_bins(sources: int) -> int:
    """How many bins a histogram of ranks takes.

    Args:
        sources: Number of ranks.

    >>> rank_bins(1000), rank_bins(100), rank_bins(3)
    (20, 5, 2)
    """
    return int(np.clip(sources // FEWEST_PER_BIN, 2, MOST_BINS))


def uniformity(rank: Numbers) -> float:
    """p-value of ranks being uniform: chi^2 of their histogram.

    Args:
        rank: (source,).
    """
    bins = rank_bins(rank.size)
    counts, _ = np.histogram(rank, bins, (0.0, 1.0))
    return float(stats.chisquare(counts).pvalue)


def _spread(below: Numbers, tied: Numbers, draws: Numbers, generator: np.random.Generator) -> Numbers:
    """u of shares: draws that equal the truth, and the truth itself, are spread evenly over their width."""
    uniform: NDArray[np.float64] = generator.random(below.shape)
    spread: Numbers = (draws * below + uniform * (draws * tied + 1.0)) / (draws + 1.0)
    return spread
