"""What a bright fit lacks: lines that are planted are found where they are, clean spectra raise no alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from calibration_zoo import bright, with_counts
from xrayflow.calibration import BinModes, find_mode_set
from xrayflow.folding import Forward
from xrayflow.inference.checks.misfit import Misfit, find_misfit
from xrayflow.models import parse_model
from xrayflow.setup import FitSetup, build_problem

MODEL = "TBabs*powerlaw"


def misfit_of(
    line: float,
    seed: int,
    total: float = 1e6,
    systematic: str = "modes:1",
    energy: float = 6.4,
    another_detector: bool = False,
) -> Misfit | None:
    """At the truth of a spectrum with a narrow line of so many eV, seen by a detector with errors or not."""
    one = bright(total)
    whole = one.spectrum.observation.bin(energies=[(0.0, 15.0)], grouping="none")
    expected = one.scale * Forward.of(one.model, [whole]).expected(one.theta[None, None])[0, 0].numpy()
    added = (
        Forward.of(parse_model("gaussian"), [whole])
        .expected(torch.tensor([[[energy, 0.01, 1.0]]], dtype=torch.float64))[0, 0]
        .numpy()
    )
    at = int(np.argmin(np.abs(whole.energy_lo - energy)))
    per_kev = expected[at] / (whole.energy_hi[at] - whole.energy_lo[at])
    mean = expected + 1e-3 * line * per_kev / added.sum() * added
    if another_detector:
        still = replace(find_mode_set("nicer-v1"), gain_offset=0.0, gain_slope=0.0)
        one_more = (torch.from_numpy(mean)[None], torch.ones(1).double(), torch.Generator().manual_seed(1000 + seed))
        mean = mean * BinModes.of(whole, still).seen_by_others(*one_more)[0].numpy()
    counts = np.random.default_rng(seed).poisson(mean).astype(float)
    observation = with_counts(counts, (0.0, 15.0))
    setup = FitSetup(model=MODEL, grouping="optimal", systematic=systematic, prior=("powerlaw.norm=1:1e9",))
    problem = build_problem([observation], setup)
    theta = torch.cat([one.theta * torch.tensor([1.0, 1.0, one.scale]), torch.zeros(problem.parameters - 3)])
    v = problem.prior.to_probit(theta.double())
    return find_misfit(problem, v, torch.Generator().manual_seed(seed))


def test_a_narrow_line_is_found_where_it_is() -> None:
    found = misfit_of(100.0, 1)
    assert found is not None
    assert "line_suspected" in found.flags
    assert found.line.energy == pytest.approx(6.4, abs=0.1)
    assert found.line.equivalent_width == pytest.approx(100.0, rel=0.3)
    line = found.suspected[0]
    assert "a line at 6." in line.reason


def test_a_dip_is_told_from_a_line() -> None:
    found = misfit_of(-60.0, 2, 1e7, energy=4.0)
    assert found is not None
    assert found.line.significance < -5
    assert "a dip at 4.0" in found.line.reason or "a dip at 3.9" in found.line.reason


def test_clean_spectra_raise_no_alarm() -> None:
    """24 spectra: at a false-alarm rate of 2 % (all places, and iron's) more than 3 come once in 1000 times."""
    found = [misfit_of(0.0, seed, another_detector=True) for seed in range(24)]
    alarms = [one for one in found if one is not None and one.suspected]
    assert len(alarms) <= 3
    p = np.array([one.line.p_value for one in found if one is not None])
    assert 0.25 < p.mean() < 0.75


def test_a_right_energy_scale_is_not_suspected() -> None:
    found = [misfit_of(0.0, seed) for seed in range(12)]
    assert max(one.gain_evidence for one in found if one is not None) < 5.0


def continuum_of(text: str, theta: list[float], seed: int) -> Misfit | None:
    """At the truth of the power law, of a spectrum that holds more; 1e6 counts, single channels put together."""
    one = bright(1e6)
    whole = one.spectrum.observation.bin(energies=[(0.0, 15.0)], grouping="none")
    mean = one.scale * Forward.of(parse_model(text), [whole]).expected(torch.tensor([[theta]]).double())[0, 0].numpy()
    observation = with_counts(np.random.default_rng(seed).poisson(mean).astype(float), (0.0, 15.0))
    setup = FitSetup(model=MODEL, grouping="optimal", systematic="modes:1", prior=("powerlaw.norm=1:1e9",))
    problem = build_problem([observation], setup)
    at = torch.cat([one.theta * torch.tensor([1.0, 1.0, one.scale]), torch.zeros(problem.parameters - 3)])
    return find_misfit(problem, problem.prior.to_probit(at.double()), torch.Generator().manual_seed(seed))


def test_a_black_body_that_is_not_in_the_model_is_found() -> None:
    nh, index, norm = bright(1e6).theta.tolist()
    found = continuum_of("TBabs*(powerlaw+bbodyrad)", [nh, index, norm, 1.5, 15.0], 3)
    assert found is not None
    assert found.continuum is not None
    assert "continuum_suspected" in found.flags
    assert found.continuum.temperature == pytest.approx(1.5, rel=0.35)
    assert "like a black body of kT 1." in found.continuum.reason
    assert 0.01 < found.continuum.share < 0.3
    assert "misfit RESULT" in found.suspected[-1].advice


def test_a_continuum_that_a_response_could_be_blamed_for_is_told_and_not_suspected() -> None:
    nh, index, norm = bright(1e6).theta.tolist()
    found = continuum_of("TBabs*(powerlaw+bbodyrad)", [nh, index, norm, 1.5, 15.0], 3)
    assert found is not None
    assert found.continuum is not None
    faint = replace(found, line=None, iron=None, continuum=replace(found.continuum, share=0.004))
    assert "continuum_suspected" not in faint.flags
    assert faint.suspected == ()
    assert "0.4% of the counts" in faint.notes[0]


def test_clean_spectra_have_no_further_continuum() -> None:
    """As for lines; one search, so that more than 2 of 24 come once in 3000 times."""
    found = [misfit_of(0.0, seed, another_detector=True) for seed in range(24)]
    p = np.array([1.0 if one is None or one.continuum is None else one.continuum.p_value for one in found])
    assert (p < 0.005).sum() <= 2
    assert p.mean() > 0.25


def test_a_response_that_is_taken_at_its_word_is_not_searched() -> None:
    assert misfit_of(100.0, 1, systematic="0") is None


@pytest.mark.parametrize("energies", [(1.0, 1.09), (6.1, 6.7)])
def test_a_band_without_a_place_for_lines_is_not_searched(energies: tuple[float, float]) -> None:
    one = bright(1e6)
    setup = FitSetup(model=MODEL, energies=[energies], grouping="none", systematic="modes:1")
    problem = build_problem([one.spectrum.observation], setup)
    found = find_misfit(problem, torch.zeros(problem.parameters, dtype=torch.float64), torch.Generator().manual_seed(1))
    assert found is not None
    assert found.line is None or 6.1 < found.line.energy < 6.7


def test_where_few_counts_are_expected_no_line_is_claimed() -> None:
    """2000 counts, single channels: above 4 keV a bin expects less than one."""
    one = bright(2e3, "none")
    setup = FitSetup(model=MODEL, grouping="none", systematic="modes:1", prior=("powerlaw.norm=1:1e9",))
    problem = build_problem([one.spectrum.observation], setup)
    theta = torch.cat([one.theta * torch.tensor([1.0, 1.0, one.scale]), torch.zeros(1)]).double()
    found = find_misfit(problem, problem.prior.to_probit(theta), torch.Generator().manual_seed(1))
    assert found is not None
    assert found.line is not None
    assert found.line.energy < 5.0
    assert found.iron is None or found.iron.width > 0.1
