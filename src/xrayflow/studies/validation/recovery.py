"""How well do draws find the truth? Correlation and straight lines, as in the paper's Figure 2.

Both compare draws with truths without regard to how wide a posterior has to be: what the data do not tell lowers them
for exact draws too. So they say something only beside those of exact posteriors of the same spectra.

Source: Redmen et al. 2025, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xrayflow.inference import systematic_rows
from xrayflow.studies.validation.truths import Numbers, TruthAndDraws

SETS = 50
"""Draws of each source that lines are fitted to, as in the paper."""


@dataclass(frozen=True, eq=False)
class Fits:
    """Straight lines draw = slope x truth + intercept, one for each set of draws; (parameter,) each.

    Attributes:
        slope: Mean over the sets.
        slope_sd: Standard deviation over the sets.
        intercept: Mean over the sets.
        intercept_sd: Standard deviation over the sets.
    """

    slope: Numbers
    slope_sd: Numbers
    intercept: Numbers
    intercept_sd: Numbers


def pearson(answers: TruthAndDraws) -> Numbers:
    """(parameter,) Pearson's r between truths and draws, weighted; nan where either is the same everywhere.

    Args:
        answers: Truths and draws.
    """
    weight = answers.weights / answers.sources
    mean = np.einsum("sd,sdp->p", weight, answers.draws)
    off_draw, off_truth = answers.draws - mean, answers.truth - answers.truth.mean(axis=0)
    together = np.einsum("sd,sdp,sp->p", weight, off_draw, off_truth)
    spread = np.einsum("sd,sdp->p", weight, off_draw**2) * np.square(off_truth).mean(axis=0)
    return np.where(spread > 0, together / np.sqrt(np.where(spread > 0, spread, 1.0)), np.nan)


def draw_sets(answers: TruthAndDraws, seed: int, sets: int = SETS) -> Numbers:
    """(set, source, parameter) equally weighted draws, one of each source in a set.

    Args:
        answers: Truths and draws.
        seed: Decides which draws are taken.
        sets: Number of sets.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [
        draws[systematic_rows(torch.from_numpy(weight), sets, generator).numpy()]
        for draws, weight in zip(answers.draws, answers.weights, strict=True)
    ]
    return np.stack(rows, axis=1)


def linear_fits(truth: Numbers, sets: Numbers) -> Fits:
    """Least-squares lines through each set.

    Args:
        truth: (source, parameter).
        sets: (set, source, parameter) of `draw_sets`.
    """
    off = truth - truth.mean(axis=0)
    square = np.square(off).sum(axis=0)
    slope = np.where(square > 0, (sets * off).sum(axis=1) / np.where(square > 0, square, 1.0), np.nan)
    intercept = sets.mean(axis=1) - slope * truth.mean(axis=0)
    several = int(sets.shape[0] > 1)
    return Fits(
        slope.mean(axis=0), slope.std(axis=0, ddof=several), intercept.mean(axis=0), intercept.std(axis=0, ddof=several)
    )
