"""Fits with parameters held: where the others come to rest, and where the parabola says that they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fit_zoo import closed_form
from xrayflow.errors import ModelError
from xrayflow.fitting import BestFit
from xrayflow.fitting.held import HeldFits, column_of, fit_of, refitted


def test_on_a_parabola_the_others_come_to_rest_where_it_says(linear: BestFit) -> None:
    _, covariance, _ = closed_form(linear)
    fits = HeldFits(linear)
    moved = fits.best[:1] + torch.tensor([[-0.002], [0.001]], dtype=torch.float64)
    followed = fits.followed([0], moved)
    held = torch.tensor([True, False]).expand_as(followed)
    ends, value = fits.fitted(followed, held)
    torch.testing.assert_close(ends, followed, rtol=1e-6, atol=1e-9)
    step = fits.goal.to_theta(ends).numpy()[:, 0] - linear.theta[0]
    np.testing.assert_allclose(value - fits.base, step**2 / covariance[0, 0], rtol=1e-3)


def test_a_parameter_at_its_edge_follows_nothing(linear: BestFit) -> None:
    fits = HeldFits(linear)
    fits.best = torch.tensor([0.3, 0.0], dtype=torch.float64)
    found = fits.followed([0], torch.tensor([[0.4]], dtype=torch.float64))
    assert found.tolist() == [[0.4, 0.0]]


def test_a_fit_from_another_place_ends_at_the_best_one(linear: BestFit) -> None:
    away = linear.goal.from_theta(torch.from_numpy(linear.theta * 1.3))
    found = refitted(linear, away)
    np.testing.assert_allclose(found.theta, linear.theta, rtol=1e-5)
    assert found.evaluations > linear.evaluations


def test_an_answer_gives_its_best_fit_and_a_fit_is_one(linear: BestFit) -> None:
    class Answer:
        def best_fit(self) -> BestFit:
            return replace(linear, evaluations=7)

    assert fit_of(linear) is linear
    assert fit_of(Answer()).evaluations == 7


def test_names_are_those_of_free_parameters_in_any_case(linear: BestFit) -> None:
    assert column_of(linear, " BBODYRAD.Norm ") == 1
    with pytest.raises(ModelError, match=r"no free parameter 'bbodyrad.nrm'; did you mean 'bbodyrad.norm'"):
        column_of(linear, "bbodyrad.nrm")
