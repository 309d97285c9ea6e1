"""Proposals have the density that they say, whatever they are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from guide_zoo import Fake, OneOfFake
from proposal_zoo import KINDS, bow, fake, mixture, proposal, seeded
from xrayflow.inference.proposals.density import PriorDensity
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.prior import log_standard_normal


def stretched(cells: int = 901) -> tuple[np.ndarray, np.ndarray]:
    """Points from -2e3 to 2e3, dense in the middle, and their weights."""
    t = np.linspace(-10.5, 10.5, cells)
    return 0.1 * np.sinh(t), 0.1 * np.cosh(t) * (t[1] - t[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_integrates_to_one(kind: str) -> None:
    """A ridge ends abruptly, which costs the quadrature a digit or two."""
    x, w = stretched()
    grid = torch.from_numpy(np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(1, -1, 2)).expand(2, -1, -1)
    density = torch.exp(proposal(kind).log_density(grid)).numpy().reshape(2, x.size, x.size)
    tolerance = 3e-3 if kind in ("ridges", "everything") else 1e-5
    np.testing.assert_allclose(np.einsum("sij,i,j->s", density, w, w), 1.0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_density(kind: str) -> None:
    """Chi-square of 40 000 draws in 14 x 14 cells and outside; a false alarm once in 10 000 seeds."""
    one = proposal(kind)
    draws = one.sample(40_000, seeded(2, 2)).numpy()
    edges = np.linspace(-5.0, 4.0, 15)
    fine, parts = 0.5 * (edges[1] - edges[0]), 24
    nodes = (edges[:-1, None] + 2 * fine * (np.arange(parts) + 0.5) / parts).reshape(-1)
    grid = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(1, -1, 2)).expand(2, -1, -1)
    density = (
        torch.exp(one.log_density(grid)).numpy().reshape(2, 14, parts, 14, parts).mean(axis=(2, 4)) * (2 * fine) ** 2
    )
    for source in range(2):
        counts, _, _ = np.histogram2d(draws[source, :, 0], draws[source, :, 1], bins=[edges, edges])
        expected = 40_000 * density[source]
        observed = np.append(counts[expected > 8], counts[expected <= 8].sum() + 40_000 - counts.sum())
        wanted = np.append(expected[expected > 8], 40_000 - expected[expected > 8].sum())
        assert stats.chisquare(observed, wanted).pvalue > 1e-4


def test_every_part_gets_its_share_of_the_draws_to_within_one() -> None:
    far = torch.tensor([[50.0, 50.0], [-50.0, 50.0]], dtype=torch.float64)
    guide = Fake(far, 0.1, torch.tensor([True, True]))
    each = [Components.of([OneOfFake(guide.select(torch.tensor([i])))], [0.05], [0.0]) for i in range(2)]
    drawn = Proposal(mixture(), tuple(each)).sample(1000, seeded(3, 2))
    assert ((drawn - far[:, None]).norm(dim=-1) < 5.0).sum(1).tolist() == [50, 50]


def test_padded_components_are_never_drawn() -> None:
    one = mixture().select(torch.tensor([1]))
    far = replace(one, mean=torch.tensor([[[1.0, 1.0], [1e6, 1e6], [1e6, 1e6]]]).double())
    drawn = Proposal(far, (Components.prior(2),)).sample(20_000, seeded(4))
    assert float(drawn.abs().max()) < 1e5


def test_a_source_without_a_guide_draws_as_if_there_were_none() -> None:
    guided, plain = proposal("guided"), proposal("with the prior")
    assert torch.equal(guided.sample(500, seeded(7, 2))[1], plain.sample(500, seeded(7, 2))[1])
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    torch.testing.assert_close(guided.log_density(v)[1], plain.log_density(v)[1])
    assert not torch.equal(guided.log_density(v)[0], plain.log_density(v)[0])


def test_the_guides_density_enters_as_it_is() -> None:
    one = proposal("guided")
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    known = 0.1 * log_standard_normal(v)[0].exp() + 0.7 * one.mixture.log_density(v)[0].exp()
    known = known + 0.2 * fake().log_density(v)[0].exp()
    torch.testing.assert_close(one.log_density(v)[0], known.log())
    torch.testing.assert_close(one.log_density(v, one.log_parts(v)), one.log_density(v))


def test_no_part_falls_below_its_floor() -> None:
    beside = proposal("everything").parts[0]
    again = beside.sharing(torch.tensor([0.0, 0.0, 0.0, 0.9], dtype=torch.float64))
    assert bool((again.share >= beside.floor).all())
    assert again.share.tolist() == pytest.approx([0.1, 0.2, 0.0, 0.63])


def test_selected_proposals_are_those_of_their_sources() -> None:
    one = proposal("everything")
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    for source in range(2):
        chosen = one.select(torch.tensor([source]))
        torch.testing.assert_close(chosen.log_density(v[source : source + 1])[0], one.log_density(v)[source])


def test_a_part_beside_takes_its_share_from_all_others_above_their_floors() -> None:
    one = Components.of([PriorDensity(2), bow()], [0.1, 0.2], [0.0, 0.5])
    both = one.beside(bow(), 0.6)
    assert both.floor.tolist() == pytest.approx([0.1, 0.2, 0.0])
    assert both.above.tolist() == pytest.approx([0.0, 0.2, 0.6])
    assert both.share.tolist() == pytest.approx([0.1, 0.2 + 0.7 * 0.2, 0.7 * 0.6])
    assert len(both.parts) == 3


def test_without_parts_all_is_the_mixtures() -> None:
    bare = Proposal(mixture().select(torch.tensor([0])), (Components.none(),))
    v = torch.randn((1, 20, 2), generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    torch.testing.assert_close(bare.log_density(v), bare.mixture.log_density(v))
    assert bare.log_parts(v)[0].shape == (20, 0)


def test_a_stack_of_proposals_is_each_of_them() -> None:
    one = proposal("everything")
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    again = Proposal.stack([one.select(torch.tensor([i])) for i in range(2)])
    torch.testing.assert_close(again.log_density(v), one.log_density(v))
