"""`error` and `steppar` against a closed form and against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from fit_zoo import BAND, LINEAR, LINEAR_FROZEN, LINEAR_PRIOR, closed_form, fitted, observation, statistic_of
from ogip_zoo import effective_area, power_law_counts, redistribution
from xrayflow.errors import DataError, ModelError, XrayflowWarning
from xrayflow.fitting import BestFit, confidence, error, optimise, steppar
from xrayflow.ogip import Observation


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return observation(tmp_path_factory.mktemp("toy"), exposure=200.0)


@pytest.fixture(scope="module")
def linear(toy: Observation) -> BestFit:
    """chi^2 of a model that is linear in both free parameters: an exact parabola."""
    return fitted(toy, LINEAR, "chi2", prior=LINEAR_PRIOR, freeze=LINEAR_FROZEN, grouping="min:20")


@pytest.fixture(scope="module")
def power_law(toy: Observation) -> BestFit:
    return fitted(toy, "powerlaw")


def test_the_intervals_of_a_linear_gaussian_model_are_those_of_the_parabola(linear: BestFit) -> None:
    theta, covariance, _ = closed_form(linear)
    for delta in (1.0, 2.706, 9.0):
        found = error(linear, delta=delta)
        half = np.sqrt(delta * np.diag(covariance))
        assert found.restarts == 0
        np.testing.assert_allclose([one.lo for one in found.intervals], theta - half, atol=1e-3 * half.max())
        np.testing.assert_allclose([one.hi for one in found.intervals], theta + half, atol=1e-3 * half.max())
        for i, one in enumerate(found.intervals):
            assert one.lo == pytest.approx(theta[i] - half[i], abs=1e-3 * half[i])
            assert one.hi == pytest.approx(theta[i] + half[i], abs=1e-3 * half[i])
            assert one.found
            assert not one.lo_pegged
            assert not one.hi_pegged
            assert one.value == linear.theta[i]


def test_a_grid_over_a_linear_gaussian_model_is_its_parabola(linear: BestFit) -> None:
    theta, covariance, chi2 = closed_form(linear)
    sd = np.sqrt(np.diag(covariance))
    found = steppar(linear, "powerlaw.norm", theta[0] - 3 * sd[0], theta[0] + 2 * sd[0], steps=5)
    np.testing.assert_allclose(found.value, chi2 + (np.arange(-3, 3)) ** 2, atol=1e-4)
    np.testing.assert_allclose(found.rise, (np.arange(-3, 3)) ** 2, atol=1e-4)
    slope = covariance[0, 1] / covariance[0, 0]
    np.testing.assert_allclose(found.theta[:, 1], theta[1] + slope * (found.axes[0] - theta[0]), rtol=1e-4)
    np.testing.assert_allclose(found.theta[:, 0], found.axes[0], rtol=1e-12)
    both = steppar(linear, linear.names, theta - sd, theta + 2 * sd, steps=(2, 3))
    offset = np.stack(
        np.meshgrid(*(axis - best for axis, best in zip(both.axes, theta, strict=True)), indexing="ij"), -1
    )
    np.testing.assert_allclose(
        both.value, chi2 + np.einsum("...i,ij,...j->...", offset, np.linalg.inv(covariance), offset), atol=1e-4
    )
    assert both.value.shape == (3, 4)
    assert both.theta.shape == (3, 4, 2)
    assert both.evaluations > 0


@pytest.mark.parametrize(
    ("background", "statistic", "exposure"),
    [("none", "cstat", 5.0), ("counts", "wstat", 5.0), ("errors", "pgstat", 20.0)],
)
def test_intervals_and_grids_are_those_of_brute_force(
    tmp_path: Path, background: str, statistic: str, exposure: float
) -> None:
    fit = fitted(observation(tmp_path, background, exposure=exposure), "powerlaw", statistic)
    function = statistic_of(fit)

    def profiled(index: float) -> float:
        options = {"xatol": 1e-7}
        near = np.log10(fit.theta[1])
        return float(
            minimize_scalar(
                lambda p: function([index, 10**p]), bounds=(near - 1, near + 1), method="bounded", options=options
            ).fun
        )

    (found,) = error(fit, "powerlaw.PhoIndex").intervals
    best, sd = fit.theta[0], fit.errors[0]
    rise = lambda index: profiled(index) - fit.value - 2.706  # noqa: E731
    assert found.lo == pytest.approx(brentq(rise, best - 6 * sd, best, xtol=1e-6), abs=2e-3 * sd)
    assert found.hi == pytest.approx(brentq(rise, best, best + 6 * sd, xtol=1e-6), abs=2e-3 * sd)
    grid = steppar(fit, "powerlaw.PhoIndex", best - 2 * sd, best + 2 * sd, 4)
    np.testing.assert_allclose(grid.value, [profiled(index) for index in grid.axes[0]], atol=1e-3)


def test_an_interval_of_one_parameter_is_the_same_beside_others(power_law: BestFit) -> None:
    both = error(power_law)
    (index,) = error(power_law, ["POWERLAW.phoindex"]).intervals
    assert index.name == "powerlaw.PhoIndex"
    assert index.lo == pytest.approx(both.intervals[0].lo, rel=1e-4)
    assert [one.name for one in both.intervals] == list(power_law.names)
    assert "powerlaw.PhoIndex" in str(both)


def test_a_parameter_whose_statistic_does_not_rise_is_pegged(toy: Observation) -> None:
    fit = fitted(toy, "TBabs*powerlaw")
    absorption = error(fit, "TBabs.nH").intervals[0]
    assert absorption.lo_pegged
    assert not absorption.hi_pegged
    assert absorption.lo == fit.problem.prior.marginals[0].lo
    assert absorption.hi > absorption.value
    assert "(limit)" in str(absorption)
    at_edge = fitted(toy, "powerlaw", prior=["powerlaw.PhoIndex=2:4"])
    index = error(at_edge, "powerlaw.PhoIndex").intervals[0]
    assert (index.lo, index.lo_pegged, index.hi_pegged) == (2.0, True, False)
    assert index.found


def test_the_posterior_is_profiled_with_its_priors(toy: Observation) -> None:
    prior = ["powerlaw.PhoIndex~N(1.5,0.01)"]
    fit = optimise(toy, "powerlaw", prior=prior, energies=BAND)
    free = optimise(toy, "powerlaw", energies=BAND)
    pulled, plain = error(fit, "powerlaw.PhoIndex").intervals[0], error(free, "powerlaw.PhoIndex").intervals[0]
    sd = (plain.hi - plain.lo) / 2 / np.sqrt(2.706)
    together = 1.0 / np.sqrt(1.0 / sd**2 + 1.0 / 0.01**2)
    assert (pulled.hi - pulled.lo) / 2 == pytest.approx(np.sqrt(2.706) * together, rel=0.03)
    grid = steppar(fit, "powerlaw.PhoIndex", pulled.lo, pulled.hi, 1)
    np.testing.assert_allclose(grid.rise, 2.706, rtol=3e-3)


def two_lines(folder: Path) -> Observation:
    """A power law with a weak line at 2.5 and a strong one at 4.5 keV, no noise."""
    centre = np.linspace(0.2, 12.0, 151)
    middle = (centre[1:] + centre[:-1]) / 2
    lines = 6e-4 * np.exp(-0.5 * ((middle - 2.5) / 0.1) ** 2) + 1.5e-3 * np.exp(-0.5 * ((middle - 4.5) / 0.1) ** 2)
    counts = power_law_counts(2000.0) + 2000.0 * (lines * effective_area()) @ redistribution()
    return observation(folder, counts=np.round(counts), exposure=2000.0)


def trapped_at_the_weak_line(folder: Path) -> tuple[BestFit, BestFit]:
    """A fit that stands at the weak line, and the one that it missed."""
    settings = {
        "freeze": {"gaussian.Sigma": 0.1, "powerlaw.PhoIndex": 1.7, "powerlaw.norm": 0.05},
        "prior": ["gaussian.LineE=lin:2:5.5", "gaussian.norm=lin:0:0.01"],
    }
    found = two_lines(folder)
    strong = fitted(found, "powerlaw+gaussian", **settings)
    assert strong.theta[0] == pytest.approx(4.5, abs=0.05)
    narrow = {**settings, "prior": ["gaussian.LineE=lin:2:3", "gaussian.norm=lin:0:0.01"]}
    weak = fitted(found, "powerlaw+gaussian", **narrow)
    assert weak.theta[0] == pytest.approx(2.5, abs=0.1)
    return replace(strong, theta=weak.theta, value=weak.value), strong


def high_rise(trapped: BestFit, strong: BestFit) -> float:
    """Far enough that the way up leads over the strong line."""
    return 1.5 * (statistic_of(strong)([5.5, 0.0]) - trapped.value)


def test_a_new_minimum_on_the_way_starts_the_search_again(tmp_path: Path) -> None:
    trapped, strong = trapped_at_the_weak_line(tmp_path)
    answer = error(trapped, "gaussian.LineE", delta=high_rise(trapped, strong))
    assert answer.restarts >= 1
    assert answer.fit.value == pytest.approx(strong.value, abs=0.01)
    assert answer.intervals[0].value == pytest.approx(strong.theta[0], abs=1e-3)


def test_new_minima_without_end_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trapped, strong = trapped_at_the_weak_line(tmp_path)
    monkeypatch.setattr(confidence, "RESTARTS", 0)
    with pytest.warns(XrayflowWarning, match="1 new minima came up one after the other"):
        answer = error(trapped, "gaussian.LineE", delta=high_rise(trapped, strong))
    assert not any(one.found for one in answer.intervals)
    assert "(not found)" in str(answer)


def test_a_grid_finds_both_valleys_of_a_statistic(tmp_path: Path) -> None:
    # with the norm held high each energy has its own best place; neighbours hand their solutions over
    settings = {
        "freeze": {"gaussian.Sigma": 0.1, "powerlaw.PhoIndex": 1.7, "powerlaw.norm": 0.05},
        "prior": ["gaussian.LineE=lin:2:5.5", "gaussian.norm=lin:0:0.01"],
    }
    fit = fitted(two_lines(tmp_path), "powerlaw+gaussian", **settings)
    function = statistic_of(fit)
    grid = steppar(fit, "gaussian.LineE", 2.0, 5.5, 14)
    brute = [
        minimize_scalar(
            lambda p, e=energy: function([e, p]), bounds=(0, 0.01), method="bounded", options={"xatol": 1e-9}
        ).fun
        for energy in grid.axes[0]
    ]
    np.testing.assert_allclose(grid.value, brute, atol=1e-2)


def test_logarithmic_steps_are_even_in_the_logarithm(power_law: BestFit) -> None:
    grid = steppar(power_law, "powerlaw.norm", 0.04, 0.06, 2, log=True)
    np.testing.assert_allclose(grid.axes[0], [0.04, np.sqrt(0.0024), 0.06])
    assert grid.names == ("powerlaw.norm",)
    assert (grid.rise > -1e-3).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("powerlaw.Phoindx", 1.0, 2.0), "no free parameter 'powerlaw.Phoindx'; did you mean 'powerlaw.PhoIndex'"),
        (("powerlaw.PhoIndex", 2.0, 1.0), "PhoIndex from 2 to 1; give lo < hi within its box"),
        (("powerlaw.PhoIndex", -20.0, 1.0), "PhoIndex from -20 to 1; give lo < hi within its box"),
        (("powerlaw.PhoIndex", 1.0, 2.0, 0), "in 0 steps; give a whole number, at least 1"),
        (("powerlaw.PhoIndex", -1.0, 2.0, 3, True), "logarithmic steps of powerlaw.PhoIndex cannot start at -1"),
        ((("powerlaw.norm", "powerlaw.norm"), 0.01, 0.1), "2 parameters .*; give one, or two different ones"),
        ((("powerlaw.norm", "powerlaw.PhoIndex"), (0.01, 1.0, 3.0), 2.0), "3 values .* for 2 parameters"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(power_law: BestFit, arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        steppar(power_law, *arguments)  # type: ignore[arg-type]


def test_a_rise_that_is_none_is_refused(power_law: BestFit) -> None:
    with pytest.raises(DataError, match="error: delta -1 is no rise of the statistic"):
        error(power_law, delta=-1.0)
    with pytest.raises(ModelError, match="no free parameter 'norm'"):
        error(power_law, "norm")
