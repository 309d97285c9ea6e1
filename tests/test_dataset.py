"""Data sets with errors of the response: the fold follows the energy scale that a fit finds, and a fit is linear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from calibration_zoo import Bright, bright, detector, with_counts
from xrayflow.calibration import BinModes
from xrayflow.fitting import centred
from xrayflow.folding import EXACT, SEARCH, Forward
from xrayflow.joint_data import JointData
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.statistics import CalibratedLikelihood

SETUP = FitSetup(
    model="TBabs*powerlaw", grouping="optimal", systematic="modes:nicer-v1:1", prior=("powerlaw.norm=1:1e9",)
)


def problem_of(one: Bright, offset: float = 0.0) -> tuple[Problem, torch.Tensor]:
    """Of a spectrum whose channels read too high, and the truth."""
    whole = replace(detector().bin(energies=[(0.0, 15.0)], grouping="none"), gain=(offset, 0.0))
    mean = one.scale * Forward.of(one.model, [whole]).expected(one.theta[None, None])[0, 0].numpy()
    counts = np.random.default_rng(8).poisson(mean).astype(float)
    problem = build_problem([with_counts(counts, (0.0, 15.0))], SETUP)
    theta = torch.cat([one.theta * torch.tensor([1.0, 1.0, one.scale]), torch.zeros(1)]).double()
    return problem, theta[None, None]


def test_a_scale_that_is_off_goes_into_the_fold() -> None:
    problem, theta = problem_of(bright(3e6), 0.025)
    centred = problem.centred(theta)
    offset, slope = centred.data.sets[0].spectra[0].gain
    assert offset + 1.0 * slope == pytest.approx(0.025, abs=0.006)
    before, after = (float(one.data.deviance(one.expected(theta), theta)) for one in (problem, centred))
    bins = problem.data.sets[0].spectra[0].counts.size
    # what is left is no more than noise; linear in 25 eV it was
    assert after < before
    assert after < bins + 3.0 * np.sqrt(2.0 * bins)


def test_a_scale_that_is_right_leaves_the_fold_alone() -> None:
    problem, theta = problem_of(bright(1e6))
    centred = problem.centred(theta)
    assert centred.data.sets[0].spectra[0].gain == (0.0, 0.0) or abs(centred.data.sets[0].spectra[0].gain[0]) < 0.006
    assert centred.at(EXACT) is centred


def test_the_prior_of_the_scale_stays_where_it_was() -> None:
    """Moving the edges changes no likelihood, but for what is not linear: the scale still pays for all of its shift."""
    problem, theta = problem_of(bright(3e5), 0.004)
    data = problem.data.sets[0]
    own = data.likelihood
    assert isinstance(own, CalibratedLikelihood)
    spectrum = replace(data.spectra[0], gain=(0.004, 0.0))
    forward = Forward.of(problem.model, [spectrum], data.forward.family.grid)
    modes = BinModes.of(data.spectra[0], own.modes, 1.0)
    shifted = replace(data, spectra=(spectrum,), forward=forward, likelihood=own.told(modes, spectrum.gain))
    other = replace(problem, data=JointData((shifted,)))
    values = [float(one.centred(theta).log_likelihood(theta)) for one in (problem, other)]
    assert values[0] == pytest.approx(values[1], abs=0.1)


def test_what_is_asked_for_has_the_edges_of_its_file() -> None:
    problem, theta = problem_of(bright(3e6), 0.025)
    centred = problem.centred(theta)
    assert centred.data.sets[0].spectra[0].gain != (0.0, 0.0)
    assert centred.as_asked().data.sets[0].spectra[0].gain == (0.0, 0.0)


def test_a_fit_is_linear_in_the_priors_coordinates() -> None:
    problem, theta = problem_of(bright(1e6))
    v = problem.prior.to_probit(theta)[0, 0]
    (one,) = problem.linear(v)
    assert one.calibrated
    assert one.gain_offset == pytest.approx(0.010)
    assert one.fit.columns.shape[0] == problem.data.sets[0].spectra[0].counts.size
    step = torch.zeros_like(v)
    step[1] = 1e-4
    up, down = (problem.expected(problem.prior.to_theta((v + sign * step)[None, None]))[0, 0] for sign in (1, -1))
    # relative to the counts, but for how the energy scale's modes follow the model
    assert torch.allclose(one.fit.columns[:, 1] / one.fit.expected, torch.log(up / down) / 2e-4, atol=2e-2)
    lines = one.lines([(6.4, 0.01), (2.0, 0.3)])
    assert lines.shape == (one.fit.expected.numel(), 2)
    middle = np.sqrt(one.energy_lo * one.energy_hi)
    assert middle[int(lines[:, 0].argmax())] == pytest.approx(6.4, abs=0.1)


def test_a_search_alone_has_a_rough_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what is corrected on its grid, nor what is exact again."""

    def told(self: CalibratedLikelihood, rough: bool) -> CalibratedLikelihood:
        return replace(self, shortfalls=("rough",) if rough else ())  # type: ignore[arg-type]

    monkeypatch.setattr(CalibratedLikelihood, "roughly", told)
    problem, theta = problem_of(bright(1e5))
    (data,) = problem.data.sets
    search = data.at(SEARCH)
    assert search.forward.fidelity == SEARCH
    assert search.likelihood.shortfalls == ("rough",)
    assert search.at(EXACT).likelihood.shortfalls == ()
    assert data.at(EXACT) is data
    (corrected,) = problem.corrected(theta, torch.ones((1, 1), dtype=torch.bool)).data.sets
    assert corrected.forward.fidelity == SEARCH
    assert corrected.likelihood.shortfalls == ()


def test_two_sources_get_edges_of_their_own() -> None:
    one = bright(3e6)
    problems = [problem_of(one, offset) for offset in (0.02, -0.02)]
    observations = [p.data.sets[0].spectra[0].observation for p, _ in problems]
    both = build_problem(observations, SETUP)
    theta = torch.cat([t for _, t in problems])
    together = centred(both, both.prior.to_probit(theta)[:, 0])
    gains = [spectrum.gain[0] for spectrum in together.data.sets[0].spectra]
    assert gains[0] > 0.01
    assert gains[1] < -0.01
    # and what each would have alone, to the last digit
    for i, (problem, at) in enumerate(problems):
        alone = centred(problem, problem.prior.to_probit(at)[:, 0])
        assert alone.data.sets[0].spectra[0].gain == together.data.sets[0].spectra[i].gain
        own = together.select(torch.tensor([i]))
        assert torch.equal(own.log_likelihood(at), alone.log_likelihood(at))
