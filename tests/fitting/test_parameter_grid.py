"""`steppar` against a closed form and against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fit_zoo import closed_form, fitted, statistic_of, two_lines
from xrayflow.errors import ModelError
from xrayflow.fitting import BestFit, steppar


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
