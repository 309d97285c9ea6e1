"""What weights say, and what is made of weighted draws: effective sample size, Pareto k, evidence, quantiles.

A draw v from a proposal q weighs

    log w = log likelihood + log N(v; 0, I) - log q(v);      mean weight = evidence,      ess = (sum w)^2 / sum w^2.

The tail of the weights is described by a generalised Pareto shape k: below 0.7 the mean of the weights converges.

Source: Kish 1965 (ess); Vehtari et al. 2024, JMLR 25, 72 (Pareto k and its threshold); Zhang & Stephens 2009,
Technometrics 51, 316 (the estimator of k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor


def effective_sample_size(log_weight: Float[Tensor, "*batch draw"]) -> Float[Tensor, "*batch"]:
    """(sum w)^2 / sum w^2; 0 where no weight is finite."""
    peak = log_weight.amax(-1, keepdim=True)
    weight = torch.where(
        torch.isfinite(log_weight), torch.exp(log_weight - torch.where(torch.isfinite(peak), peak, 0.0)), 0.0
    )
    square = weight.square().sum(-1)
    return torch.where(square > 0, weight.sum(-1).square() / square.clamp(min=1e-300), 0.0)


def log_mean_weight(log_weight: Float[Tensor, "*batch draw"]) -> Float[Tensor, "*batch"]:
    """Natural log of the mean weight: the evidence."""
    return torch.logsumexp(log_weight, dim=-1) - math.log(log_weight.shape[-1])


def log_evidence_error(ess: float, draws: int) -> float:
    """Standard error of the log of the mean weight, sqrt(1/ess - 1/draws)."""
    return math.sqrt(max(1.0 / ess - 1.0 / draws, 0.0)) if ess > 0 else math.inf


def pareto_k(log_weight: NDArray[np.float64]) -> float:
    """Shape of the generalised Pareto tail of the weights, from the largest min(n / 5, 3 sqrt n) of them.

    Returns:
        k with the weak prior of Vehtari et al. (10 observations at 0.5); -inf for weights that are all equal, inf
        where fewer than 5 tail weights are finite.
    """
    finite = np.sort(log_weight[np.isfinite(log_weight)])
    tail = math.ceil(min(0.2 * log_weight.size, 3.0 * math.sqrt(log_weight.size)))
    if tail < 5 or finite.size <= tail:
        return math.inf
    cutoff = finite[-tail - 1]
    scaled = np.exp(finite[-tail:] - finite[-1])
    exceed = scaled - math.exp(cutoff - finite[-1])
    if finite[-1] == cutoff:
        return -math.inf
    exceed = exceed[exceed > 0]
    if exceed.size < 5:  # the rest underflows beside the largest weights
        return math.inf
    k = _pareto_shape(exceed)
    n = exceed.size
    return float((n * k + 10.0 * 0.5) / (n + 10.0))


def most_pareto_k(draws: int) -> float:
    """The largest Pareto k at which the mean of so many weights can be relied upon: min(1 - 1 / log10(draws), 0.7).

    Source: Vehtari et al. 2024, section 3.2.4.
    """
    return min(1.0 - 1.0 / math.log10(max(draws, 11)), 0.7)


def _pareto_shape(exceed: NDArray[np.float64]) -> float:
    """Zhang & Stephens' estimate of k from ascending positive exceedances (k > 0: heavy tail)."""
    n = exceed.size
    grid = 30 + int(math.sqrt(n))
    quartile = exceed[int(n / 4 + 0.5) - 1]
    steps = np.arange(1, grid + 1)
    b = 1.0 / exceed[-1] + (1.0 - np.sqrt(grid / (steps - 0.5))) / (3.0 * quartile)
    shape = np.log1p(-b[:, None] * exceed).mean(axis=1)
    profile = n * (np.log(-b / shape) - shape - 1.0)
    posterior = np.exp(profile - profile.max())
    mean_b = float((b * posterior).sum() / posterior.sum())
    return float(np.log1p(-mean_b * exceed).mean())


LEVELS = {"median": 0.5, "lower68": 0.16, "upper68": 0.84, "lower90": 0.05, "upper90": 0.95}
"""Quantiles that every table shows, by their names in `summary.json`."""


def shown_quantiles(values: NDArray[np.float64], weights: NDArray[np.float64]) -> dict[str, float]:
    """Those of `LEVELS`.

    Args:
        values: (draw,).
        weights: (draw,).
    """
    found = weighted_quantile(values, weights, np.array(list(LEVELS.values())))
    return dict(zip(LEVELS, map(float, found), strict=True))


def weighted_quantile(
    values: NDArray[np.float64], weights: NDArray[np.float64], q: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of weighted draws, linear between the mid-points of the cumulated weights."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    middle = (cumulative - 0.5 * weights[order]) / cumulative[-1]
    quantiles: NDArray[np.float64] = np.interp(np.asarray(q), middle, values[order])
    return quantiles


def systematic_rows(weight: Float[Tensor, " row"], n: int, generator: torch.Generator) -> Int[Tensor, " pick"]:
    """Rows picked in proportion to their weights, each to within one of its share, in random order.

    One random offset and evenly spaced places: the least scatter that resampling can have.

    Args:
        weight: Not negative; need not sum to one.
        n: How many are picked.
        generator: Source of randomness.

    Source: Kitagawa 1996, J. Comput. Graph. Stat. 5, 1 (systematic resampling).
    """
    offset = torch.rand(1, generator=generator, dtype=torch.float64)
    place = (torch.randperm(n, generator=generator) + offset) / n
    cumulative = weight.cumsum(0)
    return torch.searchsorted(cumulative / cumulative[-1], place, right=True).clamp(max=weight.numel() - 1)


def tempered(log_weight: Float[Tensor, "source draw"], wanted: float) -> Float[Tensor, "source draw"]:
    """Normalised weights to the largest power <= 1 that leaves the wanted ess."""
    log_weight = torch.where(torch.isfinite(log_weight), log_weight, -torch.inf)
    lo, hi = log_weight.new_zeros(log_weight.shape[0]), log_weight.new_ones(log_weight.shape[0])
    enough = effective_sample_size(log_weight) >= wanted
    for _ in range(30):
        middle = 0.5 * (lo + hi)
        good = effective_sample_size(middle[:, None] * log_weight) >= wanted
        lo, hi = torch.where(good, middle, lo), torch.where(good, hi, middle)
    power = torch.where(enough, 1.0, lo.clamp(min=1e-3))
    return torch.softmax(power[:, None] * log_weight, dim=1)
