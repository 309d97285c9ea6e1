"""A histogram of a parameter over sources: the part of them in each bin, whatever its form.

With p_k the part in bin k, spread evenly over it, L_i = sum_k a_ik p_k, a_ik being the mean of the reweighed draws of
source i in bin k. The prior of p is Jeffreys' Dirichlet, worth half a source in each bin. Each source belongs to one
bin that nobody knows; given these, p is Dirichlet; given p, they are drawn one by one. The two in turn are a Gibbs
sampler, and several chains from different starts say whether it has settled.

A thinner prior would empty bins of whose sources nobody can be sure, as their errors spread them over several. Where a
density is not flat, its bins have to be narrower than its form, as the intervals are those of the flat density that
comes closest.

Sources that a selection f left out are drawn too: given p and n found ones their number is negative binomial, and they
belong to bins with p_k (1 - f_k); with a rate of sources of which nothing is known this is the likelihood over
alpha(p)^n.

Source: Jeffreys 1946, Proc. R. Soc. Lond. A 186, 453 (prior); Escobar & West 1995, J. Am. Stat. Assoc. 90, 577
(allocation); Vehtari et al. 2021, Bayesian Anal. 16, 667 (split R-hat and effective sample size).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError
from xrayflow.studies.population.draws import SourceDraws
from xrayflow.studies.population.selection import Selection

Numbers = NDArray[np.float64]

CHAINS, SETTLING, KEPT = 4, 500, 8000
LEAST_BINS, MOST_BINS = 4, 32
BY_SOURCES = 3.0
"""Bins are so many times the cube root of the number of sources: narrower by a third than those that show a form best
(Freedman & Diaconis 1981), as intervals are to hold the parts."""

WORTH = 0.5
"""Sources in each bin that the prior counts as."""

OUTER = 0.002
"""Of all draws together, what lies below the inner bins and above them."""

CELLS = 32
"""At which a selection is averaged over a bin."""


@dataclass(frozen=True, eq=False)
class HistogramDraws:
    """Draws of the parts of all bins.

    Attributes:
        edges: (bin + 1,) in x; the outer bins reach to the edges of the prior's box.
        share: (chain, draw, bin).
        rhat: (bin,) split R-hat.
        ess: (bin,) effective draws.
    """

    edges: Numbers
    share: Numbers
    rhat: Numbers
    ess: Numbers


def bin_edges(draws: SourceDraws, bins: int | None) -> Numbers:
    """Even bins where the sources are, and one more on each side to the edge of the box.

    Args:
        draws: Of the sources.
        bins: Inner bins; None: 3 n^(1/3) of n sources, none narrower than the median error of one.
    """
    order = np.argsort(draws.x[:, 0])
    cumulative = np.cumsum(draws.weight[order]) / draws.sources
    ends = np.searchsorted(cumulative, [OUTER, 1.0 - OUTER])
    first, last = draws.x[order[ends.clip(max=order.size - 1)], 0]
    lo, hi = draws.axes[0].box
    if not last > first:
        raise DataError(f"{draws.axes[0].marginal.name}: all draws have one value; there is no histogram of that")
    if bins is None:
        error = 0.5 * float(np.median(draws.quantile(0.84) - draws.quantile(0.16)))
        most = (last - first) / error if error > 0 else MOST_BINS
        bins = int(np.clip(min(round(BY_SOURCES * draws.sources ** (1.0 / 3.0)), most), LEAST_BINS, MOST_BINS))
    inner = np.linspace(first, last, bins + 1)
    near = 0.5 * (inner[1] - inner[0])  # a sliver at the edge of the box joins its neighbour
    below, above = (lo,) if first - lo > near else (), (hi,) if hi - last > near else ()
    inner[0], inner[-1] = first if below else lo, last if above else hi
    return np.array([*below, *inner, *above])


def bin_means(draws: SourceDraws, edges: Numbers) -> Numbers:
    """(source, bin) mean over the draws of weight / prior x the bin's density.

    Args:
        draws: Of the sources.
        edges: Of the bins.
    """
    bins = edges.size - 1
    place = np.clip(np.searchsorted(edges, draws.x[:, 0], side="right") - 1, 0, bins - 1)
    source = np.repeat(np.arange(draws.sources), draws.lengths)
    value = np.exp(draws.log_ratio) / np.diff(edges)[place]
    found = np.bincount(source * bins + place, weights=value, minlength=draws.sources * bins)
    return np.asarray(found.reshape(draws.sources, bins))


def found_in_bins(selection: Selection | None, edges: Numbers) -> Numbers:
    """(bin,) the part of the sources that is found in each."""
    if selection is None:
        return np.ones(edges.size - 1)
    middle = (np.arange(CELLS) + 0.5) / CELLS
    return np.asarray(selection(edges[:-1, None] + np.diff(edges)[:, None] * middle).mean(-1))


def sample_histogram(
    mean: Numbers,
    edges: Numbers,
    found: Numbers,
    generator: np.random.Generator,
    progress: Callable[[float], None] | None = None,
) -> HistogramDraws:
    """Draws of the parts of all bins.

    Args:
        mean: (source, bin) of `bin_means`.
        edges: Of the bins.
        found: (bin,) of `found_in_bins`.
        generator: Source of randomness.
        progress: Is told the part that is done.
    """
    sources, bins = mean.shape
    share = generator.dirichlet(np.ones(bins), CHAINS)
    kept = np.empty((CHAINS, KEPT, bins))
    everywhere = bool((found == 1.0).all())
    for sweep in range(SETTLING + KEPT):
        for chain in range(CHAINS):
            number = _allocated(mean * share[chain], generator)
            if not everywhere:
                alpha = float(share[chain] @ found)
                missed = share[chain] * (1.0 - found)
                number = number + generator.multinomial(
                    generator.negative_binomial(sources, alpha), missed / missed.sum()
                )
            share[chain] = generator.dirichlet(WORTH + number)
        if sweep >= SETTLING:
            kept[:, sweep - SETTLING] = share
        if progress is not None and sweep % 50 == 0:
            progress(sweep / (SETTLING + KEPT))
    rhat, ess = zip(*(settled(kept[..., k]) for k in range(bins)), strict=True)
    return HistogramDraws(edges, kept, np.array(rhat), np.array(ess))


def _allocated(weight: Numbers, generator: np.random.Generator) -> Numbers:
    """(bin,) sources in each bin, drawn with these weights (source, bin)."""
    cumulative = np.cumsum(weight, axis=1)
    level = generator.random(weight.shape[0]) * cumulative[:, -1]
    return np.bincount((cumulative < level[:, None]).sum(1), minlength=weight.shape[1]).astype(np.float64)


def settled(chains: Numbers) -> tuple[float, float]:
    """Split R-hat and effective sample size of one number.

    Args:
        chains: (chain, draw).
    """
    half = chains.shape[1] // 2
    split = np.concatenate([chains[:, :half], chains[:, half : 2 * half]])
    count, length = split.shape
    within = split.var(axis=1, ddof=1).mean()
    if within == 0:
        return 1.0, float(split.size)
    total = (length - 1) / length * within + split.mean(axis=1).var(ddof=1)
    centred = split - split.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * length)
    lagged = np.fft.irfft(spectrum * spectrum.conj())[:, :length].mean(0) / length
    correlation = 1.0 - (within - lagged * length / (length - 1)) / total
    pairs = correlation[: length // 2 * 2].reshape(-1, 2).sum(1)  # Geyer: sums of neighbours are positive, and fall
    negative = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: negative[0]] if negative.size else pairs)
    time = max(2.0 * float(pairs.sum()) - 1.0, 1.0 / np.log10(split.size))
    return float(np.sqrt(total / within)), min(count * length / time, float(split.size))
