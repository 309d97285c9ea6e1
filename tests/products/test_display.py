"""A spectrum as it is shown: groups, axes and residuals, by what XSPEC's plots would have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from answer_zoo import altered, toy_posterior
from xrayflow.cli import answer_options
from xrayflow.errors import DataError
from xrayflow.products.display import KEV_ANGSTROM, Display, PlotAxis, Residuals, shown_bins, significant_groups


def test_wavelengths_are_those_of_the_energies_in_their_own_order() -> None:
    posterior = toy_posterior()
    energies, waves = shown_bins(posterior), shown_bins(posterior, Display(PlotAxis.angstrom))
    assert_allclose(waves.lo[::-1], KEV_ANGSTROM / energies.hi)
    assert_allclose(waves.hi[::-1], KEV_ANGSTROM / energies.lo)
    assert_array_equal(waves.counts[::-1], energies.counts)
    assert (np.diff(waves.lo) > 0).all()
    # counts do not depend on the axis, densities do
    for one in (energies, waves):
        assert (one.density(one.counts) * (one.hi - one.lo)).sum() * one.exposure == pytest.approx(one.counts.sum())
    planck, light, charge = 6.62607015e-34, 299792458.0, 1.602176634e-19
    assert pytest.approx(planck * light / charge * 1e7, rel=1e-14) == KEV_ANGSTROM


def test_channels_are_xspec_s_numbers_of_bins() -> None:
    posterior = toy_posterior()
    shown = shown_bins(posterior, Display(PlotAxis.channel))
    assert_array_equal(0.5 * (shown.lo + shown.hi), posterior.data[0].number)
    assert_allclose(shown.hi - shown.lo, 1.0)
    assert_allclose(shown.density(shown.counts), shown.counts / posterior.data[0].exposure)


def test_residuals_of_each_kind() -> None:
    posterior = toy_posterior()
    shown = shown_bins(posterior)
    model = shown.total[1]
    ratio, below, above = shown.left(Residuals.ratio)
    assert_allclose(ratio, shown.counts / model)
    assert_allclose(below, shown.below / model)
    assert_allclose(above, shown.above / model)
    difference, below, _ = shown.left(Residuals.difference)
    assert_allclose(difference, shown.density(shown.counts) - shown.density(model), atol=1e-12)
    assert_allclose(below, shown.density(shown.below))
    assert Residuals.ratio.level == 1.0
    assert Residuals.difference.level == Residuals.delchi.level == 0.0


def test_a_ratio_to_nothing_is_no_number() -> None:
    posterior = toy_posterior()
    total = posterior.predictive.total.copy()
    total[:, 3] = 0.0
    shown = shown_bins(replace(posterior, predictive=replace(posterior.predictive, total=total)))
    ratio = shown.left(Residuals.ratio)[0]
    assert np.isnan(ratio[3])
    assert np.isfinite(np.delete(ratio, 3)).all()


def test_bins_are_joined_as_setplot_rebin_joins_them() -> None:
    """Counted by hand: 9 counts are 3 sd; a run of bins ends where that is reached, or at the most of them."""
    lo = np.arange(8.0)
    counts = np.array([4.0, 5.0, 9.0, 1.0, 1.0, 1.0, 1.0, 40.0])
    display = Display(significance=3.0, most=3)
    assert significant_groups(lo, lo + 1, counts, counts, display).tolist() == [0, 2, 3, 6]
    assert significant_groups(lo, lo + 1, counts, counts, Display(significance=3.0, most=8)).tolist() == [0, 2, 3]
    lo[4:] += 5.0  # a gap is never bridged
    assert significant_groups(lo, lo + 1, counts, counts, Display(significance=9.0, most=8)).tolist() == [0, 4]


def test_joined_bins_keep_all_counts_and_are_significant_above_the_background() -> None:
    posterior = toy_posterior(background=True)
    shown = shown_bins(posterior, Display(significance=15.0, most=40))
    assert shown.merged
    assert shown.counts.sum() == posterior.predictive.counts.sum()
    assert_allclose(shown.behind.sum(), posterior.data[0].background_in_source.sum())
    net = shown.counts - shown.behind
    assert (net[:-1] >= 15.0 * np.sqrt(net[:-1])).all()  # the background's own scatter asks for more still
    assert not shown_bins(posterior, Display(significance=1e-3, most=40)).merged


def test_differences_are_joined_by_the_errors_that_they_have() -> None:
    posterior = altered(toy_posterior(), name="Gaussian")
    predictive = posterior.predictive
    posterior = replace(posterior, predictive=replace(predictive, data_variance=predictive.counts))
    shown = shown_bins(posterior, Display(significance=15.0, most=40))
    assert shown.merged
    assert_allclose(shown.below, shown.above)
    assert (shown.behind == 0).all()


def test_what_is_no_rebinning_is_one_line() -> None:
    with pytest.raises(DataError, match=r"rebin 0,3: give a significance above 0 and a number of bins, as 5,20"):
        Display(significance=0.0, most=3)


def test_names_of_files_say_what_is_not_as_usual() -> None:
    assert Display().word == ""
    assert Display(PlotAxis.angstrom, Residuals.ratio, 5.0, 20).word == "ratio-angstrom-rebin5_20"


def test_the_command_line_has_the_same_words() -> None:
    assert [*answer_options.PlotAxis] == [*PlotAxis]
    assert [*answer_options.Residuals] == [*Residuals]
