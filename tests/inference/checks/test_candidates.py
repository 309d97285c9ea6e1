"""Small changes that a fit may lack: ln B is that of the integral, and a fit of one has the priors of the search."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fit_zoo import observation
from missing_zoo import BAND, best_of, spectrum_of, toy
from xrayflow.inference import infer
from xrayflow.inference.checks.candidates import (
    BROAD_EV,
    DEPTH,
    LINE_EV,
    NARROW,
    energies_of,
    half_normal,
    lines_of,
    reach,
    small_changes,
)
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup, build_problem


def test_the_evidence_of_a_place_is_that_of_a_fit_with_the_component(tmp_path: Path) -> None:
    """A line of frozen energy and width, and an edge of frozen energy: against answers by draws."""
    found = observation(tmp_path, exposure=300.0)
    setup = FitSetup(model="powerlaw", energies=BAND)
    problem = build_problem([found], setup)
    plain = infer(found, "powerlaw", energies=BAND, ess=2000, draws=4000)
    v = problem.prior.to_probit(torch.from_numpy(plain.best))
    (one,) = problem.linear(v)
    kinds = {kind.name: kind for kind in small_changes(problem.model, one)}
    residual = one.fit.residual[None]

    def of_place(kind: str, at: int) -> float:
        return float(kinds[kind].evidence(residual)[0, at])

    energies = [float(word.partition(" ")[0]) for word in kinds["narrow line"].places]
    at = int(np.abs(np.array(energies) - 2.0).argmin())
    middle = np.sqrt(one.energy_lo * one.energy_hi)
    place = int(np.abs(np.log(middle / energies[at])).argmin())
    per_kev = float(one.fit.expected[place]) / float(one.energy_hi[place] - one.energy_lo[place])
    scale = 1e-3 * LINE_EV * per_kev / float(one.lines([(energies[at], 0.01)]).sum())
    cases = {
        ("narrow line", at): (
            "powerlaw+gaussian",
            {"gaussian.LineE": energies[at], "gaussian.Sigma": 0.01},
            [f"gaussian.norm=lin:0:{8 * scale}", f"gaussian.norm~N(0,{scale})"],
        ),
        ("edge", 20): (
            "edge*powerlaw",
            {"edge.edgeE": float(kinds["edge"].places[20].partition(" ")[0])},
            ["edge.MaxTau=lin:0:2.4", f"edge.MaxTau~N(0,{DEPTH})"],
        ),
    }
    for (kind, where), (text, frozen, prior) in cases.items():
        other = infer(found, text, energies=BAND, freeze=frozen, prior=prior, ess=2000, draws=4000)
        exact = other.log_evidence - plain.log_evidence
        error = math.hypot(other.log_evidence_error, plain.log_evidence_error)
        assert of_place(kind, where) == pytest.approx(exact, abs=0.15 + 3 * error + 0.02 * abs(exact)), kind


def test_a_line_of_one_kev_has_the_counts_of_one_kev_of_the_continuum() -> None:
    """Where the continuum is a power law, its photons per keV are known."""
    problem = spectrum_of("powerlaw", [1.7, 0.05], 1)
    (one,) = problem.linear(best_of(problem))
    lines = lines_of(one, [(1.5, NARROW), (4.0, NARROW)])
    norm, index = one.theta[0, 0, 1], one.theta[0, 0, 0]
    for (energy, _), own in zip(lines.places, lines.norms, strict=True):
        assert own == pytest.approx(float(norm) * energy ** -float(index), rel=0.15)  # seen through the response


def test_the_priors_of_a_fit_are_those_of_the_search() -> None:
    problem = toy()
    (one,) = problem.linear(best_of(problem))
    kinds = {kind.name: kind for kind in small_changes(problem.model, one)}
    lines = lines_of(one, [(energy, NARROW) for energy in energies_of(0.63, 7.6, 0.012, NARROW)])
    at = int(np.abs(np.array([energy for energy, _ in lines.places]) - 3.0).argmin())
    at_search = int(np.abs(np.array([float(word.split()[0]) for word in kinds["narrow line"].places]) - 3.0).argmin())
    addition = kinds["narrow line"].addition(at_search)
    assert (addition.expression, addition.component) == ("powerlaw+gaussian", "gaussian")
    assert addition.freeze == {"gaussian.Sigma": NARROW}
    prior = Prior.of(parse_model(addition.expression).freeze(addition.freeze), addition.prior)
    (place,) = [marginal for marginal in prior.marginals if marginal.name == "gaussian.LineE"]
    (norm,) = [marginal for marginal in prior.marginals if marginal.name == "gaussian.norm"]
    assert place.scale == "log"
    assert (place.lo, place.hi) == pytest.approx((0.63, 7.6), rel=0.03)
    assert (norm.mean, norm.sd) == (0.0, pytest.approx(1e-3 * LINE_EV * lines.norms[at], rel=0.05))
    assert norm.hi == pytest.approx(10.0 * (norm.sd or 0.0))
    broad = kinds["broad line"].addition(0)
    assert broad.prior[1] == "gaussian.Sigma=log:0.2:1.2"
    assert float(broad.prior[3].split(",")[1][:-1]) == pytest.approx(1e-3 * BROAD_EV * lines.norms[0], rel=0.2)
    assert half_normal("edge.MaxTau", DEPTH) == kinds["edge"].addition(3).prior[1:]


def test_the_prior_of_a_place_has_a_width_where_there_is_one_place() -> None:
    low, high = reach([2.0], 0.03)
    assert low < 2.0 < high
    assert reach([1.0, 4.0], 0.02) == (0.99, 4.04)
