"""Likelihoods made by hand: a few bins of counts, or of numbers with errors."""

from __future__ import annotations

import torch
from torch import Tensor

from xrayflow.statistics import CountLikelihood, GaussianLikelihood, Likelihood, StatisticChoice

CSTAT = StatisticChoice("cstat", "", gaussian=False)
CHI2 = StatisticChoice("chi2", "", gaussian=True)


def counts_of(values: list[float], background: list[float] | None = None, systematic: float = 0.0) -> CountLikelihood:
    """One source's counts."""
    counts = torch.tensor([values], dtype=torch.float64)
    behind = torch.zeros_like(counts) if background is None else torch.tensor([background], dtype=torch.float64)
    s = torch.full((1,), systematic, dtype=torch.float64)
    return CountLikelihood.of(counts, behind, s, torch.ones_like(counts))


def errors_of(values: list[float], sd: list[float], systematic: float = 0.0) -> GaussianLikelihood:
    """One source's numbers with Gaussian errors."""
    counts = torch.tensor([[values]], dtype=torch.float64)
    variance = torch.tensor([sd], dtype=torch.float64) ** 2
    s = torch.full((1, 1), systematic, dtype=torch.float64)
    return GaussianLikelihood(counts, variance, s, torch.ones_like(counts[:, 0]))


def score_of(likelihood: Likelihood, expected: Tensor) -> Tensor:
    """(source, draw, bin) d ln p / d expected: the gradient where each bin is a parameter of its own."""
    bins = expected.shape[-1]
    one_each = torch.eye(bins, dtype=expected.dtype).expand(*expected.shape[:2], bins, bins)
    return likelihood.curvature(expected, one_each).gradient
