"""A line that a spectrum does not ask for: its plateau is drawn from, and the evidence is that of brute force."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from xrayflow.data import bundled_pha
from xrayflow.folding import EXACT
from xrayflow.inference import infer
from xrayflow.inference.proposals.absent import _places, _widths, faint_parts
from xrayflow.inference.rungs import find_modes
from xrayflow.inference.weights import effective_sample_size, log_mean_weight
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_observation
from xrayflow.prior import log_standard_normal
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate

TRUTH = {"TBabs.nH": 0.2, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 0.1}
MODEL = "TBabs*(powerlaw+gaussian)"


@cache
def spectrum() -> Observation:
    """1e5 counts of an absorbed power law; there is no line."""
    like, model = read_observation(bundled_pha()), parse_model("TBabs*powerlaw")
    made = simulate(like, model, TRUTH, seed=1, exposure=10.0)
    return simulate(like, model, TRUTH, seed=1, exposure=10.0 * 1e5 / float(made.pha.counts.sum()))


@cache
def asked(model: str = MODEL, *prior: str) -> Problem:
    return build_problem([spectrum()], FitSetup(model=model, prior=prior, grouping="optimal", systematic=0.0))


def brute_force(draws: int = 20_000) -> tuple[float, float]:
    """ln Z and its error: the line by its prior, the rest by an ordinary fit without it, on the answer's own grid."""
    rest = infer(spectrum(), "TBabs*powerlaw", network="none", ess=4000.0, grouping="optimal", systematic=0.0)
    problem, generator = asked().at(EXACT), torch.Generator().manual_seed(5)
    known = rest.prior.to_probit(torch.from_numpy(rest.draws))
    weight = torch.from_numpy(rest.weights / rest.weights.sum())
    middle = (weight[:, None] * known).sum(0)
    factor = 1.2 * torch.linalg.cholesky(((known - middle) * weight[:, None]).T @ (known - middle))
    z = torch.randn((draws, problem.parameters), generator=generator, dtype=torch.float64)
    own, line = z[:, : known.shape[1]], z[:, known.shape[1] :]
    v = torch.cat([middle + own @ factor.T, line], dim=1)
    log_q = log_standard_normal(z) - torch.log(factor.diagonal()).sum()
    log_weight = (problem.log_target(v[None])[0] - log_q)[None]
    error = (1.0 / float(effective_sample_size(log_weight)) - 1.0 / draws) ** 0.5
    return float(log_mean_weight(log_weight)), error


def test_the_plateau_is_most_of_the_posterior_and_drawn_from() -> None:
    """The corrected grid had ln L too low by up to 60 there."""
    problem = asked()
    modes, corrected = find_modes(problem, 32, problem.generators(0), None)
    (part,) = faint_parts(corrected, modes, 0)
    v = part.sample(2000, torch.Generator().manual_seed(1))
    target = corrected.log_target(v[None])
    exact = problem.at(EXACT).log_target(v[None])
    assert float(((exact - target).abs() < 0.2)[exact > exact.max() - 12.0].double().mean()) > 0.97
    log_weight = exact - part.log_density(v)
    assert float(effective_sample_size(log_weight)) > 800
    evidence, error = brute_force()
    assert error < 0.05
    assert float(log_mean_weight(log_weight)) == pytest.approx(evidence, abs=0.15)
    answer = infer(spectrum(), MODEL, network="none", grouping="optimal", systematic=0.0)
    assert answer.computation.status == "certified"
    assert answer.log_evidence == pytest.approx(evidence, abs=0.15)
    assert answer.weighing.evaluations["draws"] < 6000


def test_what_there_is_a_part_for() -> None:
    def columns(model: str) -> list[list[list[str]]]:
        problem = asked(model)
        modes, corrected = find_modes(problem, 4, problem.generators(0), None)
        return [
            [[problem.prior.names[i] for i in one.own] for one in part.features]
            for part in faint_parts(corrected, modes, 0)
        ]

    assert columns("TBabs*powerlaw") == []
    edge = ["edge.edgeE", "edge.MaxTau"]
    line = ["gaussian.LineE", "gaussian.Sigma", "gaussian.norm"]
    assert columns("edge*(powerlaw+gaussian)") == [[edge], [line], [edge, line]]


def test_widths_that_are_not_resolved_are_one_cell() -> None:
    edges = _widths(1e-3, 10.0, 0.06)
    assert edges[:2].tolist() == [1e-3, 0.03]
    assert edges[-1] == 10.0
    assert bool((edges[2:] / edges[1:-1] < 2.3).all())
    assert _widths(0.5, 0.6, 0.06).tolist() == [0.5, 0.6]


def test_places_reach_from_end_to_end_of_the_prior() -> None:
    keV = torch.linspace(1.0, 9.0, 81, dtype=torch.float64)
    edges = _places(keV, 0.1, 20.0, 1.0)
    assert edges[0] == 0.1
    assert edges[-1] == 20.0
    assert bool((edges.diff() > 0).all())
    inside = (edges > 1.0) & (edges < 9.0)
    torch.testing.assert_close(edges[inside].diff(), torch.full_like(edges[inside].diff(), 0.1), rtol=1e-6, atol=0)
    assert len(_places(keV, 0.1, 20.0, 4.0)) < len(edges) / 2
    narrow = _places(keV, 3.0, 3.02, 1.0)
    assert narrow.tolist() == [3.0, 3.02]
    assert math.isclose(float(_places(keV[:1], 0.5, 2.0, 1.0)[-1]), 2.0)
