"""Toy spectra and fits that several files look at."""

from __future__ import annotations

import pytest

from fit_zoo import LINEAR, LINEAR_FROZEN, LINEAR_PRIOR, fitted, observation
from xrayflow.fitting import BestFit
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
