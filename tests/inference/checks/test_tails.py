"""A walk on the posterior: what it says of draws that know a tail, and of draws that do not.

The target is two thin sheets in three probit coordinates, normalised in closed form: a bulk about the origin, and a
tail that leaves it along a bent line with a known part of the mass. No evaluation of a spectrum is needed.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xrayflow.inference.checks.tails import HEAVY, STEPS, WALKERS, TailProbe, bridge, probe, states_to_cover
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture

WIDTH, BULK, LENGTH = 0.05, 0.3, 3.0


def log_normal(x: Tensor, mean: Tensor | float, sd: float) -> Tensor:
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd * math.sqrt(2.0 * math.pi))


def log_target(mass: float) -> object:
    """Natural log of (1 - mass) bulk + mass tail; the tail runs from 0.5 to 0.5 + LENGTH along a parabola."""

    def density(v: Tensor) -> Tensor:
        u, across, third = v.unbind(-1)
        thin = log_normal(across, 0.2 * u * u, WIDTH) + log_normal(third, 0.0, WIDTH)
        bulk = log_normal(u, 0.0, BULK) + thin
        part = (u - 0.5) / LENGTH
        along = torch.where(
            (part > 0) & (part < 1), math.log(2.0 / LENGTH) + torch.log1p(-part.clamp(0, 1)), -torch.inf
        )
        tail = along + thin
        return torch.logaddexp(bulk + math.log1p(-mass), tail + math.log(mass)) if mass else bulk

    return density


def ellipsoid(centre: float, sd: float, slope: float) -> tuple[Tensor, Tensor]:
    """Mean and scale of a component about the line at u = centre."""
    mean = torch.tensor([centre, 0.2 * centre * centre, 0.0], dtype=torch.float64)
    tril = torch.tensor([[sd, 0, 0], [slope * sd, 1.3 * WIDTH, 0], [0, 0, 1.3 * WIDTH]], dtype=torch.float64)
    return mean, tril


def proposal(knows_the_tail: bool) -> Proposal:
    """The bulk, perhaps the tail, and the prior's share."""
    places = [(0.0, 1.2 * BULK, 0.0)]
    if knows_the_tail:
        places += [(0.5 + 0.3 * i, 0.25, 0.4 * (0.5 + 0.3 * i)) for i in range(10)]
    mean, tril = zip(*(ellipsoid(*place) for place in places), strict=True)
    share = [0.5 if knows_the_tail else 1.0] + [0.05] * (len(places) - 1)
    mixture = StudentMixture(torch.tensor(share).double().log()[None], torch.stack(mean)[None], torch.stack(tril)[None])
    return Proposal(mixture, (Components.prior(3),))


def walked(mass: float, knows_the_tail: bool, seed: int, draws: int = 2000) -> tuple[TailProbe, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target, own = log_target(mass), proposal(knows_the_tail)
    v = own.sample(draws, [generator])
    log_weight = target(v) - own.log_density(v)  # type: ignore[operator]
    return probe(target, own.log_density, v, log_weight, [generator]), log_weight  # type: ignore[arg-type]


@pytest.mark.parametrize("mass", [0.1, 0.3])
def test_a_tail_that_no_draw_reached_gives_an_alarm(mass: float) -> None:
    """Seven of eight seeds at least: the prior's share of 2000 draws hardly ever falls into a sheet of 0.05 x 0.05."""
    assert sum(bool(walked(mass, False, seed)[0].alarm) for seed in range(8)) >= 7


def test_draws_that_know_the_posterior_give_none() -> None:
    """Of 16 walks on whole answers none: at a rate of 1 % one seed of the test in seven would fail."""
    alarms = [bool(walked(mass, True, seed)[0].alarm) for mass in (0.1, 0.3) for seed in range(4)]
    alarms += [bool(walked(0.0, False, seed)[0].alarm) for seed in range(8)]
    assert not any(alarms)


def test_a_walk_says_what_it_cost_and_where_it_stood() -> None:
    seen, _ = walked(0.3, False, 1)
    assert seen.evaluations == WALKERS * (STEPS + 1)
    assert seen.v.shape == (1, WALKERS * STEPS // 2, 3)
    assert float(seen.heaviest) > HEAVY
    assert "a tail may be missing" in seen.reason(0)


def test_what_a_walk_found_is_to_be_covered() -> None:
    """Among the places that the next proposal must cover, those of the tail have more than a tenth."""
    generator = torch.Generator().manual_seed(5)
    seen, log_weight = walked(0.3, False, 2)
    own, target = proposal(False), log_target(0.3)
    states, spent = states_to_cover(target, own.log_density, seen, log_weight, [generator])  # type: ignore[arg-type]
    assert spent > seen.evaluations
    assert float((states[0, :, 0] > 0.9).double().mean()) > 0.1


def test_the_bridge_between_draws_and_walk_is_the_evidence_of_a_whole_answer() -> None:
    """The target is normalised: ln Z = 0, within 4 standard errors."""
    for seed in range(3):
        seen, log_weight = walked(0.3, True, seed)
        own = torch.logsumexp(log_weight, 1) - math.log(log_weight.shape[1])
        assert abs(float(seen.log_evidence)) < 0.15
        torch.testing.assert_close(seen.log_evidence, own + seen.rise)


def test_the_bridge_of_draws_that_are_the_target_is_exact() -> None:
    log_weight = torch.zeros((1, 500), dtype=torch.float64)
    states = torch.zeros((1, 4, 100), dtype=torch.float64)
    log_evidence, rise, error = bridge(log_weight, states, torch.zeros_like(states))
    assert float(log_evidence) == pytest.approx(0.0, abs=1e-9)
    assert float(rise) == pytest.approx(0.0, abs=1e-9)
    assert float(error) == pytest.approx(0.0, abs=1e-9)
