"""The likelihood of a batch of spectra, padded to the longest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum
from xrayflow.statistics.auto import StatisticChoice, background_in_source, gaussian_variance
from xrayflow.statistics.count_density import MOST_SYSTEMATIC
from xrayflow.statistics.counts import CountLikelihood
from xrayflow.statistics.gaussian import GaussianLikelihood
from xrayflow.statistics.likelihood import Likelihood
from xrayflow.statistics.shortfall import find_shortfall


def likelihood_of(
    spectra: Sequence[Spectrum], choices: Sequence[StatisticChoice], systematic: float = 0.0
) -> Likelihood:
    """The likelihood of a batch of spectra.

    Args:
        spectra: Noticed bins, at least one spectrum; shorter ones are padded to the longest.
        choices: What `auto.choose` says of each; all Gaussian or none.
        systematic: s, the fractional systematic error of the source model, 0 <= s < 0.5.

    Returns:
        `GaussianLikelihood` where the choices are chi2, else `CountLikelihood`.

    Raises:
        DataError: A bad systematic, a negative background, counts that are none, no spectra, or a mix of count and
            Gaussian data.
    """
    if not spectra or len(spectra) != len(choices):
        raise DataError(f"a batch of {len(spectra)} spectra with {len(choices)} statistics; give one for each spectrum")
    if not 0.0 <= systematic < MOST_SYSTEMATIC:
        raise DataError(
            f"--systematic {systematic:g}: it is a fraction of the model; give 0 or more, below {MOST_SYSTEMATIC}"
        )
    if len({choice.gaussian for choice in choices}) != 1:
        raise DataError("a batch cannot mix Poisson counts with data that have Gaussian errors; run them apart")
    bins = max(spectrum.counts.size for spectrum in spectra)
    s = torch.full((len(spectra), 1), systematic, dtype=torch.float64)
    used = _padded([np.ones_like(spectrum.counts) for spectrum in spectra], bins, 0.0)
    lacking = tuple(find_shortfall(one, choice, systematic) for one, choice in zip(spectra, choices, strict=True))
    if choices[0].gaussian:
        net = _padded([spectrum.counts - background_in_source(spectrum) for spectrum in spectra], bins, 0.0)
        variance = _padded([gaussian_variance(spectrum) for spectrum in spectra], bins, 1.0)
        return GaussianLikelihood(net[:, None], variance, s, used, lacking)
    backgrounds = [background_in_source(spectrum) for spectrum in spectra]
    for spectrum, background in zip(spectra, backgrounds, strict=True):
        where = spectrum.observation.pha.path.name
        if (background < 0).any():
            raise DataError(
                f"{where}: {(background < 0).sum()} bins of its background are negative, and counts cannot scatter "
                "about a negative mean; group the spectrum more coarsely, or give --background none"
            )
        if (spectrum.counts < 0).any() or not np.equal(spectrum.counts, np.round(spectrum.counts)).all():
            raise DataError(f"{where}: its counts are negative or not whole numbers; use --statistic chi2")
    counts = _padded([spectrum.counts for spectrum in spectra], bins, 0.0)
    return CountLikelihood.of(counts, _padded(backgrounds, bins, 0.0), s[:, 0], used, lacking)


def _padded(rows: Sequence[NDArray[np.float64]], bins: int, value: float) -> Tensor:
    """(source, bin)"""
    out = np.full((len(rows), bins), value)
    for row, values in zip(out, rows, strict=True):
        row[: values.size] = values
    return torch.from_numpy(out)
