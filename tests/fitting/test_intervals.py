"""`error` against a closed form and against brute force."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from fit_zoo import (
    BAND,
    closed_form,
    fitted,
    observation,
    statistic_of,
    two_lines,
)
from xrayflow.errors import DataError, ModelError, XrayflowWarning
from xrayflow.fitting import BestFit, error, intervals, optimise, steppar
from xrayflow.ogip import Observation


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
    monkeypatch.setattr(intervals, "RESTARTS", 0)
    with pytest.warns(XrayflowWarning, match="1 new minima came up one after the other"):
        answer = error(trapped, "gaussian.LineE", delta=high_rise(trapped, strong))
    assert not any(one.found for one in answer.intervals)
    assert "(not found)" in str(answer)


def test_a_rise_that_is_none_is_refused(power_law: BestFit) -> None:
    with pytest.raises(DataError, match="error: delta -1 is no rise of the statistic"):
        error(power_law, delta=-1.0)
    with pytest.raises(ModelError, match="no free parameter 'norm'"):
        error(power_law, "norm")
