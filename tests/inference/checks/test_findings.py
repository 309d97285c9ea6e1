"""What draws give cause to say: doubts, notes and flags, each once."""

from __future__ import annotations

import numpy as np
import torch

from xrayflow.inference.checks.findings import Findings
from xrayflow.inference.checks.verdict import FarNuisance, OtherScale, find_flags
from xrayflow.models import parse_model
from xrayflow.prior import Marginal, Prior
from xrayflow.statistics import AMPLITUDE

MODEL = parse_model("powerlaw")
WEIGHTS = np.full(500, 1.0 / 500)
NUISANCE = Marginal(AMPLITUDE, "", -2.3, 2.3, "linear", 0.0, 0.47)


def draws(amplitude: float) -> torch.Tensor:
    """Well inside the box, and a nuisance about one value."""
    theta = Prior.of(MODEL).to_theta(0.01 * torch.linspace(-1.0, 1.0, 500).double()[:, None].expand(-1, 2))
    return torch.cat([theta, amplitude + 0.01 * torch.linspace(-1.0, 1.0, 500).double()[:, None]], dim=1)


def test_an_amplitude_far_from_what_is_believed_is_a_doubt_and_a_flag_and_no_note() -> None:
    prior = Prior((*Prior.of(MODEL).marginals, NUISANCE))
    for amplitude, far in ((0.0, False), (1.4, True)):
        found = Findings.of(MODEL, prior, draws(amplitude), WEIGHTS, None)
        assert [one.name for one in found.doubts] == [AMPLITUDE] * far
        assert (f"far_from_prior:{AMPLITUDE}" in found.flags(Prior.of(MODEL), draws(amplitude), WEIGHTS, 1)) is far
        assert found.notes == ()


def test_another_nuisance_and_the_scale_of_a_prior_are_notes() -> None:
    theta = draws(0.0)
    prior = Prior((*Prior.of(MODEL).marginals, Marginal("background.lnA", "", -1.0, 1.0, "linear", 0.0, 0.1)))
    shifted = theta.clone()
    shifted[:, 2] += 0.6
    found = Findings.of(MODEL, prior, shifted, WEIGHTS, None)
    assert found.doubts == []
    assert len(found.notes) == 1
    assert isinstance(found.far[0], FarNuisance)
    assert all(isinstance(one, OtherScale) for one in found.scales)


def test_flags_of_the_free_parameters_come_first() -> None:
    found = Findings((), (), None)
    prior = Prior.of(MODEL)
    assert found.flags(prior, draws(0.0), WEIGHTS, 2) == find_flags(prior, draws(0.0)[:, :2], WEIGHTS, 2)
