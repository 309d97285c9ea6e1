"""XSPEC's statistics of a batch: each its formula, with slopes and weights that an optimiser can follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from fit_zoo import fitted, observation, statistic_of, statistic_per_bin
from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum
from xrayflow.statistics import FitStatistic, StatisticChoice, choose
from xrayflow.statistics import statistic as formulas

CASES = [
    ("none", "cstat"),
    ("none", "chi2"),
    ("counts", "wstat"),
    ("counts", "pstat"),
    ("errors", "pgstat"),
    ("errors", "pgstat-xspec"),
]


def shown_per_bin(spectrum: Spectrum, name: str, expected: Tensor, systematic: float = 0.0) -> Tensor:
    """(bin,) of a batch of one."""
    choice = StatisticChoice(name, "", gaussian=name == "chi2")
    return FitStatistic.of([spectrum], [choice], systematic).per_bin(expected[None, None])[0, 0]


@pytest.mark.parametrize("name", ["pstat", "wstat", "pgstat", "pgstat-xspec"])
def test_each_statistic_is_its_formula_of_the_spectrum(modelled: Spectrum, name: str) -> None:
    expected = torch.linspace(1.0, 90.0, modelled.counts.size, dtype=torch.float64)
    ours = shown_per_bin(modelled, name, expected)
    names = ("counts", "source_exposure", "background", "background_err", "background_exposure")
    s, ts, b, err, tb = (torch.from_numpy(getattr(modelled, one)) for one in names)
    formula = {
        "pstat": lambda: formulas.pstat(s, expected, ts, b, tb),
        "wstat": lambda: formulas.wstat(s, expected, ts, b, tb),
        "pgstat": lambda: formulas.pgstat(s, expected, ts, b, err, tb),
        "pgstat-xspec": lambda: formulas.pgstat(s, expected, ts, b, err, tb, as_xspec=True),
    }[name]
    torch.testing.assert_close(ours, formula())


def test_chi2_is_the_squared_residual_over_the_variance(modelled: Spectrum) -> None:
    bins = modelled.counts.size
    err, sys_err, background_sys = np.full(bins, 2.0), np.full(bins, 0.01), np.full(bins, 0.05)
    bent = replace(modelled, stat_err=err, sys_err=sys_err, background_sys_err=background_sys)
    assert bent.background is not None
    assert bent.background_err is not None
    own = bent.background_err**2 + (background_sys * bent.background) ** 2
    variance = err**2 + (sys_err * bent.counts) ** 2 + own / 16.0
    expected = np.linspace(1.0, 90.0, bins)
    by_hand = (bent.counts - bent.background / 4.0 - expected) ** 2 / variance
    np.testing.assert_allclose(shown_per_bin(bent, "chi2", torch.from_numpy(expected)).numpy(), by_hand)
    shown = shown_per_bin(bent, "chi2", torch.from_numpy(expected), systematic=0.1)
    np.testing.assert_allclose(shown.numpy(), by_hand * variance / (variance + (0.1 * expected) ** 2))


def test_chi2_of_a_plain_spectrum_and_c_need_no_background(plain: Spectrum) -> None:
    expected = torch.linspace(1.0, 90.0, plain.counts.size, dtype=torch.float64)
    counts = torch.from_numpy(plain.counts)
    torch.testing.assert_close(shown_per_bin(plain, "chi2", expected), (counts - expected) ** 2 / counts)
    torch.testing.assert_close(shown_per_bin(plain, "cstat", expected), formulas.cstat(counts, expected))


def test_a_statistic_of_what_is_not_there_is_refused(plain: Spectrum, measured: Spectrum) -> None:
    expected = torch.ones(plain.counts.size, dtype=torch.float64)
    with pytest.raises(DataError, match="wstat needs a background; give --background"):
        shown_per_bin(plain, "wstat", expected)
    with pytest.raises(DataError, match="pgstat needs a background with STAT_ERR"):
        shown_per_bin(measured, "pgstat", expected)


@pytest.mark.parametrize(("background", "statistic"), CASES)
def test_the_batched_statistic_is_that_of_each_spectrum_and_its_slope_a_difference(
    tmp_path: Path, background: str, statistic: str
) -> None:
    found = observation(tmp_path, background, exposure=3.0)
    grouping = "min:5" if statistic == "chi2" else "none"
    spectra = [found.bin(energies=(band,), grouping=grouping) for band in ((2.0, 4.0), (0.5, 9.0))]
    choices = [choose(spectrum, statistic) for spectrum in spectra]
    both = FitStatistic.of(spectra, choices)
    bins = both.counts.shape[-1]
    expected = 0.5 + 3.0 * torch.rand((2, 3, bins), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for i, (spectrum, choice) in enumerate(zip(spectra, choices, strict=True)):
        own = statistic_per_bin(spectrum, choice, expected[i, 0, : spectrum.counts.size]).sum()
        assert float(both.value(expected)[i, 0]) == pytest.approx(float(own), rel=1e-12)
    one_each = torch.eye(bins, dtype=torch.float64).expand(2, 3, bins, bins)
    found_curvature = both.curvature(expected, one_each)
    score, weight = found_curvature.gradient, found_curvature.information.diagonal(dim1=-2, dim2=-1)
    step = 1e-6
    slope = (both.per_bin(expected + step) - both.per_bin(expected - step)) / (2.0 * step)
    torch.testing.assert_close(score, -0.5 * slope, rtol=1e-5, atol=1e-6)
    assert bool(((weight > 0) == (both.used[:, None] > 0).expand_as(weight)).all())


def test_the_weights_of_the_profiled_statistics_are_the_curvature_that_data_like_the_model_have(tmp_path: Path) -> None:
    for background, statistic in CASES:
        found = observation(tmp_path, background, exposure=1000.0, seed=None)
        found = replace(found, pha=replace(found.pha, counts=np.round(found.pha.counts)))
        grouping = "min:20" if statistic == "chi2" else None
        fit = fitted(found, "powerlaw", statistic, grouping=grouping, prior=["powerlaw.norm=lin:0.01:0.2"])
        function = statistic_of(fit)
        step = 0.3 * fit.errors[1]
        values = [function([fit.theta[0], fit.theta[1] + shift * step]) for shift in (-1.0, 0.0, 1.0)]
        curvature = (values[0] - 2.0 * values[1] + values[2]) / (2.0 * step**2)
        assert np.linalg.inv(fit.covariance)[1, 1] == pytest.approx(curvature, rel=0.05), statistic


def test_some_of_the_sources_have_their_own_statistics(plain: Spectrum, measured: Spectrum) -> None:
    both = FitStatistic.of([measured, plain], [choose(measured), choose(plain)])
    expected = torch.rand((2, 3, plain.counts.size), generator=torch.Generator().manual_seed(2)).double() * 90.0 + 1.0
    alone = both.select(torch.tensor([1]))
    assert (both.names, alone.names) == (("wstat", "cstat"), ("cstat",))
    assert (both.name, alone.name, alone.kind) == ("wstat, cstat", "cstat", "profile")
    torch.testing.assert_close(alone.value(expected[1:]), both.value(expected)[1:])
    torch.testing.assert_close(-2.0 * both.log_density(expected), both.value(expected))
    torch.testing.assert_close(both.deviance(expected), both.value(expected))


def test_a_replica_scatters_about_model_and_background_and_keeps_the_background(measured: Spectrum) -> None:
    """The mean of 400 Poisson draws of each bin; chi-square of all bins, a false alarm once in 10 000 seeds."""
    one = FitStatistic.of([measured], [choose(measured)])
    expected = torch.full((1, 400, measured.counts.size), 7.0, dtype=torch.float64)
    again = one.replicate(expected, torch.Generator().manual_seed(3))
    total = one.total(expected)[0, 0]
    chi2 = float((((again.counts[0].mean(0) - total) ** 2) * 400 / total).sum())
    assert scipy.stats.chi2.sf(chi2, total.numel()) > 1e-4
    assert torch.equal(again.background, one.background)
