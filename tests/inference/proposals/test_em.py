"""Proposals that their own weighted draws shape."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bent_zoo import Bent
from guide_zoo import Fake, OneOfFake
from proposal_zoo import draw, modes_at, plain, seeded
from xrayflow.inference.proposals.density import PriorDensity
from xrayflow.inference.proposals.draws import WeightedDraws, balance_heuristic
from xrayflow.inference.proposals.em import fit_students, part_shares, refined, reshared
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import Components
from xrayflow.inference.weights import effective_sample_size


def test_refining_raises_the_efficiency_of_a_shifted_proposal() -> None:
    problem = Bent(bend=0.2, width=0.2)
    generators = seeded(5)
    laplace = plain(laplace_mixture(problem.modes()))
    off = plain(replace(laplace.mixture, mean=laplace.mixture.mean + 1.0))
    first = draw(problem, off, 1000, generators)
    second = draw(problem, refined(balance_heuristic([first]), laplace, generators[0]), 1000, generators)
    before, after = (float(effective_sample_size(one.log_weight)) / 1000 for one in (first, second))
    assert before < 0.1
    assert after > 0.25


def test_a_refined_proposal_finds_both_of_two_narrow_modes() -> None:
    generators = seeded(6)
    v = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    laplace = plain(laplace_mixture(modes_at(v, [0.0, 0.0], precision=1e4)))
    places = laplace.sample(2000, generators)
    distance2 = torch.stack([(places - mode).square().sum(-1) for mode in v])
    one = WeightedDraws.of(laplace, places, torch.logsumexp(-0.5e4 * distance2, dim=0))
    better = refined(balance_heuristic([one]), laplace, generators[0])
    assert better.mixture.scale_tril.amax() < 1.0
    left = better.sample(4000, generators)[0, :, 0] < 0.0
    assert 0.4 < left.double().mean() < 0.6


def test_parts_get_the_shares_that_the_posterior_has_in_them() -> None:
    present, where = torch.tensor([True]), torch.tensor([[[-3.0, 0.0, 0.0]], [[3.0, 0.0, 0.0]]], dtype=torch.float64)
    left, right = (Fake(mean, 0.5, present) for mean in where)
    core = plain(laplace_mixture(Bent().modes()))
    parts = Components.of([PriorDensity(3), OneOfFake(left), OneOfFake(right)], [0.02, 0.0, 0.0], [0.0, 0.4, 0.4])
    first = replace(core, parts=(parts,))
    v = first.sample(4000, seeded(3))
    log_target = torch.logaddexp(left.log_density(v) + math.log(0.2), right.log_density(v) + math.log(0.8))
    share = part_shares(balance_heuristic([WeightedDraws.of(first, v, log_target)]), first)
    assert share.tolist() == pytest.approx([0.0, 0.2, 0.75], abs=0.06)


def test_first_draws_change_the_shares_of_the_parts_and_nothing_else() -> None:
    present = torch.tensor([True])
    right, wrong = (Fake(torch.tensor([[place, 0.0, 0.0]], dtype=torch.float64), 0.5, present) for place in (-3.0, 3.0))
    core = plain(laplace_mixture(Bent().modes()))
    parts = Components.of([PriorDensity(3), OneOfFake(right), OneOfFake(wrong)], [0.02, 0.05, 0.05], [0.0, 0.4, 0.4])
    first = replace(core, parts=(parts,))
    v = first.sample(50, seeded(3))
    better = reshared(balance_heuristic([WeightedDraws.of(first, v, right.log_density(v))]), first)
    share = better.parts[0].share
    assert float(share[1]) > 0.7
    assert float(share[2]) > 0.05 + 0.8 * 0.2 * 0.4
    assert bool((share >= parts.floor).all())
    assert better.mixture is first.mixture
    assert better.parts[0].parts == parts.parts


def test_a_fitted_mixture_finds_the_components_that_the_draws_came_from() -> None:
    """4000 even draws of two normals, 1 to 3: share, mean and spread to 5 %."""
    generator = seeded(12)[0]
    side = torch.rand(4000, generator=generator) < 0.25
    z = torch.randn((4000, 2), generator=generator, dtype=torch.float64)
    v = torch.where(side[:, None], torch.tensor([-4.0, 0.0]) + 0.5 * z, torch.tensor([4.0, 1.0]) + z)[None]
    weight = torch.full((1, 4000), 1.0 / 4000, dtype=torch.float64)
    mixture, parts = fit_students(v, weight, 2, 1.0, [generator])
    left, right = mixture.mean[0, :, 0].argsort().tolist()
    assert parts.shape == (1, 0)
    assert float(mixture.log_share[0, left].exp()) == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(
        mixture.mean[0, [left, right]], torch.tensor([[-4.0, 0.0], [4.0, 1.0]]).double(), atol=0.06, rtol=0
    )
    # a Student-t of 8 degrees of freedom that describes a normal is narrower: 0.89 of its width
    width = mixture.scale_tril[0].diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(width[left], torch.full((2,), 0.45).double(), atol=0.04, rtol=0)
    torch.testing.assert_close(width[right], torch.full((2,), 0.9).double(), atol=0.06, rtol=0)


def test_a_component_with_few_draws_does_not_collapse_onto_them() -> None:
    """Two draws far away carry 2 % of the weight: their component keeps a width of the average one's order."""
    v = torch.randn((1, 400, 2), generator=seeded(14)[0], dtype=torch.float64)
    v[0, :2] = torch.tensor([20.0, 20.0])
    weight = torch.full((1, 400), 0.98 / 398, dtype=torch.float64)
    weight[0, :2] = 0.01
    mixture, _ = fit_students(v, weight, 4, 1.0, seeded(15))
    far = (mixture.mean[0] - 20.0).norm(dim=-1) < 1.0
    assert bool(far.any())
    assert float(mixture.scale_tril[0, far].diagonal(dim1=-2, dim2=-1).amin()) > 0.1
