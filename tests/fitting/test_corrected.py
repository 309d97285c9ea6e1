"""Modes on the search's grid, made exact where they matter; with calibration modes, in the fold that they ask for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from calibration_zoo import bright, detector
from fit_zoo import BAND, observation
from xrayflow.dataset import LINEAR
from xrayflow.fitting import Modes, corrected_modes, minimise, settle, starting_points
from xrayflow.fitting.corrected import FINEST, MADE_EXACT, _Places
from xrayflow.folding import SEARCH, Forward, Grid
from xrayflow.ogip import Observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem


def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A power law of index 1.7 and norm 0.05, about 2e4 counts in the band."""
    return observation(tmp_path_factory.mktemp("toy"), exposure=200.0)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def test_settled_modes_are_the_same_bits_in_any_company(
    toy: Observation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the batch adds in the last digits of a mode is gone, and the mode is where it was."""
    other = observation(tmp_path_factory.mktemp("other"), exposure=30.0)
    problem = build_problem([toy, other], FitSetup(model="powerlaw", energies=BAND))
    starts, _ = starting_points(problem, 6, generators(2))
    together = minimise(problem, starts)
    settled = settle(problem, together)
    for source in (0, 1):
        at = torch.tensor([source])
        shaken = replace(together.select(at), v=together.v[at] * (1.0 + 1e-9))
        alone = settle(problem.select(at), shaken)
        for name in ("v", "objective", "information"):
            assert torch.equal(getattr(alone, name)[0], getattr(settled, name)[source]), name
    assert torch.equal(settled.v * FINEST, torch.round(settled.v * FINEST))
    off = (settled.v - together.v)[..., None, :] @ together.information @ (settled.v - together.v)[..., None]
    assert float(off.max()) < 0.01
    assert bool((settled.evaluations > together.evaluations).all())


def test_corrected_modes_are_those_of_the_exact_grid(
    toy: Observation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of two spectra, where two blackbodies change places: the same objective to 2e-3, the same places to a
    tenth of a standard deviation; there the corrected problem is the exact one to a thousandth in ln L."""
    other = observation(tmp_path_factory.mktemp("other"), exposure=30.0)
    problem = build_problem([toy, other], FitSetup(model="bbodyrad+bbodyrad", energies=BAND))
    starts, _ = starting_points(problem, 8, generators(2))
    modes, corrected = corrected_modes(problem, starts)
    assert corrected.data.fidelity == SEARCH
    assert modes.v.shape == starts.shape
    exact = minimise(problem, modes.v, near=True)
    for source, index in enumerate(modes.distinct()):
        assert index.numel() == 2
        assert float((modes.objective - exact.objective)[source, index].abs().max()) < 2e-3
        off = (modes.v - exact.v)[source, index]
        assert float((off[:, None] @ exact.information[source, index] @ off[..., None]).max()) < 1e-2
        at = problem.prior.to_theta(modes.v[[source]][:, index])
        one = torch.tensor([source])
        change = corrected.select(one).log_likelihood(at) - problem.select(one).log_likelihood(at)
        assert float(change.abs().max()) < 1e-3
        cheap = problem.select(one).at(SEARCH).log_likelihood(at) - problem.select(one).log_likelihood(at)
        assert float(cheap.abs().max()) > 10.0 * float(change.abs().max())


def test_a_corrected_problem_is_exact_at_few_places_and_that_is_counted(toy: Observation) -> None:
    """Starts that end far above the best are places too, but no more than some of all."""
    problem = build_problem([toy], FitSetup(model="bbodyrad+bbodyrad", energies=BAND))
    starts, _ = starting_points(problem, 40, generators(1))
    modes, corrected = corrected_modes(problem, starts)
    correction = corrected.data.sets[0].forward.correction
    assert correction is not None
    assert 2 <= int(correction.known.sum()) <= MADE_EXACT
    assert int(modes.evaluations) > 40 * (1 + problem.parameters)


def test_without_a_coarser_grid_corrected_modes_are_the_exact_ones(toy: Observation) -> None:
    setup = FitSetup(model="powerlaw", energies=BAND, grid=Grid.log(0.3, 11.0, 150))
    problem = build_problem([toy], setup)
    starts, _ = starting_points(problem, 4, generators(1))
    modes, corrected = corrected_modes(problem, starts)
    assert corrected.is_exact
    known = minimise(problem, starts)
    assert float(modes.objective.min()) == pytest.approx(float(known.objective.min()), abs=1e-3)


def test_a_start_that_ends_nowhere_is_no_place_to_be_exact_at(toy: Observation) -> None:
    problem = build_problem([toy, toy], FitSetup(model="powerlaw", energies=BAND))
    starts, _ = starting_points(problem, 3, generators(2))
    starts[0] = torch.nan
    modes, corrected = corrected_modes(problem, starts)
    assert bool(torch.isinf(modes.objective[0]).all())
    assert bool(torch.isfinite(modes.objective[1]).all())
    correction = corrected.data.sets[0].forward.correction
    assert correction is not None
    assert correction.known.any(-1).tolist() == [False, True]


def test_a_limit_of_time_leaves_the_starts_where_they_are(toy: Observation) -> None:
    problem = build_problem([toy], FitSetup(model="powerlaw", energies=BAND))
    starts, _ = starting_points(problem, 6, generators(1))
    asked = []

    def late() -> bool:
        asked.append(True)
        return len(asked) > 1

    whole, _ = corrected_modes(problem, starts)
    stopped, _ = corrected_modes(problem, starts, late)
    assert int(stopped.evaluations[0]) < int(whole.evaluations[0])
    assert bool(torch.isfinite(stopped.objective).all())
    assert float(stopped.objective.max()) > float(whole.objective.max()) + 0.01, "one had not arrived"


def shifted(total: float, gain: tuple[float, float]) -> Observation:
    """A bright spectrum of a detector whose channels read too high by an offset [keV] and a slope."""
    one = bright(total, "none", noisy=False)
    whole = detector().bin(energies=[(0.0, 15.0)], grouping="none")
    expected = one.scale * Forward.of(one.model, [replace(whole, gain=gain)]).expected(one.theta[None, None])[0, 0]
    counts = np.zeros(detector().pha.channel.size)
    counts[whole.bin_of_channel >= 0] = np.random.default_rng(4).poisson(expected.numpy().clip(min=0.0))
    pha = replace(one.spectrum.observation.pha, counts=counts, exposure=one.scale, sha256=f"shifted {gain}")
    return replace(one.spectrum.observation, pha=pha)


@pytest.mark.parametrize(("total", "gain"), [(2e7, (0.02, -0.002)), (2e7, (-0.035, 0.002)), (1e6, (0.01, 0.0))])
def test_the_fold_has_the_energy_scale_of_the_best_fit(total: float, gain: tuple[float, float]) -> None:
    """A search on the coarse grid ends many standard deviations away at so many counts, with another energy scale."""
    setup = FitSetup(model="TBabs*powerlaw", grouping="optimal", systematic="modes:1")
    problem = build_problem([shifted(total, gain)], setup)
    starts, _ = starting_points(problem, 6, generators(1))
    modes, corrected = corrected_modes(problem, starts)
    best = corrected.prior.to_theta(modes.v[:, modes.objective[0].argmin()][:, None])
    assert corrected.data.off_centre(best, [False], LINEAR) == []
    (spectrum,) = corrected.data.sets[0].spectra
    energy = np.array([1.0, 2.0, 6.0])
    wanted, found = (one[0] + one[1] * energy for one in (gain, spectrum.gain))
    assert np.abs(found - wanted).max() < 0.006


def test_a_centre_that_a_search_left_elsewhere_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The likelihood is exact about the best fit, wherever the coarse search had ended, and in any company."""
    from xrayflow.fitting import corrected as room

    setup = FitSetup(model="TBabs*powerlaw", grouping="optimal", systematic="modes:1")
    off, right = shifted(2e7, (0.02, -0.002)), shifted(1e6, (0.0, 0.0))
    problem = build_problem([off, right], setup)
    starts, _ = starting_points(problem, 4, generators(2))
    asked, centred_at = list[list[int]](), room._centred_at

    def astray(problem: Problem, v: torch.Tensor, sources: list[int], late: room.Late | None = None) -> object:
        asked.append(sources)
        if len(asked) == 1:  # the first source's search ended far away, at an edge, where no energy scale helps
            v = v.clone()
            v[0] = 1.5
        return centred_at(problem, v, sources, late)

    wanted, _ = corrected_modes(problem, starts)
    monkeypatch.setattr(room, "_centred_at", astray)
    found, corrected = corrected_modes(problem, starts)
    assert asked[0] == [0, 1]
    assert asked[1] == [0]
    best = found.v[torch.arange(2), found.objective.argmin(-1)][:, None]
    assert corrected.data.off_centre(corrected.prior.to_theta(best), [False, False], LINEAR) == []
    assert torch.allclose(found.objective.amin(-1), wanted.objective.amin(-1), rtol=0, atol=0.3)


def test_where_the_fold_leads_is_one_more_place() -> None:
    """The first source's fold stands; the second's best start is led to 2."""
    v = torch.tensor([[[0.0], [3.0], [6.0]], [[6.0], [3.0], [0.5]]], dtype=torch.float64)
    objective = torch.tensor([[1.0, 2.0, 3.0], [9.0, 5.0, 4.0]], dtype=torch.float64)
    found = Modes(v, objective, torch.full((2, 3, 1, 1), 4.0, dtype=torch.float64), torch.zeros(2, dtype=torch.int64))
    places = _Places.of(found, 2)
    modes = found.beside(places.first)
    centre = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    places, led = places.led_to(centre, modes, [0, 1])
    assert led.v[..., 0].tolist() == [[0.0, 3.0, 6.0, 0.0], [6.0, 3.0, 0.5, 2.0]]
    assert led.objective[:, -1].tolist() == [math.inf, 4.0]
    assert places.v[..., 0].tolist() == [[0.0, 3.0], [2.0, 0.5]]
    assert places.known.all()
