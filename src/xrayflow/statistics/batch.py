"""The likelihood of a batch of spectra, padded to the longest."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.calibration import BinModes, find_mode_set
from xrayflow.errors import DataError, XrayflowWarning, nearest
from xrayflow.ogip import Spectrum
from xrayflow.statistics.auto import (
    StatisticChoice,
    background_in_source,
    background_is_counts,
    gaussian_variance,
)
from xrayflow.statistics.background import MODELLED_SCALE, counted, modelled
from xrayflow.statistics.calibration import CalibratedLikelihood
from xrayflow.statistics.counts import CountLikelihood
from xrayflow.statistics.fit_statistic import FitStatistic
from xrayflow.statistics.gaussian import GaussianLikelihood
from xrayflow.statistics.likelihood import Likelihood
from xrayflow.statistics.marginalised import MarginalisedCounts
from xrayflow.statistics.shortfall import find_shortfall
from xrayflow.statistics.systematic import Systematic

TREATMENTS = ("marginalised", "known", "profile")

WIDEST_LEVEL = 1.0
"""Largest standard deviation of ln A that can be asked for."""


@dataclass(frozen=True)
class BackgroundTreatment:
    """What a likelihood makes of a background.

    Attributes:
        kind: "marginalised": integrated over. "known": taken at its word. "profile": XSPEC's statistic in the place of
            the likelihood, which puts the background of each bin where it fits best.
        scale: Standard deviation of the logarithm of a modelled background's level; 0 takes the level at its word.

    Raises:
        DataError: An unknown kind, or a scale out of range.
    """

    kind: str = "marginalised"
    scale: float = MODELLED_SCALE

    def __post_init__(self) -> None:
        if self.kind not in TREATMENTS:
            raise DataError(f"--likelihood {self.kind}: no such likelihood{nearest(self.kind, TREATMENTS)}")
        if isinstance(self.scale, bool) or not isinstance(self.scale, Real):
            raise DataError(f"--background-scale {self.scale!r}: it is no number; give a fraction of the level, 0 .. 1")
        if not 0.0 <= self.scale <= WIDEST_LEVEL:
            raise DataError(f"--background-scale {self.scale:g}: it is a fraction of the background; give 0 .. 1")


KNOWN = BackgroundTreatment("known")


def background_kind(spectrum: Spectrum, choice: StatisticChoice, treatment: BackgroundTreatment) -> str:
    """What the likelihood of a spectrum rests on: spectra of one kind can be answered together.

    Args:
        spectrum: The noticed bins.
        choice: From `auto.choose`.
        treatment: What is asked of a background.

    Returns:
        "gaussian", "profile", "known" (no background too), "counted" or "modelled".
    """
    if choice.gaussian:
        return "gaussian"
    if spectrum.background is None or spectrum.background_exposure is None:
        return "known"  # there is none, whatever is asked
    if treatment.kind != "marginalised":
        return treatment.kind
    if background_is_counts(spectrum):
        return "counted"
    has_errors = spectrum.background_err is not None and bool((spectrum.background_err > 0).any())
    return "modelled" if has_errors else "known"


def likelihood_kind(
    spectrum: Spectrum, choice: StatisticChoice, treatment: BackgroundTreatment, systematic: Systematic
) -> str:
    """`background_kind`, and the set of calibration modes: spectra of one kind can be answered together.

    Args:
        spectrum: The noticed bins.
        choice: From `auto.choose`.
        treatment: What is asked of a background.
        systematic: What is believed of errors that no count tells of.
    """
    kind = background_kind(spectrum, choice, treatment)
    modes = _modes_of(spectrum, treatment, systematic)
    return f"{kind}, {modes}" if modes else kind


def likelihood_of(
    spectra: Sequence[Spectrum],
    choices: Sequence[StatisticChoice],
    systematic: float | str | Systematic = 0.0,
    treatment: BackgroundTreatment = KNOWN,
) -> Likelihood:
    """The likelihood of a batch of spectra.

    Args:
        spectra: Noticed bins, at least one spectrum; shorter ones are padded to the longest.
        choices: What `auto.choose` says of each; all Gaussian or none.
        systematic: s, the fractional systematic error of the source model, 0 <= s < 0.5, or calibration modes.
        treatment: What is made of a background.

    Returns:
        `GaussianLikelihood` where the choices are chi2, `MarginalisedCounts` where a background is integrated over,
        else `CountLikelihood`; inside a `CalibratedLikelihood` where there are modes.

    Raises:
        DataError: A bad systematic, a negative background, counts that are none, no spectra, or a mix of kinds
            (`likelihood_kind`).
    """
    if not spectra or len(spectra) != len(choices):
        raise DataError(f"a batch of {len(spectra)} spectra with {len(choices)} statistics; give one for each spectrum")
    wanted = Systematic.of(systematic)
    within = _seen_rightly(spectra, choices, wanted.fraction, treatment)
    sets = {_modes_of(one, treatment, wanted) for one in spectra}
    if len(sets) > 1:
        raise DataError("a batch cannot mix sets of calibration modes, or spectra with and without; run them apart")
    name = sets.pop()
    if not name or isinstance(within, FitStatistic):
        return within
    modes = find_mode_set(name)
    return CalibratedLikelihood.of(within, [BinModes.of(one, modes, wanted.amplitude) for one in spectra])


def _modes_of(spectrum: Spectrum, treatment: BackgroundTreatment, systematic: Systematic) -> str:
    """The set of modes of one spectrum; "" where there is none."""
    modes = systematic.for_spectrum(spectrum).modes
    if treatment.kind != "profile" or not modes:
        return modes
    if systematic.said:
        raise DataError("--likelihood profile is XSPEC's, which knows no calibration modes; leave one of the two out")
    return ""


def _seen_rightly(
    spectra: Sequence[Spectrum],
    choices: Sequence[StatisticChoice],
    systematic: float,
    treatment: BackgroundTreatment,
) -> Likelihood:
    """The likelihood of a batch whose responses have no errors of their own."""
    if len({choice.gaussian for choice in choices}) != 1:
        raise DataError("a batch cannot mix Poisson counts with data that have Gaussian errors; run them apart")
    pairs = list(zip(spectra, choices, strict=True))
    kinds = {background_kind(*pair, treatment) for pair in pairs}
    if len(kinds) > 1:
        raise DataError(f"a batch cannot mix backgrounds ({', '.join(sorted(kinds))}); run them apart")
    kind = kinds.pop()
    if kind == "profile":
        return FitStatistic.of(spectra, choices, systematic)
    if kind in ("counted", "modelled"):
        for spectrum in spectra:
            _check_counts(spectrum)
            _check_background(spectrum)
        priors = [counted(one) if kind == "counted" else modelled(one, treatment.scale) for one in spectra]
        return MarginalisedCounts.of([one.counts for one in spectra], priors, [systematic] * len(spectra))
    bins = max(spectrum.counts.size for spectrum in spectra)
    s = torch.full((len(spectra), 1), systematic, dtype=torch.float64)
    used = _padded([np.ones_like(spectrum.counts) for spectrum in spectra], bins, 0.0)
    lacking = tuple(find_shortfall(one, choice, systematic) for one, choice in pairs)
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
        _check_counts(spectrum)
    counts = _padded([spectrum.counts for spectrum in spectra], bins, 0.0)
    return CountLikelihood.of(counts, _padded(backgrounds, bins, 0.0), s[:, 0], used, lacking).exact()


def _check_background(spectrum: Spectrum) -> None:
    """It is not the spectrum itself; a modelled one may be negative, and the truth is not."""
    pha, background = spectrum.observation.pha, spectrum.observation.background
    if background is not None and background.path == pha.path and np.array_equal(background.counts, pha.counts):
        raise DataError(
            f"{background.where}: its background is the spectrum itself; give another --background, or none"
        )
    negative = 0 if spectrum.background is None else int((spectrum.background < 0).sum())
    if negative and background is not None:
        warnings.warn(
            f"{background.where}: the background is negative in {negative} of {spectrum.counts.size} bins; what is "
            "believed there is its error's part above zero",
            XrayflowWarning,
            stacklevel=4,
        )


def _check_counts(spectrum: Spectrum) -> None:
    if (spectrum.counts < 0).any() or not np.equal(spectrum.counts, np.round(spectrum.counts)).all():
        where = spectrum.observation.pha.path.name
        raise DataError(f"{where}: its counts are negative or not whole numbers; use --statistic chi2")


def _padded(rows: Sequence[NDArray[np.float64]], bins: int, value: float) -> Tensor:
    """(source, bin)"""
    out = np.full((len(rows), bins), value)
    for row, values in zip(out, rows, strict=True):
        row[: values.size] = values
    return torch.from_numpy(out)
