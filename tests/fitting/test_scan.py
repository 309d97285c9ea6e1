"""A line is found wherever it stands, by few starts, and nothing better is found by many."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xrayflow.data import bundled_pha
from xrayflow.fitting import Objective, corrected_modes, minimise, multistart, scan, starting_points
from xrayflow.folding import SEARCH
from xrayflow.inference import infer
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_observation, resolved_energies
from xrayflow.ogip.regroup import resolution
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate

MODEL = "TBabs*(powerlaw+gaussian)"
TRUTH = {"TBabs.nH": 0.2, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 0.1, "gaussian.Sigma": 0.01}
PRIOR = ("gaussian.LineE=log:0.315:9.5", "gaussian.norm=lin:0:1", "gaussian.norm~N(0,0.00035)")


def with_line(energy: float, ev: float, seed: int, counts: float = 8e4) -> Observation:
    """A power law and a narrow line of an equivalent width."""
    like, model = read_observation(bundled_pha()), parse_model(MODEL)
    norm = 1e-3 * ev * TRUTH["powerlaw.norm"] * energy ** -TRUTH["powerlaw.PhoIndex"]
    values = {**TRUTH, "gaussian.LineE": energy, "gaussian.norm": norm}
    made = simulate(like, model, values, seed=seed, exposure=10.0)
    scale = counts / float(made.pha.counts.sum())
    return simulate(like, model, values, seed=seed, exposure=10.0 * scale)


def asked(observation: Observation) -> Problem:
    setup = FitSetup(model=MODEL, prior=PRIOR, freeze={"gaussian.Sigma": 0.01}, grouping="optimal", systematic=0.0)
    return build_problem([observation], setup)


@pytest.mark.parametrize(("energy", "ev"), [(1.86, 25.0), (6.4, 120.0)])
def test_few_starts_find_a_line_and_many_find_nothing_better(
    energy: float, ev: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = asked(with_line(energy, ev, 3))
    place = problem.prior.names.index("gaussian.LineE")
    few = minimise(problem, starting_points(problem, 4, problem.generators(0))[0])
    best = problem.prior.to_theta(few.v)[0, few.objective[0].argmin()]
    assert float(best[place]) == pytest.approx(energy, abs=0.06)
    monkeypatch.setattr(multistart, "place_parameters", lambda model: [])
    many = minimise(problem, starting_points(problem, 120, problem.generators(1))[0])
    assert float(few.objective.min()) < float(many.objective.min()) + 0.05


@pytest.fixture(scope="module")
def microscope() -> Iterator[Any]:
    """The benchmark that found the case."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import microscope

    yield microscope
    sys.path.pop(0)


def test_a_line_that_was_missed_and_certified_is_in_the_answer(microscope: Any) -> None:
    """78 % of the posterior; 32 starts missed it with this seed (docs/decisions/0022)."""
    plant = microscope.PLANTS[1]
    answer = infer(
        microscope.spectrum_of(plant, 2000), plant.fit, prior=[PRIOR[0], *plant.prior], freeze=plant.freeze,
        network="none", ess=1000.0, grouping="optimal", systematic=0.0,
    )  # fmt: skip
    energy = answer.draws[:, answer.prior.names.index("gaussian.LineE")]
    held = answer.weights[(energy > 6.1) & (energy < 6.7)].sum() / answer.weights.sum()
    assert 0.7 < held < 0.88
    assert answer.computation.status == "certified"
    assert answer.log_evidence == pytest.approx(-520.31, abs=0.15)


def test_a_model_without_features_is_not_scanned() -> None:
    assert scan.place_parameters(parse_model("TBabs*simpl*ezdiskbb")) == []
    model = parse_model("gabs*edge*(powerlaw+gaussian)")
    assert [model.free[i].name for i in scan.place_parameters(model)] == ["gabs.LineE", "edge.edgeE", "gaussian.LineE"]
    frozen = model.freeze({"gaussian.LineE": 6.4, "gabs.LineE": 1.0})
    assert [frozen.free[i].name for i in scan.place_parameters(frozen)] == ["edge.edgeE"]


def test_places_outside_the_prior_are_left_out() -> None:
    asked_beyond = FitSetup(model=MODEL, prior=("gaussian.LineE=20:30",), grouping="optimal", systematic=0.0)
    beyond = build_problem([with_line(6.4, 120.0, 3, counts=2e3)], asked_beyond)
    best = torch.full((1, beyond.parameters), 0.5, dtype=torch.float64)
    starts, spent = scan.scanned_starts(beyond, "probit", best)
    assert torch.equal(starts, best[:, None].expand(-1, scan.LOOKS, -1))
    assert spent.tolist() == [0]


@pytest.mark.parametrize("norm", [PRIOR[1:], PRIOR[1:2]])
def test_a_narrow_line_is_found_from_a_broad_one(norm: tuple[str, ...]) -> None:
    """A line's norm is a speck of a box on a linear scale, where most combinations have no sense."""
    setup = FitSetup(model=MODEL, prior=(PRIOR[0], *norm), grouping="optimal", systematic=0.0)
    problem = build_problem([with_line(6.4, 120.0, 3)], setup).at(SEARCH)
    goal = Objective.of(problem, "probit")
    broad = {**TRUTH, "gaussian.LineE": 3.0, "gaussian.Sigma": 10.0, "gaussian.norm": 1e-5}
    theta = torch.tensor([[broad[name] for name in problem.prior.names]], dtype=torch.float64)
    starts, _ = scan.scanned_starts(problem, "probit", goal.from_theta(theta))
    lowest = dict(zip(problem.prior.names, goal.to_theta(starts[0, 0]).tolist(), strict=True))
    assert lowest["gaussian.LineE"] == pytest.approx(6.4, abs=0.1)
    assert lowest["gaussian.Sigma"] < 0.2


def test_valleys_displace_no_wider_mode(data_folder: Path) -> None:
    """A line beyond the band whose redistributed tail is seen in it: a worse optimum, and most of the posterior."""
    home, name = data_folder / "nicer_MAXIJ1535-571", "js_ni1050360104_0mpu7_silver_GTI0.jsgrp.gz"
    observation = read_observation(
        home / "1050360104" / name,
        rmf=data_folder / "nicer_response/nicer.rmf.gz",
        arf=home / "nicer_d49_55575341.arf",
    )
    setup = FitSetup(
        model="TBabs*(diskbb+powerlaw+gaussian)", freeze={"gaussian.Sigma": 0.05}, grouping="optimal", systematic=0.01
    )
    problem = build_problem([observation], setup)
    modes, _ = corrected_modes(problem, starting_points(problem, 32, problem.generators(0))[0])
    distinct = modes.distinct()[0]
    widest = distinct[modes.log_evidence(0, distinct).argmax()]
    theta = problem.prior.to_theta(modes.v)[0, widest]
    assert float(theta[problem.prior.names.index("gaussian.LineE")]) > 11.0


def test_two_counts_have_an_answer() -> None:
    """Beyond the places where a coarse grid is exact, its expected counts were below zero, and none could be drawn."""
    observation = with_line(6.4, 120.0, 3, counts=3.0)
    answer = infer(observation, MODEL, network="none", grouping="optimal")
    assert observation.pha.counts.sum() < 10
    assert answer.computation.status == "certified"


def test_no_feature_is_scanned_for_when_there_is_no_time_left() -> None:
    problem = asked(with_line(6.4, 120.0, 3, counts=2e3))
    best = torch.full((1, problem.parameters), 0.5, dtype=torch.float64)
    starts, spent = scan.scanned_starts(problem, "probit", best, lambda: True)
    assert torch.equal(starts, best[:, None].expand(-1, scan.LOOKS, -1))
    assert spent.tolist() == [0]


def test_valleys_are_lower_than_their_neighbours_the_lowest_first() -> None:
    values = torch.tensor([3.0, 1.0, 2.0, 0.5, torch.inf, 7.0, torch.nan, 6.0], dtype=torch.float64)
    assert scan._valleys(values).tolist() == [3, 1, 7, 5]
    assert scan._valleys(values[:0]).tolist() == []


def test_places_are_half_a_resolution_element_apart() -> None:
    rmf = read_observation(bundled_pha()).rmf
    energies = resolved_energies([(rmf, 0.4, 9.0)], 0.5, 1000)
    assert energies[0] == pytest.approx(0.4)
    assert energies[-1] == pytest.approx(9.0)
    width = resolution(rmf) * (rmf.e_max - rmf.e_min)
    middle = 0.5 * (energies[1:] + energies[:-1])
    fwhm = np.interp(middle, 0.5 * (rmf.e_min + rmf.e_max), width)
    np.testing.assert_allclose(np.diff(energies) / fwhm, 0.5, atol=0.03)
    assert len(resolved_energies([(rmf, 0.4, 9.0)], 0.5, 30)) == 30


def test_several_instruments_have_the_places_of_the_one_that_resolves_best() -> None:
    rmf = read_observation(bundled_pha()).rmf
    alone = resolved_energies([(rmf, 0.4, 9.0)], 0.5, 1000)
    np.testing.assert_array_equal(resolved_energies([(rmf, 0.4, 9.0)] * 3, 0.5, 1000), alone)
    parts = resolved_energies([(rmf, 0.4, 2.0), (rmf, 1.0, 3.0), (rmf, 6.0, 9.0)], 0.5, 1000)
    assert not np.any((parts > 3.01) & (parts < 5.99))
    assert len(parts) < len(alone)
