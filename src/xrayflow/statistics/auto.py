"""`auto`: which statistic is shown and which likelihood the posterior rests on, and why.

| data | statistic | likelihood |
|---|---|---|
| negative or fractional source counts, or POISSERR = F with STAT_ERR of its own | chi2 | Gaussian |
| no background | cstat | Poisson |
| background of whole counts >= 0 without errors of its own | wstat | Poisson, background integrated over |
| background with STAT_ERR > 0 (modelled) | pgstat | Poisson, background integrated over |
| any other background without errors | pstat | Poisson, background known |

Counts go in disguise: as rates (`ogip.pha` finds their whole numbers), or with POISSERR = F and a STAT_ERR that is only
a function of the counts, their root or Gehrels' 1 + sqrt(N + 0.75). Such errors say nothing that the counts do not, and
weights that are drawn with the data pull a fit down by a count per bin; so these are counts, in either file. Only where
the file's SYS_ERR adds to the errors, chi2 stays (RXTE: a million counts per bin, 1 %): no Poisson statistic takes it.

A systematic error turns Poisson into negative binomial. A background without errors is known, and the likelihood is
labelled approximate; so is one that the user wants known (`batch.BackgroundTreatment`).

Source: XSPEC manual, appendix B, on which statistic suits which data; Gehrels 1986 (ApJ 303, 336), equation 7.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, XrayflowWarning, nearest
from xrayflow.ogip import PHA, Spectrum

ERROR_DIGITS = 1e-6
"""Relative: how well an error of single precision, perhaps divided by the exposure, meets its formula."""

MOST_OF_NONE = 1.87
"""Error of a channel without counts: 0, 1, or up to Gehrels' 1 + sqrt(0.75)."""

SOME_SYSTEMATIC = 0.1
"""Of the variance: with less, the bias of chi2 costs more than a Poisson likelihood without SYS_ERR."""

ASKED_FOR = "asked for"
"""Why a statistic was taken that the user chose."""

STATISTICS = ("auto", "cstat", "pstat", "wstat", "pgstat", "pgstat-xspec", "chi2")


@dataclass(frozen=True)
class StatisticChoice:
    """A statistic for people, and the reason it was taken.

    Attributes:
        name: One of `STATISTICS`, never auto.
        reason: In words, for the output.
        gaussian: Whether the likelihood is Gaussian too (chi2 data).
    """

    name: str
    reason: str
    gaussian: bool


def choose(spectrum: Spectrum, asked: str = "auto", has_modes: bool = False) -> StatisticChoice:
    """The statistic of a spectrum.

    Args:
        spectrum: The noticed bins.
        asked: A name of `STATISTICS`.
        has_modes: Whether the likelihood has calibration modes, which take a SYS_ERR of the file.

    Returns:
        The statistic and why.

    Raises:
        DataError: An unknown name, or one that these data do not allow.
    """
    if asked not in STATISTICS:
        raise DataError(f"--statistic {asked}: no such statistic{nearest(asked, STATISTICS)}")
    where = spectrum.observation.pha.path.name
    poisson = is_whole(spectrum.counts)
    if asked == "auto":
        found = _auto(spectrum, poisson)
    else:
        _check(spectrum, asked, poisson, where)
        found = StatisticChoice(asked, ASKED_FOR, gaussian=asked == "chi2")
    if found.gaussian and spectrum.background is not None:
        warnings.warn(
            f"{where}: chi2 subtracts the background; the difference is Gaussian only where both have many counts",
            XrayflowWarning,
            stacklevel=2,
        )
    has_errors = spectrum.sys_err is not None and bool((spectrum.sys_err > 0).any())
    if has_errors and not (found.gaussian or has_modes):
        warnings.warn(
            f"{where}: its SYS_ERR column is for chi2 and for calibration modes (--systematic modes), "
            f"not for {found.name}",
            XrayflowWarning,
            stacklevel=2,
        )
    return found


def is_whole(counts: NDArray[np.float64]) -> bool:
    """Whether these can be counts."""
    return bool((counts >= 0).all() and np.equal(counts, np.round(counts)).all())


def error_formula(pha: PHA, used: NDArray[np.bool_]) -> str:
    """What the errors of whole counts are a function of; "" where they say something of their own, or are not given.

    Args:
        pha: A file of counts.
        used: The channels that matter.

    Returns:
        "sqrt(N)" or "1+sqrt(N+0.75)". The error of an empty channel may be any one number up to Gehrels' 1.87.
    """
    if pha.poisserr or pha.stat_err is None or not is_whole(pha.counts[used]):
        return ""
    counts, error = pha.counts[used], pha.stat_err[used]
    some, empty = counts > 0, error[counts == 0]
    if empty.size and (np.ptp(empty) > 0 or empty[0] > MOST_OF_NONE):
        return ""
    for name, formula in (("sqrt(N)", np.sqrt(counts)), ("1+sqrt(N+0.75)", 1.0 + np.sqrt(counts + 0.75))):
        if np.allclose(error[some], formula[some], rtol=ERROR_DIGITS, atol=0.0):
            return name
    return ""


def background_is_counts(spectrum: Spectrum) -> bool:
    """Whether the background is Poisson: whole counts, without errors or with ones that only follow from them."""
    background = spectrum.observation.background
    if spectrum.background is None or background is None or not is_whole(spectrum.background):
        return False
    if spectrum.background_err is None or not (spectrum.background_err > 0).any():
        return True
    return bool(error_formula(background, spectrum.bin_of_channel >= 0))


def _auto(spectrum: Spectrum, poisson: bool) -> StatisticChoice:
    """The table of the module's docstring."""
    pha, background = spectrum.observation.pha, spectrum.observation.background
    where, used = pha.path.name, spectrum.bin_of_channel >= 0
    if not poisson:
        return StatisticChoice("chi2", "the counts are negative or not whole numbers", gaussian=True)
    formula = error_formula(pha, used)
    if spectrum.stat_err is not None and not pha.poisserr and not formula:
        return StatisticChoice("chi2", "POISSERR is F and STAT_ERR gives the errors", gaussian=True)
    if formula and _systematic_matters(spectrum):
        return StatisticChoice(
            "chi2", f"STAT_ERR is {formula}, and SYS_ERR adds errors that only chi2 takes", gaussian=True
        )
    source = "Poisson counts" + _disguise(pha, formula)
    if spectrum.background is None or background is None:
        return StatisticChoice("cstat", f"{source}, no background", gaussian=False)
    if background_is_counts(spectrum):
        formula = error_formula(background, used)
        if not background.poisserr and not formula:
            warnings.warn(
                f"{where}: its background has POISSERR = F and no STAT_ERR; taken as counts, since it is whole numbers",
                XrayflowWarning,
                stacklevel=3,
            )
        return StatisticChoice(
            "wstat", f"{source}, a background of counts{_disguise(background, formula)}", gaussian=False
        )
    if spectrum.background_err is not None and (spectrum.background_err > 0).any():
        return StatisticChoice("pgstat", f"{source}, a background with errors (STAT_ERR)", gaussian=False)
    warnings.warn(
        f"{where}: its background is neither counts nor has errors; taken as known exactly",
        XrayflowWarning,
        stacklevel=3,
    )
    return StatisticChoice("pstat", f"{source}, a background without errors", gaussian=False)


def _systematic_matters(spectrum: Spectrum) -> bool:
    """Whether SYS_ERR adds more than a tenth to the variance of the counts."""
    if spectrum.sys_err is None:
        return False
    return float(((spectrum.sys_err * spectrum.counts) ** 2).sum()) > SOME_SYSTEMATIC * float(spectrum.counts.sum())


def _disguise(pha: PHA, formula: str) -> str:
    """In what form the counts came, for the reason; "" where they came as counts."""
    words = ["RATE x EXPOSURE is whole"] if pha.is_rate else []
    words += [f"POISSERR is F, but STAT_ERR is {formula}"] if formula else []
    return f" ({'; '.join(words)})" if words else ""


def _check(spectrum: Spectrum, asked: str, poisson: bool, where: str) -> None:
    """Refuse a statistic that the data do not allow."""
    if asked != "chi2" and not poisson:
        raise DataError(f"{where}: --statistic {asked} needs whole counts >= 0, these are not; use chi2")
    if asked in ("pstat", "wstat", "pgstat", "pgstat-xspec") and spectrum.background is None:
        raise DataError(f"{where}: --statistic {asked} needs a background; give --background or use cstat")
    if asked.startswith("pgstat") and spectrum.background_err is None:
        raise DataError(f"{where}: --statistic {asked} needs a background with STAT_ERR; use wstat or pstat")
    if asked == "wstat" and spectrum.background is not None and (spectrum.background < 0).any():
        raise DataError(f"{where}: --statistic wstat needs background counts >= 0; use pstat or pgstat")
    if asked == "cstat" and spectrum.background is not None:
        raise DataError(f"{where}: --statistic cstat has no place for a background; use wstat, or --background none")


def background_in_source(spectrum: Spectrum) -> NDArray[np.float64]:
    """(bin,) the background's counts scaled to the source's exposure and region; zeros without a background."""
    if spectrum.background is None or spectrum.background_exposure is None:
        return np.zeros_like(spectrum.counts)
    scaled: NDArray[np.float64] = spectrum.background * spectrum.source_exposure / spectrum.background_exposure
    return scaled


def gaussian_variance(spectrum: Spectrum) -> NDArray[np.float64]:
    """(bin,) variance of the counts minus the scaled background, by XSPEC's standard weights.

    Of each file: the sum of STAT_ERR^2 (or the counts) + (largest SYS_ERR of the bin x its gross counts)^2, the
    background's times (t_s / t_b)^2.

    Raises:
        DataError: Bins without an error: chi^2 cannot weigh them.

    Source: XSPEC manual, `weight`, `systematic`; shown by the published chi^2 of four GRS 1915+105 fits.
    """
    variance = source_variance(spectrum)
    if spectrum.background is not None and spectrum.background_exposure is not None:
        scale = spectrum.source_exposure / spectrum.background_exposure
        own = _own_variance(spectrum.background, spectrum.background_err, spectrum.background_sys_err)
        variance = variance + own * scale**2
    if (variance <= 0).any():
        raise DataError(
            f"{spectrum.observation.pha.path.name}: {(variance <= 0).sum()} of {variance.size} bins have no error, and "
            "chi2 cannot weigh them; group the spectrum (--grouping min:20) or leave them out with --energies"
        )
    return variance


def source_variance(spectrum: Spectrum) -> NDArray[np.float64]:
    """(bin,) the part of `gaussian_variance` that is the source file's own."""
    return _own_variance(spectrum.counts, spectrum.stat_err, spectrum.sys_err)


def _own_variance(
    counts: NDArray[np.float64], stat_err: NDArray[np.float64] | None, sys_err: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """(bin,) of one file."""
    variance: NDArray[np.float64] = np.maximum(counts, 0.0) if stat_err is None else stat_err**2
    return variance if sys_err is None else variance + (sys_err * counts) ** 2
